"""What the tests of belonging in sessions share: the SDKs, the hosts, and how many call."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from videosdk.agents.metrics import metrics_collector

from belonging.sessions.hall import HOSTS, LANES
from belonging.sessions.on_livekit import LiveKit
from belonging.sessions.on_videosdk import VideoSDK


@pytest.fixture(params=[LiveKit(), VideoSDK()], ids=["livekit", "videosdk"])
def side(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture(params=HOSTS)
def any_host(request: pytest.FixtureRequest) -> str:
    """With lanes, without, over HTTP; answers are stored or not."""
    return str(request.param)


@pytest.fixture(params=LANES)
def host(request: pytest.FixtureRequest) -> str:
    """With lanes; answers are stored or not."""
    return str(request.param)


@pytest.fixture(params=[1, 2], ids=["alone", "twins"])
def callers(request: pytest.FixtureRequest) -> int:
    return int(request.param)


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of the developer's own account takes part."""
    for name in ("API_KEY", "BASE_URL", "ORG_ID", "PROJECT_ID"):
        monkeypatch.delenv(f"OPENAI_{name}", raising=False)


@pytest.fixture(autouse=True)
def _no_turn_left() -> Iterator[None]:
    """The framework's metrics are one object for all sessions."""
    metrics_collector.current_turn = None
    yield
    metrics_collector.current_turn = None
