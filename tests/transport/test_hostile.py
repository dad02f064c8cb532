"""Hosts, keys and texts made to do harm."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web

from rtllm import (
    Client,
    ConfigError,
    ConnectionLost,
    Credentials,
    Message,
    Network,
    RetryPolicy,
    Timeouts,
    ToolCall,
    ToolOutput,
    TurnError,
    TurnReport,
    endpoint,
)
from rtllm.simulator import DelayHandshake, Simulator
from transport.caller import NEVER_RUNS_OUT, QUICK, Caller, MakeClient, spoken

Serve = Callable[[web.WebSocketResponse, dict[str, Any]], Awaitable[None]]


@asynccontextmanager
async def host(serve: Serve) -> AsyncIterator[str]:
    """A host that does with each request what a test wants."""

    async def accept(request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse(max_msg_size=2**26)
        await socket.prepare(request)
        async for message in socket:
            await serve(socket, json.loads(message.data))
        return socket

    app = web.Application()
    app.router.add_get("/v1/responses", accept)
    runner = web.AppRunner(app, shutdown_timeout=0.2)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
    finally:
        await runner.cleanup()


def answer(number: int, text: str) -> list[dict[str, Any]]:
    """The events of a small answer."""
    item = {
        "type": "message",
        "id": f"m{number}",
        "content": [{"type": "output_text", "text": text}],
    }
    return [
        {"type": "response.created", "response": {"id": f"r{number}"}},
        {"type": "response.in_progress", "response": {"id": f"r{number}"}},
        {"type": "response.output_item.added", "output_index": 0, "item": {**item, "content": []}},
        {"type": "response.output_text.delta", "item_id": f"m{number}", "delta": text},
        {"type": "response.output_item.done", "output_index": 0, "item": item},
        {"type": "response.completed", "response": {"id": f"r{number}", "output": [item]}},
    ]


async def test_late_frames_of_an_answer_are_not_the_next_one() -> None:
    asked: list[dict[str, Any]] = []

    async def serve(socket: web.WebSocketResponse, request: dict[str, Any]) -> None:
        asked.append(request)
        number = len(asked)
        for late in answer(number - 1, f"Answer {number - 1}.")[3:] if number > 1 else ():
            await socket.send_json(late)
        for event in answer(number, f"Answer {number}."):
            await socket.send_json(event)

    async with host(serve) as base_url:
        # Its first event doesn't say what is continued, so that the host has to be trusted.
        client = Client(endpoint(base_url), Credentials("key"), lanes=False, chaining=True)
        caller = Caller(client)
        said = [spoken(await caller.say(f"question {n}")) for n in range(1, 4)]
        await client.aclose()
    assert said == ["Answer 1.", "Answer 2.", "Answer 3."]
    assert [request.get("previous_response_id") for request in asked] == [None, "r1", "r2"]


@pytest.mark.parametrize("prewarmed", [True, False])
@pytest.mark.parametrize("key", ["sk-abc\n", " sk-abc "])
async def test_blanks_around_a_key_do_no_harm(key: str, prewarmed: bool) -> None:
    async with Simulator(api_key="sk-abc") as simulator:
        client = Client(endpoint(simulator.base_url), Credentials(key), lanes=True)
        if prewarmed:
            client.prewarm("gpt-4.1", Network())
        assert spoken(await Caller(client).say("hello")) == "You said: hello"
        await client.aclose()


@pytest.mark.parametrize("prewarmed", [True, False])
@pytest.mark.parametrize("header", ["a\nb", "a\r\nX: y"])
async def test_a_header_that_cannot_be_sent_is_an_error_of_each_turn(
    header: str, prewarmed: bool
) -> None:
    async with Simulator() as simulator:
        credentials = Credentials("key", headers={"X-Note": header})
        client = Client(endpoint(simulator.base_url), credentials)
        if prewarmed:
            client.prewarm("gpt-4.1", Network())
            await asyncio.sleep(0)
        for _ in range(2):
            with pytest.raises(TurnError, match="header"):
                await Caller(client, retry=RetryPolicy(0)).say("hello")
        await client.aclose()


async def test_half_a_character_is_replaced_and_noted(
    make_client: MakeClient, reports: list[TurnReport]
) -> None:
    async with Simulator() as simulator:
        caller = Caller(make_client(simulator))
        caller.items += [
            Message.of("user", "who?"),
            ToolCall("c", "look", "{}"),
            ToolOutput("c", "Zo\ud83d"),
        ]
        tools = [{"type": "function", "name": "look", "strict": False, "parameters": {}}]
        caller.settings["tools"] = tools
        for turn in range(2):
            await caller.say(f"turn {turn}")
            assert [note.change for note in reports[-1].context_repairs] == ["text repaired"]
        assert reports[-1].chained
        assert "Zo�" in [text for _, text in simulator.journal.entries[0].texts()]


async def test_settings_that_cannot_be_encoded_are_refused_at_once(make_client: MakeClient) -> None:
    async with Simulator() as simulator:
        caller = Caller(make_client(simulator), settings={"metadata": object()})
        with pytest.raises(ConfigError, match="can't be encoded"):
            caller.client.ask(caller.request())


async def test_closing_while_a_connection_is_made_ends_the_turn(make_client: MakeClient) -> None:
    never = asyncio.Event()
    async with Simulator(on_connect=lambda _: DelayHandshake(never)) as simulator:
        client = make_client(simulator)
        task = asyncio.ensure_future(Caller(client).say("hello"))
        await simulator.journal.wait(lambda journal: journal.connections or True)
        await asyncio.sleep(0)
        await client.aclose()
        with pytest.raises(ConnectionLost, match="closed"):
            await task
        never.set()


async def test_a_handshake_that_hangs_is_not_waited_for_twice(make_client: MakeClient) -> None:
    never = asyncio.Event()

    def slow(number: int) -> DelayHandshake | None:
        return DelayHandshake(never) if number == 0 else None

    async with Simulator(on_connect=slow) as simulator:
        client = make_client(simulator)
        client.prewarm("gpt-4.1", Network(), limit=20.0)
        await asyncio.sleep(0)
        quick = Timeouts(base=5.0, connect=0.1, open_item=5.0, total=20.0)
        caller = Caller(client, limits=quick, retry=RetryPolicy(1, 0.0))
        assert spoken(await caller.say("hello")) == "You said: hello"
        never.set()


async def test_a_proxys_password_is_in_no_error(make_client: MakeClient) -> None:
    client = Client(endpoint("https://host.invalid/v1"), Credentials("key"))
    network = Network(proxy="http://user:hunter2@127.0.0.1:9")
    caller = Caller(client, retry=RetryPolicy(0))
    request = caller.request()
    object.__setattr__(request, "items", (Message.of("user", "hello"),))
    object.__setattr__(request, "network", network)
    with pytest.raises(TurnError) as error, client.ask(request) as asked:
        await anext(asked)
    seen: BaseException | None = error.value
    while seen is not None:
        assert "hunter2" not in f"{seen!r} {seen}"
        seen = seen.__cause__ or seen.__context__
    await client.aclose()


async def test_a_connection_that_dies_while_a_large_request_is_sent_is_replaced() -> None:
    seen: list[int] = []

    async def accept(request: web.Request) -> web.WebSocketResponse:
        seen.append(1)
        socket = web.WebSocketResponse(max_msg_size=2**26)
        await socket.prepare(request)
        if len(seen) == 1:
            transport = request.transport
            assert transport is not None
            transport.pause_reading()
            await asyncio.sleep(2.0)  # virtual: nothing more can be written
            transport.abort()
            return socket
        async for _ in socket:
            for event in answer(1, "Here."):
                await socket.send_json(event)
        return socket

    app = web.Application()
    app.router.add_get("/v1/responses", accept)
    runner = web.AppRunner(app, shutdown_timeout=0.2)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    client = Client(
        endpoint(f"http://127.0.0.1:{runner.addresses[0][1]}/v1"), Credentials("key"), lanes=True
    )
    caller = Caller(client, limits=NEVER_RUNS_OUT, retry=RetryPolicy(0))
    assert spoken(await caller.say("x" * 14_000_000)) == "Here."
    assert client.usage.all.attempts == 2
    await client.aclose()
    await runner.cleanup()


async def test_words_that_make_no_sense_as_numbers_are_read_anyway() -> None:
    async def serve(socket: web.WebSocketResponse, request: dict[str, Any]) -> None:
        *events, end = answer(1, "Fine.")
        for event in events:
            await socket.send_json(event)
        end["response"]["usage"] = {"input_tokens": 12.0, "output_tokens": 3.0}
        await socket.send_str("[" * 100_000)  # nested deeper than any reader goes
        await socket.send_json(end)

    async with host(serve) as base_url:
        client = Client(endpoint(base_url), Credentials("key"), lanes=False)
        assert spoken(await Caller(client, limits=QUICK).say("hello")) == "Fine."
        assert client.usage.all.input == 12
        await client.aclose()
