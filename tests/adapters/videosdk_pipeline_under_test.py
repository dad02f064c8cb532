"""The adapter of VideoSDK under test, in pipelines of the framework."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack
from typing import Any

from adapters.videosdk_under_test import TOOL, VideoSdkUnderTest, entry_of
from rtllm.testing import INSTRUCTIONS, ContextEntry, Heard, Setup
from support.waiting import until
from videosdk_adapter.talks import Plain, Talk, talk


class PipelineConversation:
    """A session over a pipeline: turns as in voice mode, without sound."""

    def __init__(self, call: Talk) -> None:
        self._call = call
        self._heard: list[str] = []
        call.pipeline.orchestrator.content_generation.on("generation_chunk", self._hear)

    def _hear(self, chunk: dict[str, Any]) -> None:
        self._heard.append(chunk["content"])

    async def say(self, text: str, *, interrupt: bool = False) -> Heard:
        self._heard.clear()
        turn = await self._call.hear(text)
        if interrupt:
            await until(lambda: any(self._heard))
            await self._call.barge_in()
        await asyncio.wait([turn])
        if interrupt:
            return Heard(entry_of(self._call.context.items[-1])[1])
        return Heard("".join(self._heard), failed=turn.cancelled() or turn.exception() is not None)

    async def interrupt(self) -> None:
        await self._call.barge_in()

    def context(self) -> Sequence[ContextEntry]:
        return [entry_of(item) for item in self._call.context.items]


class PipelineUnderTest(VideoSdkUnderTest):
    """VideoSDK's `OpenAILLM` in pipelines."""

    def __init__(self, setup: Setup) -> None:
        super().__init__(setup)
        self._calls = AsyncExitStack()

    async def start(self) -> Any:
        agent = Plain(INSTRUCTIONS, [TOOL])
        return PipelineConversation(await self._calls.enter_async_context(talk(self._model, agent)))

    async def aclose(self) -> None:
        await self._calls.aclose()
        await super().aclose()
