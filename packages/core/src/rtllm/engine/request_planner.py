"""Where a turn goes and what of it is sent: conversations and the pool together.

Still values only. The transport asks for a `Placement`, sends what it says, and tells what
became of it.
"""

import itertools
import math
from collections import deque
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace

from rtllm.content.items import Item, Opaque, Reasoning
from rtllm.context.conversations import Conversation, Conversations, Membership
from rtllm.context.hidden_items import find_hidden_items
from rtllm.context.outline import KnownPrefix, LaneAddress, Origin, Outline, Plan, ResponseAnchor
from rtllm.context.planner import Continuable, choose_plan
from rtllm.providers.hosts import Memory
from rtllm.scheduling.connection_pool import MAX_CONNECTIONS, ConnectionPool
from rtllm.scheduling.lanes import OVER_HTTP, LaneChoice

PREPARED = 4
"""How many prepared prompts are remembered."""
EXCHANGED = 64
"""How many exchanged connections are remembered, to tell why a context went whole."""
MISSES = 3
"""So many lost states one after the other, and no continued one ever: it remembers none."""


@dataclass(frozen=True, slots=True)
class Placement:
    """One attempt's plan and seat.

    Attributes:
        conversation: Whose turn it is.
        context: The legal context to answer.
        model: The model that shall answer.
        stored: Whether the service shall store the answer.
        plan: What to send.
        seat: Where to send it.
        generates: Whether an answer is wanted; otherwise the service only takes the context in.
        again: The response whose state is prepared anew; None for a request of its own.
    """

    conversation: Conversation
    context: Outline
    model: str
    stored: bool
    plan: Plan
    seat: LaneChoice
    generates: bool = True
    again: ResponseAnchor | None = None

    @property
    def over_http(self) -> bool:
        """Whether it needs no socket."""
        return self.seat == OVER_HTTP

    @property
    def home(self) -> LaneAddress:
        """The connection and lane it goes out on."""
        return LaneAddress(self.seat.connection, self.seat.lane)


class RequestPlanner:
    """Places the turns of one client on its connections.

    Attributes:
        pool: The connections.

    Args:
        lanes: Whether the host takes lanes, as far as is known.
        memory: What the host lets be continued, as far as is known.
        lifetime: Seconds that a connection lives.
        one_model: Whether a connection answers one model only.
        rebuilds: Whether to remember what `rebuildable` needs.
        marks: What the marks of this client's responses begin with; no other client's do.
        max_connections: How many connections there may be at once.
    """

    def __init__(
        self,
        *,
        lanes: bool,
        memory: Memory = "connection",
        lifetime: float = math.inf,
        one_model: bool = False,
        rebuilds: bool = False,
        marks: str = "",
        max_connections: int = MAX_CONNECTIONS,
    ) -> None:
        self.pool = ConnectionPool(
            lanes=lanes,
            one_model=one_model,
            lifetime=lifetime,
            max_connections=max_connections,
        )
        self._memory: Memory = memory
        self._rebuilds = rebuilds
        self._misses = 0
        self._has_remembered = False
        self._puts_back = True
        self._exchanged: deque[int] = deque(maxlen=EXCHANGED)
        self._conversations = Conversations(self.pool.release)
        self._placed: dict[int, Placement] = {}
        self._abandoned: set[int] = set()
        self._marks = marks
        self._numbers = itertools.count(1)
        self._prepared: deque[ResponseAnchor] = deque(maxlen=PREPARED)
        self._warm_ups = itertools.count(-1, -1)

    @property
    def placed(self) -> int:
        """How many attempts were placed and have not ended."""
        return len(self._placed)

    @property
    def wanted(self) -> int:
        """How many attempts conversations wait for."""
        return sum(conversation.running for conversation in self._conversations)

    def next_attempt(self) -> int:
        """A number for an attempt; they grow."""
        return next(self._numbers)

    def mark_of(self, attempt: int) -> str:
        """The mark of what answers an attempt: our own name for it, which no other has."""
        return f"{self._marks}-{attempt}"

    def join(self, context: Outline, now: float, name: str | None = None) -> Membership:
        """Find the conversation that a request belongs to, or begin one, and count the request.

        Args:
            context: The legal context to answer.
            now: Seconds of any clock.
            name: The conversation's name, if the request gives one.
        """
        return self._conversations.join(context, now, name)

    def warming(self, context: Outline) -> Membership:
        """A conversation of nobody's, to prepare a prompt in."""
        return Membership(Conversation(next(self._warm_ups)), context)

    def release_idle(self, now: float) -> float | None:
        """Release what is kept for conversations without requests; tells when to look again."""
        self._conversations.release_idle(now)
        return self._conversations.next_release()

    def forget_conversations(self) -> None:
        """Forget all conversations and prepared prompts; what is known of the host stays."""
        self._conversations.forget_all()
        self._prepared.clear()

    def choose(
        self,
        asked: Membership,
        model: str,
        now: float,
        *,
        whole: bool = False,
        bare: bool = False,
        avoid: Collection[int] = (),
    ) -> tuple[Plan, LaneChoice | None]:
        """Decide what to send and where.

        Args:
            asked: The context to answer, and whose it is.
            model: The model that shall answer.
            now: Seconds of any clock.
            whole: Whether to send the whole context even if a part of it is known.
            bare: Whether to leave out what the framework doesn't record, for it was refused.
            avoid: Connections not to use.

        Returns:
            The plan, and the seat; None if a new connection is needed. A seat on a connection
            that isn't open yet is one to wait for; then ask again.
        """
        plan = self.plan(asked, model, whole=whole, bare=bare, avoid=avoid)
        return plan, self.pool.choose(asked.conversation.number, plan.anchor, model, now, avoid)

    def plan(
        self,
        asked: Membership,
        model: str,
        *,
        whole: bool = False,
        bare: bool = False,
        avoid: Collection[int] = (),
    ) -> Plan:
        """Decide what to send over a socket; changes nothing."""
        number = asked.conversation.number

        def reachable(anchor: ResponseAnchor) -> bool:
            return self._is_remembered(anchor) and self.pool.can_continue(anchor, number, avoid)

        return self._plan(asked, model, reachable, whole=whole, bare=bare)

    def plan_over_http(
        self, asked: Membership, model: str, *, whole: bool, bare: bool = False
    ) -> Plan:
        """Decide what to send without a socket: only what is stored can be continued."""

        def reachable(anchor: ResponseAnchor) -> bool:
            return anchor.stored and self._is_remembered(anchor)

        return self._plan(asked, model, reachable, whole=whole, bare=bare)

    def _plan(
        self,
        asked: Membership,
        model: str,
        reachable: Callable[[ResponseAnchor], bool],
        *,
        whole: bool,
        bare: bool,
    ) -> Plan:
        """The plan, and why the full context is sent, as far as that is known."""
        known = Continuable(
            self._conversations.belonging(asked),
            () if whole else tuple(reversed(self._prepared)),
            reachable=lambda anchor: not whole and reachable(anchor),
            exchanged=self._exchanged,
            unproven=lambda: not whole and self._conversations.begins_with_known(asked),
        )
        plan = choose_plan(asked, model, known, puts_back=self._puts_back and not bare)
        return replace(plan, full_context_reason="recovery") if whole else plan

    def _is_remembered(self, anchor: ResponseAnchor) -> bool:
        """Whether the host remembers such answers at all."""
        return self._memory == "connection" or (self._memory == "stored" and anchor.stored)

    def commit(self, attempt: int, placement: Placement, now: float) -> None:
        """An attempt is sent as placed."""
        self._placed[attempt] = placement
        plan, conversation = placement.plan, placement.conversation
        conversation.running += 1
        if not placement.over_http:
            self.pool.commit(attempt, placement.seat, conversation.number, plan.anchor, now)
        if plan.anchor is not None:
            self._conversations.continued(plan.anchor, placement.context)

    def abandon(self, attempt: int) -> None:
        """Let an attempt drain: its turn no longer needs it."""
        placement = self._placed.get(attempt)
        if placement is not None and attempt not in self._abandoned:
            self._abandoned.add(attempt)
            placement.conversation.running -= 1
        self.pool.abandon(attempt)

    def complete(
        self,
        attempt: int,
        response_id: str | None,
        recorded: tuple[Item, ...] | None,
        now: float,
        output: tuple[Item, ...] = (),
    ) -> None:
        """An attempt has ended on the service.

        Args:
            attempt: Which.
            response_id: The service's id if the response is complete, else None.
            recorded: The items that the framework will record for its output; None if it
                records something else, so that nothing can continue it.
            now: When, in seconds of the same clock.
            output: All items of the response, recorded or not.
        """
        placement = self._placed.pop(attempt)
        if attempt in self._abandoned:
            self._abandoned.remove(attempt)
        else:
            placement.conversation.running -= 1
        self.pool.end(attempt, response_id, now)
        parent = placement.plan.anchor
        if response_id is not None and parent is not None:
            self._has_remembered = True
        if response_id is None or recorded is None:
            return
        context, conversation = placement.context, placement.conversation
        whole = context.extended(recorded)
        if placement.again is not None:
            anchor = replace(
                placement.again,
                response_id=response_id,
                home=placement.home,
                stored=placement.stored,
            )
            self._conversations.record_again(conversation, anchor)
        else:
            anchor = ResponseAnchor(
                response_id,
                self.mark_of(attempt),
                placement.model,
                KnownPrefix.behind(whole),
                Origin.of(context),
                placement.plan.lead_in_field,
                placement.home,
                placement.stored,
                _is_private(placement, output),
            )
            if conversation.number < 0:
                self._prepared.append(anchor)
            else:
                hidden = find_hidden_items(whole, output, recorded)
                self._conversations.record(conversation, anchor, hidden)
        if self._rebuilds and conversation.number >= 0:
            conversation.rebuildable = (anchor, whole)

    def forget_missing(self, placement: Placement) -> Memory | None:
        """The service no longer knows what an attempt continued.

        Returns:
            What the host remembers at most, if that is less than was believed: after some
            misses in a row, where nothing was ever continued, it isn't asked to any more.
        """
        anchor = placement.plan.anchor
        if anchor is None:
            if any(isinstance(item, Reasoning | Opaque) for item in placement.plan.items):
                self._puts_back = False  # then it is this that the host refuses
            return None
        self.pool.evict(anchor)
        if anchor in self._prepared:
            self._prepared.remove(anchor)
        self._conversations.lost(anchor)
        self._misses += 1
        if self._has_remembered or self._misses < MISSES:
            return None
        self._misses = 0
        self._memory = "none" if anchor.stored else "stored"
        return self._memory

    def forgets(self) -> None:
        """The service keeps nothing that it is asked to continue: it isn't asked any more."""
        self._memory = "none"

    def rebuildable(self, number: int, now: float) -> list[Conversation]:
        """Conversations whose last state only a connection remembers, and that can be sent.

        Those that were not heard of lately are over, as far as can be told: what nobody goes on
        with isn't worth its tokens.
        """
        return [
            conversation
            for conversation in self._conversations
            if conversation.rebuildable is not None
            and self.pool.is_alive(number, conversation.number, now)
            and conversation.rebuildable[0].home.connection == number
            and not conversation.rebuildable[0].stored
            and not conversation.rebuildable[1].unanswered
        ]

    def rebuilding(self, conversation: Conversation, number: int, now: float) -> Placement | None:
        """A place on a connection for a conversation's last state; None if there is no room."""
        seat = self.pool.seat_on(number, conversation.number)
        if conversation.rebuildable is None or seat is None:
            return None
        anchor, whole = conversation.rebuildable
        items = whole.items[len(whole.lead) :] if anchor.lead_in_field else whole.items
        plan = Plan(None, items, anchor.lead_in_field, "connection exchanged")
        return Placement(
            conversation, whole, anchor.model, False, plan, seat, generates=False, again=anchor
        )

    def exchanged(self, old: int, new: int) -> None:
        """A connection has another one in its place; what it remembered is gone."""
        self.pool.exchanged(old, new)
        self._exchanged.append(old)


def _is_private(placement: Placement, output: tuple[Item, ...]) -> bool:
    """Whether a response holds what no other caller's words can stand for."""
    parent = placement.plan.anchor
    hosted = any(isinstance(item, Opaque) for item in (*placement.plan.items, *output))
    return hosted or placement.context.has_images or (parent is not None and parent.private)
