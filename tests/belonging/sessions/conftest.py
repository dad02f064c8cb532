"""What the tests of belonging in sessions share: the SDKs, the hosts, and how many call."""

from __future__ import annotations

from typing import Any

import pytest

from belonging.sessions.hall import HOSTS, LANES
from belonging.sessions.on_livekit import LiveKit
from belonging.sessions.on_videosdk import VideoSDK
from support.fixtures import no_turn_left
from support.virtual_time import pytest_asyncio_loop_factories

__all__ = ["no_turn_left", "pytest_asyncio_loop_factories"]


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
