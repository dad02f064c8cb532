"""A caller on a VideoSDK line, who goes on speaking in any case, and counts unanswered turns."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from videosdk_stages import Plain, Stage, Talk, talk, until

TURN_LIMIT = 3.0  # seconds; the simulator answers in milliseconds


class Caller:
    """One caller; each turn ends, with a response or without.

    The caller's words take the path of recognised speech. A turn is unanswered if the agent's last
    message after it is missing, or is the response to something else. The stage records it, and the
    caller interrupts and goes on speaking, as callers do.
    """

    def __init__(self, stage: Stage, line: Talk) -> None:
        self._stage = stage
        self.line = line

    async def say(self, words: str, *, wants_answer: bool = True) -> None:
        """Say something, and hear the full response."""
        first = len(self._stage.entries)
        task = await self._begin(words)
        if task is not None:
            await self._end(task)
        if wants_answer and not self._heard_answer_since(first):
            self._stage.unanswered.append(words)

    async def cut(self, words: str, *, after_deltas: int) -> None:
        """Say something, and interrupt once this many pieces of the response were sent."""
        first = len(self._stage.entries)
        task = await self._begin(words)
        if task is None:
            return
        orchestrator = self.line.pipeline.orchestrator

        def is_time() -> bool:
            if len(self._stage.entries) == first or self._stage.entries[-1].deltas < after_deltas:
                return False
            return not after_deltas or bool(orchestrator._partial_response) or task.done()

        begun = await self._until(is_time)
        if not begun:
            self._stage.unanswered.append(words)
        await self.line.barge_in()
        await self._end(task)

    async def interrupt_late(self, heard: str) -> None:
        """Interrupt when the response is complete but only a part of it was heard."""
        if self.line.last[0] == "assistant":
            self.line.context._items.pop()
            self.line.pipeline.orchestrator._partial_response = heard
        await self.line.barge_in()

    async def _begin(self, words: str) -> asyncio.Task[None] | None:
        try:
            async with asyncio.timeout(TURN_LIMIT):
                return await self.line.hear(words)
        except TimeoutError:
            return None

    async def _end(self, task: asyncio.Task[None]) -> None:
        """Wait for a turn; one that hangs is interrupted, and abandoned if that doesn't help."""
        _, hanging = await asyncio.wait([task], timeout=TURN_LIMIT)
        if hanging:
            with contextlib.suppress(TimeoutError):
                await self.line.barge_in()
            await asyncio.wait([task], timeout=TURN_LIMIT)
        if task.done() and not task.cancelled():
            task.exception()  # the framework drops it; the missing response is counted

    def _heard_answer_since(self, first: int) -> bool:
        role, text = self.line.last if self.line.history() else ("", "")
        answers = self._stage.answers
        replies = [answers.words(index) for index in answers.replies if index >= first]
        return role == "assistant" and any(words and text.endswith(words) for words in replies)

    async def _until(self, holds: Callable[[], object]) -> bool:
        try:
            await until(holds, TURN_LIMIT)
        except TimeoutError:
            return False
        return True


@asynccontextmanager
async def call(stage: Stage, agent: Any = None, **pipeline: Any) -> AsyncIterator[Caller]:
    """Put a caller on the line with an agent."""
    async with talk(stage.llm, agent or Plain(), **pipeline) as line:
        yield Caller(stage, line)
