"""What holds a key, a password or a caller's words, and where they must not be seen."""

from __future__ import annotations

import logging
from typing import Any

import openai
import pytest
from aiohttp import web

from rtllm import (
    ChatClient,
    Client,
    Credentials,
    Message,
    Network,
    Request,
    RetryPolicy,
    TurnError,
    endpoint,
)
from rtllm.engine.actions import Connect, StartHttp
from rtllm.engine.connection import Opening
from rtllm.providers.config import resolve_provider
from rtllm.simulator import (
    Close,
    ErrorFrame,
    FailedResponse,
    RefuseRequest,
    Simulator,
    in_turn,
)
from transport.caller import Caller, as_recorded, spoken

KEY = "sk-canary-0123456789"
WORDS = "my pin is four two"


def test_no_repr_shows_a_secret() -> None:
    network = Network(proxy=f"http://user:{KEY}@proxy:8080")
    request = Request(
        (Message.of("user", "hello"),),
        "gpt-5.6-luna",
        as_recorded,
        headers={"x-key": KEY},
        query={"api-key": KEY},
        network=network,
    )
    values: list[Any] = [
        network,
        request,
        Credentials(KEY, headers={"x-key": KEY}),
        endpoint(f"https://host/v1?api-key={KEY}"),
        resolve_provider(api_key=KEY, base_url=f"https://host/v1?api-key={KEY}"),
        Opening("gpt-5.6-luna", network, 1.0),
        Connect(1, "gpt-5.6-luna", network),
        StartHttp(-1, 1, {}, network, {"x-key": KEY}, {"api-key": KEY}, 1.0, 1.0),
        Client(endpoint(f"https://host/v1?api-key={KEY}"), Credentials(KEY)),
    ]
    assert [value for value in values if KEY in f"{value!r} {value}"] == []


def test_an_endpoints_repr_still_shows_its_host() -> None:
    shown = repr(endpoint(f"https://host:8443/v1?api-key={KEY}"))
    assert "wss://host:8443/v1/responses" in shown
    assert "?…" in shown
    assert "?" not in repr(endpoint("https://host/v1"))


@pytest.mark.parametrize("socket", [True, False])
@pytest.mark.parametrize("lent", [True, False])
async def test_a_host_that_repeats_the_request_puts_no_key_into_errors_or_logs(
    socket: bool, lent: bool, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "rtllm")

    async def repeat(request: web.Request) -> web.Response:
        told = f"not here: {dict(request.headers)}"
        return web.json_response({"error": {"message": told, "code": "no"}}, status=400)

    app = web.Application()
    app.router.add_route("*", "/v1/responses", repeat)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    root = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
    theirs = openai.AsyncOpenAI(api_key=KEY, base_url=root) if lent else None
    client = Client(
        endpoint(root),
        Credentials(KEY, headers={"x-api-key": f"also-{KEY}"}),
        websocket=socket,
        fallback=None,
        http_client=theirs,
    )
    with pytest.raises(TurnError, match="not here") as error:
        await Caller(client, retry=RetryPolicy(0)).say("hello")
    seen: BaseException | None = error.value
    while seen is not None:
        assert KEY not in f"{seen!r} {seen}"
        seen = seen.__cause__ or seen.__context__
    assert KEY not in caplog.text
    await client.aclose()
    if theirs is not None:
        await theirs.close()
    await runner.cleanup()


@pytest.mark.parametrize("socket", [True, False])
@pytest.mark.parametrize(
    "fault",
    [
        ErrorFrame(phase="sent", code=KEY, message=f"Incorrect API key: {KEY}"),
        ErrorFrame(phase="created", code="invalid_api_key", message=f"Key {KEY}", param=KEY),
        FailedResponse(phase="created", code="invalid_api_key", message=f"Key {KEY}"),
        Close(phase="created", code=1008, reason=f"key {KEY}"),
    ],
    ids=["refused", "error", "failed", "close"],
)
async def test_a_host_that_repeats_the_key_in_an_event_puts_it_into_no_error_or_log(
    socket: bool, fault: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "rtllm")
    seen: list[object] = []
    async with Simulator(fault=fault) as simulator:
        client = Client(
            endpoint(simulator.base_url),
            Credentials(KEY),
            websocket=socket,
            fallback=None,
            on_turn=seen.append,
            on_trace=seen.append,
        )
        with pytest.raises(TurnError) as error:
            await Caller(client, retry=RetryPolicy(0)).say("hello")
        await client.aclose()
    assert "…" in str(error.value) or (not socket and isinstance(fault, Close))
    assert [one for one in (*seen, error.value, vars(error.value)) if KEY in repr(one)] == []
    assert KEY not in caplog.text


async def test_a_key_that_is_a_word_of_the_answer_is_spoken() -> None:
    async with Simulator("You said anything.") as simulator:
        for socket in (True, False):
            client = Client(endpoint(simulator.base_url), Credentials("anything"), websocket=socket)
            assert spoken(await Caller(client).say("hello")) == "You said anything."
            await client.aclose()


async def test_what_a_refusal_quotes_of_the_request_is_logged_at_debug_only(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG, "rtllm")
    told = f"System message must be at the beginning, input: {WORDS}"
    refusal = RefuseRequest(status=400, body=f'{{"error": {{"message": "{told}"}}}}')
    async with Simulator(fault=in_turn(refusal, None), strict=False) as simulator:
        client = ChatClient(
            make_client=lambda _: openai.AsyncOpenAI(base_url=simulator.base_url, api_key=KEY)
        )
        caller = Caller(client)
        caller.items.append(Message.of("user", WORDS))
        caller.items.append(Message.of("system", "Hurry."))
        await caller.listen()
        await client.aclose()
    warned = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
    assert any("system_messages" in message for message in warned)
    quoting = [r for r in caplog.records if WORDS in r.getMessage()]
    assert [r.levelname for r in quoting] == ["DEBUG"]
