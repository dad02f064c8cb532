"""Handshakes: credentials, addresses, redirects, loops."""

import asyncio
import itertools
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import pytest
from aiohttp import web

from rtllm import Client, ConnectionLost, Credentials, RequestRejected, RetryPolicy, endpoint
from rtllm.providers.origins import stays_at_origin
from rtllm.simulator import AcceptThen, Close, ErrorFrame, Simulator
from support.serving import running
from transport.caller import Caller, MakeClient, spoken


async def test_the_key_is_asked_for_at_each_handshake(make_client: MakeClient) -> None:
    given: list[str] = []

    async def key() -> str:
        given.append(f"key-{len(given)}")
        return given[-1]

    async with Simulator() as simulator:
        client = Client(endpoint(simulator.base_url), Credentials(key), lanes=True)
        caller = Caller(client)
        await caller.say("one")
        await caller.say("two")
        await simulator.close_connections()
        await caller.say("three")
        sent = [c.headers["Authorization"] for c in simulator.journal.connections]
        assert sent == ["Bearer key-0", "Bearer key-1"]
        await client.aclose()


@pytest.mark.parametrize("bad", ["", None])
async def test_a_key_function_without_a_key_is_reported(bad: str) -> None:
    async with Simulator() as simulator:
        client = Client(endpoint(simulator.base_url), Credentials(lambda: bad))
        with pytest.raises(RequestRejected, match="its function returned no key"):
            await Caller(client).say("hello")
        await client.aclose()


async def test_a_redirect_to_another_host_is_not_followed() -> None:
    async with Simulator() as elsewhere, moved(elsewhere.base_url) as base_url:
        for websocket in (True, False):
            client = Client(endpoint(base_url), Credentials("secret"), websocket=websocket)
            with pytest.raises(RequestRejected, match=r"redirects .* to another host"):
                await Caller(client).say("hello")
            await client.aclose()
        assert not elsewhere.journal.connections
        assert not elsewhere.journal.entries


@pytest.mark.parametrize("websocket", [True, False])
async def test_a_redirect_within_its_host_is_followed(*, websocket: bool) -> None:
    async with Simulator("Hi.") as service, moved(service.base_url, relays=True) as base_url:
        client = Client(endpoint(base_url), Credentials("secret"), websocket=websocket)
        assert spoken(await Caller(client).say("hello")) == "Hi."
        await client.aclose()


@asynccontextmanager
async def moved(url: str, *, relays: bool = False) -> AsyncIterator[str]:
    """Serve an API's root that redirects all requests.

    Args:
        url: The root to redirect to.
        relays: Redirect to another path of this server instead, which passes requests on.
    """

    async def redirect(_: web.Request) -> web.Response:
        raise web.HTTPTemporaryRedirect(f"{'/new' if relays else url}/responses")

    async def relay(request: web.Request) -> web.StreamResponse:
        assert request.headers["Authorization"] == "Bearer secret"
        headers = {"Authorization": "Bearer secret", "Content-Type": "application/json"}
        async with aiohttp.ClientSession(headers=headers) as session:
            if request.method == "POST":
                body = await request.read()
                async with session.post(f"{url}/responses", data=body) as answer:
                    return web.Response(body=await answer.read(), content_type="text/event-stream")
            socket = web.WebSocketResponse()
            await socket.prepare(request)
            async with session.ws_connect(f"{url}/responses") as service:
                await service.send_str(await socket.receive_str())
                async for message in service:
                    await socket.send_str(message.data)
                    if '"response.completed"' in message.data:
                        break
            return socket

    app = web.Application()
    app.router.add_route("*", "/v1/responses", redirect)
    app.router.add_route("*", "/new/responses", relay)
    async with running(app) as address:
        yield address


@pytest.mark.parametrize(
    ("url", "location", "stays"),
    [
        ("https://host/v1/responses", "/v2/responses", True),
        ("https://host/v1/responses", "https://host:443/v1/responses/", True),
        ("wss://host/v1/responses", "https://host/v2", True),
        ("http://host/v1", "https://host/v1", "upgraded"),
        ("http://host:8000/v1", "https://host/v1", False),
        ("https://host/v1", "http://host/v1", False),
        ("https://host/v1", "https://host.example/v1", False),
        ("https://host/v1", "//elsewhere/v1", False),
        ("https://host/v1", "https://host:nowhere/v1", False),
    ],
)
def test_a_redirect_stays_at_its_origin(url: str, location: str, stays: bool | str) -> None:
    assert stays_at_origin(url, location) is (stays is True)
    assert stays_at_origin(url, location, may_upgrade=True) is bool(stays)


async def test_credentials_are_in_no_repr() -> None:
    credentials = Credentials("secret", headers={"x-key": "hidden"})
    client = Client(endpoint("https://host/v1"), credentials)
    for text in (repr(credentials), repr(client), repr(vars(client))):
        assert "secret" not in text
        assert "hidden" not in text


async def test_prewarming_makes_the_connection_that_the_first_turn_uses(
    make_client: MakeClient,
) -> None:
    async with Simulator() as simulator:
        client = make_client(simulator)
        caller = Caller(client)
        client.prewarm("gpt-4.1", caller.request().network)
        client.prewarm("gpt-4.1", caller.request().network)
        await simulator.journal.wait(lambda journal: journal.open_connections)
        await caller.say("hello")
        assert len(simulator.journal.connections) == 1


def test_one_client_serves_several_event_loops_one_after_the_other_and_at_once() -> None:
    ready, done = threading.Event(), threading.Event()
    urls: list[str] = []

    def serve() -> None:
        async def run() -> None:
            async with Simulator() as simulator:
                urls.append(simulator.base_url)
                ready.set()
                await asyncio.to_thread(done.wait)

        asyncio.run(run())

    server = threading.Thread(target=serve)
    server.start()
    ready.wait()
    client = Client(endpoint(urls[0]), Credentials("key"), lanes=True)
    heard: list[str] = []

    async def talk(name: str) -> None:
        caller = Caller(client)
        for turn in range(3):
            heard.append(spoken(await caller.say(f"{name} {turn}")))
        await client.aclose()

    asyncio.run(talk("first"))
    asyncio.run(talk("second"))
    threads = [threading.Thread(target=asyncio.run, args=(talk(f"t{n}"),)) for n in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    done.set()
    server.join()
    assert len(heard) == 12
    assert set(heard) == {
        f"You said: {name} {turn}" for name in ("first", "second", "t0", "t1") for turn in range(3)
    }


@pytest.mark.parametrize("early", [True, False])
async def test_a_host_that_accepts_and_then_refuses_is_understood(
    make_client: MakeClient, early: bool
) -> None:
    says = ErrorFrame(
        code="invalid_api_key", status=401, kind="invalid_request_error", message="Wrong key."
    )
    async with Simulator(on_connect=lambda _: AcceptThen(error=says, close=1008)) as simulator:
        client = make_client(simulator)
        caller = Caller(client)
        if early:
            client.prewarm("gpt-4.1", caller.request().network)
        with pytest.raises(RequestRejected, match=r"Wrong key\."):
            await caller.say("hello")


async def test_a_host_that_closes_each_connection_at_once_is_not_dialled_forever(
    make_client: MakeClient,
) -> None:
    async with Simulator(on_connect=lambda _: AcceptThen(close=1000)) as simulator:
        caller = Caller(make_client(simulator), retry=RetryPolicy(2, 0.0))
        with pytest.raises(ConnectionLost):
            await caller.say("hello")
        assert len(simulator.journal.connections) <= 4


@pytest.mark.parametrize("good", [2, 9])
async def test_a_refused_token_is_requested_again_once(good: int) -> None:
    asked: list[int] = []

    def token() -> str:
        asked.append(1)
        return f"token-{len(asked)}"

    async with Simulator(api_key=f"token-{good}") as simulator:
        client = Client(endpoint(simulator.base_url), Credentials(token), lanes=True)
        caller = Caller(client, retry=RetryPolicy(0))
        if good == 2:
            assert spoken(await caller.say("hello")) == "You said: hello"
        else:
            with pytest.raises(RequestRejected) as error:
                await caller.say("hello")
            assert error.value.details.status == 401
        assert len(asked) == 2
        await client.aclose()


async def test_a_close_after_the_refusal_of_a_lane_is_a_close(make_client: MakeClient) -> None:
    async with Simulator(lanes="refuse", fault=[Close(phase="sent")]) as simulator:
        caller = Caller(make_client(simulator), retry=RetryPolicy(0))
        assert spoken(await caller.say("hello")) == "You said: hello"


async def test_a_token_that_runs_out_on_an_open_socket_is_requested_again() -> None:
    """Gateways check the token with each request; the next handshake brings a fresh one."""
    expired = ErrorFrame(code="invalid_api_key", status=401, kind="authentication_error")
    async with Simulator("yes", fault=[None, expired]) as simulator:
        asked = itertools.count(1)
        client = Client(
            endpoint(simulator.base_url),
            Credentials(lambda: f"key-{next(asked)}"),
            lanes=True,
            warm_connections=0,
            fallback=None,
        )
        caller = Caller(client)
        await caller.say("one")
        assert spoken(await caller.say("two")) == "yes"
        keys = [c.headers["Authorization"] for c in simulator.journal.connections]
        assert keys == ["Bearer key-1", "Bearer key-2"]
        await client.aclose()
