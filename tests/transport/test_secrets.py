"""What holds a key, a password or a caller's words, and where they must not be seen."""

from __future__ import annotations

import asyncio
import html
import json
import logging
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import quote, quote_plus

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
from rtllm.retry.faults import Fault, FaultKind
from rtllm.retry.redaction import Secrets
from rtllm.simulator import (
    Close,
    ErrorFrame,
    FailedResponse,
    RefuseRequest,
    Simulator,
    in_turn,
)
from support.serving import running
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
        message = f"not here: {dict(request.headers)}"
        return web.json_response({"error": {"message": message, "code": "no"}}, status=400)

    async with served(repeat) as root:
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
        chat = ChatClient.connect(base_url=simulator.base_url, api_key="anything")
        assert spoken(await Caller(chat).say("hello")) == "You said anything."
        await chat.aclose()


async def test_what_a_refusal_quotes_of_the_request_is_logged_at_debug_only(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG, "rtllm")
    message = f"System message must be at the beginning, input: {WORDS}"
    refusal = RefuseRequest(status=400, body=f'{{"error": {{"message": "{message}"}}}}')
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


SAYS = f"Incorrect API key provided: {KEY}."
BODIES: dict[str, str] = {
    "a whole body": json.dumps({"error": {"message": SAYS}}, separators=(",", ":")),
    "a pretty body": json.dumps({"error": {"message": SAYS}}, indent=2),
    "a detail": f"data: {json.dumps({'detail': SAYS})}\n\n",
    "a list of errors": f"data: {json.dumps({'errors': [{'message': SAYS}]})}\n\n",
    "a text for an error": f"data: {json.dumps({'error': SAYS})}\n\n",
    "an object named error": f"data: {json.dumps({'object': 'error', 'message': SAYS})}\n\n",
    "an event named error": f"event: error\ndata: {json.dumps({'message': SAYS})}\n\n",
    "a text in an event named error": f"event: error\ndata: {SAYS}\n\n",
    "a text": f"{SAYS}\n",
    "a long text": f"{'no ' * 90}{SAYS}\n",
    "a web page": f"<html><title>{SAYS}</title></html>",
    "an unknown object": json.dumps({"note": SAYS, "message": SAYS}),
}
FRAMES: dict[str, dict[str, Any]] = {
    "error": {"type": "error", "error": {"message": SAYS, "code": KEY, "param": KEY}},
    "error without a type": {"error": {"message": SAYS}},
    "error with a message": {"type": "error", "message": SAYS},
    "error with a detail": {"type": "error", "detail": SAYS},
    "error as a text": {"type": "error", "error": SAYS},
    "response.error": {"type": "response.error", "error": {"message": SAYS}},
    "error with an id": {
        "type": "error",
        "error": {"message": "no."},
        "headers": {"x-request-id": KEY},
    },
    "failed": {"type": "response.failed", "response": {"error": {"message": SAYS}}},
    "done": {"type": "response.done", "response": {"status": "failed", "error": {"message": SAYS}}},
    "cancelled": {"type": "response.cancelled", "response": {"error": SAYS}},
    "incomplete": {
        "type": "response.incomplete",
        "response": {"incomplete_details": {"reason": KEY}},
    },
}
AS_EVENTS = {name: f"data: {json.dumps(frame)}\n\n" for name, frame in FRAMES.items()}


@asynccontextmanager
async def host_that_writes(text: str) -> AsyncIterator[str]:
    """Start a host that answers each request with a text, cut in the middle of a key."""
    middle = text.index(KEY) + len(KEY) // 2 if KEY in text else len(text)

    async def write(request: web.Request) -> web.StreamResponse:
        if request.method == "GET":
            socket = web.WebSocketResponse()
            await socket.prepare(request)
            async for _ in socket:
                await socket.send_str(text)
            return socket
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        for piece in (text[:middle], text[middle:]):
            await response.write(piece.encode())
            await asyncio.sleep(0)  # the client may read two pieces
        return response

    async with served(write) as root:
        yield root


@asynccontextmanager
async def served(
    handler: Callable[[web.Request], Awaitable[web.StreamResponse]],
) -> AsyncIterator[str]:
    """Serve all addresses of a host with one handler."""
    app = web.Application()
    app.router.add_route("*", "/v1/{path:.*}", handler)
    async with running(app) as url:
        yield url


async def fail(client: Client | ChatClient, seen: list[object]) -> str:
    """Let a turn fail; return the error's text, and note what the error shows."""
    with pytest.raises(TurnError) as error:
        await Caller(client, retry=RetryPolicy(0)).say("hello")
    await client.aclose()
    cause: BaseException | None = error.value
    while cause is not None:
        seen += [repr(cause), str(cause), vars(cause)]
        shown = traceback.TracebackException.from_exception(cause, capture_locals=True)
        seen += [frame.locals for frame in shown.stack if "rtllm" in frame.filename]
        cause = cause.__cause__ or cause.__context__
    return str(error.value)


def showing(key: str, seen: list[object], caplog: pytest.LogCaptureFixture) -> list[object]:
    """List what shows a key."""
    records = [r.getMessage() for r in caplog.records if r.name.startswith("rtllm")]
    return [one for one in (*seen, *records) if key in repr(one)]


@pytest.mark.parametrize("kind", ["responses", "chat"])
@pytest.mark.parametrize("form", [*BODIES, *AS_EVENTS])
async def test_a_key_in_any_form_of_error_over_http_is_replaced(
    kind: str, form: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "rtllm")
    seen: list[object] = []
    async with host_that_writes((BODIES | AS_EVENTS)[form]) as root:
        client: Client | ChatClient
        if kind == "chat":
            client = ChatClient.connect(
                api_key=KEY, base_url=root, on_turn=seen.append, on_trace=seen.append
            )
        else:
            client = Client(
                endpoint(root),
                Credentials(KEY),
                websocket=False,
                fallback=None,
                on_turn=seen.append,
                on_trace=seen.append,
            )
        await fail(client, seen)
    assert showing(KEY, seen, caplog) == []
    assert showing(KEY[:10], seen, caplog) == []


@pytest.mark.parametrize("form", FRAMES)
async def test_a_key_in_any_form_of_error_on_a_websocket_is_replaced(
    form: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "rtllm")
    seen: list[object] = []
    async with host_that_writes(json.dumps(FRAMES[form])) as root:
        client = Client(
            endpoint(root),
            Credentials(KEY),
            fallback=None,
            on_turn=seen.append,
            on_trace=seen.append,
        )
        await fail(client, seen)
    assert showing(KEY, seen, caplog) == []


ODD_KEY = r"""sk-a/b+c"d\e&f g=12"""
WRITTEN: dict[str, str] = {
    "as it is": ODD_KEY,
    "in a URL": quote(ODD_KEY, safe=""),
    "in a URL with slashes": quote(ODD_KEY),
    "in a form": quote_plus(ODD_KEY),
    "in a URL in a URL": quote(quote(ODD_KEY, safe=""), safe=""),
    "in JSON": json.dumps(ODD_KEY)[1:-1],
    "in JSON in JSON": json.dumps(json.dumps(ODD_KEY))[3:-3],
    "in JSON with escaped slashes": json.dumps(ODD_KEY)[1:-1].replace("/", r"\/"),
    "in JSON with escapes": "".join(f"\\u{ord(c):04x}" for c in ODD_KEY),
    "in a web page": html.escape(ODD_KEY),
    "with its scheme": f"Bearer {ODD_KEY}",
}


@pytest.mark.parametrize("form", WRITTEN)
def test_a_key_is_replaced_however_it_is_written(form: str) -> None:
    secrets = Secrets.of_request("https://host/v1", {"authorization": f"Bearer {ODD_KEY}"})
    fault = Fault(FaultKind.REFUSED, f"{WRITTEN[form]}, and {WRITTEN[form]}: 100% \\ wrong")
    assert secrets.redact(fault).message == "…, and …: 100% \\ wrong"


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        (f"the key {KEY[:12]}", "the key …"),
        (f"the key {KEY[:12]} (no response object)", "the key … (no response object)"),
        (f"the key {KEY[:12]}***", f"the key {KEY[:12]}***"),
        (f"the key {KEY[:7]}", f"the key {KEY[:7]}"),
        (f"{KEY}{KEY}-2", "……"),
        ("zzzzzzzzzzz-9", "zz…"),
    ],
    ids=["cut", "cut with a remark", "masked", "too short", "one that begins another", "late"],
)
def test_a_key_that_is_cut_is_replaced(message: str, shown: str) -> None:
    secrets = Secrets([KEY, f"{KEY}-2", KEY[4:14], "zzzzzzzzz-9", "short", "\\" * 10])
    assert secrets.redact(Fault(FaultKind.REFUSED, message)).message == shown
    assert KEY not in repr(secrets)


@pytest.mark.parametrize("socket", [True, False])
async def test_a_host_that_repeats_the_url_and_the_headers_as_json_shows_no_key(
    socket: bool, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "rtllm")

    async def repeat(request: web.Request) -> web.Response:
        message = f"not here: {request.raw_path} {json.dumps(dict(request.headers))}"
        return web.json_response({"error": {"message": message}}, status=400)

    seen: list[object] = []
    async with served(repeat) as root:
        client = Client(
            endpoint(f"{root}?api-key={quote(ODD_KEY, safe='')}"),
            Credentials(KEY, headers={"x-api-key": ODD_KEY}),
            websocket=socket,
            fallback=None,
        )
        assert "not here" in await fail(client, seen)
    assert showing("sk-a", seen, caplog) == []
    assert showing("g=12", seen, caplog) == []
    assert showing("g%3D12", seen, caplog) == []
