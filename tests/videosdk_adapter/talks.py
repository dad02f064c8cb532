"""Agents that say nothing by themselves, and sessions over real pipelines, offline."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, TypeVar, cast

from videosdk.agents import Agent, AgentSession, ChatContext, Pipeline, function_tool

from support.contexts import text_of
from videosdk_adapter.contexts import objects_of

_Function = TypeVar("_Function", bound=Callable[..., Any])


def tool(function: _Function) -> _Function:
    """The framework's decorator, which has no types."""
    return cast("_Function", function_tool(function))


class Plain(Agent):  # type: ignore[misc]  # the framework has no types
    """An agent that says nothing by itself."""

    def __init__(self, instructions: str = "Be kind.", tools: Any = (), **options: Any) -> None:
        super().__init__(instructions=instructions, tools=list(tools), **options)

    async def on_enter(self) -> None:
        pass

    async def on_exit(self) -> None:
        pass


@dataclass
class Talk:
    """A running session in text mode, and the voice path without audio."""

    agent: Any
    session: Any
    pipeline: Any

    async def say(self, text: str) -> None:
        """A turn in text mode; what goes wrong reaches the caller."""
        async with asyncio.timeout(20):
            await self.pipeline.process_text(text)

    async def hear(self, text: str) -> asyncio.Task[None]:
        """A turn on the voice path, without waiting for its end."""
        await self.pipeline.orchestrator._process_final_transcript(text)
        task: asyncio.Task[None] = self.pipeline.orchestrator._current_generation_task
        return task

    async def turn(self, text: str, limit: float = 20) -> None:
        """A whole turn on the voice path."""
        async with asyncio.timeout(limit):
            await asyncio.wait([await self.hear(text)])

    async def barge_in(self) -> None:
        """The caller interrupts."""
        async with asyncio.timeout(5):
            await self.pipeline.orchestrator.interrupt()

    @property
    def context(self) -> ChatContext:
        return self.session.agent.chat_context

    def history(self) -> list[tuple[str, str]]:
        """The context as pairs: role or type, and text."""
        pairs: list[tuple[str, str]] = []
        for unit in objects_of(self.context):
            is_message = unit[0] == "message"
            pairs.append((unit[1], text_of(unit)) if is_message else (unit[0], unit[-1]))
        return [pair for pair in pairs if pair[0] != "system"]

    @property
    def last(self) -> tuple[str, str]:
        return self.history()[-1]


@asynccontextmanager
async def talk(model: Any, agent: Any = None, **pipeline: Any) -> AsyncIterator[Talk]:
    """A real session over a real pipeline, offline."""
    agent = agent or Plain()
    line = Pipeline(llm=model, **pipeline)
    session = AgentSession(agent=agent, pipeline=line)
    await session.start()
    if line.orchestrator.speech_generation is not None:
        line.orchestrator.speech_generation.set_audio_track(pipeline["tts"].track)
    try:
        yield Talk(agent, session, line)
    finally:
        await session.close()
