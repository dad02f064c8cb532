"""Virtual time for a folder of tests: a wait costs nothing, and no slow machine makes one run out.

A folder's `conftest.py` imports the hook. Both ends of each socket are on the one loop, so time
jumps only when no bytes are on their way. A wait of less than a tenth of a second may overtake
them: limits are whole seconds. A test that runs another loop in a thread is marked `real_time`.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Mapping

import pytest

from rtllm_livekit.testing import VirtualTimeLoop


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]] | None:
    """Time jumps in all tests of the folder, but for those that are marked, and on uvloop."""
    chosen = config.getoption("--event-loop")
    if chosen == "uvloop" or item.get_closest_marker("real_time") is not None:
        return None if chosen != "default" else {"real": asyncio.new_event_loop}
    return {"virtual": VirtualTimeLoop if chosen == "default" else _eager_loop}


def _eager_loop() -> VirtualTimeLoop:
    loop = VirtualTimeLoop()
    if sys.version_info >= (3, 12):
        loop.set_task_factory(asyncio.eager_task_factory)
    return loop
