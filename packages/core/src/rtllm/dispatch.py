"""Where a turn goes and what of it is sent: conversations, ledgers and the fleet together.

Still values only. The transport asks for a `Placement`, sends what it says, and tells what
became of it.
"""

import itertools
from collections import deque
from collections.abc import Collection
from dataclasses import dataclass

from rtllm.chain import Anchor, Home, Ledger, Outline, Plan, State
from rtllm.conversations import Conversation, Conversations
from rtllm.fleet import Fleet, Seat
from rtllm.items import Item

PREPARED = 4
"""How many prepared prompts are remembered."""


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
    """

    conversation: Conversation
    context: Outline
    model: str
    stored: bool
    plan: Plan
    seat: Seat

    @property
    def warm_up(self) -> bool:
        """Whether it only prepares a prompt, for conversations to come."""
        return self.conversation.number < 0

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
    """

    def __init__(self, *, lanes: bool) -> None:
        self.fleet = Fleet(lanes=lanes)
        self._conversations = Conversations(self.fleet.release)
        self._placed: dict[int, Placement] = {}
        self._orders = itertools.count(1)
        self._prepared: deque[Anchor] = deque(maxlen=PREPARED)
        self._warm_ups = itertools.count(-1, -1)

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
        avoid: Collection[int] = (),
    ) -> tuple[Plan, Seat | None]:
        """Decide what to send and where.

        Args:
            conversation: Whose turn it is.
            context: The legal context to answer.
            model: The model that shall answer.
            now: Seconds of any clock.
            whole: Whether to send the whole context even if a part of it is known.
            avoid: Connections not to use.

        Returns:
            The plan, and the seat; None if a new connection is needed. A seat on a connection
            that isn't open yet is one to wait for; then ask again.
        """

        def reachable(anchor: Anchor) -> bool:
            return not whole and self.fleet.can_continue(anchor, conversation.number, avoid)

        plan = conversation.ledger.plan(context, model, reachable)
        if whole and plan.why_whole == "state out of reach":
            plan = Plan(None, plan.items, plan.lead_in_field, "recovery")
        return plan, self.fleet.seat(conversation.number, plan.anchor, now, avoid)

    def take(self, attempt: int, placement: Placement, now: float) -> None:
        """An attempt is sent as placed."""
        self._placed[attempt] = placement
        plan, conversation = placement.plan, placement.conversation
        self.fleet.take(attempt, placement.seat, conversation.number, plan.anchor, now)
        if plan.anchor is not None:
            conversation.continued[plan.anchor.response_id] += 1

    def ended(
        self, attempt: int, response_id: str | None, recorded: tuple[Item, ...] | None
    ) -> None:
        """An attempt has ended on the service.

        Args:
            attempt: Which.
            response_id: The service's id if the response is complete, else None.
            recorded: The items that the framework will record for its output; None if it
                records something else, so that nothing can continue it.
        """
        placement = self._placed.pop(attempt)
        self.fleet.end(attempt, response_id)
        if response_id is None or recorded is None:
            return
        anchor = Anchor(
            response_id,
            placement.model,
            State.of(placement.context, recorded),
            placement.plan.lead_in_field,
            placement.home,
            placement.stored,
            next(self._orders),
        )
        if placement.warm_up:
            self._prepared.append(anchor)
        else:
            placement.conversation.ledger.record(anchor)

    def missed(self, placement: Placement) -> None:
        """The service no longer knows what an attempt continued."""
        anchor = placement.plan.anchor
        if anchor is not None:
            self.fleet.evict(anchor)
            if anchor in self._prepared:
                self._prepared.remove(anchor)
            placement.conversation.ledger.forget(anchor.response_id)
