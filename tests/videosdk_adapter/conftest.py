"""What the tests of the VideoSDK adapter share: the hosts that each scenario is played on."""

from __future__ import annotations

from typing import Any

import pytest

from support.fixtures import no_turn_left
from support.virtual_time import pytest_asyncio_loop_factories
from videosdk_adapter.stage import Host

__all__ = ["no_turn_left", "pytest_asyncio_loop_factories"]


def _host(name: str, **options: Any) -> Any:
    return pytest.param(options, id=name)


_LANES = [_host("unstored", streaming=True), _host("stored", streaming=True, store=True)]
_HTTP = [
    _host("http", streaming=False),
    _host("responses-http-unstored", streaming=True, use_websocket=False),
    _host("responses-http-stored", streaming=True, use_websocket=False, store=True),
]
_NO_LANES = [
    _host(f"{lanes}-{'stored' if store else 'unstored'}", streaming=True, lanes=lanes, store=store)
    for lanes in ("off", "refuse", "ignore")
    for store in (False, True)
]


@pytest.fixture(params=_LANES)
def socket(request: pytest.FixtureRequest) -> Host:
    """The Responses WebSocket of a host with lanes, that stores answers or not."""
    value: Host = request.param
    return value


@pytest.fixture(params=[*_LANES, *_HTTP])
def host(request: pytest.FixtureRequest) -> Host:
    """Both ways."""
    value: Host = request.param
    return value


@pytest.fixture(params=[*_LANES, *_NO_LANES, *_HTTP])
def any_host(request: pytest.FixtureRequest) -> Host:
    """Both ways, and hosts without lanes, and such as only turn out to have none."""
    value: Host = request.param
    return value
