"""What the fault cases share: virtual time, and a clean environment."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping

import pytest
from videosdk.agents.metrics import metrics_collector

from rtllm_livekit.testing import VirtualTimeLoop


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Time jumps in all tests of this folder."""
    return {"virtual": VirtualTimeLoop}


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of the developer's own account takes part."""
    names = ("API_KEY", "BASE_URL", "ORG_ID", "PROJECT_ID", "API_VERSION")
    for name in [*(f"OPENAI_{n}" for n in names), "AZURE_OPENAI_ENDPOINT", "AZURE_OPENAI_API_KEY"]:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(autouse=True)
def _no_turn_left() -> Iterator[None]:
    """VideoSDK's metrics are one object for all sessions."""
    metrics_collector.current_turn = None
    yield
    metrics_collector.current_turn = None
