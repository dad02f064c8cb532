"""The adapter of VideoSDK under test, outside of a pipeline."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from contextlib import aclosing
from typing import Any

import videosdk.agents as videosdk

from rtllm.testing import INSTRUCTIONS, ContextEntry, Heard, Setup, call_entry, get_weather
from rtllm_videosdk import OpenAILLM

TOOL = videosdk.function_tool(get_weather)


class VideoSdkConversation:
    """A loop over `chat()` that records a context."""

    def __init__(self, model: OpenAILLM) -> None:
        self._model = model
        self._context = videosdk.ChatContext.empty()
        self._context.add_message(role=videosdk.ChatRole.SYSTEM, content=INSTRUCTIONS)
        self._turn: asyncio.Task[None] | None = None

    async def say(self, text: str, *, interrupt: bool = False) -> Heard:
        self._context.add_message(role=videosdk.ChatRole.USER, content=text)
        heard: list[str] = []
        self._turn = asyncio.create_task(self._hold_turn(heard, interrupt=interrupt))
        try:
            await self._turn
        except asyncio.CancelledError:
            if not self._turn.cancelled():
                raise
        except Exception:  # noqa: BLE001 - the framework's own type of all errors
            return Heard("".join(heard), failed=True)
        return Heard("".join(heard))

    async def interrupt(self) -> None:
        assert self._turn is not None
        self._turn.cancel()
        await asyncio.wait([self._turn])

    async def _hold_turn(self, heard: list[str], *, interrupt: bool) -> None:
        while calls := await self._respond(heard, interrupt=interrupt):
            for call in calls:
                name, arguments = call["name"], json.dumps(call["arguments"])
                self._context.add_function_call(name, arguments, call_id=call["call_id"])
            await asyncio.gather(*(self._run(call) for call in calls))

    async def _respond(self, heard: list[str], *, interrupt: bool) -> list[dict[str, Any]]:
        pieces: list[str] = []
        calls: list[dict[str, Any]] = []
        try:
            async with aclosing(self._model.chat(self._context, tools=[TOOL])) as chunks:
                async for chunk in chunks:
                    if "function_call" in (chunk.metadata or {}):
                        calls.append(chunk.metadata["function_call"])
                    if chunk.content:
                        pieces.append(chunk.content)
                        if interrupt:
                            return []
        finally:
            heard += pieces
            if pieces:
                content = "".join(pieces)
                self._context.add_message(role=videosdk.ChatRole.ASSISTANT, content=content)
        return calls

    async def _run(self, call: dict[str, Any]) -> None:
        output = await get_weather(**call["arguments"])
        self._context.add_function_output(call["name"], output, call["call_id"])

    def context(self) -> Sequence[ContextEntry]:
        return [entry_of(item) for item in self._context.items]


def entry_of(item: Any) -> ContextEntry:
    if isinstance(item, videosdk.FunctionCall):
        return call_entry(item.name, item.arguments)
    if isinstance(item, videosdk.FunctionCallOutput):
        return ("output", item.output)
    content = item.content if isinstance(item.content, list) else [item.content]
    return (item.role.value, "".join(part for part in content if isinstance(part, str)))


class VideoSdkUnderTest:
    """VideoSDK's `OpenAILLM` over the WebSocket."""

    def __init__(self, setup: Setup, protocol: str = "websocket", **options: Any) -> None:
        self.protocol = protocol
        options.setdefault("streaming", True)
        if setup.temperature is not None:
            options["temperature"] = setup.temperature
        self._model = OpenAILLM(
            model=setup.model,
            api_key=setup.api_key,
            base_url=setup.base_url,
            timeout=setup.timeout,
            **options,
        )

    async def start(self) -> VideoSdkConversation:
        return VideoSdkConversation(self._model)

    def tokens(self) -> tuple[int, int]:
        # The framework has no place for the tokens of an interrupted response.
        usage = self._model.usage.all
        return usage.input, usage.output

    async def aclose(self) -> None:
        await self._model.aclose()
