"""Settings, keys, timeouts, closing, pictures and tools, side by side with the stock plugin."""

from __future__ import annotations

import asyncio
import gc
import logging
import threading
from typing import Any

import httpx
import openai
import pytest
from videosdk.agents import ChatRole, ImageContent, Pipeline
from videosdk.agents.utils import FunctionToolInfo
from videosdk.plugins.openai import OpenAILLM as StockLLM

from rtllm import ConfigError
from rtllm.simulator import Simulator
from rtllm_videosdk import OpenAILLM
from support.oracle import KEY
from support.stock import both
from support.waiting import until
from videosdk_adapter.contexts import black_frame
from videosdk_adapter.requests import chunks_of, hello, text_of
from videosdk_adapter.scenes import HANGS, both_ways, read
from videosdk_adapter.stage import stage
from videosdk_adapter.talks import tool


@tool
async def weather(city: str, unit: str = "C") -> str:
    """Tell the weather.

    Args:
        city: Where.
        unit: C or F.
    """
    return "fine"


def made(*, stock: bool, **options: Any) -> Any:
    """An object of either plugin, with the address of a socket where the stock one wants it."""
    if not stock:
        return OpenAILLM(**options)
    socket = f"{options['base_url']}/responses".replace("http", "ws", 1)
    return StockLLM(wss_url=socket, **options)


# -- parameters ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("streaming", "options"),
    [
        pytest.param(True, {"seed": 7}, id="seed on the socket"),
        pytest.param(False, {"model": "gpt-5", "verbosity": "low"}, id="verbosity over HTTP"),
        pytest.param(
            True,
            {"tool_choice": {"type": "function", "function": {"name": "weather"}}},
            id="a named tool on the socket",
        ),
        pytest.param(False, {"model": "ft:gpt-5:me", "temperature": 0.7}, id="a family's alias"),
    ],
)
@both
async def test_a_setting_is_sent_as_the_api_has_it(
    streaming: bool, options: dict[str, Any], stock: bool
) -> None:
    extra: dict[str, Any] = {} if stock or "ft:" not in str(options) else {"model_family": "gpt-5"}
    async with stage(
        "Hi.",
        streaming=streaming,
        stock=stock,
        simulator={"models": ["ft:gpt-5:me"]},
        **options,
        **extra,
    ) as st:
        chunks, error = await chunks_of(st.llm, hello(), tools=[weather])
        if "ft:" in str(options):
            assert ("temperature" in st.entries[0].body) is stock
        else:
            assert ((text_of(chunks), error) == ("Hi.", None)) is not stock


@both
async def test_a_calls_headers_are_not_part_of_the_body(stock: bool) -> None:
    async with stage("Hi.", stock=stock) as st:
        chunks, _ = await chunks_of(st.llm, hello(), extra_headers={"X-Tenant": "one"})
        assert (text_of(chunks) == "Hi.") is not stock
        if not stock:
            assert st.service.journal.connections[-1].headers["X-Tenant"] == "one"


@both
@both_ways
async def test_an_unknown_keyword_is_named_before_anything_is_sent(
    streaming: bool, stock: bool
) -> None:
    async with stage("Hi.", streaming=streaming, stock=stock) as st:
        _, error = await chunks_of(st.llm, hello(), temprature=0.5)
        if stock and not streaming:
            assert isinstance(error, TypeError)  # the openai client names it, too
            return
        assert (isinstance(error, ConfigError) and "temprature" in str(error)) is not stock
        assert (st.entries == []) is not stock


# -- the socket goes where the rest goes --------------------------------------------------------


@pytest.mark.parametrize("stock", [False, True], ids=["rtllm", "stock"])
def test_a_key_goes_to_the_host_that_was_chosen(stock: bool) -> None:
    """Without a running loop nothing connects; the address shows."""
    if stock:
        llm = StockLLM(api_key=KEY, base_url="https://gateway.example/v1", streaming=True)
        assert llm._wss_url.startswith("wss://api.openai.com/")
        return
    llm = OpenAILLM(api_key=KEY, base_url="https://gateway.example/v1", streaming=True)
    assert " at gateway.example," in repr(llm)


@both
async def test_organization_project_and_query_apply_to_the_socket(stock: bool) -> None:
    options: dict[str, Any] = {
        "organization": "org-1",
        "project": "p",
        "extra_query": {"tenant": "1"},
    }
    async with stage("Hi.", stock=stock, **options) as st:
        await read(st)
        connection = st.service.journal.connections[-1]
        sent = (
            connection.headers.get("OpenAI-Organization"),
            connection.headers.get("OpenAI-Project"),
            connection.query.get("tenant"),
        )
        assert (sent == ("org-1", "p", "1")) is not stock


@both
async def test_a_client_with_its_own_key_is_enough(stock: bool) -> None:
    async with Simulator("Hi.", api_key="sk-of-the-client") as service:
        client = openai.AsyncOpenAI(api_key="sk-of-the-client", base_url=service.base_url)
        if stock:
            with pytest.raises(ValueError, match="cannot be introspected"):
                made(stock=True, client=client, base_url=service.base_url, streaming=True)
        else:
            llm = OpenAILLM(client=client, streaming=True)
            chunks, error = await chunks_of(llm, hello())
            assert (text_of(chunks), error) == ("Hi.", None)
            await llm.aclose()
        await client.close()


# -- timeouts -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "given", [5.0, httpx.Timeout(5.0), openai.Timeout(5.0)], ids=["float", "httpx", "openai"]
)
@both
async def test_timeouts_of_all_kinds_work(given: Any, stock: bool) -> None:
    async with stage("Hi.", streaming=False, timeout=given, stock=stock) as st:
        text, error = await read(st)
        fails = stock and isinstance(given, openai.Timeout)
        assert ((text, error) == ("Hi.", None)) is not fails


# -- closing ------------------------------------------------------------------------------------


@both
@both_ways
async def test_only_stock_stays_closed_over_http(streaming: bool, stock: bool) -> None:
    async with stage("Hi.", streaming=streaming, stock=stock) as st:
        assert await read(st) == ("Hi.", None)
        await st.llm.aclose()
        await st.llm.aclose()
        text, error = await read(st, limit=HANGS if stock else 20)
        # the stock plugin's client is closed for good over HTTP; its socket opens again
        assert ((text, error) == ("Hi.", None)) is not (stock and not streaming)


async def _dropped(service: Simulator, *, stock: bool) -> None:
    llm = made(stock=stock, api_key=KEY, base_url=service.base_url, streaming=True)
    chunks, error = await chunks_of(llm, hello())
    assert (text_of(chunks), error) == ("Hi.", None)


async def test_an_object_that_is_dropped_leaves_no_socket() -> None:
    async with Simulator("Hi.") as service:
        await _dropped(service, stock=False)
        assert service.journal.open_connections
        gc.collect()
        await until(lambda: not service.journal.open_connections)


# -- the key ------------------------------------------------------------------------------------


@both
async def test_the_frameworks_dump_holds_no_key(stock: bool) -> None:
    async with stage("Hi.", stock=stock, extra_headers={"X-Key": "hush"}) as st:
        pipeline = Pipeline(llm=st.llm)
        dumped = str(pipeline.get_component_configs())
        assert (KEY in dumped) is stock
        assert ("hush" in dumped) is stock
        assert KEY not in repr(st.llm)


# -- loops --------------------------------------------------------------------------------------


@both
@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_only_stock_fails_on_a_second_loop(stock: bool) -> None:
    """A closed loop closes its sockets, whether or not the object was closed before."""
    first, second = _on_two_loops(stock=stock)
    assert first == ("Hi.", None)
    assert (second == ("Hi.", None)) is not stock
    gc.collect()  # what the stock plugin leaves open is complained of here and not later


def _on_two_loops(*, stock: bool) -> list[tuple[str, Any]]:
    ports: list[int] = []

    async def ask(llm: Any) -> tuple[Any, tuple[str, Any]]:
        async with Simulator("Hi.", port=ports[0] if ports else 0) as service:
            ports.append(int(service.base_url.split(":")[2].split("/")[0]))
            llm = llm or made(stock=stock, api_key=KEY, base_url=service.base_url, streaming=True)
            chunks, error = await chunks_of(llm, hello())
            return llm, (text_of(chunks), error and error.with_traceback(None))

    llm, first = asyncio.run(ask(None))
    _, second = asyncio.run(ask(llm))
    return [first, second]


# -- pictures -----------------------------------------------------------------------------------


@both
@both_ways
async def test_a_picture_is_encoded_once_and_off_the_loop(
    streaming: bool, stock: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_the_loop: list[bool] = []
    encode = ImageContent.to_data_url

    def noted(self: Any) -> str:
        on_the_loop.append(threading.current_thread() is threading.main_thread())
        return str(encode(self))

    ctx = hello("Look:")
    frame = ImageContent(image=black_frame())
    ctx.add_message(role=ChatRole.USER, content=["This: ", frame])
    async with stage("I see.", streaming=streaming, stock=stock) as st:
        monkeypatch.setattr("videosdk_adapter.models.wanted", lambda _: [])
        monkeypatch.setattr(ImageContent, "to_data_url", noted)
        for text in ("What is it?", "And now?"):
            ctx.add_message(role=ChatRole.USER, content=text)
            await chunks_of(st.llm, ctx)
        assert (on_the_loop == [False]) is not stock
        assert any(on_the_loop) is stock
        monkeypatch.undo()


# -- tools --------------------------------------------------------------------------------------


@both
@both_ways
async def test_only_stock_misses_an_mcp_tools_description(streaming: bool, stock: bool) -> None:
    async def remote(**_: Any) -> str:
        return "done"

    schema = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}
    info = FunctionToolInfo(name="remote", description=None, parameters_schema=schema)
    remote._tool_info = info  # type: ignore[attr-defined]
    remote.__doc__ = "Does it far away."
    async with stage("Hi.", streaming=streaming, stock=stock) as st:
        await chunks_of(st.llm, hello(), tools=[remote])
        offered = st.entries[0].body["tools"][0]
        told = offered.get("function", offered).get("description")
        assert (told == "Does it far away.") is not stock


@both
@both_ways
async def test_what_has_a_default_is_not_required(streaming: bool, stock: bool) -> None:
    async with stage("Hi.", streaming=streaming, stock=stock) as st:
        await chunks_of(st.llm, hello(), tools=[weather])
        offered = st.entries[0].body["tools"][0]
        unit = offered.get("function", offered)["parameters"]["properties"]["unit"]
        assert (unit["type"] == ["string", "null"]) is not stock


@both
@both_ways
async def test_a_tool_without_a_schema_is_a_warning_and_no_event(
    streaming: bool, stock: bool, caplog: pytest.LogCaptureFixture
) -> None:
    async def odd(place: str) -> str:
        """Odd."""
        return "odd"

    odd.__annotations__["place"] = "NoSuchName"
    async with stage("Hi.", streaming=streaming, stock=stock) as st:
        for _ in range(2):
            chunks, error = await chunks_of(st.llm, hello(), tools=[weather, tool(odd)])
            assert (text_of(chunks), error) == ("Hi.", None)
            assert len(st.entries[-1].body["tools"]) == 1
        assert len(st.errors) == (2 if stock else 0)
    if not stock:
        named = [r for r in caplog.records if r.levelno == logging.WARNING and "odd" in r.message]
        assert len(named) == 1
