"""Event loops that tests may run on: asyncio's, the same with eager tasks, or uvloop's."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable

LoopFactory = Callable[[], asyncio.AbstractEventLoop]


def loop_factory(chosen: str, make: LoopFactory) -> dict[str, LoopFactory]:
    """Name the factory of the chosen loops, for pytest-asyncio.

    Args:
        chosen: The option ``--event-loop``.
        make: Makes a loop of asyncio's.
    """
    if chosen == "uvloop":
        import uvloop  # noqa: PLC0415 - only on the platforms that have it

        return {"uvloop": uvloop.new_event_loop}
    if chosen == "eager":
        return {"eager": lambda: _eager(make())}
    return {make.__name__: make}


def _eager(loop: asyncio.AbstractEventLoop) -> asyncio.AbstractEventLoop:
    """Let a loop's tasks run until their first wait as soon as they are made."""
    if sys.version_info >= (3, 12):
        loop.set_task_factory(asyncio.eager_task_factory)
    return loop
