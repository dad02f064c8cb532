"""Tasks of connections and HTTP exchanges: one each, cancelled by number."""

import asyncio
from collections.abc import Awaitable, Callable
from contextvars import Context

from rtllm.transport.facts import Facts


class NumberedTasks:
    """Tasks by the number of their connection or exchange.

    Args:
        facts: Informed when the event loop ends, which cancels tasks.
    """

    def __init__(self, facts: Facts) -> None:
        self._facts = facts
        self._loop = asyncio.get_running_loop()
        self._running: dict[int, asyncio.Task[None]] = {}
        self._closing: set[asyncio.Task[None]] = set()

    def start(self, number: int, name: str, run: Callable[[], Awaitable[None]]) -> None:
        """Start a task, with an empty context that holds nothing of the caller's."""
        task = self._loop.create_task(self._run(number, run), name=name, context=Context())
        if not task.done():  # an eager task may be
            self._running[number] = task

    def close(self, number: int) -> None:
        """Cancel the task of a number, if it runs, without waiting."""
        if (task := self._running.pop(number, None)) is not None:
            self._closing.add(task)
            task.add_done_callback(self._closing.discard, context=Context())
            task.cancel()

    async def close_all(self, limit: float | None = None) -> None:
        """Cancel all tasks, and wait for their end.

        Args:
            limit: Seconds to wait; None if each task limits its own end.
        """
        for number in list(self._running):
            self.close(number)
        if self._closing:
            await asyncio.wait(self._closing, timeout=limit)

    async def _run(self, number: int, run: Callable[[], Awaitable[None]]) -> None:
        try:
            await run()
        except asyncio.CancelledError:
            if self._running.pop(number, None) is not None:  # not by `close`
                self._facts.loop_ends()
            raise
        finally:
            self._running.pop(number, None)
