"""Shutdown of a client: close its runtimes at once, or once its response streams are over.

The event loop and the finalizer of a client hold these objects, so nothing here refers to the
client. It works on runtimes, which don't refer to their client either.
"""

import asyncio
from contextlib import suppress
from contextvars import Context
from typing import Generic, Protocol, TypeVar

SHUTDOWN_LIMIT = 180.0  # seconds: longer than a turn may take

Loop = asyncio.AbstractEventLoop


class Closable(Protocol):
    """An object that is closed on its event loop, such as a runtime."""

    def stop(self) -> None:
        """Accept nothing new from now on; later requests open another one."""

    async def aclose(self) -> None:
        """Close everything within a limit."""


_Runtime = TypeVar("_Runtime", bound=Closable)


class Shutdown(Generic[_Runtime]):
    """Counts the response streams that run on each event loop, and closes its runtime.

    A loop's entries are touched only in that loop; `begin` may be called from any thread.

    Args:
        runtimes: The open runtime of each event loop; closed ones are removed.
    """

    def __init__(self, runtimes: dict[Loop, _Runtime]) -> None:
        self._runtimes = runtimes
        self._limit: float | None = None
        self._running: dict[Loop, int] = {}
        self._timers: dict[Loop, asyncio.TimerHandle] = {}

    def begin(self, limit: float) -> None:
        """Close each loop's runtime once no response stream runs there, now and later.

        Args:
            limit: Seconds for the response streams that run.
        """
        self._limit = limit
        for loop in list(self._runtimes):
            with suppress(RuntimeError):  # that loop is closed, and so are its sockets
                loop.call_soon_threadsafe(self._close_when_idle, loop, limit, context=Context())

    def add_stream(self) -> "RunningStream":
        """Return a counter for one more response stream."""
        return RunningStream(self)

    def count(self, loop: Loop, change: int) -> None:
        """Add a response stream that began (1) or ended (-1) on a loop."""
        self._running[loop] = self._running.get(loop, 0) + change
        if not self._running[loop]:
            del self._running[loop]
        if self._limit is not None and not loop.is_closed():
            self._close_when_idle(loop, self._limit)

    async def close(self) -> None:
        """Close the runtime of the running loop at once, and wait until it is closed.

        If the wait is cancelled, closing goes on; a second call waits for it again.
        """
        loop = asyncio.get_running_loop()
        self._close_soon(loop)
        closing = [
            task
            for task, owner in list(_closing.items())
            if owner is self and task.get_loop() is loop
        ]
        if not closing:
            return
        await asyncio.wait(closing)
        for task in closing:
            if not task.cancelled():
                task.result()

    def _close_when_idle(self, loop: Loop, limit: float) -> None:
        if loop not in self._running:
            self._close_soon(loop)
        elif loop not in self._timers:
            self._timers[loop] = loop.call_later(limit, self._close_soon, loop, context=Context())

    def _close_soon(self, loop: Loop) -> None:
        """Begin to close a loop's runtime, if it has one; later requests open another."""
        if (timer := self._timers.pop(loop, None)) is not None:
            timer.cancel()
        if (runtime := self._runtimes.pop(loop, None)) is not None:
            runtime.stop()
            task = loop.create_task(runtime.aclose(), name="rtllm close client", context=Context())
            _closing[task] = self
            task.add_done_callback(_closing.pop, context=Context())


class RunningStream:
    """One response stream, counted from its beginning to its end."""

    def __init__(self, shutdown: Shutdown[_Runtime]) -> None:
        self._count = shutdown.count
        self._loop: Loop | None = None

    def began(self) -> None:
        """Count it as running on the running loop."""
        self._loop = asyncio.get_running_loop()
        self._count(self._loop, 1)

    def ended(self) -> None:
        """Count it as over."""
        if self._loop is not None:
            loop, self._loop = self._loop, None
            self._count(loop, -1)


_closing: dict[asyncio.Task[None], object] = {}
"""The tasks that close runtimes, because an event loop holds its tasks only weakly."""
