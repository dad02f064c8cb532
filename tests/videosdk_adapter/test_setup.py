"""What is made of the constructor's and a call's keywords: addresses, keys, parameters, tools."""

from __future__ import annotations

import asyncio
import json
import logging
from typing import Annotated, Any
from urllib.parse import urlsplit

import httpx
import openai
import pytest
from pydantic import BaseModel
from videosdk.agents import ChatContext, ChatRole, ImageContent, Pipeline, function_tool
from videosdk.agents.utils import FunctionToolInfo

from rtllm import ConfigError
from rtllm.adapters import Options
from rtllm.simulator import Call, ErrorFrame, Reply, Request, Simulator, Text, only
from rtllm_videosdk import OpenAILLM
from rtllm_videosdk.settings import limits_of
from support.contexts import pictures_of
from support.oracle import KEY
from videosdk_adapter.contexts import black_frame, flat
from videosdk_adapter.requests import calls_of, chunks_of, hello, text_of
from videosdk_adapter.stage import Host, stage
from videosdk_adapter.talks import Plain, talk, tool


def made(**options: Any) -> OpenAILLM:
    return OpenAILLM(**{"api_key": KEY, **options})


# -- the constructor ------------------------------------------------------------------------------


def test_the_originals_keywords_have_their_meaning_and_defaults() -> None:
    llm = made()
    assert (llm.model, llm.temperature, llm.tool_choice) == ("gpt-4o-mini", 0.7, "auto")
    assert llm.streaming is False
    assert (llm.store, llm.reasoning_effort, llm.verbosity) == (None,) * 3  # the host's own
    assert (llm.seed, llm.top_p, llm.parallel_tool_calls, llm.max_completion_tokens) == (None,) * 4


def test_a_missing_key_is_a_value_error() -> None:
    with pytest.raises(ValueError, match="API key must be provided"):
        OpenAILLM()


@pytest.mark.parametrize(
    "options",
    [
        {"warm_connections": -1},
        {"max_retries": -1},
        {"on_refusal": "sing"},
        {"timeout": 0},
        {"timeout": "soon"},
        {"tool_choice": "perhaps"},
        {"base_url": "https://user:secret@host/v1", "streaming": True},
    ],
)
def test_a_setting_that_cannot_work_is_refused_at_once(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError) as caught:
        made(**options)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "given",
    [
        3.0,
        3,
        httpx.Timeout(3.0, connect=2.0),
        openai.Timeout(3.0, connect=2.0),
        openai.Timeout(None, read=3.0),
    ],
)
async def test_timeouts_of_all_kinds(host: Host, given: Any) -> None:
    async with stage("Hi.", **host, timeout=given) as st:
        assert limits_of(Options(api="chat", model="m"), given).base == 3.0
        chunks, error = await chunks_of(st.llm, hello())
        assert (text_of(chunks), error) == ("Hi.", None)


async def test_nothing_secret_is_shown(host: Host) -> None:
    secrets: dict[str, Any] = {
        "extra_headers": {"X-Token": "header-secret"},
        "extra_query": {"token": "query-secret"},
        "extra_body": {"user": "body-secret"},
    }
    async with stage("Hi.", **host, **secrets) as st:
        pipeline = Pipeline(llm=st.llm)
        dumped = f"{pipeline.get_component_configs()} {st.llm!r} {vars(st.llm)}"
        await chunks_of(st.llm, hello())
        for word in (KEY, "header-secret", "query-secret", "body-secret"):
            assert word not in dumped
        assert st.llm.api_key == KEY
        assert st.llm.extra_headers == {"X-Token": "header-secret"}
        entry = st.entries[0]
        if st.is_socket:
            connection = st.service.journal.connections[0]
            headers, query = connection.headers, connection.query
        else:
            headers, query = entry.headers, entry.query
        assert headers["X-Token"] == "header-secret"
        assert query["token"] == "query-secret"
        assert entry.body["user"] == "body-secret"


async def test_organization_and_project_travel_both_ways(host: Host) -> None:
    async with stage("Hi.", **host, organization="org-1", project="proj-1") as st:
        await chunks_of(st.llm, hello())
        one = st.service.journal.connections[0] if st.is_socket else st.entries[0]
        assert one.headers["OpenAI-Organization"] == "org-1"
        assert one.headers["OpenAI-Project"] == "proj-1"


@pytest.mark.parametrize("streaming", [True, False])
async def test_the_environment_counts_for_both_ways(
    streaming: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Simulator("Hi.") as service:
        monkeypatch.setenv("OPENAI_API_KEY", KEY)
        monkeypatch.setenv("OPENAI_BASE_URL", service.base_url)
        monkeypatch.setenv("OPENAI_ORG_ID", "org-2")
        llm = OpenAILLM(streaming=streaming)
        chunks, error = await chunks_of(llm, hello())
        assert (text_of(chunks), error) == ("Hi.", None)
        await llm.aclose()


async def test_the_sockets_own_address() -> None:
    async with Simulator("Hi.") as service:
        llm = made(base_url="http://127.0.0.1:9/v1", wss_url=service.websocket_url, streaming=True)
        chunks, error = await chunks_of(llm, hello())
        assert (text_of(chunks), error) == ("Hi.", None)
        await llm.aclose()


async def test_a_passed_client_gives_its_all_and_is_left_open(host: Host) -> None:
    async with Simulator("Hi.", api_key="sk-of-the-client") as service:
        client = openai.AsyncOpenAI(
            api_key="sk-of-the-client",
            base_url=service.base_url,
            default_headers={"X-Mine": "yes"},
            default_query={"q": "1"},
        )
        llm = OpenAILLM(client=client, streaming=host["streaming"])
        chunks, error = await chunks_of(llm, hello())
        assert (text_of(chunks), error) == ("Hi.", None)
        journal = service.journal
        one = journal.connections[0] if host["streaming"] else journal.entries[0]
        assert one.headers["X-Mine"] == "yes"
        assert one.query["q"] == "1"
        await llm.aclose()
        assert not client.is_closed()
        await client.close()


def test_a_passed_clients_key_goes_to_no_other_host(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-of-the-environment")
    client = openai.AsyncOpenAI(api_key="sk-x", base_url="https://gateway.example/v1")
    with pytest.raises(ConfigError, match="another host"):
        OpenAILLM(client=client, streaming=True, wss_url="wss://api.openai.com/v1/responses")
    assert " at gateway.example," in repr(OpenAILLM(client=client, streaming=True))

    class Facade:
        api_key = "sk-of-the-facade"

    with pytest.raises(ConfigError, match="API key"):
        OpenAILLM(client=Facade(), streaming=True)


async def test_settings_assigned_at_run_time_count_from_the_next_request_on(host: Host) -> None:
    async with stage("Hi.", **host) as st:
        await chunks_of(st.llm, hello())
        st.llm.model, st.llm.temperature, st.llm.max_completion_tokens = "gpt-4.1", 0.2, 99
        st.llm.extra_body = {"service_tier": "flex"}
        await chunks_of(st.llm, hello())
        body = st.entries[-1].body
        cap = "max_output_tokens" if host["streaming"] else "max_completion_tokens"
        assert (body["model"], body["temperature"], body[cap]) == ("gpt-4.1", 0.2, 99)
        assert body["service_tier"] == "flex"
        st.llm.streaming = not st.llm.streaming
        chunks, error = await chunks_of(st.llm, hello())
        assert (text_of(chunks), error) == ("Hi.", None)
        assert {e.api for e in st.entries} == {"responses", "chat"}


async def test_new_headers_and_a_new_key_open_new_connections(host: Host) -> None:
    async with stage("Hi.", **host) as st:
        await chunks_of(st.llm, hello())
        st.llm.extra_headers = {"X-New": "1"}
        st.llm.api_key = "sk-new"
        await chunks_of(st.llm, hello())
        one = st.service.journal.connections[-1] if st.is_socket else st.entries[-1]
        assert one.headers["Authorization"] == "Bearer sk-new"
        assert one.headers["X-New"] == "1"
        assert st.llm.usage.all.attempts == 2


async def test_the_constructor_connects_where_a_loop_runs() -> None:
    async with Simulator("Hi.") as service:
        llm = made(base_url=service.base_url, streaming=True)
        await service.journal.wait(lambda journal: journal.open_connections)
        await llm.prewarm()
        chunks, error = await chunks_of(llm, hello())
        assert (text_of(chunks), error) == ("Hi.", None)
        assert len(service.journal.connections) == 1
        await llm.aclose()


def test_without_a_loop_it_connects_later() -> None:
    llm = made(streaming=True)

    async def use() -> str:
        async with Simulator("Hi.") as service:
            mine = made(base_url=service.base_url, streaming=True)
            chunks, _ = await chunks_of(mine, hello())
            await mine.aclose()
            return text_of(chunks)

    assert asyncio.run(use()) == "Hi."
    assert llm.usage.all.attempts == 0


def test_an_object_closed_on_one_loop_works_on_another() -> None:
    async def use(llm: OpenAILLM | None) -> OpenAILLM:
        async with Simulator("Hi.", port=0 if llm is None else port) as service:
            mine = llm or made(base_url=service.base_url, streaming=True)
            ports.append(urlsplit(service.base_url).port or 0)
            chunks, error = await chunks_of(mine, hello())
            assert (text_of(chunks), error) == ("Hi.", None)
            await mine.aclose()
            return mine

    ports: list[int] = []
    llm = asyncio.run(use(None))
    port = ports[0]
    asyncio.run(use(llm))


# -- parameters -----------------------------------------------------------------------------------

_ALL: dict[str, Any] = {
    "temperature": 0.3,
    "max_completion_tokens": 50,
    "top_p": 0.9,
    "frequency_penalty": 0.1,
    "presence_penalty": 0.2,
    "seed": 7,
    "parallel_tool_calls": False,
}


@tool
async def weather(city: str, unit: str = "C") -> str:
    """Tell the weather."""
    return "fine"


async def test_every_parameter_over_the_socket(caplog: pytest.LogCaptureFixture) -> None:
    choice = {"type": "function", "function": {"name": "weather"}}
    async with stage("Hi.", **_ALL, tool_choice=choice) as st:
        for _ in range(2):
            _, error = await chunks_of(st.llm, hello(), tools=[weather])
            assert error is None
        body = st.entries[0].body
    assert body["temperature"] == 0.3
    assert body["max_output_tokens"] == 50
    assert body["top_p"] == 0.9
    assert body["parallel_tool_calls"] is False
    assert body["tool_choice"] == {"type": "function", "name": "weather"}
    assert body["store"] is False
    assert not {"seed", "frequency_penalty", "presence_penalty"} & body.keys()
    assert caplog.text.count("has no seed") == 1


async def test_every_parameter_over_http() -> None:
    choice = {"type": "function", "name": "weather"}
    async with stage("Hi.", streaming=False, **_ALL, tool_choice=choice) as st:
        _, error = await chunks_of(st.llm, hello(), tools=[weather])
        assert error is None
        body = st.entries[0].body
    assert {name: body.get(name) for name in _ALL} == _ALL
    assert body["tool_choice"] == {"type": "function", "function": {"name": "weather"}}


@pytest.mark.parametrize("model", ["gpt-5", "gpt-5.2", "o4-mini", "gpt-6-sol", "gpt-4o-mini"])
async def test_defaults_work_with_every_model(
    host: Host, model: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with stage("Hi.", **host, model=model) as st:
        chunks, error = await chunks_of(st.llm, hello(), tools=[weather])
        assert (text_of(chunks), error) == ("Hi.", None)
        assert len(st.entries) == 1
        assert ("temperature" in st.entries[0].body) is (model == "gpt-4o-mini")
    assert "rejects" not in caplog.text


async def test_effort_and_verbosity(host: Host) -> None:
    options: dict[str, Any] = {"model": "gpt-5.2", "reasoning_effort": "none", "verbosity": "low"}
    async with stage("Hi.", **host, **options) as st:
        _, error = await chunks_of(st.llm, hello())
        assert error is None
        body = st.entries[0].body
    if host["streaming"]:
        assert (body["reasoning"], body["text"]) == ({"effort": "none"}, {"verbosity": "low"})
    else:
        assert (body["reasoning_effort"], body["verbosity"]) == ("none", "low")


async def test_a_family_tells_what_a_deployments_name_does_not(host: Host) -> None:
    async with stage(
        "Hi.", **host, model="prod-five", model_family="gpt-5", simulator={"models": ["prod-five"]}
    ) as st:
        _, error = await chunks_of(st.llm, hello())
        assert error is None
        assert "temperature" not in st.entries[0].body


async def test_a_refused_default_is_left_out_silently(
    host: Host, caplog: pytest.LogCaptureFixture
) -> None:
    refusal = ErrorFrame(
        code="unsupported_parameter",
        status=400,
        kind="invalid_request_error",
        message="Unsupported parameter: 'temperature' is not supported with this model.",
        param="temperature",
    )
    simulator = {"fault": only(0, refusal), "models": ["prod-x"]}
    async with stage("Hi.", **host, model="prod-x", simulator=simulator) as st:
        chunks, error = await chunks_of(st.llm, hello())
        assert (text_of(chunks), error) == ("Hi.", None)
        assert ["temperature" in e.body for e in st.entries] == [True, False]
    assert "temperature" not in caplog.text


async def test_a_calls_keywords_win_and_merge(host: Host) -> None:
    options: dict[str, Any] = {
        "extra_body": {"user": "a", "service_tier": "flex"},
        "extra_headers": {"X-A": "1"},
    }
    async with stage("Hi.", **host, **options) as st:
        kwargs = {
            "temperature": 0.1,
            "max_completion_tokens": 33,
            "extra_body": {"user": "b"},
            "extra_headers": {"X-B": "2"},
            "response_format": {"type": "json_object"},
        }
        _, error = await chunks_of(_Free(st.llm), hello("Say JSON."), **kwargs)
        assert error is None
        body = st.entries[0].body
        one = st.service.journal.connections[-1] if st.is_socket else st.entries[0]
    assert (body["temperature"], body["user"], body["service_tier"]) == (0.1, "b", "flex")
    assert (one.headers["X-A"], one.headers["X-B"]) == ("1", "2")
    assert "json_object" in json.dumps(body)


class _Free:
    """An LLM of the stage without its numbering."""

    def __init__(self, llm: Any) -> None:
        self._llm = llm
        llm.contexts_asked.append(ChatContext.empty())

    def chat(self, ctx: ChatContext, **kwargs: Any) -> Any:
        kwargs["metadata"] = {"asked": "0"}
        if not self._llm.streaming:
            kwargs["store"] = True
        return OpenAILLM.chat(self._llm, ctx, **kwargs)


@pytest.mark.parametrize("name", ["instructions", "input", "previous_response_id", "stream", "n"])
async def test_what_follows_from_the_context_is_not_set(host: Host, name: str) -> None:
    async with stage("Hi.", **host) as st:
        _, error = await chunks_of(_Free(st.llm), hello(), **{name: 1})
    assert isinstance(error, ConfigError)
    assert name in str(error)


# -- tools ----------------------------------------------------------------------------------------


class Place(BaseModel):
    city: str
    country: str = "France"


@tool
async def find(place: Place, detailed: Annotated[bool, "More words"] = False) -> str:
    """Find a place."""
    return "found"


async def test_schemas_say_what_is_optional(host: Host) -> None:
    async with stage("Hi.", **host) as st:
        _, error = await chunks_of(st.llm, hello(), tools=[weather, find])
        assert error is None
        tools = [t.get("function", t) for t in st.entries[0].body["tools"]]
    unit = {"type": ["string", "null"], "description": 'Default: "C".'}
    assert tools[0]["parameters"]["properties"] == {"city": {"type": "string"}, "unit": unit}
    assert tools[0]["description"] == "Tell the weather."
    detailed = tools[1]["parameters"]["properties"]["detailed"]
    assert detailed == {
        "type": ["boolean", "null"],
        "description": "More words. Default: false.",
    }
    assert {t["strict"] for t in tools} == {True}


async def test_a_tool_without_a_schema_is_left_out_and_named_once(
    host: Host, caplog: pytest.LogCaptureFixture
) -> None:
    class Local(BaseModel):
        x: int

    async def odd(local: Local) -> str:
        """Odd."""
        return "odd"

    odd.__annotations__["local"] = "NoSuchName"
    async with stage("Hi.", **host) as st:
        for _ in range(2):
            chunks, error = await chunks_of(st.llm, hello(), tools=[weather, function_tool(odd)])
            assert (text_of(chunks), error) == ("Hi.", None)
        assert st.errors == []
        assert len(st.entries[0].body["tools"]) == 1
    warnings = [r for r in caplog.records if r.levelno >= logging.WARNING and "odd" in r.message]
    assert len(warnings) == 1


async def test_an_mcp_tool_keeps_its_description_and_schema(host: Host) -> None:
    async def remote(**_: Any) -> str:
        return "done"

    schema = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}
    remote._tool_info = FunctionToolInfo(  # type: ignore[attr-defined]
        name="remote", description=None, parameters_schema=schema
    )
    remote.__doc__ = "Does it far away."
    async with stage("Hi.", **host) as st:
        await chunks_of(st.llm, hello(), tools=[remote])
        said = st.entries[0].body["tools"][0]
    assert said.get("function", said)["description"] == "Does it far away."
    parameters = {**schema, "additionalProperties": False}
    assert said.get("function", said)["parameters"] == parameters


async def test_tools_are_byte_stable(socket: Host) -> None:
    async with stage("Hi.", **socket) as st:
        for _ in range(2):
            await chunks_of(st.llm, hello(), tools=[weather, find])
        first, second = (json.dumps(e.body["tools"]) for e in st.entries)
        assert first == second


async def test_arguments_are_parsed_and_empty_ones_are_an_object(host: Host) -> None:
    @tool
    async def here(city: str = "Oslo") -> str:
        """Tell the weather here."""
        return city

    reply = Reply.of(Call("here", ""), Call("here", '{"city": "Zürich"}'))
    async with stage(reply, **host) as st, talk(st.llm, Plain(tools=[here])) as c:
        st.service.script = lambda r: "Done." if r.trailing_outputs else reply
        st.answers.script = st.service.script
        st.service.script = st.answers
        await c.say("go")
        await c.say("again")
    await st.check()


# -- pictures -------------------------------------------------------------------------------------


async def test_pictures_are_encoded_once_and_off_the_loop(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    import threading  # noqa: PLC0415

    encoded: list[bool] = []
    original = ImageContent.to_data_url

    def to_data_url(self: Any) -> str:
        encoded.append(threading.current_thread() is threading.main_thread())
        return str(original(self))

    frame = black_frame()
    async with stage("I see.", **host) as st, talk(st.llm) as c:
        c.context.add_message(
            role=ChatRole.USER,
            content=[
                "Look: ",
                ImageContent(image=frame),
                ImageContent(image="https://x.test/a.png"),
            ],
        )
        monkeypatch.setattr("videosdk_adapter.models.wanted", lambda _: [])
        monkeypatch.setattr(ImageContent, "to_data_url", to_data_url)
        for text in ("what is it", "and now"):
            await c.say(text)
        assert encoded == [False]
        monkeypatch.undo()
        seen = flat(st.entries[-1].context)
        pictures = [url for unit in seen if unit[0] == "message" for url in pictures_of(unit)]
        assert len(pictures) == 2
        assert pictures[0].startswith("data:image/jpeg;base64,")
        if st.is_socket:
            assert len(st.entries[1].input) == 1


# -- graphs ---------------------------------------------------------------------------------------


class Graph:
    """A conversational graph, as the framework's adapter looks to an LLM."""

    def __init__(self) -> None:
        self.states: list[int] = []

    def _get_graph_schema(self) -> dict[str, Any]:
        return {
            "type": "object",
            "properties": {"response_to_user": {"type": "string"}},
            "required": ["response_to_user"],
            "additionalProperties": False,
        }

    def stream_conversational_graph_response(self, text: str, state: dict[str, Any]) -> Any:
        self.states.append(id(state))
        begin = text.find('"response_to_user":"')
        if begin < 0:
            return
        told = text[begin + len('"response_to_user":"') :].partition('"')[0]
        new = told[state["yielded_content_length"] :]
        state["yielded_content_length"] = len(told)
        yield new


async def test_a_graphs_words_are_streamed_and_its_decision_given(host: Host) -> None:
    answer = '{"response_to_user":"Good morning dear caller"}'
    graph = Graph()
    async with stage(answer, **host) as st:
        chunks, error = await chunks_of(st.llm, hello(), conversational_graph=graph)
        assert error is None
        body = json.dumps(st.entries[0].body)
    assert text_of(chunks) == "Good morning dear caller"
    decisions = [
        c.metadata["graph_response"] for c in chunks if "graph_response" in (c.metadata or {})
    ]
    assert decisions == [{"response_to_user": "Good morning dear caller"}]
    assert chunks[-1].content == ""
    assert "conversational_graph_response" in body
    assert len(set(graph.states)) == 1


async def test_a_graphs_broken_json_is_not_spoken(host: Host) -> None:
    async with stage('{"response_to_user":"Good mor', **host) as st:
        chunks, error = await chunks_of(st.llm, hello(), conversational_graph=Graph())
    assert error is None
    assert text_of(chunks) == "Good mor"
    assert not [c for c in chunks if "graph_response" in (c.metadata or {})]
    assert st.errors == []


async def test_a_graph_leads_a_conversation(host: Host) -> None:
    """The framework records the graph's words, not the model's JSON."""

    def script(request: Request) -> str:
        assert "response_to_user" not in str(request.context)
        return json.dumps({"response_to_user": f"To {request.last_user_text}"}).replace(": ", ":")

    async with stage(script, **host) as st:
        graph = Graph()
        ctx = hello("one")
        for text in ("two", "three"):
            chunks, _ = await chunks_of(st.llm, ctx, conversational_graph=graph)
            ctx.add_message(role=ChatRole.ASSISTANT, content=text_of(chunks))
            ctx.add_message(role=ChatRole.USER, content=text)
        _, error = await chunks_of(st.llm, ctx, conversational_graph=graph)
        assert error is None
        assert st.entries[-1].texts()[1:] == [
            ("user", "one"),
            ("assistant", "To one"),
            ("user", "two"),
            ("assistant", "To two"),
            ("user", "three"),
        ]


async def test_calls_of_a_response_with_words_are_given_after_them(host: Host) -> None:
    reply = Reply.of(Text("Let me look."), Call("weather", {"city": "Paris"}))
    async with stage(reply, **host) as st:
        chunks, _ = await chunks_of(_First(st.llm), hello(), tools=[weather])
    assert text_of(chunks) == "Let me look."
    assert len(calls_of(chunks)) == 1


class _First:
    """Reads up to the first call, as the framework does before it runs a tool."""

    def __init__(self, llm: Any) -> None:
        self._llm = llm

    async def chat(self, ctx: ChatContext, **kwargs: Any) -> Any:
        async for chunk in self._llm.chat(ctx, **kwargs):
            yield chunk
            if "function_call" in (chunk.metadata or {}):
                return


async def test_the_key_may_be_a_function(host: Host) -> None:
    asked: list[str] = []

    async def key() -> str:
        asked.append(KEY)
        return KEY

    async with stage("Hi.", **{**host, "api_key": key}) as st:
        chunks, error = await chunks_of(st.llm, hello())
        assert (text_of(chunks), error) == ("Hi.", None)
    assert asked
