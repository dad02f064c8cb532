"""One generation: from events to `LLMResponse`, and its cancellation."""

import asyncio
import json
import logging
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from typing import Any

from videosdk.agents import ChatRole, LLMResponse

from rtllm import Event, ResponseEnded, ResponseStream, TextDelta, ToolCall, ToolCallReady
from rtllm.adapters import CallGroup, OnRefusal, refusal_error, signature_of
from rtllm_videosdk.caller_identity import calling_pipeline
from rtllm_videosdk.errors import missing_decision_error
from rtllm_videosdk.graph import GraphStream
from rtllm_videosdk.parallel_calls import PipelineTurn
from rtllm_videosdk.usage_metadata import SpentTokens

logger = logging.getLogger(__name__)

_FINISH = {"max_output_tokens": "length", "max_tokens": "length"}


class Generation:
    """A running `chat` and the pipeline that called it.

    Attributes:
        pipeline: The framework's pipeline that called it; None for another caller.
        context: The framework's context, by identity.
        turn: The turn that it belongs to; None until that is known.
    """

    def __init__(self, context: object) -> None:
        self.pipeline = calling_pipeline()
        self.context = context
        self.turn: PipelineTurn | None = None
        self._cancelled = False
        self._waiting: asyncio.Timeout | None = None
        self._loop = asyncio.get_running_loop()

    def is_cancelled(self) -> bool:
        """Whether it was cancelled."""
        return self._cancelled

    def cancel(self) -> None:
        """Cancel it without waiting; a waiting reader is woken."""
        if self._cancelled:
            return
        self._cancelled = True
        if self.turn is not None:
            self.turn.end()
        if self._waiting is not None:
            self._waiting.reschedule(self._loop.time())

    async def next(self, stream: ResponseStream) -> Event | None:
        """Return the next event; None if the response is over or cancelled."""
        if self._cancelled:
            return None
        # `cancel` sets the deadline. It must not cancel the task, which is the framework's own:
        # only the wait for an event ends, and the task goes on after `chat`.
        scope = asyncio.timeout(None)
        try:
            async with scope:
                self._waiting = scope
                event = await anext(stream, None)
        except TimeoutError:
            if not scope.expired():
                raise
            return None
        finally:
            self._waiting = None
        return None if self.is_cancelled() else event


@dataclass(slots=True)
class Response:
    """The outcome of one request.

    Attributes:
        text: The text that was emitted.
        before: The text of earlier responses of this `chat`, none of whose calls could run.
        refusal: The text with which the model declined.
        calls: Its calls, in order.
        group: The calls that the framework gets, and the text before them.
        ended: How it ended; None if it was cancelled.
        decision: A graph's decision, parsed.
        spent: The tokens of this response, and of earlier ones that called nothing valid.
    """

    text: str = ""
    before: str = ""
    refusal: str = ""
    calls: list[ToolCall] = field(default_factory=list)
    group: CallGroup | None = None
    ended: ResponseEnded | None = None
    decision: Any = None
    spent: SpentTokens = field(default_factory=SpentTokens)

    def reset(self) -> None:
        """Keep only tokens and text, before the model is asked again."""
        self.before = " ".join(text for text in (self.before, self.text) if text)
        self.text = self.refusal = ""
        self.calls, self.group, self.ended, self.decision = [], None, None, None


async def read_response(
    generation: Generation,
    stream: ResponseStream,
    response: Response,
    graph: GraphStream | None,
    on_refusal: OnRefusal,
) -> AsyncGenerator[LLMResponse, None]:
    """Read a response: yield its text, and store the rest in `response`.

    Raises:
        TurnError: If the turn fails.
    """
    with stream:  # leaving the block does not wait
        while (event := await generation.next(stream)) is not None:
            match event:
                case TextDelta(text, is_refusal):
                    if is_refusal:
                        response.refusal += text
                    if is_refusal and on_refusal == "error":
                        continue
                    for piece in [text] if graph is None or is_refusal else graph.feed(text):
                        space = " " if response.before and not response.text else ""
                        response.text += piece
                        yield text_chunk(space + piece)
                case ToolCallReady(call):
                    response.calls.append(call)
                case ResponseEnded():
                    response.ended = event
                    response.spent.add(event, _model_of(stream))
                case _:
                    pass
    if generation.is_cancelled() or response.ended is None:
        return
    _log_outcome(response.ended, refused=bool(response.refusal))
    if response.refusal and on_refusal == "error":
        raise refusal_error(response.refusal, response.ended.response_id)
    if graph is not None and not response.calls and (words := _decide(graph, response)):
        response.text = words
        yield text_chunk(words)


def _decide(graph: GraphStream, response: Response) -> str:
    """Store a graph's decision; return the text to speak if there is none.

    Raises:
        ResponseFailed: If there is no text either, because the caller must hear something.
    """
    response.decision = graph.decision()
    if response.decision is not None or response.text or response.refusal:
        return ""
    if not graph.prose and response.ended is not None:
        raise missing_decision_error(response.ended.response_id)
    return graph.prose


def _log_outcome(ended: ResponseEnded, *, refused: bool) -> None:
    if refused:
        logger.warning("response %s: the model declined to answer", ended.response_id)
    if ended.outcome == "incomplete":
        logger.warning("response %s was cut short: %s", ended.response_id, finish_reason(ended))
    elif ended.outcome == "empty":
        logger.warning("response %s is empty", ended.response_id)


def finish_reason(ended: ResponseEnded) -> str | None:
    """Return Chat's name of the reason why a response was cut short; None if it was not."""
    if ended.outcome != "incomplete":
        return None
    return _FINISH.get(ended.reason or "", ended.reason or "incomplete")


# -- what the framework reads ---------------------------------------------------------------------


def text_chunk(text: str, metadata: dict[str, Any] | None = None) -> LLMResponse:
    """Create a chunk with text, or with metadata at the end."""
    return LLMResponse(content=text, role=ChatRole.ASSISTANT, metadata=metadata)


def call_chunk(call: ToolCall, name: str, metadata: dict[str, Any] | None = None) -> LLMResponse:
    """Create a chunk with a call to run. The framework reads ``call_id``, others ``id``.

    Args:
        call: The call.
        name: The framework's name of the tool.
        metadata: What belongs to the end of the response.
    """
    function = {
        "name": name,
        "arguments": arguments_of(call),
        "id": call.call_id,
        "call_id": call.call_id,
    }
    if (signature := signature_of(call.carried)) is not None:
        function["thought_signature"] = signature  # the only field that the framework keeps
    return text_chunk("", {**(metadata or {}), "function_call": function})


def arguments_of(call: ToolCall) -> dict[str, Any] | None:
    """Parse a call's arguments; None if they are not a JSON object."""
    try:
        arguments = json.loads(call.arguments.strip() or "{}")
    except (ValueError, RecursionError):
        return None
    return arguments if isinstance(arguments, dict) else None


def _model_of(stream: ResponseStream) -> str | None:
    """Return the model that answered, or the requested one if the service named none."""
    report = stream.report
    return None if report is None else report.served_model or report.model


def final_metadata(response: Response) -> dict[str, Any]:
    """Create the metadata of a response's last chunk: its usage, and anything unusual."""
    metadata: dict[str, Any] = {}
    ended = response.ended
    if ended is None:
        return metadata
    if usage := response.spent.metadata():
        metadata["usage"] = usage
    if (reason := finish_reason(ended)) is not None:
        metadata["finish_reason"] = reason
    if response.refusal:
        metadata["refusal"] = response.refusal
    if response.decision is not None:
        metadata["graph_response"] = response.decision
    return metadata
