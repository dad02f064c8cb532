"""Conversations: groups of requests that share lanes and memory.

Whether a response may be continued is decided for each response (`rtllm.context.belonging`). A
conversation is only a group. A request joins the conversation of the response that it continues;
else that of its newest key that only one conversation has used; else it starts a new one.
"""

from collections import OrderedDict, deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from rtllm.content.call_identity import CallIdentity
from rtllm.content.items import Message, is_system
from rtllm.content.usage import AttemptUsage
from rtllm.context.belonging import KnownResponse, KnownResponses, Proof
from rtllm.context.outline import HiddenItems, Outline, ResponseAnchor
from rtllm.context.prompt_cache import SentPrompt

CONVERSATIONS = 512
"""How many conversations are remembered at least, the active ones included."""
ACTIVE_CONVERSATIONS = 4096
"""How many conversations are remembered at most, if so many are active."""
RESPONSES = 24
"""How many responses of each conversation are remembered."""
RELEASED_AFTER = 600.0
"""Seconds without a request until a conversation's lanes and hidden items are released."""
KEYS = 4096
"""How many keys of each conversation are remembered."""
HIDDEN_BYTES = 2**20
"""How many bytes of hidden items are kept for one conversation."""
ALL_HIDDEN_BYTES = 16 * 2**20
"""How many bytes of hidden items are kept for all conversations together."""

_SEVERAL = 0
"""In place of an owner, for a key that several conversations have used."""


@dataclass(slots=True, eq=False)
class Conversation:
    """One conversation: its responses, its keys and its use.

    Attributes:
        number: Its number within the client; negative for warming up a prompt.
        name: The name that its requests give, if any.
        responses: Its completed responses, the newest last.
        opening: The keys of its first request's items.
        opening_traces: The traces of its first request.
        latest: The keys of its latest request's items.
        latest_traces: The traces of its latest request.
        newest: The newest key of its latest request.
        keys: All keys that it was the first to use, the newest last.
        draft_key: The key of the caller's words that its latest request ended with; None if it
            ended with something else.
        latest_turn: The number of its latest turn.
        latest_usage: What attempts of that turn used, by their numbers.
        prompt: What its latest request sent, if reports about the prompt cache are wanted.
        requests: How many requests it had.
        running: How many requests are running that were not abandoned.
        last_request: When the latest request came, in seconds on any clock.
        released: Whether its lanes and hidden items were released since then.
        hidden_bytes: How many bytes of hidden items are kept for it.
        rebuildable: The newest response and its full context, if connections are rebuilt.
    """

    number: int
    name: str | None = None
    responses: deque[KnownResponse] = field(default_factory=deque)
    opening: frozenset[str] = frozenset()
    opening_traces: frozenset[str] = frozenset()
    latest: frozenset[str] = frozenset()
    latest_traces: frozenset[str] = frozenset()
    newest: str | None = None
    draft_key: str | None = None
    latest_turn: int = 0
    latest_usage: dict[int, AttemptUsage] = field(default_factory=dict)
    prompt: SentPrompt | None = None
    keys: OrderedDict[str, None] = field(default_factory=OrderedDict)
    requests: int = 0
    running: int = 0
    last_request: float = 0.0
    released: bool = False
    hidden_bytes: int = 0
    rebuildable: tuple[ResponseAnchor, Outline] | None = None

    @property
    def is_warm_up(self) -> bool:
        """Whether it only warms up a prompt and belongs to no caller; its number is negative."""
        return self.number < 0


@dataclass(frozen=True, slots=True)
class Membership:
    """A request's conversation and its context.

    Attributes:
        conversation: The conversation.
        context: The context of the request.
        name: The conversation's name, if the request gave one.
        only_new_keys: Whether none of its items' keys was seen before it.
        has_known_traces: Whether a trace of it was seen before it.
        replaces_draft_of: The conversation whose latest request ended with words of the caller that
            this one has others in place of; None if there is none. It is the same conversation,
            unless the draft was the first request of its call.
    """

    conversation: Conversation
    context: Outline
    name: str | None = None
    only_new_keys: bool = False
    has_known_traces: bool = False
    replaces_draft_of: Conversation | None = None


class Conversations:
    """All conversations of one client, bounded.

    Args:
        on_released: Called with the number of each conversation whose lanes are now free.
        limit: How many are remembered; beyond that those unused for longest are forgotten, unless
            they run or had a request within `RELEASED_AFTER`.
        active_limit: How many are remembered even then.
    """

    def __init__(
        self,
        on_released: Callable[[int], None],
        limit: int = CONVERSATIONS,
        active_limit: int = ACTIVE_CONVERSATIONS,
    ) -> None:
        self._limit = limit
        self._active_limit = active_limit
        self._on_released = on_released
        self._known: OrderedDict[int, Conversation] = OrderedDict()
        self._named: dict[str, Conversation] = {}
        self._owners: dict[str, int] = {}
        self._calls: OrderedDict[CallIdentity, Conversation] = OrderedDict()
        self._responses = KnownResponses()
        self._number = 0
        self._hidden_bytes = 0
        self._has_forgotten_keys = False

    def __iter__(self) -> Iterator[Conversation]:
        return iter(self._known.values())

    def find(self, number: int) -> Conversation | None:
        """Return the conversation with a number, unless it is forgotten."""
        return self._known.get(number)

    # -- requests ------------------------------------------------------------------------------

    def join(
        self,
        context: Outline,
        now: float,
        name: str | None = None,
        call: CallIdentity | None = None,
    ) -> Membership:
        """Find or create the conversation of a request, and count the request.

        Args:
            context: The context of the request.
            now: Seconds on any clock.
            name: The conversation's name, if the request gives one.
            call: The names of its call, if the framework gives any.
        """
        self.release_idle(now)
        only_new_keys = not any(key in self._owners for key in context.keys)
        self._responses.requests.count(context)
        has_known_traces = any(trace in self._owners for trace in context.traces)
        member = Membership(Conversation(0), context, name, only_new_keys, has_known_traces)
        found, is_unbranched = self._find_group(member)
        if found is None:
            found = self._begin(context, name)
        elif not is_unbranched and not _continues_latest(found, context, self._owners):
            branch = self._begin(context, name)
            self._move_keys(branch, found, context)
            found = branch
        latest = found if found.requests or call is None else self._calls.get(call)
        draft = latest if latest is not None and _replaces_draft(latest, context) else None
        self._record_request(found, context, now)
        if call is not None:
            self._calls[call] = found
            self._calls.move_to_end(call)
            if len(self._calls) > self._limit:
                self._calls.popitem(last=False)
        self._forget_surplus(now)
        return replace(member, conversation=found, replaces_draft_of=draft)

    def _begin(self, context: Outline, name: str | None) -> Conversation:
        self._number += 1
        begun = Conversation(
            self._number,
            name,
            opening=frozenset(context.keys),
            opening_traces=frozenset(context.traces),
        )
        self._known[begun.number] = begun
        if name is not None:
            self._named[name] = begun
        return begun

    def _move_keys(
        self, branch: Conversation, conversation: Conversation, context: Outline
    ) -> None:
        """Move to a branch the keys that its conversation's latest request doesn't have."""
        for key in context.keys:
            if self._owners.get(key) == conversation.number and key not in conversation.latest:
                conversation.keys.pop(key, None)
                self._owners[key] = branch.number
                branch.keys[key] = None

    def _record_request(self, conversation: Conversation, context: Outline, now: float) -> None:
        """Record the keys and the time of a request."""
        number, owners = conversation.number, self._owners
        for key in (*context.traces, *context.keys):
            owner = owners.get(key)
            if owner is None:
                owners[key] = number
                conversation.keys[key] = None
            elif owner != number:
                owners[key] = _SEVERAL
        while len(conversation.keys) > KEYS:
            owners.pop(conversation.keys.popitem(last=False)[0], None)
        conversation.latest = frozenset(context.keys)
        conversation.latest_traces = frozenset(context.traces)
        conversation.newest = next(reversed(context.keys or context.traces), None)
        conversation.draft_key = _draft_key_of(context)
        conversation.requests += 1
        conversation.last_request = now
        conversation.released = False
        self._known.move_to_end(number)

    def _find_group(self, member: Membership) -> tuple[Conversation | None, bool]:
        """Find the conversation whose responses or keys a request continues, if there is one.

        Returns:
            The conversation, and whether it is known to have no other branch.
        """
        context = member.context
        if member.name is not None:
            return self._named.get(member.name), True
        for known, proof in self.find_belonging(member):
            if (conversation := self._known.get(known.conversation)) is not None:
                return conversation, proof is Proof.CONTENT
        for key in reversed(context.keys or context.traces):
            conversation = self._known.get(self._owners.get(key, _SEVERAL))
            if conversation is not None and _is_evidence(key, conversation, context):
                return conversation, False
        if member.only_new_keys:
            self._free_lanes_of_match(context)
        return None, True

    def _free_lanes_of_match(self, context: Outline) -> None:
        """Free the lanes of the only conversation that a context without known keys may continue.

        Nothing proves that it is the same caller. But if it is, each of its requests starts a
        conversation of its own, and each would occupy another lane. Only the longest match counts,
        because the caller's earlier requests were conversations of their own, too; and only the
        newest response of a conversation: where it went on, it is another caller's.
        """
        matches = list(self._responses.longest_matching(context))
        found = {known.conversation for known in matches}
        conversation = self._known.get(found.pop()) if len(found) == 1 else None
        if conversation is None or conversation.running or conversation.name is not None:
            return
        if any(known is conversation.responses[-1] for known in matches):
            self._on_released(conversation.number)

    # -- belonging ----------------------------------------------------------------------------

    def find_belonging(self, member: Membership) -> Iterator[tuple[KnownResponse, Proof]]:
        """Find the responses that belong to a request's context, the longest prefix first."""
        context, proven = member.context, False
        for known in self._responses.matching(context):
            proof = self._responses.find_proof(known, context, member.name)
            if proof is not None:
                proven = True
                yield known, proof
        if not proven and member.name is None and member.only_new_keys:
            by_content = self._match_by_content(member)
            if by_content is not None:
                yield by_content, Proof.CONTENT

    def _match_by_content(self, member: Membership) -> KnownResponse | None:
        """Find the only response that a context without known keys can continue."""
        if self._has_forgotten_keys:
            return None  # its keys may be forgotten rather than new
        context = member.context
        alike = [
            known
            for known in self._responses.longest_matching(context)
            if known.anchor.known_prefix.lead == context.lead or known.anchor.lead_in_field
        ]
        known = alike[0] if len(alike) == 1 else None
        conversation = self._known.get(known.conversation) if known is not None else None
        if known is None or conversation is None or conversation.running or known.name is not None:
            return None
        if known.anchor.private or _has_marks(context):
            return None
        if member.has_known_traces and conversation.latest_traces.isdisjoint(context.traces):
            return None  # another call with the same words
        return known if self._responses.requests.is_single(known.anchor.origin.content) else None

    def begins_with_known(self, member: Membership) -> bool:
        """Whether a context begins with a known response that isn't proved to belong to it."""
        belonging = {id(known) for known, _ in self.find_belonging(member)}
        return any(id(known) not in belonging for known in self._responses.matching(member.context))

    # -- responses -----------------------------------------------------------------------------

    def record(
        self, conversation: Conversation, anchor: ResponseAnchor, hidden: tuple[HiddenItems, ...]
    ) -> None:
        """Remember a completed response of a conversation."""
        if self._known.get(conversation.number) is not conversation:
            return  # forgotten in the meantime
        known = KnownResponse(anchor, conversation.number, conversation.name)
        self._responses.add(known)
        conversation.responses.append(known)
        self._keep_hidden(conversation, known, hidden)
        while len(conversation.responses) > RESPONSES:
            oldest = conversation.responses.popleft()
            self._forget(conversation, oldest)

    def _forget(self, conversation: Conversation, known: KnownResponse) -> None:
        self._drop_hidden(conversation, known)
        self._responses.remove(known)

    def _keep_hidden(
        self, conversation: Conversation, known: KnownResponse, hidden: tuple[HiddenItems, ...]
    ) -> None:
        """Keep the hidden items of a response, and drop the oldest ones beyond the limits."""
        known.hidden = hidden
        size = known.hidden_bytes
        conversation.hidden_bytes += size
        self._hidden_bytes += size
        for older in conversation.responses:
            if conversation.hidden_bytes <= HIDDEN_BYTES:
                break
            self._drop_hidden(conversation, older)
        for other in self._known.values():
            if self._hidden_bytes <= ALL_HIDDEN_BYTES:
                break
            for older in other.responses:
                self._drop_hidden(other, older)

    def _drop_hidden(self, conversation: Conversation, known: KnownResponse) -> None:
        size = known.hidden_bytes
        conversation.hidden_bytes -= size
        self._hidden_bytes -= size
        known.hidden = ()

    def record_again(self, conversation: Conversation, anchor: ResponseAnchor) -> None:
        """Record where a response is remembered after its context was sent again."""
        known = self._responses.find_by_mark(anchor.mark)
        if known is not None and known.conversation == conversation.number:
            self._responses.replace(known, anchor)

    def with_id(self, response_id: str) -> list[ResponseAnchor]:
        """Return the remembered responses with an id of the service."""
        return self._responses.with_id(response_id)

    def record_continuation(self, anchor: ResponseAnchor, context: Outline) -> None:
        """Record that a context continues a response that belongs to it."""
        self._responses.record_continuation(anchor.mark, context)

    def mark_lost(self, anchor: ResponseAnchor) -> None:
        """Record that the service no longer knows a response, so that it is never continued."""
        known = self._responses.find_by_mark(anchor.mark)
        if known is not None and known.anchor.response_id == anchor.response_id:
            known.lost = True  # and was not sent again in the meantime

    # -- lifetime ------------------------------------------------------------------------------

    def release_idle(self, now: float) -> None:
        """Release the lanes and hidden items of conversations without a recent request."""
        for conversation in self._known.values():
            if now - conversation.last_request < RELEASED_AFTER:
                break
            if conversation.released or conversation.running:
                continue
            conversation.released = True
            for known in conversation.responses:
                self._drop_hidden(conversation, known)
            conversation.rebuildable = None
            self._on_released(conversation.number)

    def next_release(self) -> float | None:
        """Return when the next conversation is due for release if no request comes."""
        due = (c.last_request + RELEASED_AFTER for c in self._known.values() if not c.released)
        return next(due, None)

    def forget_all(self) -> None:
        """Forget all conversations; their numbers are not reused."""
        self._known.clear()
        self._named.clear()
        self._owners.clear()
        self._calls.clear()
        self._responses = KnownResponses()
        self._hidden_bytes = 0
        self._has_forgotten_keys = self._has_forgotten_keys or self._number > 0

    def _forget_surplus(self, now: float) -> None:
        """Forget the conversations unused for longest, but none that is active before it must."""
        while len(self._known) > self._limit:
            number, oldest = next(iter(self._known.items()))
            is_active = oldest.running or now - oldest.last_request < RELEASED_AFTER
            if is_active and len(self._known) <= self._active_limit:
                return
            del self._known[number]
            for known in oldest.responses:
                self._forget(oldest, known)
            for key in oldest.keys:
                self._owners.pop(key, None)
            if oldest.name is not None:
                self._named.pop(oldest.name, None)
            self._on_released(number)


def _is_evidence(key: str, conversation: Conversation, context: Outline) -> bool:
    """Whether a key shows that a context continues the conversation that used it.

    A key of its first request may come from a template, so all keys of that request are required. A
    context with the traces of another call belongs to that call.
    """
    if conversation.name is not None:
        return False
    if key not in conversation.opening and key not in conversation.opening_traces:
        return True
    theirs, ours = conversation.opening_traces, context.traces
    if theirs and ours and theirs.isdisjoint(ours):
        return False
    return conversation.opening.issubset(context.keys)


def _continues_latest(
    conversation: Conversation, context: Outline, owners: Mapping[str, int]
) -> bool:
    """Whether a context continues its conversation's latest request, not a parallel branch.

    Two sessions may continue one transcript, and must not share lanes. A context without the newest
    key is a branch if it has the traces of another session, or continues keys that the latest
    request lacks. Otherwise it is a draft, a window or an edit.
    """
    if (
        conversation.newest is None
        or conversation.newest in context.keys
        or conversation.newest in context.traces
    ):
        return True
    if (
        context.traces
        and conversation.latest_traces
        and conversation.latest_traces.isdisjoint(context.traces)
    ):
        return False
    newest = next((k for k in reversed(context.keys) if owners.get(k) == conversation.number), None)
    return newest is None or newest in conversation.latest


def _draft_key_of(context: Outline) -> str | None:
    """Return the key of the caller's words that a context ends with, before any system texts."""
    last = next((item for item in reversed(context.items) if not is_system(item)), None)
    return last.key if isinstance(last, Message) and last.role == "user" else None


def _replaces_draft(conversation: Conversation, context: Outline) -> bool:
    """Whether a context has other words of the caller in place of the latest request's last ones.

    Then that request was a draft: the framework asked before the caller had finished, and threw the
    response away. An interrupted response is none: what the caller had said stays in the context.
    """
    draft = conversation.draft_key
    if draft is None or draft in context.keys:
        return False
    latest, keys = conversation.latest, frozenset(context.keys)
    if not latest - {draft} <= keys:
        return False  # a window or an edit
    added = [item for item in context.items if item.key not in latest and not is_system(item)]
    return all(isinstance(item, Message) and item.role == "user" for item in added)


def _has_marks(context: Outline) -> bool:
    return any(getattr(item, "mark", None) is not None for item in context.items)
