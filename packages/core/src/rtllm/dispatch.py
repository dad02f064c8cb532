"""Where a turn goes and what of it is sent: conversations, ledgers and the fleet together.

Still values only. The transport asks for a `Placement`, sends what it says, and tells what
became of it.
"""

import itertools
import math
from collections import deque
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace

from rtllm.chain import Anchor, Home, Ledger, Outline, Plan, State
from rtllm.conversations import Conversation, Conversations
from rtllm.fleet import Fleet
from rtllm.hidden import hidden_in, restored
from rtllm.hosts import Memory
from rtllm.items import Item, Opaque, Reasoning
from rtllm.lanes import OVER_HTTP, Seat

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
    """

    conversation: Conversation
    context: Outline
    model: str
    stored: bool
    plan: Plan
    seat: Seat
    generates: bool = True

    @property
    def over_http(self) -> bool:
        """Whether it needs no socket."""
        return self.seat == OVER_HTTP

    @property
    def home(self) -> Home:
        """The connection and lane it goes out on."""
        return Home(self.seat.connection, self.seat.lane)


class Dispatch:
    """Places the turns of one client on its connections.

    Attributes:
        fleet: The connections.

    Args:
        lanes: Whether the host takes lanes, as far as is known.
        memory: What the host lets be continued, as far as is known.
        lifetime: Seconds that a connection lives.
        one_model: Whether a connection answers one model only.
        rebuilds: Whether to remember what `rebuildable` needs.
    """

    def __init__(
        self,
        *,
        lanes: bool,
        memory: Memory = "connection",
        lifetime: float = math.inf,
        one_model: bool = False,
        rebuilds: bool = False,
    ) -> None:
        self.fleet = Fleet(lanes=lanes, one_model=one_model, lifetime=lifetime)
        self._memory: Memory = memory
        self._rebuilds = rebuilds
        self._misses = 0
        self._has_remembered = False
        self._puts_back = True
        self._exchanged: deque[int] = deque(maxlen=EXCHANGED)
        self._conversations = Conversations(self.fleet.release)
        self._placed: dict[int, Placement] = {}
        self._numbers = itertools.count(1)
        self._prepared: deque[Anchor] = deque(maxlen=PREPARED)
        self._warm_ups = itertools.count(-1, -1)

    def next_attempt(self) -> int:
        """A number for an attempt; they grow."""
        return next(self._numbers)

    def conversation_of(self, context: Outline, model: str) -> Conversation:
        """The conversation that a context belongs to, a new one if it belongs to none."""
        return self._conversations.find(context, model, self._prepared)

    def warming(self, context: Outline) -> Conversation:
        """A conversation of nobody's, to prepare a prompt in."""
        return Conversation(next(self._warm_ups), Ledger(), 0, context)

    def place(
        self,
        conversation: Conversation,
        context: Outline,
        model: str,
        now: float,
        *,
        whole: bool = False,
        bare: bool = False,
        avoid: Collection[int] = (),
    ) -> tuple[Plan, Seat | None]:
        """Decide what to send and where.

        Args:
            conversation: Whose turn it is.
            context: The legal context to answer.
            model: The model that shall answer.
            now: Seconds of any clock.
            whole: Whether to send the whole context even if a part of it is known.
            bare: Whether to leave out what the framework doesn't record, for it was refused.
            avoid: Connections not to use.

        Returns:
            The plan, and the seat; None if a new connection is needed. A seat on a connection
            that isn't open yet is one to wait for; then ask again.
        """

        def reachable(anchor: Anchor) -> bool:
            return self._is_remembered(anchor) and self.fleet.can_continue(
                anchor, conversation.number, avoid
            )

        plan = self._plan(conversation, context, model, reachable, whole=whole, bare=bare)
        return plan, self.fleet.seat(conversation.number, plan.anchor, model, now, avoid)

    def plan_over_http(
        self,
        conversation: Conversation,
        context: Outline,
        model: str,
        *,
        whole: bool,
        bare: bool = False,
    ) -> Plan:
        """Decide what to send without a socket: only what is stored can be continued."""

        def reachable(anchor: Anchor) -> bool:
            return anchor.stored and self._is_remembered(anchor)

        return self._plan(conversation, context, model, reachable, whole=whole, bare=bare)

    def _plan(
        self,
        conversation: Conversation,
        context: Outline,
        model: str,
        reachable: Callable[[Anchor], bool],
        *,
        whole: bool,
        bare: bool,
    ) -> Plan:
        """The plan, and why a known state isn't continued, as far as that is known."""
        lost: list[int] = []

        def noted(anchor: Anchor) -> bool:
            reached = not whole and reachable(anchor)
            if not reached:
                lost.append(anchor.home.connection)
            return reached

        plan = conversation.ledger.plan(context, model, noted)
        if plan.anchor is None and self._puts_back and not bare:
            hidden = conversation.ledger.hidden(context, model)
            plan = replace(plan, items=restored(context, plan.items, hidden))
        if whole:  # also where what was continued is forgotten by now
            return replace(plan, why_whole="recovery")
        if plan.why_whole != "state out of reach":
            return plan
        exchanged = any(number in self._exchanged for number in lost)
        return replace(plan, why_whole="connection exchanged") if exchanged else plan

    def _is_remembered(self, anchor: Anchor) -> bool:
        """Whether the host remembers such answers at all."""
        return self._memory == "connection" or (self._memory == "stored" and anchor.stored)

    def take(self, attempt: int, placement: Placement, now: float) -> None:
        """An attempt is sent as placed."""
        self._placed[attempt] = placement
        plan, conversation = placement.plan, placement.conversation
        if not placement.over_http:
            self.fleet.take(attempt, placement.seat, conversation.number, plan.anchor, now)
        if plan.anchor is not None:
            conversation.continued[plan.anchor.response_id] += 1

    def ended(
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
        self.fleet.end(attempt, response_id, now)
        if response_id is not None and placement.plan.anchor is not None:
            self._has_remembered = True
        if response_id is None or recorded is None:
            return
        whole = Outline.of((*placement.context.items, *recorded))
        anchor = Anchor(
            response_id,
            placement.model,
            State.behind(whole),
            placement.plan.lead_in_field,
            placement.home,
            placement.stored,
            hidden_in(whole, output, recorded),
        )
        if placement.conversation.number < 0:
            self._prepared.append(anchor)
        else:
            placement.conversation.ledger.record(anchor)
            placement.conversation.known = (anchor, whole) if self._rebuilds else None

    def missed(self, placement: Placement) -> Memory | None:
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
        self.fleet.evict(anchor)
        if anchor in self._prepared:
            self._prepared.remove(anchor)
        placement.conversation.ledger.forget(anchor.response_id)
        self._misses += 1
        if self._has_remembered or self._misses < MISSES:
            return None
        self._misses = 0
        self._memory = "none" if anchor.stored else "stored"
        return self._memory

    def rebuildable(self, number: int, now: float) -> list[Conversation]:
        """Conversations whose last state only a connection remembers, and that can be sent.

        Those that were not heard of lately are over, as far as can be told: what nobody goes on
        with isn't worth its tokens.
        """
        return [
            conversation
            for conversation in self._conversations
            if conversation.known is not None
            and self.fleet.is_alive(number, conversation.number, now)
            and conversation.known[0].home.connection == number
            and not conversation.known[0].stored
            and not conversation.known[1].unanswered
        ]

    def rebuilding(self, conversation: Conversation, number: int, now: float) -> Placement | None:
        """A place on a connection for a conversation's last state; None if there is no room."""
        seat = self.fleet.seat_on(number, conversation.number)
        if conversation.known is None or seat is None:
            return None
        anchor, whole = conversation.known
        items = whole.items[len(whole.lead) :] if anchor.lead_in_field else whole.items
        plan = Plan(None, items, anchor.lead_in_field, "connection exchanged")
        return Placement(conversation, whole, anchor.model, False, plan, seat, generates=False)

    def exchanged(self, old: int, new: int) -> None:
        """A connection has another one in its place; what it remembered is gone."""
        self.fleet.exchanged(old, new)
        self._exchanged.append(old)
