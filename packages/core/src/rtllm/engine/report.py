"""Report of one turn."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from rtllm.content.call_identity import UNNAMED, CallIdentity
from rtllm.content.prices import UNPRICED, Cost, Pricing, cost_of
from rtllm.content.usage import AttemptUsage, Usage
from rtllm.context.normalize import ContextRepair
from rtllm.context.outline import FullContextReason
from rtllm.context.prompt_cache import PromptCacheReport

Outcome = Literal["completed", "incomplete", "unfinished", "empty", "cancelled", "failed"]


@dataclass(frozen=True, slots=True)
class Recovery:
    """A fault, and how it was handled.

    Attributes:
        fault: The kind of fault, in words.
        code: The service's error code; None if there was none.
        action: How it was handled, in words.
        wait: Seconds that were waited before that.
    """

    fault: str
    code: str | None
    action: str
    wait: float = 0.0


@dataclass(frozen=True, slots=True)
class TurnReport:
    """The report of one turn, from the framework's request to the end of the response.

    Attributes:
        conversation: The conversation's number within the client.
        outcome: How the turn ended for the framework.
        model: The model that was used.
        response_id: The service's id of the last response.
        previous_response_id: The id of the continued response; None if the context was sent in
            full.
        full_context_reason: Why no response was continued; None if one was.
        items_sent: The number of items in the last request.
        items_known: The number of items of the context that the service already had.
        bytes_sent: The bytes of all requests of the turn.
        attempts: The number of requests sent.
        protocol: The protocol of the last request.
        connection: The number of the last attempt's connection; None over HTTP.
        lane: Its lane, None for the default lane.
        reused: Whether that connection was open before the turn began.
        time_to_first: Seconds to the first text or call; None if there was none.
        duration: Seconds to the end, or to the cancellation.
        usage: Tokens of the last attempt; None if unknown when the turn ended.
        spent: The usage of each attempt that had ended by then; that of a cancelled response comes
            later, in the usage of the client.
        hosted_tool_items: The items of hosted tools in the response as the service sent them, such
            as a ``web_search_call`` with its query.
        context_repairs: The changes that made the context valid.
        recoveries: The faults that occurred, in order.
        error: The text of the error that the turn ended with; None if there was none.
        cache: How it used the prompt cache, and what broke it; None unless ``cache_report`` is set.
        pricing: The prices for `cost`.
        served_model: The model that responded, as the service names it; None if it named none.
        turn: The turn's number, as in its trace events.
        call: The names of the call.
    """

    conversation: int
    outcome: Outcome
    model: str
    response_id: str | None
    previous_response_id: str | None
    full_context_reason: FullContextReason | None
    items_sent: int
    items_known: int
    bytes_sent: int
    attempts: int
    protocol: Literal["websocket", "http"]
    connection: int | None
    lane: str | None
    reused: bool
    time_to_first: float | None
    duration: float
    usage: Usage | None
    hosted_tool_items: tuple[Mapping[str, Any], ...] = ()
    context_repairs: tuple[ContextRepair, ...] = ()
    recoveries: tuple[Recovery, ...] = ()
    error: str | None = None
    spent: tuple[AttemptUsage, ...] = ()
    cache: PromptCacheReport | None = None
    pricing: Pricing = field(default=UNPRICED, repr=False, compare=False)
    served_model: str | None = None
    turn: int = 0
    call: CallIdentity = UNNAMED

    @property
    def chained(self) -> bool:
        """Whether the turn continued an earlier response."""
        return self.previous_response_id is not None

    @property
    def attempt_costs(self) -> tuple[Cost, ...]:
        """What each attempt in `spent` cost."""
        return tuple(cost_of([spent.line()], self.pricing) for spent in self.spent)

    @property
    def cost(self) -> Cost:
        """What the attempts in `spent` cost, as far as their prices are known."""
        return cost_of((spent.line() for spent in self.spent), self.pricing)
