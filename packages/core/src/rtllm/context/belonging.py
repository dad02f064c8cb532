"""Belonging: whether a context may continue a known response, and the proof for it.

Equal texts prove little: every call has the same few-shot examples, and callers say the same things
and get the same answers. These are proofs, in this order: the request names its conversation; the
recorded output has the response's own mark; each item of the answered context still has the key
that its framework gave it; or, if no key was seen before, no other request with the same content
was answered.
"""

from collections import OrderedDict, defaultdict
from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from enum import Enum
from itertools import takewhile

from rtllm.codec.fingerprint import fingerprint
from rtllm.content.items import Message, ToolCall, ToolOutput
from rtllm.context.outline import HiddenItems, Outline, ResponseAnchor, request_identity

COUNTED_REQUESTS = 8192
"""How many requested contexts are remembered, to recognize those requested twice."""


class Proof(Enum):
    """Proofs that a response belongs to a context, the strongest first."""

    CONVERSATION = 1
    """The request names the conversation."""
    MARK = 2
    """The recorded output has the response's mark."""
    KEYS = 3
    """The context has the framework's keys of all items of the answered context."""
    CONTENT = 4
    """No other request had the same content. This proof restores no hidden items."""


@dataclass(slots=True, eq=False)
class KnownResponse:
    """A completed response, with what is known about its conversation.

    Attributes:
        anchor: The response.
        conversation: The number of its conversation.
        name: The name of that conversation, if its requests give one.
        hidden: Its hidden items.
        lost: Whether the service no longer knows it. It still counts as the answer to a request
            with its content.
        output_keys: The keys of its recorded output, once a context with them continued it.
    """

    anchor: ResponseAnchor
    conversation: int
    name: str | None = None
    hidden: tuple[HiddenItems, ...] = ()
    lost: bool = False
    output_keys: frozenset[str] = frozenset()

    @property
    def hidden_bytes(self) -> int:
        """How many bytes its hidden items have."""
        return sum(one.size for one in self.hidden)


class RequestCounts:
    """Counts how often contexts were requested, by a digest of their keys or of their content."""

    def __init__(self, limit: int = COUNTED_REQUESTS) -> None:
        self._limit = limit
        self._counts: OrderedDict[Hashable, int] = OrderedDict()

    def count(self, context: Outline) -> None:
        """Count a request."""
        for digest in (request_identity(context), context.content):
            if digest is None:
                continue
            self._counts[digest] = self._counts.pop(digest, 0) + 1
        while len(self._counts) > self._limit:
            self._counts.popitem(last=False)

    def is_single(self, digest: Hashable | None) -> bool:
        """Whether a context was requested exactly once; False if that is no longer known."""
        return digest is not None and self._counts.get(digest) == 1


class KnownResponses:
    """The completed responses of a client, by prefix and by mark, with proofs of belonging."""

    def __init__(self) -> None:
        self._by_prefix: defaultdict[tuple[bytes, bytes | None], list[KnownResponse]]
        self._by_prefix = defaultdict(list)
        self._by_mark: dict[str, KnownResponse] = {}
        self._by_id: defaultdict[str, dict[str, KnownResponse]] = defaultdict(dict)
        self.requests = RequestCounts()

    def add(self, known: KnownResponse) -> None:
        """Remember a response."""
        self._by_prefix[_lookup_key(known.anchor)].append(known)
        self._by_mark[known.anchor.mark] = known
        self._by_id[known.anchor.response_id][known.anchor.mark] = known

    def remove(self, known: KnownResponse) -> None:
        """Forget a response."""
        del self._by_mark[known.anchor.mark]
        key = _lookup_key(known.anchor)
        bucket = self._by_prefix[key]
        bucket.remove(known)
        if not bucket:
            del self._by_prefix[key]
        self._remove_id(known)

    def replace(self, known: KnownResponse, anchor: ResponseAnchor) -> None:
        """Record that a response is remembered under another id, at another place."""
        self._remove_id(known)
        known.anchor, known.lost = anchor, False
        self._by_id[anchor.response_id][anchor.mark] = known

    def _remove_id(self, known: KnownResponse) -> None:
        response_id = known.anchor.response_id
        del self._by_id[response_id][known.anchor.mark]
        if not self._by_id[response_id]:
            del self._by_id[response_id]

    def with_id(self, response_id: str) -> list[ResponseAnchor]:
        """Return the responses with an id: one, unless the host gives several the same."""
        return [known.anchor for known in self._by_id.get(response_id, {}).values()]

    def find_by_mark(self, mark: str) -> KnownResponse | None:
        """Find a response by its mark; None if it is not remembered."""
        return self._by_mark.get(mark)

    def matching(self, context: Outline) -> Iterator[KnownResponse]:
        """Find the responses that a context begins with, by content alone.

        Yields:
            The responses, the longest known prefix first; among equals, the newest.
        """
        buckets = self._by_prefix
        for closed in range(len(context.units), -1, -1):
            prefix = context.prefixes[closed]
            found: list[KnownResponse] = []
            if closed < len(context.units):
                first = context.items[context.starts[closed]]
                if isinstance(first, ToolCall | ToolOutput):
                    for item in context.run_at(closed):
                        found += buckets.get((prefix, fingerprint(item)), ())
            if found:
                found.sort(key=lambda known: len(known.anchor.known_prefix.run))
                found = [
                    k for k in found if k.anchor.known_prefix.remaining_items(context) is not None
                ]
                yield from reversed(found)
            yield from reversed(buckets.get((prefix, None), ()))

    def longest_matching(self, context: Outline) -> list[KnownResponse]:
        """Find all responses that share the longest known prefix of a context."""
        matching = self.matching(context)
        longest = next(matching, None)
        if longest is None:
            return []
        length = longest.anchor.known_prefix.length
        return [longest, *takewhile(lambda k: k.anchor.known_prefix.length == length, matching)]

    def find_proof(self, known: KnownResponse, context: Outline, name: str | None) -> Proof | None:
        """Find the proof that a response belongs to a context, without comparing content.

        Args:
            known: A response that the context begins with.
            context: The context.
            name: The name of its conversation, if the request gives one.
        """
        if name is not None and known.name is not None:
            return Proof.CONVERSATION if name == known.name else None
        output = _recorded_output(known.anchor, context)
        marks = {item.mark for item in output if item.mark is not None}
        if marks:
            return Proof.MARK if known.anchor.mark in marks else None
        origin = known.anchor.origin
        if not self.requests.is_single(origin.identity):
            return None  # two requests had these keys: a repetition, or another caller
        keys = {item.key for item in output if item.key is not None}
        if keys and known.output_keys and keys.isdisjoint(known.output_keys):
            return None
        if isinstance(origin.identity, frozenset):
            return Proof.KEYS if origin.identity.issubset(context.traces) else None
        return Proof.KEYS if origin.is_in(context) else None

    def record_continuation(self, mark: str, context: Outline) -> None:
        """Remember the keys of a response's recorded output from the context that continues it.

        A context with no proof but its content may be another caller's. Its keys must not
        contradict those of the caller who got the response, so they are ignored.
        """
        known = self.find_by_mark(mark)
        if (
            known is None
            or known.output_keys
            or self.find_proof(known, context, known.name) is None
        ):
            return
        output = _recorded_output(known.anchor, context)
        known.output_keys = frozenset(i.key for i in output if i.key is not None)


def _lookup_key(anchor: ResponseAnchor) -> tuple[bytes, bytes | None]:
    """Return the lookup key of a response: its closed units, and one item of its open run."""
    known_prefix = anchor.known_prefix
    return known_prefix.prefix, min(known_prefix.run, default=None)


def _recorded_output(anchor: ResponseAnchor, context: Outline) -> list[Message | ToolCall]:
    """Find the items of a context that a response was recorded as."""
    begin, end = anchor.origin.closed, anchor.known_prefix.closed
    known_before = {digest for digest, _ in anchor.origin.run}
    found: list[Message | ToolCall] = []
    for unit in range(begin, min(end + bool(anchor.known_prefix.run), len(context.units))):
        for item in context.run_at(unit):
            if isinstance(item, ToolCall):
                digest = fingerprint(item)
                if digest not in known_before and (unit < end or digest in anchor.known_prefix.run):
                    found.append(item)
            elif isinstance(item, Message) and item.role == "assistant":
                found.append(item)
    return found
