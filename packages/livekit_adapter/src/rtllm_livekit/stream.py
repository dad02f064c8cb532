"""One response as LiveKit reads it: from events to chunks."""

from collections.abc import Awaitable, Callable
from typing import Any

from livekit.agents import APIConnectOptions, llm
from opentelemetry import trace

from rtllm import (
    Event,
    PhaseChanged,
    ResponseStream,
    TextDelta,
    ToolCallReady,
    ToolNames,
    TurnError,
    TurnReport,
    Usage,
)
from rtllm_livekit.convert import extra_with, mark_in
from rtllm_livekit.errors import to_livekit


class LLMStream(llm.LLMStream):
    """The response to one `LLM.chat` call.

    Args:
        llm_: The model object.
        answer: The response stream, or a function that creates it once the pictures are encoded.
        chat_ctx: The context of the request.
        tools: The tools of the request.
        conn_options: The retries and time limits.
        names: The framework's names of the tools.
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
    ) -> None:
        self._names = names
        self._stream = stream  # first: where tasks are eager, the base class begins to read here
        super().__init__(llm_, chat_ctx=chat_ctx, tools=tools, conn_options=conn_options)
        # Recovery happens inside the stream; the base class must never replay a chunk.
        self._retry_on_chunk_sent = False

    async def _run(self) -> None:
        stream = self._stream if isinstance(self._stream, ResponseStream) else await self._stream()
        try:
            with (
                stream
            ):  # leaving the block does not wait, because interrupt() waits for this method
                mark, extra = None, None
                async for event in stream:
                    if stream.mark != mark:  # another attempt has started
                        mark = stream.mark
                        extra = extra_with(mark)
                    chunk = _chunk(stream.response_id or "", extra, event, self._names)
                    if chunk is not None:
                        self._event_ch.send_nowait(chunk)
        except TurnError as error:
            raise to_livekit(error) from error
        finally:
            if stream.report is not None:
                _annotate(trace.get_current_span(), stream.report)


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
