"""The adapter of LiveKit under test."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from livekit.agents import APIConnectOptions, APIError, llm
from livekit.agents.metrics import LLMMetrics

from rtllm.testing import INSTRUCTIONS, ContextEntry, Heard, Setup, call_entry, get_weather
from rtllm_livekit import LLM, ChatLLM

TOOL = llm.function_tool(get_weather)


class LiveKitConversation:
    """A loop over `chat()` that records a context as a session does."""

    def __init__(self, model: LLM | ChatLLM, timeout: float) -> None:
        self._model = model
        self._options = APIConnectOptions(timeout=timeout)
        self._context = llm.ChatContext.empty()
        self._context.add_message(role="system", content=INSTRUCTIONS)
        self._turn: asyncio.Task[None] | None = None

    async def say(self, text: str, *, interrupt: bool = False) -> Heard:
        self._context.add_message(role="user", content=text)
        heard: list[str] = []
        self._turn = asyncio.create_task(self._hold_turn(heard, interrupt=interrupt))
        try:
            await self._turn
        except APIError:
            return Heard("".join(heard), failed=True)
        except asyncio.CancelledError:
            if not self._turn.cancelled():
                raise
        return Heard("".join(heard))

    async def interrupt(self) -> None:
        assert self._turn is not None
        self._turn.cancel()
        await asyncio.wait([self._turn])

    async def _hold_turn(self, heard: list[str], *, interrupt: bool) -> None:
        while calls := await self._respond(heard, interrupt=interrupt):
            await self._run(calls)

    async def _respond(
        self, heard: list[str], *, interrupt: bool
    ) -> Sequence[llm.FunctionToolCall]:
        stream = self._model.chat(chat_ctx=self._context, tools=[TOOL], conn_options=self._options)
        pieces: list[str] = []
        calls: list[llm.FunctionToolCall] = []
        extra: dict[str, Any] = {}
        try:
            async with stream:
                async for chunk in stream:
                    if chunk.delta is None:
                        continue
                    extra.update(chunk.delta.extra or {})
                    calls += chunk.delta.tool_calls
                    if chunk.delta.content:
                        pieces.append(chunk.delta.content)
                        if interrupt:
                            return []
        finally:
            heard += pieces
            if pieces:
                content = "".join(pieces)
                self._context.add_message(role="assistant", content=content, extra=extra)
        return calls

    async def _run(self, calls: Sequence[llm.FunctionToolCall]) -> None:
        self._context.items += [
            llm.FunctionCall(call_id=call.call_id, name=call.name, arguments=call.arguments)
            for call in calls
        ]
        running = [llm.execute_function_call(call, llm.ToolContext([TOOL])) for call in calls]
        for done in asyncio.as_completed(running):
            result = await done
            assert result.fnc_call_out is not None
            self._context.items.append(result.fnc_call_out)

    def context(self) -> Sequence[ContextEntry]:
        return [entry_of(item) for item in self._context.items]


def entry_of(item: llm.ChatItem) -> ContextEntry:
    if isinstance(item, llm.FunctionCall):
        return call_entry(item.name, item.arguments)
    if isinstance(item, llm.FunctionCallOutput):
        return ("output", item.output)
    assert isinstance(item, llm.ChatMessage)
    return (item.role, item.text_content or "")


class LiveKitUnderTest:
    """LiveKit's `LLM` with the framework's metrics."""

    def __init__(
        self,
        setup: Setup,
        kind: type[LLM | ChatLLM] = LLM,
        protocol: str = "websocket",
        **options: Any,
    ) -> None:
        self.protocol = protocol
        if setup.temperature is not None:
            options["temperature"] = setup.temperature
        self._timeout = setup.timeout
        self._metrics: list[LLMMetrics] = []
        self._model = kind(
            model=setup.model, api_key=setup.api_key, base_url=setup.base_url, **options
        )
        self._model.on("metrics_collected", self._metrics.append)

    async def start(self) -> LiveKitConversation:
        return LiveKitConversation(self._model, self._timeout)

    def tokens(self) -> tuple[int, int]:
        metrics = self._metrics
        return sum(m.prompt_tokens for m in metrics), sum(m.completion_tokens for m in metrics)

    async def aclose(self) -> None:
        await self._model.aclose()
