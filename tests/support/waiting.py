"""Waiting for what has no event of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


async def until(holds: Callable[[], object], limit: float = 10.0) -> None:
    """Wait until something holds; fail if it doesn't in time."""
    async with asyncio.timeout(limit):
        while not holds():
            await asyncio.sleep(0.002)
