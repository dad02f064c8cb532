"""What the fault cases share: virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

from rtllm_livekit.testing import VirtualTimeLoop
from support.fixtures import no_turn_left

__all__ = ["no_turn_left"]


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Time jumps in all tests of this folder."""
    return {"virtual": VirtualTimeLoop}
