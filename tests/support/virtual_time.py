"""Virtual time for a folder of tests: a wait costs nothing, and no slow machine makes one run out.

A folder's `conftest.py` imports the hook. Both ends of each socket are on the one loop, so time
jumps only when no bytes are on their way. A wait of less than a tenth of a second may overtake
them: limits are whole seconds. A test that runs another loop in a thread is marked `real_time`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import pytest

from rtllm_livekit.testing import VirtualTimeLoop
from support.event_loops import LoopFactory, loop_factory


def pytest_asyncio_loop_factories(item: pytest.Item) -> Mapping[str, LoopFactory]:
    """Time jumps in all tests of the folder, but for those that are marked."""
    is_real = item.get_closest_marker("real_time") is not None
    make = asyncio.new_event_loop if is_real else VirtualTimeLoop
    return loop_factory(item.config.getoption("--event-loop"), make)
