"""What an agent acts on: the events of a turn, the same for every wire format."""

from dataclasses import dataclass
from typing import Literal

from rtllm.content.items import ToolCall
from rtllm.content.usage import Usage


@dataclass(frozen=True, slots=True)
class TextDelta:
    """A piece of speakable text.

    Attributes:
        text: The piece, never empty.
        refusal: Whether the model is declining to answer.
    """

    text: str
    refusal: bool = False


@dataclass(frozen=True, slots=True)
class ToolCallReady:
    """A whole tool call."""

    call: ToolCall


@dataclass(frozen=True, slots=True)
class PhaseChanged:
    """The service marked the message that was just finished with a phase."""

    phase: str


@dataclass(frozen=True, slots=True)
class ResponseEnded:
    """The answer's end.

    Attributes:
        outcome: ``completed``; ``incomplete`` when the service cut it short; ``unfinished``
            when everything arrived but the last event; ``empty`` when nothing came.
        reason: The service's reason for an incomplete answer, such as ``max_output_tokens``.
        response_id: The service's id of the response.
        usage: Tokens, or None where the service didn't say.
    """

    outcome: Literal["completed", "incomplete", "unfinished", "empty"]
    reason: str | None = None
    response_id: str | None = None
    usage: Usage | None = None


Event = TextDelta | ToolCallReady | PhaseChanged | ResponseEnded
