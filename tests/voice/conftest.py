"""What the tests of voice calls share: virtual time, and the hosts that each call is made to."""

from __future__ import annotations

from typing import Any

import pytest

from support.virtual_time import pytest_asyncio_loop_factories

__all__ = ["pytest_asyncio_loop_factories"]


Host = dict[str, Any]


def _host(lanes: str, store: bool | None, warm_connections: int) -> Any:
    name = f"{lanes}-{'stored' if store is None else 'unstored'}-warm_connections{warm_connections}"
    return pytest.param(
        {"lanes": lanes, "store": store, "warm_connections": warm_connections}, id=name
    )


@pytest.fixture(params=[_host("on", None, 1), _host("on", False, 1)])
def host(request: pytest.FixtureRequest) -> Host:
    """A host with lanes, that stores answers or not."""
    value: Host = request.param
    return value


@pytest.fixture(
    params=[
        _host("on", None, 1),
        _host("on", False, 1),
        _host("on", False, 0),
        _host("off", None, 1),
        _host("off", False, 1),
        _host("off", False, 0),
        _host("refuse", None, 0),
        _host("refuse", False, 1),
        _host("ignore", None, 1),
        _host("ignore", False, 0),
    ]
)
def any_host(request: pytest.FixtureRequest) -> Host:
    """Hosts with lanes, without, and such as only turn out to have none."""
    value: Host = request.param
    return value
