"""The adapter of LiveKit under test, in sessions of the framework."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

from livekit.agents import Agent, AgentSession, ErrorEvent, ModelSettings, llm

from adapters.livekit_under_test import TOOL, LiveKitUnderTest, entry_of
from rtllm.testing import INSTRUCTIONS, ContextEntry, Heard, Setup
from support.waiting import until


class Listener(Agent):
    """An agent that keeps the pieces of text of its LLM."""

    def __init__(self) -> None:
        super().__init__(instructions=INSTRUCTIONS, tools=[TOOL])
        self.heard: list[str] = []

    async def llm_node(
        self, chat_ctx: llm.ChatContext, tools: list[Any], model_settings: ModelSettings
    ) -> AsyncIterator[Any]:
        async for chunk in Agent.default.llm_node(self, chat_ctx, tools, model_settings):
            if isinstance(chunk, llm.ChatChunk) and chunk.delta and chunk.delta.content:
                self.heard.append(chunk.delta.content)
            yield chunk


class SessionConversation:
    """A session in text mode."""

    def __init__(self, model: Any) -> None:
        self._agent = Listener()
        self._errors: list[ErrorEvent] = []
        self._session = AgentSession[None](
            llm=model, vad=None, turn_handling={"turn_detection": None}
        )
        self._session.on("error", self._errors.append)

    async def begin(self) -> None:
        await self._session.start(self._agent)

    async def say(self, text: str, *, interrupt: bool = False) -> Heard:
        self._agent.heard.clear()
        self._errors.clear()
        handle = self._session.generate_reply(user_input=text)
        if interrupt:
            await until(lambda: self._agent.heard)
            await self._session.interrupt()
            await handle
            last = self._agent.chat_ctx.items[-1]
            return Heard(entry_of(last)[1])
        await handle
        return Heard("".join(self._agent.heard), failed=bool(self._errors))

    async def interrupt(self) -> None:
        await self._session.interrupt()

    def context(self) -> Sequence[ContextEntry]:
        items = self._agent.chat_ctx.items
        return [entry_of(i) for i in items if i.type != "agent_config_update"]

    async def end(self) -> None:
        await self._session.aclose()


class SessionUnderTest(LiveKitUnderTest):
    """LiveKit's `LLM` in sessions."""

    def __init__(self, setup: Setup, **options: Any) -> None:
        super().__init__(setup, **options)
        self._sessions: list[SessionConversation] = []

    async def start(self) -> Any:
        session = SessionConversation(self._model)
        await session.begin()
        self._sessions.append(session)
        return session

    async def aclose(self) -> None:
        await asyncio.gather(*(session.end() for session in self._sessions))
        await super().aclose()
