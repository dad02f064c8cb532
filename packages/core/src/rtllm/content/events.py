"""Events of a turn, the same for every wire format."""

from dataclasses import dataclass
from typing import Literal

from rtllm.content.items import ToolCall
from rtllm.content.usage import Usage


@dataclass(frozen=True, slots=True)
class TextDelta:
    """A piece of text to speak.

    Attributes:
        text: The piece, never empty.
        refusal: Whether the model declines to respond.
    """

    text: str
    refusal: bool = False


@dataclass(frozen=True, slots=True)
class ToolCallReady:
    """A complete tool call."""

    call: ToolCall


@dataclass(frozen=True, slots=True)
class PhaseChanged:
    """The service assigned a phase to the message that has just ended."""

    phase: str


@dataclass(frozen=True, slots=True)
class ResponseEnded:
    """The end of the response; a failed one ends with a `TurnError` instead.

    Attributes:
        outcome: ``completed``; ``incomplete`` if the service cut it short; ``unfinished`` if only
            its last event is missing; ``empty`` if it has no output.
        reason: The service's reason for an incomplete response, such as ``max_output_tokens``; of
            an empty one ``only_thoughts``, if the model's reasoning came.
        response_id: The service's id of the response.
        usage: Its tokens, or None if the service did not report them.
    """

    outcome: Literal["completed", "incomplete", "unfinished", "empty"]
    reason: str | None = None
    response_id: str | None = None
    usage: Usage | None = None


Event = TextDelta | ToolCallReady | PhaseChanged | ResponseEnded
"""What a `ResponseStream` yields."""
