"""How a client is left that nobody asks any more: closed once its answers are over."""

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from contextlib import suppress
from contextvars import Context
from typing import Any

ABANDONED_LIMIT = 180.0  # seconds: longer than a turn may take

Loop = asyncio.AbstractEventLoop


class Leaving:
    """Counts the answers that run on each event loop, and closes where none does.

    Each loop's part is touched in that loop only; `begin` alone may be called from anywhere.

    Args:
        close: Closes what is open on the running loop, at once; calls `over` at its end.
    """

    def __init__(self, close: Callable[[], Coroutine[Any, Any, None]]) -> None:
        self._close = close
        self._limit: float | None = None
        self._running: dict[Loop, int] = {}
        self._timers: dict[Loop, asyncio.TimerHandle] = {}

    def begin(self, loops: Iterable[Loop], limit: float) -> None:
        """Leave these loops, and each on which an answer begins later.

        Args:
            loops: Those on which something is open.
            limit: Seconds for the answers that run.
        """
        self._limit = limit
        for loop in loops:
            with suppress(RuntimeError):  # that loop is closed, and its sockets with it
                loop.call_soon_threadsafe(self._leave, loop, limit, context=Context())

    def answer(self) -> "Counted":
        """Count one more answer, from when it begins."""
        return Counted(self)

    def count(self, loop: Loop, change: int) -> None:
        """Note that an answer began (1) or ended (-1) on a loop."""
        self._running[loop] = self._running.get(loop, 0) + change
        if not self._running[loop]:
            del self._running[loop]
        if self._limit is not None and not loop.is_closed():
            self._leave(loop, self._limit)

    async def over(self) -> None:
        """Wait for nothing more on the running loop, where all is closed now."""
        loop = asyncio.get_running_loop()
        self._stop_timer(loop)
        if asyncio.current_task() in _closing:  # two of them must not wait for each other
            return
        closing = [task for task, whose in list(_closing.items()) if whose is self]
        closing = [task for task in closing if task.get_loop() is loop]
        if closing:
            await asyncio.wait(closing)

    def _leave(self, loop: Loop, limit: float) -> None:
        if loop not in self._running:
            self._close_soon(loop)
        elif loop not in self._timers:
            self._timers[loop] = loop.call_later(limit, self._close_soon, loop, context=Context())

    def _close_soon(self, loop: Loop) -> None:
        self._stop_timer(loop)
        task = loop.create_task(self._close(), name="rtllm abandoned client", context=Context())
        _closing[task] = self
        task.add_done_callback(_closing.pop)

    def _stop_timer(self, loop: Loop) -> None:
        if (timer := self._timers.pop(loop, None)) is not None:
            timer.cancel()


class Counted:
    """One answer, counted from its beginning to its end."""

    def __init__(self, leaving: Leaving) -> None:
        self._leaving = leaving
        self._loop: Loop | None = None

    def began(self) -> None:
        """It runs from now on, on the running loop."""
        self._loop = asyncio.get_running_loop()
        self._leaving.count(self._loop, 1)

    def ended(self) -> None:
        """It is over."""
        if self._loop is not None:
            loop, self._loop = self._loop, None
            self._leaving.count(loop, -1)


_closing: dict[asyncio.Task[None], Leaving] = {}
"""What closes an abandoned client, which nobody else may hold; a loop doesn't hold its tasks."""
