"""Keys, addresses, event loops, proxies, bad input: what surrounds the turns."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import inspect
import logging
import re
import weakref
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from functools import partial
from types import SimpleNamespace
from typing import Any

import httpx
import httpx2
import openai
import pytest
from livekit.agents import Agent, function_tool, llm, telemetry
from livekit.agents import job as livekit_job
from livekit.agents._exceptions import APIError, APIStatusError, APITimeoutError
from livekit.agents.types import APIConnectOptions
from livekit.agents.utils import http_context
from livekit.plugins.openai import responses
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from livekit_adapter.requests import ONCE, answer, context, hello, turn
from livekit_adapter.sessions import errors_of, session_of
from livekit_adapter.stage import stage
from network.proxy import Proxy
from rtllm import ConfigError, EmptyContext
from rtllm.simulator import (
    DelayHandshake,
    ErrorFrame,
    RefuseHandshake,
    Simulator,
    echo,
)
from rtllm_livekit import LLM, ChatLLM
from support.oracle import KEY, is_chained
from support.waiting import until

SECRET_WORDS = "my pin is four two"


async def collect(model: Any, ctx: llm.ChatContext, **call: Any) -> llm.CollectedResponse:
    call.setdefault("conn_options", ONCE)
    collected: llm.CollectedResponse = await asyncio.wait_for(
        model.chat(chat_ctx=ctx, **call).collect(), 20
    )
    return collected


@asynccontextmanager
async def closing(model: LLM) -> AsyncIterator[LLM]:
    try:
        yield model
    finally:
        await model.aclose()


# -- keys --------------------------------------------------------------------------------------


@pytest.mark.parametrize("is_async", [False, True], ids=["plain", "async"])
async def test_a_key_function_is_asked_at_each_handshake(is_async: bool) -> None:
    asked: list[str] = []

    def key() -> str:
        asked.append(f"key-{len(asked)}")
        return asked[-1]

    async def later() -> str:
        await asyncio.sleep(0)
        return key()

    async with Simulator(echo()) as service:
        model = LLM(api_key=later if is_async else key, base_url=service.base_url)
        async with closing(model):
            assert asked == []
            ctx = hello("One")
            await collect(model, ctx)
            await collect(model, ctx)
            await service.close_connections(1001)
            await collect(model, hello("Two"))
            connections = service.journal.connections
            assert len(connections) == len(asked) >= 2
            given = [c.headers["Authorization"] for c in connections]
            assert given == [f"Bearer {k}" for k in asked]


async def test_a_key_function_that_raises_is_named_without_its_words() -> None:
    def key() -> str:
        raise RuntimeError("token sk-very-secret")

    async with (
        Simulator(echo()) as service,
        closing(LLM(api_key=key, base_url=service.base_url)) as model,
    ):
        with pytest.raises(APIError, match="RuntimeError") as caught:
            await collect(model, hello())
        assert "sk-very-secret" not in str(caught.value)


async def test_the_environment_gives_key_address_organisation_and_project(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with Simulator(echo(), api_key="env-key") as service:
        monkeypatch.setenv("OPENAI_API_KEY", "env-key")
        monkeypatch.setenv("OPENAI_BASE_URL", service.base_url)
        monkeypatch.setenv("OPENAI_ORG_ID", "org-1")
        monkeypatch.setenv("OPENAI_PROJECT_ID", "proj-1")
        async with closing(LLM()) as model:
            assert (await collect(model, hello())).text == "You said: Hello"
        headers = service.journal.connections[0].headers
        assert headers["OpenAI-Organization"] == "org-1"
        assert headers["OpenAI-Project"] == "proj-1"


async def test_arguments_win_over_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    async with Simulator(echo(), api_key="own-key") as service:
        monkeypatch.setenv("OPENAI_API_KEY", "env-key")
        monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")
        async with closing(LLM(api_key="own-key", base_url=service.base_url)) as model:
            assert (await collect(model, hello())).text == "You said: Hello"


async def test_a_client_provides_address_key_headers_and_query() -> None:
    async with Simulator(echo(), api_key="client-key") as service:
        client = openai.AsyncOpenAI(
            api_key="client-key",
            base_url=service.base_url,
            organization="org-2",
            default_headers={"X-Team": "voice"},
            default_query={"tenant": "a"},
        )
        async with closing(LLM(client=client)) as model:
            assert (await collect(model, hello())).text == "You said: Hello"
        connection = service.journal.connections[0]
        assert connection.headers["X-Team"] == "voice"
        assert connection.headers["OpenAI-Organization"] == "org-2"
        assert connection.query["tenant"] == "a"
        await client.close()


@pytest.mark.parametrize("make", [LLM, partial(LLM, use_websocket=False), ChatLLM])
async def test_models_that_share_a_client_have_keys_and_urls_of_their_own(make: Any) -> None:
    async with Simulator(echo()) as service:
        elsewhere = service.base_url.replace("/v1", "/elsewhere/v1")
        client = openai.AsyncOpenAI(
            api_key="client-key", base_url=elsewhere, default_headers={"X-Team": "voice"}
        )
        keys: list[Any] = ["key-a", lambda: "key-b"]
        for key in keys:
            model = make(client=client, api_key=key, base_url=service.base_url)
            async with closing(model):
                assert (await collect(model, hello())).text == "You said: Hello"
        sockets = [connection.headers for connection in service.journal.connections]
        headers = sockets or [entry.headers for entry in service.journal.entries]
        sent = dict.fromkeys(h["Authorization"] for h in headers)  # once for a spare connection too
        assert list(sent) == ["Bearer key-a", "Bearer key-b"]
        assert {h["X-Team"] for h in headers} == {"voice"}
        assert (client.api_key, str(client.base_url)) == ("client-key", f"{elsewhere}/")
        await client.close()


async def test_a_wrong_key_is_refused_with_the_services_words() -> None:
    async with (
        Simulator(echo(), api_key="right") as service,
        closing(LLM(api_key="wrong-key", base_url=service.base_url)) as model,
    ):
        with pytest.raises(APIStatusError, match="Incorrect API key") as caught:
            await collect(model, hello())
        assert caught.value.status_code == 401
        assert "wrong-key" not in str(caught.value)


async def test_a_key_never_follows_a_redirect() -> None:
    async with Simulator(echo()) as elsewhere:
        away = RefuseHandshake(302, headers={"Location": elsewhere.base_url + "/responses"})
        async with stage(echo(), simulator={"on_connect": lambda _: away}) as st:
            with pytest.raises(APIError) as caught:
                await answer(st, hello())
            assert elsewhere.journal.connections == []
            assert KEY not in str(caught.value)
            assert len(st.service.journal.connections) == 1


# -- addresses ---------------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", ["http", "ws"])
@pytest.mark.parametrize("path", ["/v1", "/v1/", "/v1/responses", "/v1/responses/"])
@pytest.mark.parametrize("query", ["", "?api-version=preview"])
async def test_a_base_url_may_be_a_root_or_an_endpoint(scheme: str, path: str, query: str) -> None:
    async with Simulator(echo()) as service:
        host = service.base_url.removeprefix("http://").removesuffix("/v1")
        url = f"{scheme}://{host}{path}{query}"
        async with closing(LLM(api_key="k", base_url=url)) as model:
            assert (await collect(model, hello())).text == "You said: Hello"
        sent = service.journal.connections[0].query
        assert sent.get("api-version") == ("preview" if query else None)
        assert sent["model"] == "gpt-4.1"  # a gateway routes by it


async def test_stock_takes_a_base_url_for_the_endpoint() -> None:
    async with http_context.open(), Simulator(echo()) as service:
        model = responses.LLM(api_key="k", base_url=service.base_url)
        with pytest.raises(APIError):
            await collect(model, hello())
        await model.aclose()


@pytest.mark.parametrize(
    "url",
    ["api.openai.com/v1", "ftp://host/v1", "http://", "http://user:pw@host/v1", "http://host:x/v1"],
)
def test_an_address_that_cant_work_is_refused_at_once(url: str) -> None:
    with pytest.raises(ConfigError) as caught:
        LLM(api_key="k", base_url=url)
    assert isinstance(caught.value, ValueError)
    assert "pw" not in str(caught.value)


# -- secrets -----------------------------------------------------------------------------------


def _within(value: object, depth: int = 3) -> Iterator[str]:
    """Everything that public attributes and reprs show."""
    yield repr(value)
    if depth == 0:
        return
    for name, inner in getattr(value, "__dict__", {}).items():
        if not name.startswith("_"):
            yield from _within(inner, depth - 1)


async def test_no_log_repr_or_attribute_holds_the_key_or_the_callers_words(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    fault = [None, ErrorFrame(), ErrorFrame(status=400, code="invalid_prompt", message="No.")]
    async with stage(echo(), simulator={"fault": fault}) as st:
        ctx = hello(SECRET_WORDS)
        await turn(st, ctx)
        patient = APIConnectOptions(max_retry=1, retry_interval=0.0, timeout=5.0)
        ctx.add_message(role="user", content=SECRET_WORDS)
        with pytest.raises(APIError):
            await answer(st, ctx, conn_options=patient)
        shown = "\n".join([*_within(st.llm), repr(vars(st.llm)), repr(st.reports)])
        logged = "\n".join(r.getMessage() for r in caplog.records if r.name.startswith("rtllm"))
        assert "conversation 1" in logged
        for secret in (KEY, SECRET_WORDS):
            assert secret not in logged
            assert secret not in shown.replace(repr(st.llm.asked), "")


async def test_one_line_a_turn_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "rtllm")
    async with stage(echo()) as st:
        ctx = hello("One")
        await turn(st, ctx)
        await turn(st, ctx, "Two")
        lines = [r for r in caplog.records if r.name.startswith("rtllm")]
        assert [r.levelname for r in lines] == ["INFO", "INFO"]


# -- bad input ---------------------------------------------------------------------------------


def test_a_missing_key_is_refused_at_once() -> None:
    with pytest.raises(ConfigError, match="OPENAI_API_KEY"):
        LLM()


@pytest.mark.parametrize("choice", ["sometimes", {"type": "function"}, {"function": {"name": "x"}}])
async def test_a_tool_choice_that_makes_no_sense_is_refused_when_it_is_made(choice: Any) -> None:
    with pytest.raises(ConfigError, match="tool_choice"):
        LLM(api_key="k", tool_choice=choice)
    model = LLM(api_key="k")
    with pytest.raises(ConfigError, match="tool_choice"):
        model.chat(chat_ctx=hello(), tool_choice=choice)


@pytest.mark.parametrize("name", ["input", "previous_response_id", "extra_headers", "timeout"])
async def test_a_field_that_cant_be_set_per_call_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=name):
        LLM(api_key="k").chat(chat_ctx=hello(), extra_kwargs={name: "x"})


async def test_an_empty_context_is_refused_when_it_is_made() -> None:
    with pytest.raises(EmptyContext):
        LLM(api_key="k").chat(chat_ctx=llm.ChatContext.empty())
    only_handoff = llm.ChatContext([llm.AgentHandoff(new_agent_id="a")])
    with pytest.raises(ValueError, match="no item"):
        LLM(api_key="k").chat(chat_ctx=only_handoff)
    with pytest.raises(ValueError, match="no item"):
        LLM(api_key="k").chat(chat_ctx=context(("user", "")))


@function_tool
async def good(city: str) -> str:
    """Work."""
    return city


@function_tool
async def untyped(thing) -> str:  # type: ignore[no-untyped-def]
    """Have a parameter without a type."""
    return str(thing)


async def test_a_tool_that_cant_be_offered_is_named_once_and_the_others_work(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with stage(echo()) as st:
        ctx = hello("One")
        await turn(st, ctx, tools=[good, untyped])
        await turn(st, ctx, "Two", tools=[good, untyped])
        assert [t["name"] for t in st.entries[1].body["tools"]] == ["good"]
        warned = [r.getMessage() for r in caplog.records if r.levelname == "WARNING"]
        assert len([w for w in warned if "untyped" in w]) == 1
        await st.check()


async def test_a_raw_tool_that_claims_to_be_strict_and_cant_is_offered_unstrict() -> None:
    schema = {
        "name": "raw",
        "description": "Take anything.",
        "strict": True,
        "parameters": {"type": "object", "properties": {"x": {"type": "string"}}},
    }

    @function_tool(raw_schema=schema)
    async def raw(raw_arguments: dict[str, object]) -> str:
        """Take anything."""
        return ""

    async with stage(echo()) as st:
        await answer(st, hello(), tools=[raw])
        [tool] = st.entries[0].body["tools"]
        assert (tool["name"], tool["strict"]) == ("raw", False)
        await st.check()


async def test_unknown_items_are_left_out_with_a_warning(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with stage(echo()) as st:
        ctx = hello("One")
        strange = SimpleNamespace(type="hologram", id="item_1")
        ctx.items.insert(1, strange)  # type: ignore[arg-type]
        model: Any = st.llm
        assert (await collect_plain(model, ctx)).text == "You said: One"
        warned = [r.getMessage() for r in caplog.records if r.levelname == "WARNING"]
        assert any("hologram" in w for w in warned)


async def collect_plain(model: Any, ctx: llm.ChatContext) -> llm.CollectedResponse:
    """Ask past the recorder, which converts contexts as the stock plugin does."""
    collected: llm.CollectedResponse = await LLM.chat(
        model, chat_ctx=ctx, conn_options=ONCE
    ).collect()
    return collected


async def test_the_same_unknown_item_is_warned_of_once(caplog: pytest.LogCaptureFixture) -> None:
    async with stage(echo()) as st:
        ctx = hello("One")
        ctx.items.insert(1, SimpleNamespace(type="sculpture", id="item_1"))  # type: ignore[arg-type]
        for _ in range(3):
            await collect_plain(st.llm, ctx)
        warned = [r.getMessage() for r in caplog.records if r.levelname == "WARNING"]
        assert len([w for w in warned if "sculpture" in w]) == 1


@pytest.mark.parametrize(
    "limit",
    [
        0.2,
        httpx.Timeout(5, connect=0.2),
        httpx2.Timeout(5, connect=0.2),
        openai.Timeout(5, connect=0.2),
    ],
    ids=["float", "httpx", "httpx2", "openai"],
)
async def test_a_timeout_of_any_make_bounds_connecting(limit: Any) -> None:
    for_ever = asyncio.Event()
    plan = {0: DelayHandshake(for_ever)}
    async with stage(echo(), simulator={"on_connect": plan.get}, timeout=limit) as st:
        with pytest.raises(APITimeoutError, match=re.escape("0.2 s for a connection")):
            await answer(st, hello())
        for_ever.set()


@pytest.mark.parametrize("timeout", [0, -1.0, httpx.Timeout(5, connect=-1)])
def test_a_timeout_that_cant_work_is_refused(timeout: Any) -> None:
    with pytest.raises(ConfigError, match="timeout"):
        LLM(api_key="k", timeout=timeout)


# -- the stock constructor ---------------------------------------------------------------------


def test_every_keyword_of_the_stock_constructor_is_there_with_its_default() -> None:
    ours = inspect.signature(LLM.__init__).parameters
    for name, parameter in inspect.signature(responses.LLM.__init__).parameters.items():
        assert name in ours, name
        assert ours[name].kind is parameter.kind
        assert ours[name].default == parameter.default or (
            ours[name].default is parameter.default
        ), name


def test_every_keyword_of_the_stock_chat_is_there_with_its_default() -> None:
    ours = inspect.signature(LLM.chat).parameters
    for name, parameter in inspect.signature(responses.LLM.chat).parameters.items():
        assert ours[name].default is parameter.default


# -- spans -------------------------------------------------------------------------------------


@pytest.fixture
def spans() -> Iterator[InMemorySpanExporter]:
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    before = telemetry.tracer._tracer_provider
    telemetry.set_tracer_provider(provider)
    yield exporter
    telemetry.tracer.set_provider(before)


async def test_the_span_of_a_request_tells_how_it_went(spans: InMemorySpanExporter) -> None:
    async with stage(echo()) as st:
        ctx = hello("One")
        await turn(st, ctx)
        await turn(st, ctx, "Two")
        await until(lambda: len(st.reports) == 2)
        found = [s for s in spans.get_finished_spans() if s.name == "llm_request_run"]
        assert [(s.attributes or {})["rtllm.chained"] for s in found] == [False, True]
        second = dict(found[1].attributes or {})
        assert second["rtllm.items_sent"] == 1
        assert second["rtllm.bytes_sent"] == st.entries[1].bytes
        assert second["rtllm.connection_reused"] is True
        assert second["rtllm.lane"] == st.entries[1].lane
        assert second["rtllm.outcome"] == "completed"
        assert SECRET_WORDS not in str(second)
        requests = [s for s in spans.get_finished_spans() if s.name == "llm_request"]
        assert (requests[0].attributes or {})["gen_ai.request.model"] == "gpt-4.1"
        assert (requests[0].attributes or {})["gen_ai.provider.name"] == "127.0.0.1"


# -- connections ahead of need -----------------------------------------------------------------


async def test_prewarm_opens_the_connection_that_the_first_turn_uses(host: Any) -> None:
    async with stage(echo(), **host) as st:
        st.llm.prewarm()
        await st.service.journal.wait(lambda j: j.open_connections)
        st.llm.prewarm()
        await answer(st, hello())
        await st.check(connections=1)


async def test_prewarm_works_again_after_a_drop() -> None:
    async with stage(echo()) as st:
        st.llm.prewarm()
        await st.service.journal.wait(lambda j: j.open_connections)
        await st.service.close_connections(1001)
        await st.service.journal.wait(lambda j: not j.open_connections)

        def opens() -> object:
            st.llm.prewarm()
            return st.service.journal.open_connections

        await until(opens)
        assert len(st.service.journal.connections) == 2
        await answer(st, hello())
        await st.check(connections=2)


async def test_a_session_opens_its_connection_before_the_first_turn() -> None:
    async with stage(echo()) as st, session_of(st.llm, Agent(instructions="Be kind.")) as session:
        await st.service.journal.wait(lambda j: j.open_connections)
        await session.run(user_input="Hello")
        await st.check(connections=1)


async def test_prewarm_without_a_server_is_not_an_error(unused_tcp_port: int) -> None:
    async with closing(
        LLM(api_key="k", base_url=f"http://127.0.0.1:{unused_tcp_port}/v1")
    ) as model:
        events = errors_of(model)
        model.prewarm()
        await asyncio.sleep(30.0)  # virtual: it has failed by then
        assert events == []


async def test_aclose_may_be_called_twice_and_chat_opens_again(host: Any) -> None:
    async with stage(echo(), **host) as st:
        await st.llm.aclose()
        ctx = hello("One")
        await turn(st, ctx)
        await st.llm.aclose()
        await st.llm.aclose()
        await st.service.journal.wait(lambda j: not j.open_connections)
        assert await turn(st, ctx, "Two") == "You said: Two"
        await st.check(connections=2, whole={1})


async def test_closing_while_a_turn_runs_ends_it_with_an_error() -> None:
    go_on = asyncio.Event()

    async def script(_: Any) -> str:
        await go_on.wait()
        return "late"

    async with stage(script) as st:
        waiting = asyncio.ensure_future(answer(st, hello()))
        await st.service.journal.wait_for(1)
        await st.llm.aclose()
        with pytest.raises(APIError, match="closed"):
            await waiting
        go_on.set()


# -- loops, contexts, proxies ------------------------------------------------------------------


async def _serve_two_loops(base_url: str, *, close: bool, http: bool) -> list[str]:
    model = LLM(api_key="k", base_url=base_url)

    async def one(text: str) -> str:
        async def ask() -> str:
            ctx = hello(text)
            try:
                return (await collect(model, ctx)).text
            finally:
                if close:
                    await model.aclose()

        if not http:
            return await ask()
        async with http_context.open():
            return await ask()

    def in_thread() -> list[str]:
        return [asyncio.run(one("One")), asyncio.run(one("Two"))]

    return await asyncio.to_thread(in_thread)


@pytest.mark.parametrize("http", [False, True], ids=["without a context", "with a context"])
async def test_one_object_works_on_a_second_event_loop(http: bool) -> None:
    async with Simulator(echo()) as service:
        said = await _serve_two_loops(service.base_url, close=True, http=http)
        assert said == ["You said: One", "You said: Two"]


async def test_a_second_http_context_in_the_same_loop_works() -> None:
    async with (
        Simulator(echo()) as service,
        closing(LLM(api_key="k", base_url=service.base_url)) as model,
    ):
        ctx = hello("One")
        for text in ("Two", "Three", "Four"):
            async with http_context.open():
                said = (await collect(model, ctx)).text
            ctx.add_message(role="assistant", content=said)
            ctx.add_message(role="user", content=text)
        # and without any
        assert (await collect(model, ctx)).text == "You said: Four"
        assert service.journal.refused == []


async def test_stock_dies_with_its_first_http_context() -> None:
    async with Simulator(echo()) as service:
        model = responses.LLM(api_key="k", base_url=service.base_url + "/responses")
        async with http_context.open():
            assert (await collect(model, hello())).text == "You said: Hello"
        async with http_context.open():
            with pytest.raises(Exception, match=r"losed|onnection"):
                await collect(model, hello())
        await model.aclose()


async def test_the_jobs_proxy_is_used() -> None:
    async with Proxy() as proxy, Simulator(echo()) as service:
        room = SimpleNamespace(sid="", name="")
        job: Any = SimpleNamespace(
            proc=SimpleNamespace(http_proxy=proxy.url), job=SimpleNamespace(room=room, id="")
        )
        token = livekit_job._JobContextVar.set(job)
        try:
            async with (
                http_context.open(),
                closing(LLM(api_key="k", base_url=service.base_url)) as model,
            ):
                said = await collect(model, hello("One"))
                assert said.text == "You said: One"
        finally:
            livekit_job._JobContextVar.reset(token)
        # With the spare that is kept on a host without lanes, there may be two.
        assert len(proxy.lines) == len(service.journal.connections)
        assert all(line.startswith("GET ws://127.0.0.1:") for line in proxy.lines)


class _Turn:
    """Something that belongs to one turn."""


@pytest.mark.parametrize("lanes", [True, False])
async def test_what_is_dropped_without_being_closed_leaves_nothing_open(lanes: bool) -> None:
    async with Simulator("Hi.") as service:
        model = LLM(api_key=KEY, base_url=service.base_url, lanes=lanes)
        await collect(model, hello())
        assert service.journal.open_connections
        del model
        gc.collect()
        await service.journal.wait(lambda journal: not journal.open_connections)


async def test_what_lives_on_doesnt_keep_the_turns_context() -> None:
    turn_of = contextvars.ContextVar[_Turn]("turn_of")
    async with stage(echo()) as st:

        async def first() -> weakref.ref[_Turn]:
            mine = _Turn()
            turn_of.set(mine)
            # Without a limit: the event loop keeps its timer, and so this context, for a while.
            await st.llm.chat(chat_ctx=hello()).collect()
            return weakref.ref(mine)

        kept = await asyncio.create_task(first())
        await until(lambda: gc.collect() >= 0 and kept() is None)
        assert st.service.journal.open_connections


async def test_a_stream_that_is_never_read_is_whole_all_the_same() -> None:
    async with stage(echo()) as st:
        stream = st.llm.chat(chat_ctx=hello(), conn_options=ONCE)
        await until(lambda: st.reports)
        assert st.reports[0].outcome == "completed"
        assert (await stream.collect()).text == "You said: Hello"
        ctx = hello()
        ctx.add_message(role="assistant", content="You said: Hello")
        await turn(st, ctx, "Two")
        assert is_chained(st.entries[1])
