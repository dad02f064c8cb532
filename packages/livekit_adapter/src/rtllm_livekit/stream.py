"""One response as LiveKit reads it: from events to chunks."""

from dataclasses import replace
from typing import Any

from livekit.agents import APIConnectOptions, llm
from opentelemetry import trace

from rtllm import (
    ChatClient,
    Client,
    Event,
    PhaseChanged,
    Request,
    ResponseStream,
    TextDelta,
    ToolCall,
    ToolCallReady,
    TurnError,
    Usage,
)
from rtllm.adapters import (
    CallGate,
    EmittedOutput,
    PlacedImages,
    ToolNames,
    arrange,
    explain_unreadable,
    fields_to_keep,
    mark_in,
    span_attributes,
)
from rtllm_livekit.drafts import Draft
from rtllm_livekit.errors import to_livekit
from rtllm_livekit.late_usage import LateUsage
from rtllm_livekit.settings import LiveKitOptions


class LLMStream(llm.LLMStream):
    """The response to one `LLM.chat` call.

    Args:
        llm_: The model object.
        client: The client to ask.
        request: The request.
        pictures: Its context, with pictures that may not be encoded yet.
        options: The options of the LLM.
        chat_ctx: The context as LiveKit has it.
        tools: The tools of the request.
        conn_options: The retries and time limits.
        names: The framework's names of the tools.
        late_usage: Reports the tokens of a cancelled response.

    Raises:
        EmptyContext: If the context has nothing to respond to.
    """

    def __init__(
        self,
        llm_: llm.LLM[Any],
        client: Client | ChatClient,
        request: Request,
        pictures: PlacedImages[llm.ImageContent],
        options: LiveKitOptions,
        *,
        chat_ctx: llm.ChatContext,
        tools: list[llm.Tool],
        conn_options: APIConnectOptions,
        names: ToolNames,
        late_usage: LateUsage,
    ) -> None:
        self._client = client
        self._request = request
        self._pictures = pictures
        self._first: ResponseStream | None = None
        if pictures.is_complete:
            self._first = client.ask(request)
        else:  # they are encoded where the stream is read
            client.check(request)
        self._names = names
        self._failure_text = options.failure_text
        self._late_usage = late_usage
        self._draft = Draft(client)
        self._output = EmittedOutput(options.on_refusal, holds_calls=options.answer_invalid_calls)
        self._gate = CallGate()
        # Last: where tasks are eager, the base class begins to read here.
        super().__init__(llm_, chat_ctx=chat_ctx, tools=tools, conn_options=conn_options)
        # Recovery happens inside the stream; the base class must never replay a chunk.
        self._retry_on_chunk_sent = False

    async def _run(self) -> None:
        stream = self._first or await self._ask()
        while await self._read(stream):
            stream = await self._ask()

    async def _ask(self) -> ResponseStream:
        """Request a response to the context, and to what LiveKit doesn't have of the turn."""
        items = arrange(await self._pictures.encode(), {}, unseen=self._gate.unseen)
        return self._client.ask(replace(self._request, items=items))

    async def _read(self, stream: ResponseStream) -> bool:
        """Emit a chunk for each event.

        Returns:
            Whether the model must be asked again, because no call of the response can run.
        """
        self._output.begin_response()
        try:
            with stream:  # leaving it does not wait, because interrupt() waits for this method
                extra = await self._emit_all(stream)
            self._output.check_refusal()
            return self._output.holds_calls and self._emit_calls(stream, extra)
        except TurnError as error:
            self._fail(error)
            return False
        finally:
            if stream.report is not None:
                trace.get_current_span().set_attributes(span_attributes(stream.report))
                self._draft.note(stream.report)

    async def _emit_all(self, stream: ResponseStream) -> dict[str, Any] | None:
        """Emit a chunk for each event that is not held; return the `extra` of other chunks.

        Raises:
            TurnError: If the turn fails.
        """
        mark, extra, of_text = None, None, None
        async for event in stream:
            if stream.mark != mark:  # another attempt has started
                mark = stream.mark
                extra = of_text = fields_to_keep(mark)
                self._late_usage.response_id = stream.response_id
            emitted = self._output.take(event)
            if isinstance(emitted, TextDelta):
                self._emit(stream, of_text, emitted)
                of_text = None  # LiveKit keeps it for the whole message
            elif emitted is not None:
                self._emit(stream, extra, emitted)
        return extra

    def _emit_calls(self, stream: ResponseStream, extra: dict[str, Any] | None) -> bool:
        """Emit the calls, or answer them if none can run; return whether they were answered.

        LiveKit itself answers such a call: it records it with an error output, and calls `chat`
        again. So this is done only if the user wants it; LiveKit's events and mocks don't see such
        calls then. A response that also has calls that can run is left to LiveKit, which must
        record them together.

        Raises:
            ResponseFailed: If no call could run too often.
        """
        known = llm.ToolContext(self._tools).function_tools

        def explain(call: ToolCall) -> str | None:
            is_known = self._names.to_framework(call.name) in known
            return explain_unreadable(call, (call.name,) if is_known else ())

        reasons = {call: explain(call) for call in self._output.calls}
        if None not in reasons.values():
            return self._gate.check(self._output, reasons.get, at=len(self._request.items))
        for call in self._output.calls:
            self._emit(stream, extra, ToolCallReady(call))
        return False

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
        text = self._output.failure(self._failure_text)
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
            extra = fields_to_keep(mark_in(extra), call.carried)
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
