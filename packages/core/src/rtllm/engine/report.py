"""What happened in one turn, as one record."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from rtllm.content.usage import Usage
from rtllm.context.normalize import ContextRepair
from rtllm.context.outline import FullContextReason

Outcome = Literal["completed", "incomplete", "unfinished", "empty", "cancelled", "failed"]


@dataclass(frozen=True, slots=True)
class Recovery:
    """A fault that was met, and what was done about it.

    Attributes:
        fault: The kind of fault, in words.
        code: The service's word for it.
        action: What was done.
        wait: Seconds that were waited before it.
    """

    fault: str
    code: str | None
    action: str
    wait: float = 0.0


@dataclass(frozen=True, slots=True)
class TurnReport:
    """One turn, from the request of the framework to the answer's end.

    Attributes:
        conversation: The conversation's number within the client.
        outcome: How the turn ended for the framework.
        model: The model that was asked.
        response_id: The service's id of the last response.
        previous_response_id: The id of the response that was continued; None if the context was
            sent in full.
        full_context_reason: Why nothing was continued; None when something was.
        items_sent: Items in the last request.
        items_known: Items of the context that the service knew already.
        bytes_sent: Bytes of all requests of the turn.
        attempts: Requests sent.
        protocol: What the last request went over.
        connection: The number of the last attempt's connection; None over HTTP.
        lane: Its lane, None for the default lane.
        reused: Whether that connection was open before the turn began.
        time_to_first: Seconds to the first text or call; None if there was none.
        duration: Seconds to the end, or to the cut.
        usage: Tokens of the last attempt; None if unknown when the turn ended.
        hosted_tool_items: Items of hosted tools in the answer as the service sent them, such as a
            ``web_search_call`` with its query.
        context_repairs: What had to be changed to make the context legal.
        recoveries: Faults that were met, in order.
        error: The error that the turn ended with, in words.
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

    @property
    def chained(self) -> bool:
        """Whether the answer continued a known response."""
        return self.previous_response_id is not None
