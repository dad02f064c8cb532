"""What a framework gets for a request: text, calls and tokens, of one response or several."""

import logging
from dataclasses import dataclass, field, replace

from rtllm.adapters.call_history import CallGroup
from rtllm.adapters.refusals import OnRefusal, refusal_error
from rtllm.content.events import Event, ResponseEnded, TextDelta, ToolCallReady
from rtllm.content.items import ToolCall
from rtllm.content.usage import Usage, add_usage

logger = logging.getLogger(__name__)

_FINISH = {"max_output_tokens": "length", "max_tokens": "length"}


@dataclass(slots=True)
class SpentTokens:
    """The tokens of several responses together.

    Attributes:
        usage: Their sum; what only some report is that of these. None if none is known.
        responses: How many responses there were.
        response_id: The service's id of the last one.
        model: The model that answered the last one, if the adapter notes it.
    """

    usage: Usage | None = None
    responses: int = 0
    response_id: str | None = None
    model: str | None = None

    def add(self, ended: ResponseEnded) -> None:
        """Add the tokens of a response, which came later."""
        self.add_all(SpentTokens(ended.usage, 1, ended.response_id))

    def add_all(self, later: "SpentTokens") -> None:
        """Add the tokens of responses that came later."""
        self.usage = add_usage(self.usage, later.usage)
        self.responses += later.responses
        self.response_id, self.model = later.response_id, later.model


@dataclass(slots=True)
class EmittedOutput:
    """What a framework gets for one request.

    Usually that is one response. It is several if the model must correct its calls (`CallGate`):
    then their texts are separated by a space, and their tokens are added.

    Attributes:
        on_refusal: What to do with the text of a refusal.
        holds_calls: Whether calls are emitted after the end of the response; they are in `calls`.
        text: The text of the current response, as far as it was emitted.
        before: The text of the earlier ones, of whose calls the framework got none.
        refusal: The text with which the model declined.
        calls: The calls of the current response, in order.
        group: The calls for the framework, once a `CallGate` has checked them.
        ended: The end of the current response; None before it.
        spent: The tokens of all responses.
    """

    on_refusal: OnRefusal = "speak"
    holds_calls: bool = True
    text: str = ""
    before: str = ""
    refusal: str = ""
    calls: list[ToolCall] = field(default_factory=list)
    group: CallGroup | None = None
    ended: ResponseEnded | None = None
    spent: SpentTokens = field(default_factory=SpentTokens)

    def begin_response(self) -> None:
        """Begin another response, of which the framework gets what it says."""
        self.before = " ".join(text for text in (self.before, self.text) if text)
        self.text = self.refusal = ""
        self.calls, self.group, self.ended = [], None, None

    def take(self, event: Event) -> Event | None:
        """Return what the framework gets now for an event of the response; None for nothing.

        A text may begin with the space after an earlier response. The last event has the tokens of
        all responses.
        """
        match event:
            case TextDelta(text, is_refusal):
                if is_refusal:
                    self.refusal += text
                    if self.on_refusal == "error":
                        return None
                is_first = not self.text
                self.text += text
                return replace(event, text=f" {text}") if self.before and is_first else event
            case ToolCallReady(call):
                self.calls.append(call)
                return None if self.holds_calls else event
            case ResponseEnded():
                self.ended = event
                self.spent.add(event)
                _log(event, is_refused=bool(self.refusal))
                return replace(event, usage=self.spent.usage)
            case _:
                return event

    def check_refusal(self) -> None:
        """Fail a turn in which the model declined, if that is an error.

        Raises:
            RequestRejected: If it is.
        """
        if self.refusal and self.on_refusal == "error":
            raise refusal_error(self.refusal, self.spent.response_id)

    def failure(self, text: str) -> str:
        """Return the failure text, separated from the text that was emitted before."""
        return f" {text}" if self.before or self.text else text

    @property
    def finish_reason(self) -> str | None:
        """Chat Completions' name of the reason why the response was cut short; None if not."""
        return None if self.ended is None else _finish_reason(self.ended)


def _finish_reason(ended: ResponseEnded) -> str | None:
    if ended.outcome != "incomplete":
        return None
    return _FINISH.get(ended.reason or "", ended.reason or "incomplete")


def _log(ended: ResponseEnded, *, is_refused: bool) -> None:
    if is_refused:
        logger.warning("response %s: the model declined to answer", ended.response_id)
    if (reason := _finish_reason(ended)) is not None:
        logger.warning("response %s was cut short: %s", ended.response_id, reason)
    elif ended.outcome == "empty":
        logger.warning("response %s is empty", ended.response_id)
