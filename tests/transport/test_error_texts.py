"""Errors in the host's own words, whatever the body's shape, with the address that was asked."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import parse_qsl

import openai
import pytest
from aiohttp import web

from rtllm import (
    ChatClient,
    Client,
    ConnectFailed,
    Credentials,
    RateLimited,
    RequestRejected,
    RetryPolicy,
    Timeouts,
    TurnError,
    endpoint,
)
from transport.caller import Caller

KEY = "sk-secret-1"
ONCE = RetryPolicy(budget=0, interval=0.0)
WORDS = "The house is full."

SHAPES: dict[str, Any] = {
    "object": {"error": {"message": WORDS, "code": "full", "type": "t", "param": None}},
    "object without code": {"error": {"message": WORDS}},
    "flat object": {"message": WORDS, "code": "full"},
    "object in a list": [{"error": {"code": 400, "message": WORDS, "status": "INVALID"}}],
    "error is a string": {"error": WORDS},
    "error is a list": {"error": [{"message": WORDS}]},
    "errors": {"errors": [{"message": WORDS}]},
    "detail": {"detail": WORDS},
    "list of details": {"detail": [{"loc": ["body", "input"], "msg": WORDS, "type": "x"}]},
    "error_description": {"error": "invalid_client", "error_description": WORDS},
    "problem": {"title": WORDS, "status": 400, "type": "about:blank"},
    "fault": {"fault": {"faultstring": WORDS, "detail": {"errorcode": "x"}}},
    "message is an object": {"error": {"message": {"detail": WORDS}}},
    "json in the message": {"error": {"message": json.dumps({"detail": [{"msg": WORDS}]})}},
    "innererror": {
        "error": {"message": "Filtered.", "innererror": {"code": "Full", "message": WORDS}}
    },
    "details": {"error": {"code": "x", "details": [{"message": WORDS}]}},
    "raw of a provider": {"error": {"message": "Provider error", "metadata": {"raw": WORDS}}},
    "json string": json.dumps(WORDS),
    "text": WORDS,
    "text in lines": WORDS.replace(" ", "\n  "),
    "html": f"<!doctype html><html><head><title>{WORDS}</title></head><body>x</body></html>",
    "html without a title": f"<html><body><h1>{WORDS}</h1></body></html>",
    "nothing": "",
    "empty object": {},
    "null": "null",
    "binary": b"\xff\xfe\x00",
}


class Host:
    """Rejects everything with one body."""

    def __init__(self, body: Any, status: int, headers: dict[str, str]) -> None:
        self.body = body.encode() if isinstance(body, str) else body
        if not isinstance(self.body, bytes):
            self.body = json.dumps(body).encode()
        self.status = status
        self.headers = headers
        self.times: list[float] = []

    async def reject(self, _: web.Request) -> web.Response:
        self.times.append(asyncio.get_running_loop().time())
        return web.Response(status=self.status, body=self.body, headers=self.headers)

    async def send_frame(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        async for _ in socket:
            self.times.append(asyncio.get_running_loop().time())
            body = json.loads(self.body)
            has_error = isinstance(body, dict) and isinstance(body.get("error"), dict | list)
            error = body["error"] if has_error else body
            frame = {"type": "error", "status": self.status, "headers": self.headers}
            await socket.send_str(json.dumps({**frame, "error": error}))
        return socket


@asynccontextmanager
async def host(
    body: Any, status: int = 400, *, frame: bool = False, **headers: str
) -> AsyncIterator[tuple[Host, str]]:
    """Serve a host; yields its base URL too."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    service = Host(body, status, named)
    app = web.Application()
    app.router.add_get("/v1/responses", service.send_frame if frame else service.reject)
    app.router.add_post("/v1/{operation:.*}", service.reject)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield service, f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
    finally:
        await runner.cleanup()


def socket_client(url: str) -> Client:
    return Client(endpoint(url), Credentials(KEY), fallback=None, lanes=True)


def chat_client(url: str) -> ChatClient:
    root, _, query = url.partition("?")
    return ChatClient(
        make_client=lambda _: openai.AsyncOpenAI(
            base_url=root, api_key=KEY, default_query=dict(parse_qsl(query)), max_retries=0
        )
    )


CLIENTS: dict[str, tuple[Callable[[str], Client | ChatClient], str]] = {
    "handshake": (socket_client, "WebSocket ws://127.0.0.1:{port}/v1/responses"),
    "frame": (socket_client, "WebSocket ws://127.0.0.1:{port}/v1/responses"),
    "responses": (
        lambda url: Client(endpoint(url), Credentials(KEY), websocket=False),
        "POST http://127.0.0.1:{port}/v1/responses",
    ),
    "chat": (chat_client, "POST http://127.0.0.1:{port}/v1/chat/completions"),
}


def port_of(url: str) -> str:
    return url.split(":")[2].split("/", maxsplit=1)[0]


async def error_of(client: Client | ChatClient, **options: Any) -> TurnError:
    options.setdefault("retry", ONCE)
    try:
        with pytest.raises(TurnError) as caught:
            await Caller(client, **options).say("hello")
    finally:
        await client.aclose()
    return caught.value


def is_sentence(text: str) -> bool:
    return "\n" not in text and KEY not in text and len(text) < 500


CASES = [
    (via, shape)
    for via in CLIENTS
    for shape, body in SHAPES.items()
    if via != "frame" or isinstance(body, dict | list)  # a frame is JSON
]


@pytest.mark.parametrize(("via", "shape"), CASES)
async def test_the_hosts_words_the_address_and_the_status_are_in_the_error(
    via: str, shape: str
) -> None:
    body = SHAPES[shape]
    frame = via == "frame"
    make, address = CLIENTS[via]
    async with host(body, frame=frame) as (_, url):
        error = await error_of(make(url + "?api-key=hidden"))
        text = str(error)
        assert text.startswith(address.format(port=port_of(url)) + ": ")
    assert "hidden" not in text
    assert "status 400" in text
    assert is_sentence(text)
    if shape not in ("nothing", "empty object", "null", "binary"):
        assert WORDS in text


@pytest.mark.parametrize("via", CLIENTS)
async def test_a_later_frame_of_a_running_response_is_quoted_too(via: str) -> None:
    """The rejection comes after the service has accepted the request."""
    created = {"type": "response.created", "response": {"id": "resp_1", "status": "in_progress"}}
    failed = {
        "type": "response.failed",
        "response": {
            "id": "resp_1",
            "status": "failed",
            "error": {"code": "full", "message": WORDS},
        },
    }
    chunk = {"error": {"code": "full", "message": WORDS}}

    async def stream(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        events = [chunk] if "chat" in request.path else [created, failed]
        for event in events:
            kind = f"event: {event['type']}\n" if "type" in event else ""
            await response.write(f"{kind}data: {json.dumps(event)}\n\n".encode())
        return response

    async def socket(request: web.Request) -> web.WebSocketResponse:
        opened = web.WebSocketResponse()
        await opened.prepare(request)
        async for message in opened:
            lane = {"stream_id": json.loads(message.data).get("stream_id")}
            await opened.send_str(json.dumps({**created, **lane}))
            await opened.send_str(json.dumps({**failed, **lane}))
        return opened

    app = web.Application()
    app.router.add_get("/v1/responses", socket)
    app.router.add_post("/v1/{operation:.*}", stream)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        port = runner.addresses[0][1]
        make, address = CLIENTS[via]
        error = await error_of(make(f"http://127.0.0.1:{port}/v1"))
    finally:
        await runner.cleanup()
    assert error.message == WORDS
    assert str(error) == f"{address.format(port=port)}: {WORDS} (code full" + (
        ", request resp_1)" if error.details.request_id else ")"
    )


# -- connections ---------------------------------------------------------------------------------

REFUSED = {
    "handshake": r"WebSocket ws://127\.0\.0\.1:9/v1/responses: connection refused",
    "responses": r"POST http://127\.0\.0\.1:9/v1/responses: connection refused",
    "chat": r"POST http://127\.0\.0\.1:9/v1/chat/completions: connection refused",
}


@pytest.mark.parametrize("via", REFUSED)
@pytest.mark.parametrize("host_name", ["127.0.0.1", "localhost"])
async def test_a_refused_connection_is_reported_with_attempts_and_time(
    via: str, host_name: str
) -> None:
    client = CLIENTS[via][0](f"http://{host_name}:9/v1?api-key=hidden")
    error = await error_of(client, retry=RetryPolicy(budget=3, interval=4.0))
    assert isinstance(error, ConnectFailed)
    wanted = REFUSED[via].replace(r"127\.0\.0\.1", re.escape(host_name))
    assert re.fullmatch(rf"{wanted} \(4 attempts in [\d.]+ s\)", str(error))
    seconds = error.details.seconds
    assert seconds is not None
    assert 4 < seconds < 13
    assert error.details.tries == 4


@pytest.mark.parametrize("via", REFUSED)
async def test_a_single_attempt_needs_no_count(via: str) -> None:
    error = await error_of(CLIENTS[via][0]("http://127.0.0.1:9/v1"))
    assert re.fullmatch(REFUSED[via], str(error))


@pytest.mark.parametrize("via", REFUSED)
async def test_a_host_that_cant_be_resolved_is_named(via: str) -> None:
    error = await error_of(CLIENTS[via][0]("http://nowhere.invalid/v1"))
    assert "//nowhere.invalid/v1" in str(error)
    assert "the host name can't be resolved" in str(error)
    assert is_sentence(str(error))


@pytest.mark.parametrize("via", ["frame", "responses", "chat"])
async def test_a_wait_that_timed_out_is_reported_with_its_address(via: str) -> None:
    async def never(_: web.Request) -> web.Response:
        await asyncio.sleep(1000)
        return web.Response()

    async def silent(request: web.Request) -> web.WebSocketResponse:
        opened = web.WebSocketResponse()
        await opened.prepare(request)
        async for _ in opened:
            pass
        return opened

    app = web.Application()
    app.router.add_get("/v1/responses", silent)
    app.router.add_post("/v1/{operation:.*}", never)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        port = runner.addresses[0][1]
        make, address = CLIENTS[via]
        error = await error_of(
            make(f"http://127.0.0.1:{port}/v1"),
            limits=Timeouts(base=3.0, connect=3.0),
            retry=RetryPolicy(budget=1, interval=0.0),
        )
    finally:
        await runner.cleanup()
    wanted = rf"{address.format(port=port)}: waited 3 s for the first output"
    wanted += r" \(code timeout, 2 attempts in 6\.\d s\)"
    assert re.fullmatch(wanted, str(error))


# -- waits ---------------------------------------------------------------------------------------

WAITS: dict[str, tuple[str, dict[str, str], float]] = {
    "seconds": ("Slow down.", {"retry_after": "3"}, 3.0),
    "fractions": ("Slow down.", {"retry_after": "2.5"}, 2.5),
    "milliseconds": ("Slow down.", {"retry_after_ms": "2500", "retry_after": "9"}, 2.5),
    "a date": (
        "Slow down.",
        {
            "date": "Sun, 06 Nov 1994 08:49:37 GMT",
            "retry_after": "Sun, 06 Nov 1994 08:49:41 GMT",
        },
        4.0,
    ),
    "reset of requests": ("Slow down.", {"x_ratelimit_reset_requests": "3s"}, 3.0),
    "reset of tokens": ("Slow down.", {"x_ratelimit_reset_tokens": "2120ms"}, 2.12),
    "the longer reset of what is used up": (
        "Slow down.",
        {
            "x_ratelimit_remaining_requests": "0",
            "x_ratelimit_reset_requests": "2s",
            "x_ratelimit_remaining_tokens": "17",
            "x_ratelimit_reset_tokens": "6m0s",
        },
        2.0,
    ),
    "a sentence": ("Rate limit reached. Please try again in 1.5s.", {}, 1.5),
    "milliseconds in a sentence": ("Please try again in 1120ms.", {}, 1.12),
    "words": ("Please retry after 2 seconds.", {}, 2.0),
    "more words": ("Try again in about 3 seconds.", {}, 3.0),
}


@pytest.mark.parametrize("via", CLIENTS)
@pytest.mark.parametrize("wait", WAITS)
async def test_the_hosts_wait_is_kept(via: str, wait: str) -> None:
    sentence, headers, seconds = WAITS[wait]
    body = {"error": {"message": sentence, "code": "rate_limit_exceeded"}}
    async with host(body, 429, frame=via == "frame", **headers) as (service, url):
        retry = RetryPolicy(budget=1, interval=0.0)
        error = await error_of(CLIENTS[via][0](url), retry=retry)
        assert isinstance(error, RateLimited)
        assert error.details.retry_after == pytest.approx(seconds)
        first, second = service.times
        assert second - first == pytest.approx(seconds, abs=0.3)
        assert re.search(r"2 attempts in \d\.\d s\)$", str(error))


@pytest.mark.parametrize("via", CLIENTS)
@pytest.mark.parametrize(
    ("sentence", "headers", "seconds"),
    [
        ("Please try again in 6m0s.", {}, 360.0),
        ("Slow down.", {"x_ratelimit_reset_tokens": "6m0s"}, 360.0),
        ("Slow down.", {"x_ratelimit_reset_requests": "1h2m3.5s"}, 3723.5),
        ("Please wait for 2 minutes.", {}, 120.0),
    ],
)
async def test_a_wait_that_is_too_long_ends_the_turn_at_once(
    via: str, sentence: str, headers: dict[str, str], seconds: float
) -> None:
    body = {"error": {"message": sentence, "code": "rate_limit_exceeded"}}
    async with host(body, 429, frame=via == "frame", **headers) as (service, url):
        error = await error_of(CLIENTS[via][0](url), retry=RetryPolicy(budget=2, interval=0.0))
        assert isinstance(error, RateLimited)
        assert error.details.retry_after == pytest.approx(seconds)
        assert len(service.times) == 1


async def test_a_rejected_key_is_one_sentence() -> None:
    body = {"error": {"message": f"Incorrect API key provided: {KEY}.", "code": "invalid_api_key"}}
    async with host(body, 401) as (_, url):
        error = await error_of(socket_client(url))
        assert isinstance(error, RequestRejected)
        assert str(error) == (
            f"WebSocket ws://127.0.0.1:{port_of(url)}/v1/responses: Incorrect API key provided: …. "
            "(status 401, code invalid_api_key)"
        )
