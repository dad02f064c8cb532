"""What hosts do otherwise than OpenAI's own."""

from __future__ import annotations

import asyncio
from typing import Any

import aiohttp
import pytest

from rtllm.simulator import HOSTS, FailedResponse, Pause, Reply, Simulator, Text
from simulator.wire import MODEL, connected, text_of


@pytest.mark.parametrize("status", [404, 405, 426])
async def test_a_host_without_websocket_answers_over_http(status: int) -> None:
    async with Simulator(no_websocket=status) as service, aiohttp.ClientSession() as session:
        with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
            await session.ws_connect(service.websocket_url)
        assert caught.value.status == status
        assert service.journal.connections[0].refused == status
        body = {"model": MODEL, "input": "Hi"}
        async with session.post(f"{service.base_url}/responses", json=body) as answer:
            assert answer.status == 200


async def test_a_connection_is_bound_to_its_first_model() -> None:
    async with Simulator(one_model=True) as service:
        async with connected(service) as wire:
            await wire.ask_id("Hi")
            await wire.ask_id("Hi")
            refused = await wire.refusal("Hi", model="gpt-5.1")
            assert (refused["code"], refused["status"]) == ("model_mismatch", 400)
            await wire.over.wait()
            assert wire.socket.close_code == 1008
        async with connected(service) as wire:
            await wire.ask_id("Hi", model="gpt-5.1")


async def test_an_upgrade_must_name_its_model() -> None:
    async with Simulator(model_in_query=True) as service, aiohttp.ClientSession() as session:
        with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
            await session.ws_connect(service.websocket_url)
        assert caught.value.status == 403
        socket = await session.ws_connect(f"{service.websocket_url}?model={MODEL}")
        await socket.close()


async def test_too_many_connections_are_refused_until_one_closes() -> None:
    async with Simulator(max_connections=1) as service:
        async with connected(service) as wire, aiohttp.ClientSession() as session:
            await wire.ask_id("Hi")
            with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
                await session.ws_connect(service.websocket_url)
            assert caught.value.status == 429
        await service.journal.wait(lambda journal: not journal.open_connections)
        async with connected(service) as wire:
            await wire.ask_id("Hi")


async def test_an_idle_connection_is_closed() -> None:
    async with Simulator(idle=0.05) as service, connected(service) as wire:
        await wire.ask_id("Hi")
        async with asyncio.timeout(10):
            await wire.over.wait()
        assert wire.socket.close_code == 1001


async def test_who_waits_for_an_answer_is_not_idle() -> None:
    slow = Reply.of(Text(pieces=("one ", Pause(0.3), "two")))
    async with Simulator(slow, idle=0.01) as service, connected(service) as wire:
        assert text_of(await wire.ask("Hi")) == "one two"


async def test_pings_keep_a_connection_in_use() -> None:
    async with (
        Simulator(idle=1.5) as service,
        aiohttp.ClientSession() as session,
        # It pings ten times as often as it must.
        session.ws_connect(service.websocket_url, heartbeat=0.15) as socket,
    ):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(2.0):
                await socket.receive()
        await socket.send_json({"type": "response.create", "model": MODEL, "input": "Hi"})
        assert '"response.created"' in await socket.receive_str()


@pytest.mark.parametrize("forgets", [False, True])
async def test_a_failure_may_kill_the_whole_chain(forgets: bool) -> None:
    fault = [None, FailedResponse()]
    async with (
        Simulator(fault=fault, forgets_on_failure=forgets) as service,
        connected(service) as wire,
    ):
        parent = await wire.ask_id("Hi", "a")
        assert (await wire.ask("Hi", "b"))["type"] == "response.failed"
        if forgets:
            refused = await wire.refusal("Go on", "b", previous_response_id=parent)
            assert refused["code"] == "previous_response_not_found"
        else:
            await wire.ask_id("Go on", "b", previous_response_id=parent)


@pytest.mark.parametrize("name", HOSTS)
async def test_known_hosts_are_options(name: str) -> None:
    options: dict[str, Any] = dict(HOSTS[name])
    async with Simulator(**options) as service, aiohttp.ClientSession() as session:
        address = f"{service.websocket_url}?model={MODEL}"
        if "no_websocket" in options:
            with pytest.raises(aiohttp.WSServerHandshakeError):
                await session.ws_connect(address)
            return
        async with session.ws_connect(address) as socket:
            await socket.send_json({"type": "response.create", "model": MODEL, "input": "Hi"})
            assert '"response.created"' in (await socket.receive_str())


# -- what is kept ------------------------------------------------------------------------------


async def test_only_the_newest_requests_connections_and_responses_are_kept() -> None:
    async with Simulator(keep=3) as service:
        ids: list[str] = []
        for _ in range(5):
            async with connected(service) as wire:
                ids.append(await wire.ask_id("Hi", store=True))
        journal = service.journal
        assert [entry.index for entry in journal.entries] == [2, 3, 4]
        assert [entry.response_id for entry in journal.entries] == ids[2:]
        async with connected(service) as wire:
            await journal.wait(lambda j: [c.number for c in j.connections] == [3, 4, 5])
            assert await wire.refusal("Go on", previous_response_id=ids[1])
            await wire.ask_id("Go on", previous_response_id=ids[4])


async def test_what_still_runs_is_kept_whatever_its_age() -> None:
    gate = asyncio.Event()

    async def script(request: Any) -> str:
        if request.index == 0:
            await gate.wait()
        return "done"

    async with Simulator(script, keep=2) as service, connected(service) as wire:
        await wire.create("Hi", "slow")
        for _ in range(4):
            await wire.ask_id("Hi", "quick")
        assert [entry.index for entry in service.journal.entries] == [0, 4]
        gate.set()
        assert (await wire.rest("slow"))[-1]["type"] == "response.completed"
