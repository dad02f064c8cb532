"""How a client closes its routes: at once, or once its answers are over.

The event loop and the finalizer of a dropped client hold what is here, so nothing here leads
to the client: it works on routes, which don't know their client either.
"""

import asyncio
from contextlib import suppress
from contextvars import Context
from typing import Generic, Protocol, TypeVar

ABANDONED_LIMIT = 180.0  # seconds: longer than a turn may take

Loop = asyncio.AbstractEventLoop


class Closable(Protocol):
    """What can be closed on its event loop."""

    def shut(self) -> None:
        """Take nothing new from now on: what is asked while it closes finds another one."""

    async def aclose(self) -> None:
        """Close everything within a limit."""


_Way = TypeVar("_Way", bound=Closable)


class Shutdown(Generic[_Way]):
    """Counts the answers that run on each event loop, and closes its route.

    Each loop's part is touched in that loop only; `begin` alone may be called from anywhere.

    Args:
        routes: The open route of each event loop; those that are closed are taken out.
    """

    def __init__(self, routes: dict[Loop, _Way]) -> None:
        self._routes = routes
        self._limit: float | None = None
        self._running: dict[Loop, int] = {}
        self._timers: dict[Loop, asyncio.TimerHandle] = {}

    def begin(self, limit: float) -> None:
        """Leave each loop on which something is open, or on which an answer begins later.

        Args:
            limit: Seconds for the answers that run.
        """
        self._limit = limit
        for loop in list(self._routes):
            with suppress(RuntimeError):  # that loop is closed, and its sockets with it
                loop.call_soon_threadsafe(self._leave, loop, limit, context=Context())

    def answer(self) -> "RunningAnswer":
        """Count one more answer, from when it begins."""
        return RunningAnswer(self)

    def count(self, loop: Loop, change: int) -> None:
        """Note that an answer began (1) or ended (-1) on a loop."""
        self._running[loop] = self._running.get(loop, 0) + change
        if not self._running[loop]:
            del self._running[loop]
        if self._limit is not None and not loop.is_closed():
            self._leave(loop, self._limit)

    async def close(self) -> None:
        """Close the route of the running loop at once, and wait for all that closes there.

        Who stops waiting doesn't stop the closing: called again, this waits for it.
        """
        loop = asyncio.get_running_loop()
        self._close_soon(loop)
        closing = [
            task
            for task, whose in list(_closing.items())
            if whose is self and task.get_loop() is loop
        ]
        if not closing:
            return
        await asyncio.wait(closing)
        for task in closing:
            if not task.cancelled():
                task.result()

    def _leave(self, loop: Loop, limit: float) -> None:
        if loop not in self._running:
            self._close_soon(loop)
        elif loop not in self._timers:
            self._timers[loop] = loop.call_later(limit, self._close_soon, loop, context=Context())

    def _close_soon(self, loop: Loop) -> None:
        """Begin to close a loop's route, if it has one; what is asked from now on opens another."""
        if (timer := self._timers.pop(loop, None)) is not None:
            timer.cancel()
        if (route := self._routes.pop(loop, None)) is not None:
            route.shut()
            task = loop.create_task(route.aclose(), name="rtllm close client", context=Context())
            _closing[task] = self
            task.add_done_callback(_closing.pop, context=Context())


class RunningAnswer:
    """One answer, counted from its beginning to its end."""

    def __init__(self, leaving: Shutdown[_Way]) -> None:
        self._count = leaving.count
        self._loop: Loop | None = None

    def began(self) -> None:
        """It runs from now on, on the running loop."""
        self._loop = asyncio.get_running_loop()
        self._count(self._loop, 1)

    def ended(self) -> None:
        """It is over."""
        if self._loop is not None:
            loop, self._loop = self._loop, None
            self._count(loop, -1)


_closing: dict[asyncio.Task[None], object] = {}
"""The tasks that close routes: an event loop holds its tasks only weakly."""
