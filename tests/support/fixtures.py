"""Fixtures that several folders share; a `conftest.py` names those that it needs."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from videosdk.agents.metrics import metrics_collector


@pytest.fixture(autouse=True)
def no_turn_left() -> Iterator[None]:
    """VideoSDK's metrics are one object for all sessions."""
    metrics_collector.current_turn = None
    yield
    metrics_collector.current_turn = None
