"""Planning of requests: what a turn sends and where, from conversations and the pool.

It remembers conversations, their responses and what the host keeps of them; it does no I/O. The
engine asks for a `Placement`, sends it, and reports how it ended.
"""

import itertools
import math
from collections import deque
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, replace

from rtllm.content.call_identity import CallIdentity
from rtllm.content.items import Item, Opaque, Reasoning
from rtllm.context.conversations import Conversation, Conversations, Membership
from rtllm.context.hidden_items import find_hidden_items
from rtllm.context.outline import KnownPrefix, LaneAddress, Origin, Outline, Plan, ResponseAnchor
from rtllm.context.planner import Continuable, choose_plan
from rtllm.providers.hosts import Memory
from rtllm.scheduling.connection_pool import MAX_CONNECTIONS, ConnectionPool
from rtllm.scheduling.lanes import OVER_HTTP, LaneChoice

KEPT_WARM_UPS = 4
"""How many warmed-up prompts are remembered."""
REMEMBERED_REPLACEMENTS = 64
"""How many rotated connections are remembered, to explain full contexts."""
FORGETS_AFTER = 2
"""After this many continued responses in a row with too few input tokens, the host forgets."""
FEW_TOKENS = 40
"""Fewer input tokens than this prove nothing."""
MAX_MISSES = 3
"""After this many consecutive misses without a hit, assume that the host stores no responses."""


@dataclass(frozen=True, slots=True)
class Placement:
    """What one attempt sends, and on which connection and lane.

    Attributes:
        conversation: The conversation of its turn.
        context: The normalized context.
        model: The model.
        stored: Whether the service is asked to store the response.
        plan: What to send.
        lane_choice: The connection and lane.
        generates: Whether a response is wanted; if not, the service only processes the context.
        again: The response whose context is sent again to a new connection; None for a turn's own
            request.
    """

    conversation: Conversation
    context: Outline
    model: str
    stored: bool
    plan: Plan
    lane_choice: LaneChoice
    generates: bool = True
    again: ResponseAnchor | None = None

    @property
    def over_http(self) -> bool:
        """Whether it goes over HTTP."""
        return self.lane_choice == OVER_HTTP

    @property
    def lane_address(self) -> LaneAddress:
        """The connection and lane that it is sent on."""
        return LaneAddress(self.lane_choice.connection, self.lane_choice.lane)


class RequestPlanner:
    """Plans the requests of one client and assigns them to its connections.

    Attributes:
        pool: The connections.

    Args:
        lanes: Whether the host supports lanes, as far as is known.
        memory: Which responses the host can continue, as far as is known.
        lifetime: Seconds that a connection lasts.
        one_model: Whether a connection serves one model only.
        rebuilds: Whether to remember what `list_rebuildable` needs.
        marks: The prefix of this client's marks; it is unique.
        max_connections: The limit of connections.
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
        self._few_tokens_in_a_row = 0
        self._restores_hidden = True
        self._replaced: deque[int] = deque(maxlen=REMEMBERED_REPLACEMENTS)
        self._conversations = Conversations(self.pool.release)
        self._placed: dict[int, Placement] = {}
        self._abandoned: set[int] = set()
        self._marks = marks
        self._numbers = itertools.count(1)
        self._warmed_up: deque[ResponseAnchor] = deque(maxlen=KEPT_WARM_UPS)
        self._warm_ups = itertools.count(-1, -1)

    @property
    def placed(self) -> int:
        """How many attempts are placed and have not ended."""
        return len(self._placed)

    @property
    def wanted(self) -> int:
        """How many attempts conversations still wait for."""
        return sum(conversation.running for conversation in self._conversations)

    def next_attempt(self) -> int:
        """Return the number for a new attempt; numbers increase."""
        return next(self._numbers)

    def mark_of(self, attempt: int) -> str:
        """Return the mark of an attempt's response: this library's own, unique name for it."""
        return f"{self._marks}-{attempt}"

    def join(
        self,
        context: Outline,
        now: float,
        name: str | None = None,
        call: CallIdentity | None = None,
    ) -> Membership:
        """Find or create the conversation of a request, and count the request.

        Args:
            context: The normalized context.
            now: Seconds on any clock.
            name: The conversation's name, if the request gives one.
            call: The names of its call, if the framework gives any.
        """
        return self._conversations.join(context, now, name, call)

    def find_conversation(self, number: int) -> Conversation | None:
        """Return the conversation with a number, unless it is forgotten."""
        return self._conversations.find(number)

    def join_warm_up(self, context: Outline) -> Membership:
        """Create a conversation that belongs to no caller, for warming up a prompt."""
        return Membership(Conversation(next(self._warm_ups)), context)

    def release_idle(self, now: float) -> float | None:
        """Release what is kept for idle conversations; return when to check again."""
        self._conversations.release_idle(now)
        return self._conversations.next_release()

    def forget_conversations(self) -> None:
        """Forget all conversations and warmed-up prompts; knowledge about the host stays."""
        self._conversations.forget_all()
        self._warmed_up.clear()

    def choose(
        self,
        member: Membership,
        model: str,
        now: float,
        *,
        full_context: bool = False,
        omit_hidden: bool = False,
        avoid: Collection[int] = (),
    ) -> tuple[Plan, LaneChoice | None]:
        """Choose what to send and where; changes nothing.

        Args:
            member: The context, and the conversation that it belongs to.
            model: The model.
            now: Seconds on any clock.
            full_context: Whether to send the full context even if a part of it is known.
            omit_hidden: Whether to leave out items that the framework doesn't record, because they
                were rejected.
            avoid: The connections not to use.

        Returns:
            The plan, and the connection and lane; None if a new connection is needed. If the
            connection is not open yet, wait for it and choose again.
        """
        plan = self.plan(
            member, model, full_context=full_context, omit_hidden=omit_hidden, avoid=avoid
        )
        return plan, self.pool.choose(member.conversation.number, plan.anchor, model, now, avoid)

    def plan(
        self,
        member: Membership,
        model: str,
        *,
        full_context: bool = False,
        omit_hidden: bool = False,
        avoid: Collection[int] = (),
    ) -> Plan:
        """Choose what to send over a WebSocket; changes nothing."""
        number = member.conversation.number

        def reachable(anchor: ResponseAnchor) -> bool:
            return self._is_remembered(anchor) and self.pool.can_continue(anchor, number, avoid)

        return self._plan(
            member, model, reachable, full_context=full_context, omit_hidden=omit_hidden
        )

    def plan_over_http(
        self, member: Membership, model: str, *, full_context: bool, omit_hidden: bool = False
    ) -> Plan:
        """Choose what to send over HTTP, where only stored responses can be continued."""

        def reachable(anchor: ResponseAnchor) -> bool:
            return anchor.stored and self._is_remembered(anchor)

        return self._plan(
            member, model, reachable, full_context=full_context, omit_hidden=omit_hidden
        )

    def _plan(
        self,
        member: Membership,
        model: str,
        reachable: Callable[[ResponseAnchor], bool],
        *,
        full_context: bool,
        omit_hidden: bool,
    ) -> Plan:
        """Choose the plan among the reachable responses, with the reason for a full context."""
        known = Continuable(
            self._conversations.find_belonging(member),
            () if full_context else tuple(reversed(self._warmed_up)),
            reachable=lambda anchor: not full_context and reachable(anchor),
            replaced=self._replaced,
            unproven=lambda: not full_context and self._conversations.begins_with_known(member),
        )
        plan = choose_plan(
            member, model, known, restores_hidden=self._restores_hidden and not omit_hidden
        )
        return replace(plan, full_context_reason="recovery") if full_context else plan

    def _is_remembered(self, anchor: ResponseAnchor) -> bool:
        """Whether the host is known to keep such responses."""
        return self._memory == "connection" or (self._memory == "stored" and anchor.stored)

    def commit(self, attempt: int, placement: Placement, now: float) -> None:
        """Record that an attempt is sent as placed."""
        self._placed[attempt] = placement
        plan, conversation = placement.plan, placement.conversation
        conversation.running += 1
        if not placement.over_http:
            stored = placement.stored and self._memory != "none"
            self.pool.commit(
                attempt, placement.lane_choice, conversation.number, plan.anchor, now, stored=stored
            )
        if plan.anchor is not None:
            self._conversations.record_continuation(plan.anchor, placement.context)

    def abandon(self, attempt: int) -> None:
        """Record that an attempt drains: its turn no longer needs it."""
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
        input_tokens: int | None = None,
    ) -> None:
        """Record that an attempt has ended on the service.

        Args:
            attempt: The number of the attempt.
            response_id: The service's id if the response is complete, else None.
            recorded: The items that the framework will record for its output; None if it records
                something else, so that the response can't be continued.
            now: When, in seconds on the same clock.
            output: All items of the response, recorded or not.
            input_tokens: The input tokens that the service counted; None if it named none.
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
        recorded_context = context.extended(recorded)
        if placement.again is not None:
            anchor = replace(
                placement.again,
                response_id=response_id,
                lane_address=placement.lane_address,
                stored=placement.stored,
            )
            self._conversations.record_again(conversation, anchor)
        else:
            anchor = ResponseAnchor(
                response_id,
                self.mark_of(attempt),
                placement.model,
                KnownPrefix.ending_with(recorded_context),
                Origin.of(context),
                placement.plan.lead_in_field,
                placement.lane_address,
                placement.stored,
                _is_private(placement, output),
                # What it continues counts too, whatever the service counted this time.
                max(input_tokens or 0, parent.input_tokens if parent is not None else 0),
            )
            if conversation.is_warm_up:
                self._warmed_up.append(anchor)
            else:
                hidden = find_hidden_items(recorded_context, output, recorded)
                self._conversations.record(conversation, anchor, hidden)
        if self._rebuilds and not conversation.is_warm_up:
            conversation.rebuildable = (anchor, recorded_context)

    def shares_id(self, response_id: str, attempt: int) -> bool:
        """Whether the host gave a response the id of another one, with other content.

        Then the id doesn't tell which of them the host would continue. A gateway's cache may
        rightly answer equal requests with one response.
        """
        if self._memory == "none":
            return False  # nothing is continued anyway
        found = [*self._conversations.with_id(response_id)]
        found += [anchor for anchor in self._warmed_up if anchor.response_id == response_id]
        mark = self.mark_of(attempt)
        own = next((anchor for anchor in found if anchor.mark == mark), None)
        return own is not None and any(
            other.known_prefix != own.known_prefix
            and (
                (other.stored and own.stored)
                or other.lane_address.connection == own.lane_address.connection
            )
            for other in found
        )

    def note_rejected_items(self, items: Iterable[Item]) -> None:
        """Record that the host rejected items that continue no response.

        If there were hidden items among them, they are restored in no later request.
        """
        if any(isinstance(item, Reasoning | Opaque) for item in items):
            self._restores_hidden = False

    def forget_parent(self, anchor: ResponseAnchor, *, is_proof: bool = False) -> Memory | None:
        """Record that the service no longer knows the response that an attempt continued.

        Args:
            anchor: That response.
            is_proof: Whether this once is enough to tell that the host continues no responses.

        Returns:
            What the host remembers at most, if that is less than was assumed. After some misses in
            a row without a single hit, its memory is no longer used.
        """
        self.pool.evict(anchor)
        if anchor in self._warmed_up:
            self._warmed_up.remove(anchor)
        self._conversations.mark_lost(anchor)
        self._misses += 1
        if self._has_remembered or (self._misses < MAX_MISSES and not is_proof):
            return None
        self._misses = 0
        self._memory = "none" if anchor.stored else "stored"
        return self._memory

    def track_input_tokens(self, parent: ResponseAnchor, input_tokens: int | None) -> bool:
        """Count a continued response's input tokens, and judge by them whether the host forgets.

        A service bills what a continued response knows as its input (documented by OpenAI), so
        these tokens can't be fewer than the parent's own.

        Returns:
            Whether they were less than half of those, several times in a row.
        """
        if input_tokens is None or parent.input_tokens < FEW_TOKENS:
            return False
        is_too_little = 2 * input_tokens < parent.input_tokens
        self._few_tokens_in_a_row = self._few_tokens_in_a_row + 1 if is_too_little else 0
        return self._few_tokens_in_a_row >= FORGETS_AFTER

    def stop_chaining(self) -> None:
        """Record that the host keeps no response, so that none is continued any more."""
        self._memory = "none"

    def list_rebuildable(self, number: int, now: float) -> list[Conversation]:
        """List conversations whose latest context only this connection remembers.

        Conversations that have been idle for long count as over: sending their contexts again is
        not worth the tokens.
        """
        return [
            conversation
            for conversation in self._conversations
            if conversation.rebuildable is not None
            and self.pool.is_alive(number, conversation.number, now)
            and conversation.rebuildable[0].lane_address.connection == number
            and not conversation.rebuildable[0].stored
            and not conversation.rebuildable[1].unanswered
        ]

    def place_rebuild(
        self, conversation: Conversation, number: int, now: float
    ) -> Placement | None:
        """Place a conversation's latest context on a connection; None if it has no free lane."""
        lane_choice = self.pool.choose_lane_on(number, conversation.number)
        if conversation.rebuildable is None or lane_choice is None:
            return None
        anchor, context = conversation.rebuildable
        items = context.items[len(context.lead) :] if anchor.lead_in_field else context.items
        plan = Plan(None, items, anchor.lead_in_field, "connection replaced")
        return Placement(
            conversation,
            context,
            anchor.model,
            False,
            plan,
            lane_choice,
            generates=False,
            again=anchor,
        )

    def replace_connection(self, old: int, new: int) -> None:
        """Record that a connection was replaced; the responses that only it remembered are lost."""
        self.pool.replace_connection(old, new)
        self._replaced.append(old)


def _is_private(placement: Placement, output: tuple[Item, ...]) -> bool:
    """Whether a response contains content that another caller's context can't produce."""
    parent = placement.plan.anchor
    hosted = any(isinstance(item, Opaque) for item in (*placement.plan.items, *output))
    return hosted or placement.context.has_images or (parent is not None and parent.private)
