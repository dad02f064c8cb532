"""What the tests of the VideoSDK adapter share: the hosts that each scenario is played on."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from videosdk.agents.metrics import metrics_collector

from videosdk_adapter.stage import Host


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


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of the developer's own account takes part."""
    names = [f"OPENAI_{n}" for n in ("API_KEY", "BASE_URL", "ORG_ID", "PROJECT_ID", "API_VERSION")]
    names += [f"AZURE_OPENAI_{n}" for n in ("ENDPOINT", "DEPLOYMENT", "API_KEY", "AD_TOKEN")]
    for name in names:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(autouse=True)
def _no_turn_left() -> Iterator[None]:
    """The framework's metrics are one object for all sessions."""
    metrics_collector.current_turn = None
    yield
    metrics_collector.current_turn = None
