"""Virtual time, and clients of simulators."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from rtllm import (
    Client,
    Credentials,
    TurnReport,
    endpoint,
)
from rtllm.simulator import Simulator
from support.virtual_time import pytest_asyncio_loop_factories
from transport.caller import (
    MakeClient,
)

__all__ = ["pytest_asyncio_loop_factories"]


@pytest.fixture
def reports() -> list[TurnReport]:
    return []


@pytest.fixture
async def make_client(reports: list[TurnReport]) -> AsyncIterator[MakeClient]:
    """Clients that are closed at the end, after which no task may be left."""
    before = asyncio.all_tasks()
    clients: list[Client] = []

    def make(simulator: Simulator, **options: Any) -> Client:
        on_turn: Callable[[TurnReport], None] = reports.append
        # The socket by itself, unless a test sets a fallback.
        settings: dict[str, Any] = {"lanes": True, "fallback": None, "on_turn": on_turn, **options}
        key = settings.pop("key", "key")
        client = Client(endpoint(simulator.base_url), Credentials(key), **settings)
        clients.append(client)
        return client

    yield make
    for client in clients:
        await client.aclose()
    left = [t for t in asyncio.all_tasks() - before if "rtllm" in t.get_name() and not t.done()]
    assert not left, left
