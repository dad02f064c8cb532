from __future__ import annotations

import asyncio
import json
from typing import Any

import aiohttp
import pytest
from yarl import URL

from rtllm.simulator import (
    AcceptThen,
    DelayHandshake,
    ErrorFrame,
    Pause,
    RefuseHandshake,
    Reply,
    Request,
    Simulator,
    Text,
    calls_on_demand,
    fixed,
    serve,
)
from simulator.wire import MODEL, connected, text_of


async def test_another_key_is_refused_at_the_handshake() -> None:
    async with Simulator(api_key="right") as service:
        for key in ("wrong", None):
            with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
                async with connected(service, key):
                    pass
            assert caught.value.status == 401
        async with connected(service, "right") as wire:
            await wire.ask_id("Hi")
        assert [c.refused for c in service.journal.connections] == [401, 401, None]
        assert service.journal.connections[2].headers["Authorization"] == "Bearer right"


async def test_a_refused_upgrade_is_plain_http() -> None:
    body = {"error": {"message": "slow down", "type": "rate_limit_error", "code": None}}
    fault = RefuseHandshake(429, body, {"retry-after": "2"})
    async with (
        Simulator(on_connect=lambda n: fault if n == 0 else None) as service,
        aiohttp.ClientSession() as session,
    ):
        async with session.get(f"{service.base_url}/responses") as response:
            assert (response.status, await response.json()) == (429, body)
            assert response.headers["retry-after"] == "2"
            assert response.headers["x-request-id"]
        async with connected(service) as wire:
            await wire.ask_id("Hi")


async def test_a_plain_get_gets_upgrade_required() -> None:
    async with (
        Simulator() as service,
        aiohttp.ClientSession() as session,
        session.get(f"{service.base_url}/responses") as response,
    ):
        assert response.status == 405


async def test_a_late_refusal_is_an_error_frame_and_a_close() -> None:
    fault = AcceptThen(ErrorFrame(code="model_not_found", status=404), close=1008)
    async with Simulator(on_connect=lambda _: fault) as service, connected(service) as wire:
        assert (await wire.event())["error"]["code"] == "model_not_found"
        await wire.over.wait()
        assert wire.socket.close_code == 1008


async def test_a_connection_may_die_right_after_the_upgrade() -> None:
    fault = AcceptThen(abort=True)
    async with Simulator(on_connect=lambda _: fault) as service, connected(service) as wire:
        await wire.over.wait()
        assert wire.socket.close_code == 1006


async def test_resetting_really_resets() -> None:
    async with Simulator() as service:
        address = URL(service.base_url)
        reader, writer = await asyncio.open_connection(address.host, address.port)
        writer.write(
            b"GET /v1/responses HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\n"
            b"Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
            b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
        )
        await reader.readuntil(b"\r\n\r\n")
        service.abort_connections()
        with pytest.raises(ConnectionResetError):
            await reader.read()
        writer.close()


async def test_the_address_of_azure_is_served_too() -> None:
    async with Simulator(lanes="off", models=["mine"]) as service:
        address = service.websocket_url.replace("/v1/", "/openai/v1/")
        async with aiohttp.ClientSession() as session, session.ws_connect(address) as socket:
            await socket.send_json({"type": "response.create", "model": "mine", "input": "Hi"})
            assert (await socket.receive_json())["type"] == "response.created"


async def test_a_handshake_waits_as_long_as_set() -> None:
    gate = asyncio.Event()

    async def connect(service: Simulator) -> None:
        async with connected(service) as wire:
            await wire.ask_id("Hi")

    async with (
        Simulator(on_connect=lambda _: DelayHandshake(gate)) as service,
        asyncio.TaskGroup() as tasks,
    ):
        tasks.create_task(connect(service))
        await service.journal.wait(lambda journal: journal.connections)
        assert not service.journal.connections[0].open
        gate.set()


async def test_a_connection_ends_when_its_time_is_over() -> None:
    async with Simulator(lifetime=0.05) as service, connected(service) as wire:
        error = (await wire.event())["error"]
        assert error["code"] == "websocket_connection_limit_reached"
        await wire.over.wait()


async def test_a_frame_that_is_too_big_closes_with_1009_and_no_event() -> None:
    async with Simulator(max_frame=10_000) as service, connected(service) as wire:
        await wire.ask_id("x" * 9_000)
        seen = len(wire.frames)
        await wire.create("x" * 10_000)
        await wire.over.wait()
        assert wire.socket.close_code == 1009
        assert len(wire.frames) == seen


async def test_a_frame_of_16_mib_is_too_big_by_default() -> None:
    async with Simulator() as service, connected(service) as wire:
        await wire.socket.send_str("x" * 2**24)
        await wire.over.wait()
        assert wire.socket.close_code == 1009


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        ("hello", "invalid_json"),
        ("[]", "invalid_type"),
        ("{}", "missing_required_parameter"),
        ('{"type":"response.cancel"}', "invalid_value"),
    ],
)
async def test_what_is_not_a_request_is_an_error_and_the_socket_lives_on(
    frame: str, code: str
) -> None:
    async with Simulator() as service, connected(service) as wire:
        await wire.socket.send_str(frame)
        assert (await wire.event())["error"]["code"] == code
        await wire.ask_id("Hi")
        assert len(service.journal.entries) == 1


async def test_a_refusal_has_the_live_form_and_names_its_lane() -> None:
    async with Simulator() as service, connected(service) as wire:
        assert await wire.ask("Hi", "a", top_k=1) == {
            "type": "error",
            "status": 400,
            "stream_id": "a",
            "error": {
                "type": "invalid_request_error",
                "code": "unknown_parameter",
                "message": "Unknown parameter: 'top_k'.",
                "param": "top_k",
            },
        }
        [entry] = service.journal.refused
        assert (entry.lane, entry.error_code) == ("a", "unknown_parameter")


async def test_an_unanswered_call_of_the_parent_is_refused() -> None:
    async with Simulator(calls_on_demand()) as service, connected(service) as wire:
        asked = await wire.ask("call look {}\ncall hear {}", "a")
        first, second = [item["call_id"] for item in asked["response"]["output"]]
        parent = asked["response"]["id"]
        outputs = [
            {"type": "function_call_output", "call_id": name, "output": f"of {name}"}
            for name in (first, second)
        ]
        refused = await wire.refusal(outputs[:1], "b", previous_response_id=parent)
        assert refused["message"] == f"No tool output found for function call {second}."
        answer = await wire.ask(outputs, "b", previous_response_id=parent)
        assert text_of(answer) == f"The tools said: of {first}; of {second}"


async def test_without_strictness_only_the_parent_is_looked_up() -> None:
    async with Simulator(strict=False) as service, connected(service) as wire:
        await wire.ask_id("Hi", model="anything", top_k=1)
        assert await wire.refusal("Hi", previous_response_id="resp_x")


async def test_a_stored_item_can_be_referred_to() -> None:
    async with Simulator() as service, connected(service) as wire:
        answer = await wire.ask("Hi", store=True)
        [item] = answer["response"]["output"]
        reference = {"type": "item_reference", "id": item["id"]}
        await wire.ask_id([reference, {"role": "user", "content": "Again"}])
        assert service.journal.entries[1].texts() == [
            ("assistant", "You said: Hi"),
            ("user", "Again"),
        ]


async def test_connections_are_closed_and_reset_on_demand() -> None:
    async with Simulator(Reply.of(Text(pieces=("a", Pause(asyncio.Event()))))) as service:
        async with connected(service) as wire:
            await wire.create("Hi")
            await wire.until("response.output_text.delta")
            await service.close_connections(1012)
            await wire.over.wait()
            assert wire.socket.close_code == 1012
        async with connected(service) as wire:
            await wire.create("Hi")
            await wire.until("response.output_text.delta")
            service.abort_connections()
            await wire.over.wait()
            assert wire.socket.close_code == 1006
        dropped = await service.journal.wait_for(2, outcome="dropped")
        assert len(dropped) == 2
        await service.journal.wait(lambda journal: not journal.open_connections)


async def test_a_client_that_vanishes_leaves_its_requests_dropped() -> None:
    async with Simulator(Reply.of(Pause(asyncio.Event()))) as service:
        async with connected(service) as wire:
            await wire.create("one", "a")
            await wire.create("two", "a")
            await wire.until("response.in_progress", "a")
        await service.journal.wait_for(2, outcome="dropped")


async def test_the_simulator_closes_with_responses_still_running() -> None:
    never = Reply.of(Pause(asyncio.Event()))
    async with Simulator(never) as service, connected(service) as wire:
        await wire.create("Hi")
        await wire.until("response.in_progress")
        await service.aclose()
        await service.aclose()
        await wire.over.wait()
        assert wire.socket.close_code == 1001


async def test_a_scripts_exception_fails_the_response_and_comes_out_at_the_end() -> None:
    def script(_: Request) -> str:
        raise LookupError("no idea")

    with pytest.raises(LookupError, match="no idea"):
        async with Simulator(script) as service, connected(service) as wire:
            assert (await wire.ask("Hi"))["type"] == "response.failed"


async def test_scripts_may_be_awaitable_and_exchanged() -> None:
    async def script(request: Request) -> str:
        return f"{request.index} {request.connection} {request.lane}"

    async with Simulator(script) as service, connected(service) as wire:
        assert text_of(await wire.ask("Hi", "a")) == "0 0 a"
        service.script = fixed("one", Reply.of("two"))
        assert [text_of(await wire.ask("Hi")) for _ in range(3)] == ["one", "two", "two"]


async def test_waiting_for_what_does_not_come_tells_the_journal() -> None:
    async with Simulator() as service, connected(service) as wire:
        await wire.ask_id("Hi", "a")
        with pytest.raises(TimeoutError, match="#0 a completed"):
            await service.journal.wait_for(2, timeout=0.01)


@pytest.mark.parametrize("verbose", [False, True])
async def test_serving_prints_a_line_for_each_request(verbose: bool) -> None:
    lines: asyncio.Queue[str] = asyncio.Queue()
    task = asyncio.create_task(serve(lines.put_nowait, port=0, script="calls", verbose=verbose))
    address = (await lines.get()).split("WebSocket ")[1].rstrip(")")
    async with aiohttp.ClientSession() as session, session.ws_connect(address) as socket:
        create: dict[str, Any] = {"type": "response.create", "model": MODEL, "input": "secret"}
        await socket.send_json(create)
        async for message in socket:
            if json.loads(message.data)["type"] == "response.completed":
                break
    told = [await lines.get() for _ in range(2)]
    assert "running" in told[0]
    assert "completed resp_" in told[1]
    assert ("secret" in told[1]) is verbose
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_serving_an_unknown_script_names_the_known_ones() -> None:
    with pytest.raises(ValueError, match="calls, echo"):
        await serve(print, script="x")


async def test_a_peer_that_does_not_answer_pings_is_abandoned() -> None:
    async with (
        Simulator(ping_interval=0.01, ping_timeout=0.05) as service,
        aiohttp.ClientSession() as session,
        session.ws_connect(service.websocket_url, autoping=False) as socket,
    ):
        async for message in socket:
            assert message.type is aiohttp.WSMsgType.PING
        assert socket.close_code == 1011


async def test_a_peer_that_answers_pings_is_kept() -> None:
    async with (
        Simulator(ping_interval=0.01, ping_timeout=10.0) as service,
        aiohttp.ClientSession() as session,
        session.ws_connect(service.websocket_url, autoping=False) as socket,
    ):
        for _ in range(5):
            ping = await socket.receive()
            assert ping.type is aiohttp.WSMsgType.PING
            await socket.pong(ping.data)
        assert service.journal.connections[0].open


async def test_the_output_is_cut_at_its_cap() -> None:
    async with Simulator("word " * 100) as service, connected(service) as wire:
        cut = (await wire.ask("Hi", max_output_tokens=20))["response"]
        assert cut["status"] == "incomplete"
        assert cut["incomplete_details"] == {"reason": "max_output_tokens"}
        assert 0 < cut["usage"]["output_tokens"] <= 20
        assert service.journal.entries[0].outcome == "incomplete"


@pytest.mark.parametrize("frame", ['"\\ud800"', "NaN"])
async def test_json_that_is_none_is_refused(frame: str) -> None:
    async with Simulator() as service, connected(service) as wire:
        await wire.socket.send_str('{"type":"response.create","input":' + frame + "}")
        assert (await wire.event())["error"]["code"] == "invalid_json"
