"""The Responses API over HTTP: by choice, and when the socket doesn't do."""

import asyncio
import traceback
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import openai
import pytest
from aiohttp import web

from rtllm import (
    Client,
    ConfigError,
    ConnectionLost,
    Credentials,
    Overloaded,
    RateLimited,
    RequestRejected,
    RetryPolicy,
    Timeouts,
    TurnError,
    TurnReport,
    TurnTimeout,
    endpoint,
)
from rtllm.adapters import resolve_provider
from rtllm.retry import http_fallback as fallback
from rtllm.simulator import (
    Abort,
    AcceptThen,
    Call,
    Close,
    Empty,
    ErrorFrame,
    Garbage,
    HangUp,
    RefuseHandshake,
    RefuseRequest,
    Reply,
    Request,
    Silence,
    Simulator,
)
from support.serving import running
from support.waiting import until
from transport.caller import QUICK, Caller, MakeClient, ended, spoken

ONCE = RetryPolicy(budget=0, interval=0.0)


# -- by choice ---------------------------------------------------------------------------------


@pytest.mark.parametrize("store", [True, False])
async def test_stored_answers_are_continued_and_others_sent_in_full(
    make_client: MakeClient, reports: list[TurnReport], store: bool
) -> None:
    async with Simulator(lambda r: f"answer {r.index}") as simulator:
        caller = Caller(make_client(simulator, websocket=False), settings={"store": store})
        for text in ("one", "two", "three"):
            await caller.say(text)
        entries = simulator.journal.entries
        assert [e.outcome for e in entries] == ["completed"] * 3
        assert [bool(e.body.get("previous_response_id")) for e in entries] == [False, store, store]
        said = [("user", "one"), ("assistant", "answer 0"), ("user", "two")]
        assert [t for t in entries[2].texts() if t[0] != "system"][:3] == said
        assert {r.protocol for r in reports} == {"http"}
        assert not simulator.journal.connections


async def test_a_lost_state_is_sent_again_in_full(make_client: MakeClient) -> None:
    forgotten = ErrorFrame(code="previous_response_not_found", status=400)
    async with Simulator("yes", fault=[None, forgotten]) as simulator:
        caller = Caller(make_client(simulator, websocket=False))
        await caller.say("one")
        assert spoken(await caller.say("two")) == "yes"
        bodies = [e.body for e in simulator.journal.entries]
        assert [bool(b.get("previous_response_id")) for b in bodies] == [False, True, False]


async def test_a_host_that_continues_nothing_is_asked_to_no_more(
    make_client: MakeClient, reports: list[TurnReport]
) -> None:
    def as_llama_cpp(request: Request) -> RefuseRequest | None:
        said = "llama.cpp does not support 'previous_response_id'."
        error = {"code": 400, "message": said, "type": "invalid_request_error"}
        continued = "previous_response_id" in request.body
        return RefuseRequest(400, {"error": error}) if continued else None

    async with Simulator("yes", fault=as_llama_cpp) as simulator:
        caller = Caller(make_client(simulator, websocket=False))
        for number in range(6):
            assert spoken(await caller.say(f"turn {number}")) == "yes"
        assert [r.attempts for r in reports] == [1, 2, 1, 1, 1, 1]


async def test_calls_and_usage_arrive_as_over_the_socket(make_client: MakeClient) -> None:
    def model(request: Request) -> Reply | str:
        return "done" if request.trailing_outputs else Reply.of("Wait. ", Call("look", {"n": 1}))

    async with Simulator(model) as simulator:
        client = make_client(simulator, websocket=False)
        caller = Caller(client)
        events = await caller.say("look")
        assert [e.call.name for e in events if hasattr(e, "call")] == ["look"]
        usage = ended(events).usage
        assert usage is not None
        assert client.usage.all.input == usage.input > 0


async def test_leaving_early_closes_the_stream(make_client: MakeClient) -> None:
    async with Simulator("one two three four", fault=Silence(phase="output")) as simulator:
        caller = Caller(make_client(simulator, websocket=False))
        await caller.hear_only("hello", 1)
        await asyncio.wait_for(simulator.journal.wait_idle(), 10)
        assert simulator.journal.entries[0].outcome in ("cut", "dropped")


async def test_a_client_of_the_users_provides_its_address_and_key(
    reports: list[TurnReport],
) -> None:
    async with Simulator("hello", api_key="theirs") as simulator:
        theirs = openai.AsyncOpenAI(api_key="theirs", base_url=simulator.base_url, max_retries=9)
        client = Client(
            endpoint("https://elsewhere.invalid/v1"),
            Credentials("ours"),
            websocket=False,
            http_client=theirs,
            on_turn=reports.append,
        )
        assert spoken(await Caller(client).say("hi")) == "hello"
        await client.aclose()
        assert not theirs.is_closed()
        await theirs.close()


class Wrapped:
    """An openai client as wrappers look: nothing but `responses.create`."""

    def __init__(self, inner: openai.AsyncOpenAI) -> None:
        self.responses = self
        self._inner = inner

    async def create(self, **options: Any) -> Any:
        return await self._inner.responses.create(**options)


async def test_a_client_that_only_looks_like_one_will_do() -> None:
    async with (
        Simulator("hello there") as simulator,
        openai.AsyncOpenAI(api_key="k", base_url=simulator.base_url) as inner,
    ):
        where, theirs = endpoint(simulator.base_url), Wrapped(inner)
        client = Client(where, Credentials("k"), websocket=False, http_client=theirs)
        assert spoken(await Caller(client).say("hi")) == "hello there"
        await client.aclose()


@pytest.mark.parametrize(
    ("fault", "kind", "requests"),
    [
        (ErrorFrame(code="rate_limit_exceeded", status=429), RateLimited, 3),
        (ErrorFrame(code="invalid_prompt", status=400), RequestRejected, 1),
        (Close(phase="created"), ConnectionLost, 4),
        (Close(phase="output"), ConnectionLost, 1),
        (Silence(), TurnTimeout, 3),
        (Silence(phase="created", noise="keepalive", every=0.01), TurnTimeout, 3),
        (RefuseRequest(status=404), RequestRejected, 1),
        (
            RefuseRequest(status=307, headers={"location": "https://else.invalid"}),
            RequestRejected,
            1,
        ),
    ],
)
async def test_faults_are_met_as_over_the_socket(
    make_client: MakeClient, fault: Any, kind: type[TurnError], requests: int
) -> None:
    async with Simulator("one two three", fault=fault) as simulator:
        caller = Caller(
            make_client(simulator, websocket=False), limits=QUICK, retry=RetryPolicy(2, 0.0)
        )
        with pytest.raises(kind):
            await caller.say("hello")
        assert len(simulator.journal.entries) == requests


@pytest.mark.parametrize("fault", [Empty(), Garbage(phase="output")])
async def test_what_passes_by_itself_is_not_seen(make_client: MakeClient, fault: Any) -> None:
    async with Simulator("one two", fault=[fault]) as simulator:
        assert spoken(await Caller(make_client(simulator, websocket=False)).say("x")) == "one two"


async def test_an_answer_that_lacks_only_its_last_event_counts(make_client: MakeClient) -> None:
    async with Simulator("one two", fault=[Close(phase="complete")]) as simulator:
        events = await Caller(make_client(simulator, websocket=False)).say("x")
        assert spoken(events) == "one two"
        assert ended(events).outcome == "unfinished"
        assert len(simulator.journal.entries) == 1


# -- when the socket doesn't do ----------------------------------------------------------------


@pytest.mark.parametrize("status", [404, 405, 426])
async def test_a_host_without_a_socket_is_asked_over_http_at_once_and_remembered(
    make_client: MakeClient, reports: list[TurnReport], status: int
) -> None:
    async with Simulator("hello", on_connect=lambda _: RefuseHandshake(status=status)) as simulator:
        caller = Caller(make_client(simulator, fallback="http"), retry=ONCE)
        for text in ("one", "two", "three"):
            assert spoken(await caller.say(text)) == "hello"
        assert [r.protocol for r in reports] == ["http"] * 3
        assert [r.recoveries[0].action for r in reports if r.recoveries] == ["sent again over HTTP"]
        assert [r.chained for r in reports] == [False, True, True]  # stored, so continued
        assert len(simulator.journal.connections) == 1


@pytest.mark.parametrize(
    "refusal",
    [
        RefuseHandshake(status=503),
        RefuseHandshake(status=429, headers={"retry-after": "900"}),
        AcceptThen(close=1000),
        AcceptThen(abort=True),
    ],
)
async def test_a_socket_that_keeps_failing_gives_way_to_http(
    make_client: MakeClient, reports: list[TurnReport], refusal: Any
) -> None:
    async with Simulator("hello", on_connect=lambda _: refusal) as simulator:
        caller = Caller(make_client(simulator, fallback="http"), retry=RetryPolicy(1, 0.0))
        assert spoken(await caller.say("one")) == "hello"
        shaken = len(simulator.journal.connections)
        assert spoken(await caller.say("two")) == "hello"
        assert [r.protocol for r in reports] == ["http", "http"]
        assert len(simulator.journal.connections) == shaken


async def test_the_socket_is_tried_again_during_a_turn(
    make_client: MakeClient, reports: list[TurnReport], monkeypatch: pytest.MonkeyPatch
) -> None:
    refusing = True

    def on_connect(_: int) -> RefuseHandshake | None:
        return RefuseHandshake(status=404) if refusing else None

    async with Simulator("hello", on_connect=on_connect) as simulator:
        client = make_client(simulator, fallback="http")
        caller = Caller(client)
        monkeypatch.setattr(fallback, "LONGEST_COOLDOWN", 0.0)  # and so it is over at once
        await caller.say("one")
        refusing = False
        await caller.say("two")
        await until(lambda: any(c.number > 0 and c.state == "open" for c in client.connections))
        await caller.say("three")
        assert [r.protocol for r in reports] == ["http", "http", "websocket"]
        assert [r.chained for r in reports] == [False, True, True]


async def test_a_request_above_the_frame_limit_goes_over_http_and_only_it(
    make_client: MakeClient, reports: list[TurnReport]
) -> None:
    async with Simulator("hello", max_frame=50_000) as simulator:
        caller = Caller(make_client(simulator, fallback="http"))
        await caller.say("one")
        await caller.say("x" * 60_000)
        await caller.say("y" * 70_000)
        await caller.say("two")
        assert [r.protocol for r in reports] == ["websocket", "http", "http", "websocket"]
        large = [r.recoveries[0].fault for r in reports if r.recoveries]
        assert large == ["too large", "too large"]
        assert reports[2].attempts == 1  # by now the limit is known


async def test_without_the_fallback_a_host_without_a_socket_is_an_error(
    make_client: MakeClient,
) -> None:
    async with Simulator("hello", on_connect=lambda _: RefuseHandshake(status=404)) as simulator:
        with pytest.raises(RequestRejected):
            await Caller(make_client(simulator, fallback=None)).say("one")
        assert not simulator.journal.entries


async def test_a_host_that_knows_no_http_either_keeps_the_sockets_own_error(
    make_client: MakeClient, reports: list[TurnReport]
) -> None:
    refuse = RefuseRequest(status=404)
    async with Simulator(
        "hello", on_connect=lambda _: AcceptThen(close=1011), fault=refuse
    ) as simulator:
        caller = Caller(make_client(simulator, fallback="http"), retry=ONCE)
        with pytest.raises(ConnectionLost):
            await caller.say("one")
        with pytest.raises(ConnectionLost):
            await caller.say("two")
        assert len(simulator.journal.entries) == 1  # HTTP isn't asked a second time


async def test_what_a_wait_for_an_answer_runs_out_on_is_no_reason_for_http(
    make_client: MakeClient,
) -> None:
    async with Simulator("hello", fault=Silence()) as simulator:
        caller = Caller(make_client(simulator, fallback="http"), limits=QUICK, retry=ONCE)
        with pytest.raises(TurnTimeout):
            await caller.say("one")
        assert [e.transport for e in simulator.journal.entries] == ["websocket"]


async def test_a_key_function_is_asked_for_each_request(make_client: MakeClient) -> None:
    keys = iter(["stale", "fresh", "fresh"])
    async with Simulator("hello", api_key="fresh") as simulator:
        client = Client(
            endpoint(simulator.base_url), Credentials(lambda: next(keys)), websocket=False
        )
        caller = Caller(client)
        assert spoken(await caller.say("one")) == "hello"
        assert spoken(await caller.say("two")) == "hello"
        await client.aclose()


async def test_the_error_and_the_repr_hold_no_key() -> None:
    where = endpoint("http://127.0.0.1:9/v1")
    client = Client(where, Credentials("sk-secret"), websocket=False)
    caller = Caller(client, limits=Timeouts.of(2.0), retry=ONCE)
    with pytest.raises(TurnError) as error:
        await caller.say("hello")
    assert "sk-secret" not in f"{error.value!r} {error.value.__cause__!r} {client!r}"
    await client.aclose()


def test_another_fallback_is_refused() -> None:
    with pytest.raises(ConfigError, match="'http' or None"):
        Client(endpoint(None), Credentials("k"), fallback="smoke")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "fault",
    [RefuseRequest(status=426), RefuseRequest(status=404), HangUp(phase="sent"), Abort()],
    ids=["426", "404", "closed", "reset"],
)
async def test_where_only_the_socket_is_there_a_bad_moment_of_it_leaves_no_mark(
    make_client: MakeClient, reports: list[TurnReport], fault: Any
) -> None:
    """Servers that speak nothing but WebSocket close a plain request, or refuse it."""

    def on_connect(number: int) -> RefuseHandshake | None:
        return RefuseHandshake(status=503) if number < 2 else None

    def over_http(request: Request) -> Any:
        return fault if request.transport == "http" else None

    async with Simulator("hello", on_connect=on_connect, fault=over_http) as simulator:
        caller = Caller(
            make_client(simulator, fallback="http", warm_connections=0), retry=RetryPolicy(1, 0.0)
        )
        with pytest.raises(Overloaded):
            await caller.say("one")
        caller.items.pop()
        assert spoken(await caller.say("two")) == "hello"
        assert reports[1].protocol == "websocket"
        assert reports[1].attempts == 1


async def test_a_turn_that_took_http_by_memory_comes_back_to_the_socket(
    make_client: MakeClient, reports: list[TurnReport]
) -> None:
    """The socket failed a turn, HTTP served it; then HTTP fails, and the socket is well again."""
    bad = True

    def on_connect(_: int) -> RefuseHandshake | None:
        return RefuseHandshake(status=503) if bad else None

    def over_http(request: Request) -> Any:
        return Abort() if request.transport == "http" and not bad else None

    async with Simulator("hello", on_connect=on_connect, fault=over_http) as simulator:
        caller = Caller(make_client(simulator, fallback="http", warm_connections=0), retry=ONCE)
        assert spoken(await caller.say("one")) == "hello"
        bad = False
        assert spoken(await caller.say("two")) == "hello"
        assert [r.protocol for r in reports] == ["http", "websocket"]


async def test_an_open_socket_is_kept_where_only_new_ones_are_refused(
    make_client: MakeClient, reports: list[TurnReport]
) -> None:
    """A host that allows one connection: the second caller takes HTTP, the first stays."""
    async with Simulator("hello", lanes="off", max_connections=1) as simulator:
        client = make_client(simulator, fallback="http", lanes=False, warm_connections=0)
        one = Caller(client, settings={"store": False})
        other = Caller(client, settings={"store": False}, retry=ONCE)
        await one.say("one")
        await other.say("a call of its own")
        await one.say("two")
        await one.say("three")
        assert [r.protocol for r in reports] == ["websocket", "http", "websocket", "websocket"]
        assert [r.chained for r in reports] == [False, False, True, True]


async def test_line_separators_in_what_is_said_are_not_line_ends(make_client: MakeClient) -> None:
    async with Simulator("One\u2028two\x85three four.") as simulator:
        caller = Caller(make_client(simulator, websocket=False))
        assert spoken(await caller.say("hello")) == "One\u2028two\x85three four."


@pytest.mark.parametrize("websocket", [True, False])
async def test_what_a_key_function_raises_is_not_shown(*, websocket: bool) -> None:
    def provide() -> str:
        raise RuntimeError("the vault said: sk-secret")

    client = Client(
        endpoint("http://127.0.0.1:9/v1"), Credentials(provide), websocket=websocket, fallback=None
    )
    with pytest.raises(TurnError) as error:
        await Caller(client, limits=QUICK, retry=ONCE).say("hello")
    assert "sk-secret" not in "".join(traceback.format_exception(error.value))
    await client.aclose()


async def test_where_only_http_is_there_a_dropped_request_is_sent_again(
    make_client: MakeClient, reports: list[TurnReport]
) -> None:
    """The host reported that it has no socket: an HTTP error does not bring the socket back."""
    plan: list[Any] = [None, Abort(), None, Abort(), Abort(), Abort()]
    async with Simulator("hello", no_websocket=404, fault=plan) as simulator:
        caller = Caller(
            make_client(simulator, fallback="http", warm_connections=0), retry=RetryPolicy(1, 0.0)
        )
        for text in ("one", "two"):
            assert spoken(await caller.say(text)) == "hello"
        with pytest.raises(TurnError):
            await caller.say("three")
        assert spoken(await caller.say("four")) == "hello"
        assert [r.protocol for r in reports] == ["http"] * 4
        assert [r.attempts for r in reports] == [1, 2, 3, 1]


async def test_one_broken_request_says_nothing_against_http(
    make_client: MakeClient, reports: list[TurnReport]
) -> None:
    """A host without a socket: a reset in one turn, and the next ones are answered all the same."""
    async with Simulator("hello", no_websocket=404, fault=[None, Abort()]) as simulator:
        caller = Caller(make_client(simulator, fallback="http"), retry=ONCE)
        for text in ("one", "two", "three"):
            assert spoken(await caller.say(text)) == "hello"
        assert [r.protocol for r in reports] == ["http"] * 3


async def test_a_socket_that_takes_requests_and_never_speaks_gives_way_to_http(
    make_client: MakeClient, reports: list[TurnReport]
) -> None:
    def mute(request: Request) -> Silence | None:
        return Silence(scope="connection") if request.transport == "websocket" else None

    async with Simulator("hello", fault=mute) as simulator:
        caller = Caller(
            make_client(simulator, fallback="http", warm_connections=0),
            limits=QUICK,
            retry=RetryPolicy(1, 0.0),
        )
        assert spoken(await caller.say("one")) == "hello"
        assert reports[0].attempts == 2
        await caller.say("two")
        assert [r.protocol for r in reports] == ["http", "http"]
        assert reports[1].attempts == 1


@asynccontextmanager
async def answering(body: str, content_type: str) -> AsyncIterator[str]:
    """A host that answers each request with the same text, upgrades too."""

    async def answer(_: web.Request) -> web.Response:
        return web.Response(text=body, content_type=content_type)

    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", answer)
    async with running(app) as url:
        yield url


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        ('{"detail":"Unauthorized"}', "application/json"),
        ("[]", "application/json"),
        ("not json", "application/json"),
        ("<html>Welcome</html>", "text/html"),
        ("", "text/event-stream"),
        (": only a comment\n\n", "text/event-stream"),
    ],
)
@pytest.mark.parametrize("websocket", [True, False])
async def test_what_is_not_a_response_is_an_error_and_no_silence(
    body: str, content_type: str, *, websocket: bool
) -> None:
    async with answering(body, content_type) as url:
        client = Client(endpoint(url), Credentials("k"), websocket=websocket, warm_connections=0)
        with pytest.raises(TurnError):
            await Caller(client, limits=QUICK, retry=ONCE).say("hello")
        await client.aclose()


async def test_a_key_that_ends_in_a_newline_is_sent_without_it() -> None:
    reach = resolve_provider(api_key="sk-secret\n", base_url="http://127.0.0.1:9/v1")
    assert reach.http().api_key == "sk-secret"


async def test_an_address_next_to_a_client_keeps_its_query() -> None:
    own = "https://a.example/v1"
    query = {"team": "voice"}
    async with openai.AsyncOpenAI(api_key="k", base_url=own, default_query=query) as client:
        made = resolve_provider(client=client, base_url="https://a.example/v2?x=1").client
        assert str(made.base_url) == "https://a.example/v2/"
        assert made.default_query == {"team": "voice", "x": "1"}


class OfOurOwn(openai.AsyncOpenAI):
    """A client that takes no other arguments, as tracing wrappers do."""

    def __init__(self) -> None:
        super().__init__(api_key="k")


async def test_a_client_that_cannot_be_copied_is_named_at_the_call() -> None:
    async with OfOurOwn() as client:
        with pytest.raises(ConfigError, match="OfOurOwn can't be copied"):
            resolve_provider(client=client, api_key="another")
        assert resolve_provider(client=client).client is client


async def test_a_client_that_is_closed_while_its_first_http_request_is_made_sends_none(
    make_client: MakeClient,
) -> None:
    async with Simulator("hello") as simulator:
        client = make_client(simulator, websocket=False)
        task = asyncio.create_task(Caller(client, retry=ONCE).say("one"))
        await asyncio.sleep(0)
        await client.aclose()
        with pytest.raises(TurnError):
            await task
        assert not simulator.journal.entries
