"""One response as LiveKit reads it: from events to chunks."""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

from livekit.agents import APIConnectOptions, llm
from opentelemetry import trace

from rtllm import (
    Event,
    PhaseChanged,
    ResponseEnded,
    ResponseStream,
    TextDelta,
    ToolCallReady,
    TurnError,
    TurnReport,
    Usage,
)
from rtllm.adapters import OnRefusal, ToolNames, add_usage, refusal_error
from rtllm_livekit.convert import extra_with, mark_in
from rtllm_livekit.drafts import Draft
from rtllm_livekit.errors import to_livekit
from rtllm_livekit.invalid_calls import Corrections
from rtllm_livekit.late_usage import LateUsage


class LLMStream(llm.LLMStream):
    """The response to one `LLM.chat` call.

    Args:
        llm_: The model object.
        answer: The response stream, or a function that creates it once the pictures are encoded.
        chat_ctx: The context of the request.
        tools: The tools of the request.
        conn_options: The retries and time limits.
        names: The framework's names of the tools.
        on_refusal: What to do with the text of a refusal.
        failure_text: The text to emit when the turn fails; None to raise.
        corrections: Asks the model to correct calls that can't run; None to emit them.
        late_usage: Reports the tokens of a cancelled response.
        draft: Counts the turns of a speech that is thrown away as drafts.
    """

    def __init__(
        self,
        llm_: llm.LLM[Any],
        stream: ResponseStream | Callable[[], Awaitable[ResponseStream]],
        *,
        chat_ctx: llm.ChatContext,
        tools: list[llm.Tool],
        conn_options: APIConnectOptions,
        names: ToolNames,
        on_refusal: OnRefusal = "speak",
        failure_text: str | None = None,
        corrections: Corrections | None = None,
        late_usage: LateUsage | None = None,
        draft: Draft | None = None,
    ) -> None:
        self._names = names
        self._corrections = corrections
        self._late_usage = late_usage
        self._draft = draft
        self._usage: Usage | None = None
        self._on_refusal = on_refusal
        self._failure_text = failure_text
        self._has_spoken = False
        self._stream = stream  # first: where tasks are eager, the base class begins to read here
        super().__init__(llm_, chat_ctx=chat_ctx, tools=tools, conn_options=conn_options)
        # Recovery happens inside the stream; the base class must never replay a chunk.
        self._retry_on_chunk_sent = False

    async def _run(self) -> None:
        stream = self._stream if isinstance(self._stream, ResponseStream) else await self._stream()
        following: ResponseStream | None = stream
        while following is not None:
            stream, following = following, None
            try:
                with stream:  # leaving it does not wait, because interrupt() waits for this method
                    following = await self._read(stream)
            except TurnError as error:
                self._fail(error)
            finally:
                if stream.report is not None:
                    _annotate(trace.get_current_span(), stream.report)
                    if self._draft is not None:
                        self._draft.note(stream.report)

    def _begin_attempt(self, stream: ResponseStream) -> dict[str, Any] | None:
        """Note the response that is read now; return the `extra` of its chunks."""
        if self._late_usage is not None:
            self._late_usage.response_id = stream.response_id
        return extra_with(stream.mark)

    async def _read(self, stream: ResponseStream) -> ResponseStream | None:
        """Emit a chunk for each event.

        Returns:
            The stream of the next request, if no call of this response can run.

        Raises:
            TurnError: If the turn fails.
        """
        mark, extra, of_text, refusal, text = None, None, None, "", ""
        calls: list[ToolCallReady] = []
        async for event in stream:
            if stream.mark != mark:  # another attempt has started
                mark = stream.mark
                extra = of_text = self._begin_attempt(stream)
            if isinstance(event, TextDelta):
                if event.refusal and self._on_refusal == "error":
                    refusal += event.text
                    continue
                if self._has_spoken and not text and self._usage is not None:
                    event = replace(event, text=f" {event.text}")  # noqa: PLW2901
                self._emit(stream, of_text, event)
                of_text = None  # LiveKit keeps it for the whole message
                self._has_spoken = True
                text += event.text
            elif isinstance(event, ToolCallReady) and self._corrections is not None:
                calls.append(event)
            elif isinstance(event, ResponseEnded):
                self._usage = add_usage(self._usage, event.usage)
                self._emit(stream, extra, replace(event, usage=self._usage))
            else:
                self._emit(stream, extra, event)
        if refusal:
            raise refusal_error(refusal, stream.response_id)
        following = None
        if self._corrections is not None:
            made = [event.call for event in calls]
            following = self._corrections.after(text, made, stream.response_id)
        for event in calls if following is None else ():
            self._emit(stream, extra, event)
        return following

    def _emit(self, stream: ResponseStream, extra: dict[str, Any] | None, event: Event) -> None:
        chunk = _chunk(stream.response_id or "", extra, event, self._names)
        if chunk is not None:
            self._event_ch.send_nowait(chunk)

    def _fail(self, error: TurnError) -> None:
        """End a failed turn: with the failure text and an ``error`` event, or else by raising.

        Raises:
            APIError: If there is no failure text.
        """
        translated = to_livekit(error)
        if not self._failure_text:
            raise translated from error
        translated.__cause__ = error
        self._emit_error(translated, recoverable=False)
        text = f" {self._failure_text}" if self._has_spoken else self._failure_text
        delta = llm.ChoiceDelta(role="assistant", content=text)
        self._event_ch.send_nowait(llm.ChatChunk(id="", delta=delta))


def _chunk(
    response_id: str, extra: dict[str, Any] | None, event: Event, names: ToolNames
) -> llm.ChatChunk | None:
    # LiveKit stores `extra` with the message and the call that it records.
    if isinstance(event, TextDelta):
        delta = llm.ChoiceDelta(role="assistant", content=event.text, extra=extra)
    elif isinstance(event, ToolCallReady):
        call = event.call
        if call.carried is not None:
            mark = mark_in(extra)
            extra = extra_with(mark, call.carried)
        delta = llm.ChoiceDelta(
            role="assistant",
            tool_calls=[
                llm.FunctionToolCall(
                    name=names.to_framework(call.name),
                    arguments=call.arguments or "{}",
                    call_id=call.call_id,
                    extra=extra,
                )
            ],
        )
    elif isinstance(event, PhaseChanged):
        # It is sent back from there.
        delta = llm.ChoiceDelta(role="assistant", extra={"openai": {"phase": event.phase}})
    elif event.usage is not None:
        return llm.ChatChunk(id=event.response_id or response_id, usage=_usage(event.usage))
    else:
        return None
    return llm.ChatChunk(id=response_id, delta=delta)


def _usage(usage: Usage) -> llm.CompletionUsage:
    return llm.CompletionUsage(
        completion_tokens=usage.output,
        prompt_tokens=usage.input,
        total_tokens=usage.total,
        prompt_cached_tokens=usage.cached or 0,
        cache_read_tokens=usage.cached or 0,
        cache_creation_tokens=usage.cache_write or 0,
        reasoning_tokens=usage.reasoning or 0,
        service_tier=usage.tier,
    )


def _annotate(span: trace.Span, report: TurnReport) -> None:
    if not span.is_recording():
        return
    span.set_attributes(
        {
            "rtllm.chained": report.chained,
            "rtllm.full_context_reason": report.full_context_reason or "",
            "rtllm.items_sent": report.items_sent,
            "rtllm.bytes_sent": report.bytes_sent,
            "rtllm.attempts": report.attempts,
            "rtllm.connection": report.connection or 0,
            "rtllm.connection_reused": report.reused,
            "rtllm.lane": report.lane or "",
            "rtllm.outcome": report.outcome,
        }
    )
