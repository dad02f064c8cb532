"""Event loop with virtual time: a minute of a phone call takes milliseconds.

LiveKit reads the wall clock as well as the loop's, so both follow the same virtual time while the
loop runs.
"""

import asyncio
import selectors
import time
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import Executor
from contextlib import contextmanager
from typing import Any, TypeVar, TypeVarTuple, Unpack, cast
from unittest import mock

from pydantic import BaseModel

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

_wall = time.time
_real = time.perf_counter

# The virtual time of one pass of the loop. So no two events have the same time, and a loop that
# polls the clock terminates.
_PASS = 1e-6

# Timers that are due sooner may fire before bytes on a loopback socket are read, as if these had
# needed that long.
_SOON = 0.1


class _Clock:
    """The virtual seconds since the loop was created."""

    def __init__(self) -> None:
        self.elapsed = 0.0
        self._wall = time.time()
        self._monotonic = time.monotonic()
        self._perf = time.perf_counter()

    def time(self) -> float:
        return self._wall + self.elapsed

    def monotonic(self) -> float:
        return self._monotonic + self.elapsed

    def perf_counter(self) -> float:
        return self._perf + self.elapsed

    @contextmanager
    def shown_by_time(self) -> Iterator[None]:
        """Make the module `time` return this clock's time."""
        if time.time is not _wall:
            raise RuntimeError("another VirtualTimeLoop is running; run only one at a time")
        _bind_defaults_late()
        with mock.patch.multiple(
            time, time=self.time, monotonic=self.monotonic, perf_counter=self.perf_counter
        ):
            yield


class _JumpingSelector(selectors.DefaultSelector):
    """Moves the clock instead of waiting, unless there is I/O to handle."""

    def __init__(self, clock: _Clock, patience: float) -> None:
        super().__init__()
        self._clock = clock
        self._patience = patience
        self.threads = 0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        self._clock.elapsed += _PASS
        events = super().select(0)
        if events or (timeout is not None and timeout <= 0):
            return events
        if timeout is None or self.threads:
            began = _real()
            events = super().select(timeout)
            self._clock.elapsed += _real() - began
            return events
        if timeout > _SOON and (events := super().select(self._patience)):
            return events
        self._clock.elapsed += timeout
        return []


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """An event loop on which waiting takes no real time.

    When nothing is ready to run and no socket has data, the clock jumps to the next timer. While
    the loop runs, `time.time`, `time.monotonic` and `time.perf_counter` return the same virtual
    time, for the entire process, so run only one such loop at a time.

    Details:

    * Sockets between two ends on this loop work as usual: sent data can be read at once. A peer in
    another process or thread has ``patience`` real seconds to answer before a jump of more than 0.1
    s; if it needs longer, pass more patience.
    * While a thread of `run_in_executor` works, time passes as usual. `time.sleep` is unchanged: it
    blocks, and no virtual time passes.
    * Each pass of the loop takes a microsecond, so time always advances.
    * References to `time.time` that were made before (``from time import time``) return the real
    time. Those in the defaults of LiveKit's models are replaced.

    Args:
        patience: Real seconds to wait for I/O before a long jump.
    """

    def __init__(self, patience: float = 0.002) -> None:
        self._clock = _Clock()
        self._jumps = _JumpingSelector(self._clock, patience)
        super().__init__(self._jumps)

    def time(self) -> float:
        """Return the loop's virtual time in seconds."""
        return self._clock.monotonic()

    def run_forever(self) -> None:
        """Run until stopped; the module `time` returns virtual time meanwhile."""
        with self._clock.shown_by_time():
            super().run_forever()

    def run_in_executor(
        self, executor: Executor | None, func: Callable[[Unpack[Ts]], T], *args: *Ts
    ) -> asyncio.Future[T]:
        """Run a function in a thread; time passes as usual until it is done."""
        future = super().run_in_executor(executor, func, *args)
        self._jumps.threads += 1
        future.add_done_callback(self._thread_done)
        return future

    async def shutdown_default_executor(self, *args: Any, **options: Any) -> None:
        """Wait until the threads have ended; time passes as usual until then.

        From Python 3.12 this wait has a limit, which a jump would reach at once.
        """
        self._jumps.threads += 1
        try:
            await super().shutdown_default_executor(*args, **options)
        finally:
            self._jumps.threads -= 1

    def _thread_done(self, _: asyncio.Future[Any]) -> None:
        self._jumps.threads -= 1


def run_in_virtual_time(main: Coroutine[Any, Any, T], *, patience: float = 0.002) -> T:
    """Run a coroutine to its end on a new `VirtualTimeLoop`."""
    with asyncio.Runner(loop_factory=lambda: VirtualTimeLoop(patience)) as runner:
        return runner.run(main)


def _now() -> float:
    return time.time()


_BOUND: set[type[BaseModel]] = set()


def _bind_defaults_late() -> None:
    """Make LiveKit's models read `time.time` when they are created, not when it was imported.

    A context is ordered by ``created_at``, so real and virtual times must not mix in it.
    """
    waiting: list[type[BaseModel]] = [BaseModel]
    while waiting:
        model = waiting.pop()
        waiting += model.__subclasses__()
        if model in _BOUND or not model.__module__.startswith("livekit.agents."):
            continue
        _BOUND.add(model)
        changed = False
        for info in model.model_fields.values():
            if cast("Any", info.default_factory) is _wall:
                info.default_factory = _now
                changed = True
        if changed:
            model.model_rebuild(force=True)
