"""Plays stories: what is the same on both adapters."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, Protocol

from chaos.laws import Broken, Notes, works
from chaos.story import Orders, Step, Story
from rtllm.simulator import Simulator

_HANGS = 5000.0
"""Virtual seconds after which a step hangs."""


class Handshakes:
    """What goes wrong with the next handshakes."""

    def __init__(self) -> None:
        self.left: deque[Any] = deque()

    def __call__(self, number: int) -> Any:
        return self.left.popleft() if self.left else None


class Player(Protocol):
    """Conversations through a framework. Callers are numbers."""

    async def turn(self, caller: int, words: str) -> None:
        """A whole turn, whatever comes of it."""

    async def cut(self, caller: int, words: str, after: float) -> None:
        """A turn that is interrupted after so many seconds, if it isn't over by then."""

    async def draft(self, caller: int, words: str) -> None:
        """An answer that is thrown away, and whose question never was."""

    async def say(self, caller: int, text: str) -> None:
        """Something that the agent says by itself."""

    async def instruct(self, caller: int, text: str) -> None:
        """New instructions."""

    async def edit(self, caller: int, much: int) -> None:
        """Less was heard of the last answer than was said."""

    async def forget(self, caller: int, keep: int) -> None:
        """The oldest items are dropped."""

    async def close(self) -> None:
        """Close the client, which opens again."""


class Play:
    """Plays the steps of a story, and checks the laws after each.

    Args:
        story: What happens.
        notes: What is seen.
        player: Who plays.
        handshakes: What goes wrong with handshakes.
    """

    def __init__(self, story: Story, notes: Notes, player: Player, handshakes: Handshakes) -> None:
        self._story = story
        self._notes = notes
        self._player = player
        self._handshakes = handshakes
        self._count = 0

    def _words(self, orders: Orders) -> str:
        self._count += 1
        return f"Ask {self._count}:{orders}"

    async def run(self) -> None:
        """Play all of it."""
        for step in self._story.steps:
            await self._within(self._step(step))
            self._notes.check_step()
            if step.is_foul:
                await self._fault_is_over(step)
                await self._clean(step.caller)
        for caller in (0, 1):
            await self._clean(caller)
        await self._notes.check_end()

    async def _clean(self, caller: int) -> None:
        before = len(self._notes.chats)
        await self._within(self._player.turn(caller, self._words(Orders())))
        works(self._notes, before)
        self._notes.check_step()

    async def _fault_is_over(self, step: Step) -> None:
        """Wait for what would strike the next turn as well, since it belongs to this step."""
        if step.delays_refusal:
            await asyncio.sleep(40.0)
        if step.ends_connections:
            with suppress(TimeoutError):  # an answer that the simulator holds never ends
                await self._notes.service.journal.wait_idle(20.0)

    async def _within(self, what: Awaitable[None]) -> None:
        limit = asyncio.timeout(_HANGS)
        try:
            async with limit:
                await what
        except TimeoutError:
            if not limit.expired():
                raise
            raise self._notes.broken("deadline", "a step hangs") from None

    async def _step(self, step: Step) -> None:
        service = self._notes.service
        service.fault = list(step.faults) or None
        self._handshakes.left = deque(step.handshakes)
        blow = asyncio.create_task(strike(service, step.blow, step.after))
        try:
            await self._does(step)()
            await blow
        finally:
            blow.cancel()
            service.fault = None
            self._handshakes.left.clear()

    def _does(self, step: Step) -> Callable[[], Awaitable[None]]:
        player, caller, words = self._player, step.caller, self._words(step.orders)
        doing: dict[str, Callable[[], Awaitable[None]]] = {
            "turn": lambda: player.turn(caller, words),
            "cut": lambda: player.cut(caller, words, step.after),
            "together": lambda: self._together(step, words),
            "say": lambda: player.say(caller, f"By the way {self._count}. "),
            "draft": lambda: player.draft(caller, words),
            "instructions": lambda: player.instruct(caller, f"Be kind, way {self._count}."),
            "heard less": lambda: player.edit(caller, step.much),
            "forget": lambda: player.forget(caller, 3 + step.much),
            "wait": lambda: asyncio.sleep((0.5, 30.0, 80.0, 800.0, 4000.0)[step.much]),
            "close": lambda: self._close(step, words),
        }
        return doing[step.what]

    async def _together(self, step: Step, words: str) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self._player.turn(step.caller, words))
            group.create_task(self._player.turn(1 - step.caller, self._words(step.orders)))

    async def _close(self, step: Step, words: str) -> None:
        turn = asyncio.create_task(self._player.turn(step.caller, words))
        await asyncio.sleep(step.after)
        await self._player.close()
        await turn


async def strike(service: Simulator, blow: str | None, after: float) -> None:
    """Let something befall all connections."""
    if blow is None:
        return
    await asyncio.sleep(after)
    if blow == "reset":
        service.abort_connections()
    else:
        await service.close_connections({"close": 1001, "restart": 1012}[blow])


__all__ = ["Broken", "Handshakes", "Play", "Player"]
