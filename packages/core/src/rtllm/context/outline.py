"""Outlines of contexts, known prefixes, response anchors and plans.

A known prefix is a context and the output that followed it. It is compared in *units*: a message is
one unit, and so is each run of tool calls and outputs between two messages, as a set. So the calls
of one response match in whatever order a framework recorded them, and wherever their outputs are
among them. Messages must match in order.

Of an answered context only digests are kept: one of its units, and one of its items' keys.
`rtllm.context.belonging` uses the second to decide whose context it is.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from typing import Literal

from rtllm.codec.fingerprint import fingerprint
from rtllm.content.items import (
    Item,
    Message,
    Opaque,
    Reasoning,
    Text,
    ToolCall,
    ToolOutput,
    is_system,
)

FullContextReason = Literal[
    "first request",
    "no completed response",
    "context changed",
    "instructions changed",
    "belonging unproven",
    "response unavailable",
    "connection replaced",
    "recovery",
    "no chaining here",
]
"""Why a request was sent with its full context."""

_OF_RUNS = (ToolCall, ToolOutput)
_EMPTY = blake2b(b"", digest_size=16).digest()
_NO_KEY = b""


@dataclass(frozen=True, slots=True)
class Outline:
    """A normalized context, cut into units that compare as values.

    Attributes:
        items: The items.
        lead: Fingerprints of the leading system and developer messages.
        units: One digest for each unit after them.
        starts: For each of these units, the index of its first item.
        open_run: The fingerprints of the last unit's items if it is a run of calls and outputs,
            else empty.
        prefixes: For each number of units from zero to all, a digest of that many.
        key_prefixes: The same with a digest of their items' keys; system texts have no key here.
        keys: The keys that only one item has, without system texts, oldest first.
        traces: The keys of the system texts, and of items that the framework never sends.
        has_images: Whether a message has a picture.
    """

    items: tuple[Item, ...]
    lead: tuple[bytes, ...]
    units: tuple[bytes, ...]
    starts: tuple[int, ...]
    open_run: frozenset[bytes]
    prefixes: tuple[bytes, ...] = field(repr=False)
    key_prefixes: tuple[bytes, ...] = field(repr=False)
    keys: tuple[str, ...] = ()
    traces: tuple[str, ...] = ()
    has_images: bool = False

    @classmethod
    def of(cls, items: Sequence[Item], unsent: Iterable[str] = ()) -> "Outline":
        """Cut normalized items into units.

        Args:
            items: The items.
            unsent: The keys of the framework's items that are never sent.
        """
        return _Cutter(_without_repeated_keys(items)).outline(unsent)

    def extended(self, items: Sequence[Item]) -> "Outline":
        """Outline this context followed by more items."""
        return _Cutter(items, self).outline(())

    def run_at(self, unit: int) -> tuple[Item, ...]:
        """Return the items of a unit."""
        end = self.starts[unit + 1] if unit + 1 < len(self.starts) else len(self.items)
        return self.items[self.starts[unit] : end]

    @property
    def unanswered(self) -> bool:
        """Whether a call at the end lacks its output; such a context can't be sent."""
        if not self.open_run:
            return False
        run = self.run_at(len(self.units) - 1)
        answered = {item.call_id for item in run if isinstance(item, ToolOutput)}
        return any(isinstance(i, ToolCall) and i.call_id not in answered for i in run)

    @property
    def content(self) -> bytes:
        """A digest of everything that the model sees of it."""
        return blake2b(b"".join((*self.lead, self.prefixes[-1])), digest_size=16).digest()

    def after(self, unit: int) -> tuple[Item, ...]:
        """Return the items from a unit on."""
        return self.items[self.starts[unit] :] if unit < len(self.starts) else ()


class _Cutter:
    """Cuts items into units, alone or as the continuation of an outline."""

    def __init__(self, items: Sequence[Item], before: Outline | None = None) -> None:
        self._items = items
        self._before = before
        self._lead: list[bytes] = list(before.lead) if before is not None else []
        self._units: list[bytes] = []
        self._starts: list[int] = []
        self._prefixes = [_EMPTY]
        self._key_prefixes = [_EMPTY]
        self._run: list[tuple[bytes, bytes]] = []
        self._keys: list[str] = list(before.keys) if before is not None else []
        self._traces: list[str] = list(before.traces) if before is not None else []
        self._images = before is not None and before.has_images
        if before is not None:
            closed = len(before.units) - bool(before.open_run)
            self._units += before.units[:closed]
            self._starts += before.starts[:closed]
            self._prefixes = list(before.prefixes[: closed + 1])
            self._key_prefixes = list(before.key_prefixes[: closed + 1])
            if before.open_run:
                self._starts.append(before.starts[closed])
                self._run += [(fingerprint(i), _key_of(i)) for i in before.run_at(closed)]

    def outline(self, unsent: Iterable[str]) -> Outline:
        before = self._before.items if self._before is not None else ()
        for index, item in enumerate(self._items, len(before)):
            self._add_item(index, item)
        open_run = frozenset(digest for digest, _ in self._run)
        if self._run:
            self._close_run()
        self._traces += unsent
        return Outline(
            (*before, *self._items),
            tuple(self._lead),
            tuple(self._units),
            tuple(self._starts),
            open_run,
            tuple(self._prefixes),
            tuple(self._key_prefixes),
            tuple(self._keys),
            tuple(self._traces),
            self._images,
        )

    def _add_item(self, index: int, item: Item) -> None:
        digest = fingerprint(item)
        system = False
        if isinstance(item, Message):
            system = is_system(item)
            if len(item.parts) != 1 or not isinstance(item.parts[0], Text):
                self._images = self._images or item.has_images
        if item.key is not None:
            (self._traces if system else self._keys).append(item.key)
        if isinstance(item, _OF_RUNS):
            if not self._run:
                self._starts.append(index)
            self._run.append((digest, _key_of(item)))
            return
        if system and not self._units and not self._run:
            self._lead.append(digest)
            return
        if self._run:
            self._close_run()
        self._starts.append(index)
        self._add_unit(digest, _NO_KEY if system else _key_of(item))

    def _close_run(self) -> None:
        run = sorted(self._run)
        # A multiset: the same call twice is not the same as the call once.
        prints = b"".join(digest for digest, _ in run)
        unit = blake2b(prints, digest_size=16, person=b"run").digest()
        self._add_unit(unit, b"\0".join(part for pair in run for part in pair))
        self._run = []

    def _add_unit(self, unit: bytes, keys: bytes) -> None:
        self._units.append(unit)
        self._prefixes.append(blake2b(self._prefixes[-1] + unit, digest_size=16).digest())
        self._key_prefixes.append(blake2b(self._key_prefixes[-1] + keys, digest_size=16).digest())


def _key_of(item: Item) -> bytes:
    return _NO_KEY if item.key is None else item.key.encode("utf-8", "surrogatepass")


def _without_repeated_keys(items: Sequence[Item]) -> Sequence[Item]:
    """Remove each key that several items share, since it identifies none of them."""
    keys = [item.key for item in items if item.key is not None]
    if len(set(keys)) == len(keys):
        return items
    repeated = {key for key, count in Counter(keys).items() if count > 1}
    return [
        replace(item, key=None)
        if isinstance(item, Message | ToolCall | ToolOutput) and item.key in repeated
        else item
        for item in items
    ]


@dataclass(frozen=True, slots=True)
class KnownPrefix:
    """A context and the output that followed it, as the framework will record them.

    Attributes:
        lead: The leading system texts.
        closed: How many units are closed, so that no item can be added to them.
        prefix: A digest of these units.
        run: The last run of calls and outputs, which the next context may extend.
    """

    lead: tuple[bytes, ...]
    closed: int
    prefix: bytes
    run: frozenset[bytes]

    @classmethod
    def of(cls, context: Outline, output: Sequence[Item]) -> "KnownPrefix":
        """Create the known prefix of a context and an output."""
        return cls.ending_with(context.extended(output))

    @classmethod
    def ending_with(cls, context: Outline) -> "KnownPrefix":
        """Create the known prefix of a context that ends with its output."""
        closed = len(context.units) - bool(context.open_run)
        return cls(context.lead, closed, context.prefixes[closed], context.open_run)

    @property
    def length(self) -> tuple[int, int]:
        """How much of a context it covers; only for comparing prefixes of one context."""
        return self.closed, len(self.run)

    @property
    def is_prompt_only(self) -> bool:
        """Whether it covers nothing but system texts, as a warmed-up prompt does."""
        return self.length == (0, 0)

    def remaining_items(self, context: Outline) -> tuple[Item, ...] | None:
        """Return what a context adds to this prefix, without system texts.

        Returns:
            The items to send, or None if the context doesn't begin with this prefix.
        """
        known = self.closed
        if known > len(context.units) or context.prefixes[known] != self.prefix:
            return None
        if not self.run:
            return context.after(known)
        if known >= len(context.units):
            return None
        members = context.run_at(known)
        prints = [fingerprint(item) for item in members]
        if not self.run.issubset(prints):
            return None
        new = tuple(
            item for item, digest in zip(members, prints, strict=True) if digest not in self.run
        )
        return new + context.after(known + 1)


@dataclass(frozen=True, slots=True)
class Origin:
    """The identity of the context that a response answered.

    Attributes:
        closed: How many closed units the context had.
        keys: A digest of the keys of their items.
        run: The items of its last run of calls and outputs, with their keys.
        identity: What distinguishes the context from those of other callers: a digest of all keys,
            or the traces if only system texts have keys.
        content: A digest of everything that the model saw of it.
    """

    closed: int
    keys: bytes
    run: frozenset[tuple[bytes, str | None]]
    identity: bytes | frozenset[str] | None
    content: bytes

    @classmethod
    def of(cls, context: Outline) -> "Origin":
        """Create the origin of a response to a context."""
        closed = len(context.units) - bool(context.open_run)
        run = context.run_at(closed) if context.open_run else ()
        return cls(
            closed,
            context.key_prefixes[closed],
            frozenset((fingerprint(item), item.key) for item in run),
            request_identity(context),
            context.content,
        )

    def is_in(self, context: Outline) -> bool:
        """Whether a context has the same key for each item that had one in the answered context.

        Use it only for a context that begins with the same units.
        """
        if context.key_prefixes[self.closed] != self.keys:
            return False
        if not self.run:
            return True
        members = context.run_at(self.closed)
        return self.run.issubset((fingerprint(item), item.key) for item in members)


def request_identity(context: Outline) -> bytes | frozenset[str] | None:
    """Return what distinguishes a context from those of other callers; None if nothing does."""
    if context.keys:
        return context.key_prefixes[-1]
    return frozenset(context.traces) or None


@dataclass(frozen=True, slots=True)
class LaneAddress:
    """A lane of a connection, on which the service remembers a response.

    Attributes:
        connection: The connection's number.
        lane: The lane's name, None for the default lane.
    """

    connection: int
    lane: str | None


@dataclass(frozen=True, slots=True)
class HiddenItems:
    """A hidden item next to a recorded one; see `rtllm.context.hidden_items`.

    Attributes:
        anchor: The recorded item's fingerprint.
        unit: The recorded item's unit in the context, for a message; None for a call, whose
            fingerprint is unique.
        before: Reasoning and hosted tools' items that came before it.
        phase: The message's phase.
    """

    anchor: bytes
    unit: int | None
    before: tuple[Item, ...]
    phase: str | None

    @property
    def size(self) -> int:
        """How many bytes it has."""
        return sum(len(item.json) for item in self.before if isinstance(item, Reasoning | Opaque))


@dataclass(frozen=True, slots=True)
class ResponseAnchor:
    """A completed response that may still be continued.

    Attributes:
        response_id: The service's id.
        mark: This library's own, unique name for it.
        model: The model that produced it.
        known_prefix: The context and output that it covers.
        origin: The identity of the context that it answered.
        lead_in_field: Whether the system texts were sent in the ``instructions`` field, which the
            service doesn't carry over, instead of as items.
        lane_address: The lane that it ended on.
        stored: Whether the service stores it beyond the connection's memory.
        private: Whether it, or what it continues, has a picture or a hosted tool's item.
        input_tokens: The most input tokens that the service counted for it or for a response that
            it continues; 0 if it counted none.
    """

    response_id: str
    mark: str
    model: str
    known_prefix: KnownPrefix
    origin: Origin
    lead_in_field: bool
    lane_address: LaneAddress
    stored: bool
    private: bool = False
    input_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Plan:
    """What to send for a context.

    Attributes:
        anchor: The response to continue, or None to send the full context.
        items: The items to send.
        lead_in_field: Whether the system texts go into the ``instructions`` field.
        full_context_reason: Why no response is continued; None if one is.
    """

    anchor: ResponseAnchor | None
    items: tuple[Item, ...]
    lead_in_field: bool
    full_context_reason: FullContextReason | None
