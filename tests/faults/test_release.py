"""Ten minutes after its last request nothing hidden is kept of a conversation."""

from __future__ import annotations

import asyncio

import pytest

from rtllm import Client, Credentials, endpoint
from rtllm.context.conversations import RELEASED_AFTER
from rtllm.simulator import Hosted, Reply, Simulator, Text
from transport.caller import Caller

SEARCH = {"query": "tables for two"}


@pytest.mark.parametrize("quiet", [RELEASED_AFTER - 1, RELEASED_AFTER + 1], ids=["kept", "gone"])
@pytest.mark.parametrize("websocket", [True, False], ids=["socket", "http"])
async def test_hidden_items_are_released(quiet: float, *, websocket: bool) -> None:
    async with Simulator(Reply.of(Hosted("web_search_call", SEARCH), Text("Found."))) as service:
        client = Client(
            endpoint(service.base_url), Credentials("key"), lanes=True, websocket=websocket
        )
        caller = Caller(client, settings={"store": False})
        await caller.say("Look.")
        await asyncio.sleep(quiet)
        await service.close_connections()
        await caller.say("And now?")
        sent = [item.get("type", "message") for item in service.journal.entries[-1].input]
        assert ("web_search_call" in sent) is (quiet < RELEASED_AFTER)
        await client.aclose()
