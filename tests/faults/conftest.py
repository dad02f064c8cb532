"""What the fault cases share: virtual time."""

from __future__ import annotations

from support.fixtures import no_turn_left
from support.virtual_time import pytest_asyncio_loop_factories

__all__ = ["no_turn_left", "pytest_asyncio_loop_factories"]
