"""What the tests of a call's trace, usage and telemetry share: virtual time."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from support.fixtures import no_turn_left
from support.virtual_time import pytest_asyncio_loop_factories

__all__ = ["no_turn_left", "pytest_asyncio_loop_factories"]


@pytest.fixture(autouse=True)
def _logs_again() -> Iterator[None]:
    """The examples disable the frameworks' logs."""
    yield
    logging.disable(logging.NOTSET)
