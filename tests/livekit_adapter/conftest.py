"""What the tests in sessions share: the hosts that each scenario is played on."""

from __future__ import annotations

from typing import Any

import pytest

from support.virtual_time import pytest_asyncio_loop_factories

__all__ = ["pytest_asyncio_loop_factories"]

Host = dict[str, Any]


def _host(lanes: str, store: bool | None) -> Any:
    name = f"{lanes}-{'stored' if store is None else 'unstored'}"
    return pytest.param({"lanes": lanes, "store": store}, id=name)


@pytest.fixture(params=[_host("on", None), _host("on", False)])
def host(request: pytest.FixtureRequest) -> Host:
    """A host with lanes, that stores answers or not."""
    value: Host = request.param
    return value


@pytest.fixture(
    params=[_host(lanes, s) for lanes in ("on", "off", "refuse", "ignore") for s in (None, False)]
)
def any_host(request: pytest.FixtureRequest) -> Host:
    """Hosts with lanes, without, and such as only turn out to have none."""
    value: Host = request.param
    return value
