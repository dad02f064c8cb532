"""Chat completions, with the openai SDK as an outside client and judge of every chunk."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import openai
import pytest
from openai import AsyncAzureOpenAI, AsyncOpenAI
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from rtllm.simulator import (
    Abort,
    BrokenArguments,
    Call,
    Close,
    CutResponse,
    Dribble,
    Empty,
    ErrorFrame,
    FailedResponse,
    Garbage,
    HangUp,
    Incomplete,
    MangleChat,
    Pause,
    Reasoning,
    Refusal,
    RefuseRequest,
    Reply,
    Request,
    Silence,
    Simulator,
    Text,
    calls_on_demand,
    rate_limited,
)
from rtllm.simulator.faults import ChatFlaw, Faults

MODEL = "gpt-4.1"
WEATHER: dict[str, Any] = {
    "type": "function",
    "function": {"name": "weather", "parameters": {"type": "object", "properties": {}}},
}
USER: dict[str, Any] = {"role": "user", "content": "Hello"}


def client(simulator: Simulator) -> AsyncOpenAI:
    return AsyncOpenAI(base_url=simulator.base_url, api_key="key", max_retries=0)


async def ask(simulator: Simulator, *messages: Any, **fields: Any) -> Any:
    body: dict[str, Any] = {"model": MODEL, "messages": list(messages or [USER]), **fields}
    async with client(simulator) as sdk:
        return await sdk.chat.completions.create(**body)


async def stream(
    simulator: Simulator, *messages: Any, usage: bool = True, **fields: Any
) -> list[ChatCompletionChunk]:
    body: dict[str, Any] = {"model": MODEL, "messages": list(messages or [USER]), **fields}
    if usage:
        body["stream_options"] = {"include_usage": True}
    found: list[ChatCompletionChunk] = []
    async with client(simulator) as sdk:
        async for chunk in await sdk.chat.completions.create(**body, stream=True):
            found.append(chunk)
    return found


async def lines(simulator: Simulator, **fields: Any) -> list[str]:
    """The data lines of a stream as they are."""
    body = {"model": MODEL, "messages": [USER], "stream": True, **fields}
    url = f"{simulator.base_url}/chat/completions"
    async with aiohttp.ClientSession() as session, session.post(url, json=body) as response:
        text = await response.text()
    return [line.removeprefix("data: ") for line in text.split("\n\n") if line]


def said(chunks: list[ChatCompletionChunk]) -> str:
    return "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)


def finish(chunks: list[ChatCompletionChunk]) -> str | None:
    reasons = [c.choices[0].finish_reason for c in chunks if c.choices]
    return next((reason for reason in reasons if reason), None)


async def test_the_sdk_reads_a_stream_and_every_chunk_fits_its_model() -> None:
    async with Simulator() as simulator:
        chunks = await stream(simulator)
        assert said(chunks) == "You said: Hello"
        assert finish(chunks) == "stop"
        assert len({chunk.id for chunk in chunks}) == 1
        for line in (await lines(simulator))[:-1]:
            ChatCompletionChunk.model_validate_json(line, strict=True)
        assert (await lines(simulator))[-1] == "[DONE]"
        [entry, *_] = simulator.journal.entries
        assert (entry.api, entry.outcome, entry.lane) == ("chat", "completed", None)
        assert entry.texts() == [("user", "Hello")]
        assert entry.reply_text == "You said: Hello"


async def test_the_sdk_reads_an_answer_in_one() -> None:
    async with Simulator(calls_on_demand()) as simulator:
        done = await ask(simulator, {"role": "user", "content": 'call weather {"city":"Bonn"}'})
        assert isinstance(done, ChatCompletion)
        ChatCompletion.model_validate(done.model_dump(), strict=True)
        assert done.choices[0].finish_reason == "tool_calls"
        calls = done.choices[0].message.tool_calls
        assert calls is not None
        assert calls[0].type == "function"
        assert calls[0].function.arguments == '{"city":"Bonn"}'
        assert done.usage is not None
        assert done.usage.total_tokens > 0


async def test_usage_comes_only_when_it_is_asked_for() -> None:
    async with Simulator(Reply.of(Reasoning(tokens=5), "Hi there")) as simulator:
        chunks = await stream(simulator)
        assert [c.usage is not None for c in chunks] == [False] * (len(chunks) - 1) + [True]
        assert chunks[-1].choices == []
        usage = chunks[-1].usage
        assert usage is not None
        assert usage.completion_tokens_details is not None
        assert usage.completion_tokens_details.reasoning_tokens == 5
        assert usage.completion_tokens == 7
        assert all(c.usage is None for c in await stream(simulator, usage=False))


async def test_a_tool_round_reaches_scripts_as_items() -> None:
    requests: list[Request] = []

    def script(request: Request) -> Any:
        requests.append(request)
        return calls_on_demand()(request)

    async with Simulator(script) as simulator:
        asked = {"role": "user", "content": "call weather\ncall weather {}"}
        chunks = await stream(simulator, asked, tools=[WEATHER])
        pieces = [p for c in chunks if c.choices for p in c.choices[0].delta.tool_calls or ()]
        ids = [p.id for p in pieces if p.id]
        assert [p.index for p in pieces] == [0, 0, 1, 1]
        calls = [
            {"id": i, "type": "function", "function": {"name": "weather", "arguments": "{}"}}
            for i in ids
        ]
        answers = [{"role": "tool", "tool_call_id": i, "content": "rain"} for i in ids]
        assistant = {"role": "assistant", "tool_calls": calls}
        chunks = await stream(simulator, asked, assistant, *answers, tools=[WEATHER])
        assert said(chunks) == "The tools said: rain; rain"
        assert requests[0].tools == [{"type": "function", **WEATHER["function"]}]
        assert [item["type"] for item in requests[1].context] == [
            "message",
            "function_call",
            "function_call",
            "function_call_output",
            "function_call_output",
        ]
        assert simulator.journal.entries[1].input == requests[1].context


async def test_refusals_and_the_cap_have_their_ways() -> None:
    async with Simulator(Reply.of(Refusal("I can't."))) as simulator:
        chunks = await stream(simulator)
        assert "".join(c.choices[0].delta.refusal or "" for c in chunks if c.choices) == "I can't."
        simulator.script = "one two three four five"
        chunks = await stream(simulator, max_completion_tokens=2)
        assert finish(chunks) == "length"
        assert said(chunks) == "one two "


@pytest.mark.parametrize(
    ("reason", "finished"),
    [("max_output_tokens", "length"), ("content_filter", "content_filter")],
)
async def test_a_cut_answer_says_why(reason: str, finished: str) -> None:
    async with Simulator(Reply.of("one two", ending=Incomplete(reason))) as simulator:
        assert finish(await stream(simulator)) == finished
        simulator.fault = CutResponse(phase="output", reason=reason)
        chunks = await stream(simulator)
        assert (said(chunks), finish(chunks)) == ("one ", finished)
        assert simulator.journal.entries[-1].outcome == "incomplete"


# -- addresses and keys ------------------------------------------------------------------


async def test_azure_clients_find_a_deployment() -> None:
    async with Simulator(api_key="secret", models=["prod"]) as simulator:
        azure = AsyncAzureOpenAI(
            azure_endpoint=simulator.azure_endpoint,
            api_key="secret",
            api_version="2024-10-21",
            max_retries=0,
        )
        body: dict[str, Any] = {"messages": [USER], "stream": True}
        async with azure:
            chunks = [c async for c in await azure.chat.completions.create(model="prod", **body)]
            with pytest.raises(openai.NotFoundError, match="deployment"):
                await azure.chat.completions.create(model="unknown", **body)
        assert chunks[0].choices == []
        assert said(chunks) == "You said: Hello"
        entry = simulator.journal.entries[0]
        assert entry.headers["api-key"] == "secret"
        assert entry.query["api-version"] == "2024-10-21"


async def test_the_v1_address_of_azure_and_keys() -> None:
    async with Simulator(api_key="secret") as simulator:
        root = f"{simulator.azure_endpoint}/openai/v1/chat/completions"
        body = {"model": MODEL, "messages": [USER]}
        statuses = []
        async with aiohttp.ClientSession() as session:
            for headers in ({"api-key": "secret"}, {"api-key": "wrong"}, {}):
                async with session.post(root, json=body, headers=headers) as response:
                    statuses.append(response.status)
            dated = f"{simulator.azure_endpoint}/openai/deployments/{MODEL}/chat/completions"
            key = {"Authorization": "Bearer secret"}
            async with session.post(dated, json=body, headers=key) as response:
                statuses.append(response.status)
        assert statuses == [200, 401, 401, 404]


# -- faults ------------------------------------------------------------------------------


async def test_errors_before_the_answer_are_statuses() -> None:
    async with Simulator(fault=[rate_limited("3"), FailedResponse()]) as simulator:
        with pytest.raises(openai.RateLimitError) as limited:
            await stream(simulator)
        assert limited.value.code == "rate_limit_exceeded"
        assert limited.value.response.headers["retry-after"] == "3"
        assert limited.value.request_id is not None
        with pytest.raises(openai.InternalServerError):
            await stream(simulator)
        assert [e.outcome for e in simulator.journal.entries] == ["refused", "refused"]


async def test_a_proxy_answers_as_it_likes() -> None:
    async with Simulator(fault=RefuseRequest(502, "<html>Bad Gateway</html>")) as simulator:
        with pytest.raises(openai.InternalServerError) as error:
            await stream(simulator)
        assert error.value.status_code == 502


@pytest.mark.parametrize("fault", [ErrorFrame(phase="created"), ErrorFrame(phase="output")])
async def test_errors_within_the_answer_are_lines_of_it(fault: ErrorFrame) -> None:
    async with Simulator("one two", fault=fault) as simulator:
        with pytest.raises(openai.APIError) as error:
            await stream(simulator)
        assert not isinstance(error.value, openai.APIStatusError)
        assert error.value.code == "server_error"


async def test_a_close_ends_the_body_as_if_all_were_well() -> None:
    async with Simulator("one two", fault=Close(phase="output")) as simulator:
        chunks = await stream(simulator)
        assert (said(chunks), finish(chunks)) == ("one ", None)
        assert simulator.journal.entries[0].outcome == "dropped"


@pytest.mark.parametrize("fault", [Close(phase="sent"), Abort(phase="sent")])
async def test_a_connection_can_die_before_the_answer(fault: Close | Abort) -> None:
    async with Simulator(fault=fault) as simulator:
        with pytest.raises(openai.APIConnectionError):
            await stream(simulator)


@pytest.mark.parametrize("phase", ["created", "output", "complete"])
@pytest.mark.parametrize("fault", [Abort, HangUp])
async def test_a_connection_can_break_within_the_answer(
    phase: Any, fault: type[Abort | HangUp]
) -> None:
    async with Simulator("one two", fault=fault(phase=phase)) as simulator:
        with pytest.raises(openai.APIConnectionError):
            await stream(simulator)


async def test_an_answer_can_dribble() -> None:
    gate = asyncio.Event()
    gate.set()
    async with Simulator("one two", fault=Dribble(gate, size=2, after=4)) as simulator:
        pieces = [c.choices[0].delta.content for c in await stream(simulator) if c.choices]
        assert [piece for piece in pieces if piece] == ["one ", "tw", "o"]


@pytest.mark.parametrize("noise", [None, "keepalive", "in_progress"])
async def test_silence_lasts_until_the_client_goes(noise: Any) -> None:
    fault = Silence(phase="output", noise=noise, every=0.001)
    async with Simulator("one two", fault=fault) as simulator:
        task = asyncio.create_task(stream(simulator))
        await simulator.journal.wait(lambda j: j.entries[0].reply_text == "one ")
        task.cancel()
        await simulator.journal.wait_for(1, "dropped")


async def test_a_client_that_goes_is_noticed_while_the_script_pauses() -> None:
    never = asyncio.Event()
    async with Simulator(Reply.of(Text(pieces=("one ", Pause(never), "two")))) as simulator:
        task = asyncio.create_task(stream(simulator))
        await simulator.journal.wait(lambda j: j.entries[0].deltas == 1)
        task.cancel()
        await simulator.journal.wait_for(1, "dropped")


async def test_a_script_that_raises_fails_the_completion_and_the_simulator() -> None:
    def script(_: Request) -> str:
        raise LookupError("no line for this")

    async def run() -> None:
        async with Simulator(script) as simulator:
            with pytest.raises(openai.InternalServerError):
                await stream(simulator)

    with pytest.raises(LookupError):
        await run()


async def test_empty_answers_garbage_and_broken_arguments() -> None:
    script = Reply.of(Call("weather", {"city": "Bonn"}))
    faults: list[Faults] = [Empty(), BrokenArguments(), Garbage(phase="created")]
    async with Simulator(script, fault=faults) as simulator:
        chunks = await stream(simulator)
        assert (said(chunks), finish(chunks)) == ("", "stop")
        assert arguments(await lines(simulator)) == '{"city":"Bonn"'
        assert (await lines(simulator))[1] == "this is not JSON"


def arguments(found: list[str]) -> str:
    return "".join(piece["function"]["arguments"] for piece in pieces_of(found))


def pieces_of(found: list[str]) -> list[Any]:
    chunks = [json.loads(line) for line in found if line != "[DONE]"]
    return [
        piece
        for chunk in chunks
        for choice in chunk["choices"]
        for piece in (choice["delta"] or {}).get("tool_calls", ())
    ]


TWO = Reply.of(Call("weather", '{"city": "Bonn"}', "a"), Call("time", '{"zone": 1}', "b"))


@pytest.mark.parametrize(
    ("flaw", "seen"),
    [
        ("call_whole", [(0, "a", "weather"), (1, "b", "time")]),
        (
            "call_id_repeated",
            [
                (0, "a", "weather"),
                (0, "a", None),
                (0, "a", None),
                (1, "b", "time"),
                (1, "b", None),
                (1, "b", None),
            ],
        ),
        (
            "call_name_repeated",
            [
                (0, "a", "weather"),
                (0, None, "weather"),
                (0, None, "weather"),
                (1, "b", "time"),
                (1, None, "time"),
                (1, None, "time"),
            ],
        ),
        (
            "call_place_missing",
            [
                (None, "a", "weather"),
                (None, None, None),
                (None, None, None),
                (None, "b", "time"),
                (None, None, None),
                (None, None, None),
            ],
        ),
        (
            "call_id_missing",
            [
                (0, None, "weather"),
                (0, None, None),
                (0, None, None),
                (1, None, "time"),
                (1, None, None),
                (1, None, None),
            ],
        ),
        (
            "call_place_zero",
            [
                (0, "a", "weather"),
                (0, None, None),
                (0, None, None),
                (0, "b", "time"),
                (0, None, None),
                (0, None, None),
            ],
        ),
        (
            "call_places_with_gaps",
            [
                (1, "a", "weather"),
                (1, None, None),
                (1, None, None),
                (4, "b", "time"),
                (4, None, None),
                (4, None, None),
            ],
        ),
        (
            "calls_interleaved",
            [
                (0, "a", "weather"),
                (1, "b", "time"),
                (0, None, None),
                (1, None, None),
                (0, None, None),
                (1, None, None),
            ],
        ),
    ],
)
async def test_calls_have_the_shapes_of_other_hosts(flaw: ChatFlaw, seen: list[Any]) -> None:
    async with Simulator(TWO, fault=MangleChat(flaw)) as simulator:
        pieces = pieces_of(await lines(simulator))
        found = [(p.get("index"), p.get("id"), p["function"].get("name")) for p in pieces]
        assert found == seen


@pytest.mark.parametrize(
    ("flaw", "shape"),
    [
        ("prompt_filter", ["-", "", "one ", "two", "stop", "usage"]),
        ("content_with_finish", ["", "one ", "two stop", "usage"]),
        ("delta_null_tail", ["", "one ", "two", "stop", "null", "usage"]),
        ("usage_with_finish", ["", "one ", "two", "stop usage"]),
        ("usage_missing", ["", "one ", "two", "stop"]),
        ("usage_null", ["", "one ", "two", "stop", "-"]),
        ("finish_missing", ["", "one ", "two", "usage"]),
        ("usage_everywhere", [" usage", "one  usage", "two usage", "stop usage", "usage"]),
    ],
)
async def test_chunks_have_the_shapes_of_other_hosts(flaw: ChatFlaw, shape: list[str]) -> None:
    async with Simulator("one two", fault=MangleChat(flaw)) as simulator:
        *found, done = await lines(simulator, stream_options={"include_usage": True})
        assert [told(json.loads(line)) for line in found] == shape
        assert done == "[DONE]"


async def test_the_last_line_may_be_missing() -> None:
    async with Simulator("one two", fault=MangleChat("done_missing")) as simulator:
        assert json.loads((await lines(simulator))[-1])["choices"][0]["finish_reason"] == "stop"


def told(chunk: dict[str, Any]) -> str:
    words = []
    for choice in chunk["choices"]:
        delta = choice["delta"]
        words.append("null" if delta is None else delta.get("content", ""))
        words.append(choice["finish_reason"] or "")
    text = " ".join(word for word in words if word)
    if chunk.get("usage"):
        text = f"{text} usage" if chunk["choices"] else "usage"
    return text if chunk["choices"] or chunk.get("usage") else "-"


# -- what is refused ---------------------------------------------------------------------


@pytest.fixture
async def simulator() -> AsyncIterator[Simulator]:
    async with Simulator() as started:
        yield started


CALL = {"id": "a", "type": "function", "function": {"name": "weather", "arguments": "{}"}}
CALLS = {"role": "assistant", "tool_calls": [CALL]}
ANSWER = {"role": "tool", "tool_call_id": "a", "content": "rain"}


@pytest.mark.parametrize(
    ("messages", "param", "words"),
    [
        ([], "messages", "empty array"),
        ([{"role": "narrator", "content": "x"}], "messages[0].role", "Supported values"),
        ([{**USER, "phase": "x"}], "messages[0].phase", "Unknown parameter"),
        ([{"role": "user"}], "messages[0].content", "Missing required"),
        ([{"role": "user", "content": None}], "messages.[0].content", "got null"),
        ([{"role": "assistant", "content": None}], "messages.[0].content", "got null"),
        (
            [{"role": "user", "content": [{"type": "input_text", "text": "x"}]}],
            "messages[0].content[0]",
            "Supported values",
        ),
        ([{"role": "assistant", "tool_calls": []}], "messages[0].tool_calls", "empty array"),
        ([USER, CALLS], "messages", "did not have response messages: a"),
        ([USER, CALLS, USER, ANSWER], "messages", "did not have response messages: a"),
        ([USER, ANSWER], "messages.[1].role", "preceeding message"),
        ([USER, CALLS, ANSWER, ANSWER], "messages.[3].role", "preceeding message"),
        (
            [USER, {"role": "assistant", "tool_calls": [{**CALL, "id": "x" * 41}]}],
            "messages[1].tool_calls[0].id",
            "maximum length 40",
        ),
        (
            [USER, {"role": "assistant", "tool_calls": [{**CALL, "call_id": "a"}]}],
            "messages[1].tool_calls[0].call_id",
            "Unknown parameter",
        ),
    ],
)
async def test_messages_that_the_service_refuses(
    simulator: Simulator, messages: list[Any], param: str, words: str
) -> None:
    async with client(simulator) as sdk:
        with pytest.raises(openai.BadRequestError, match=words) as error:
            await sdk.chat.completions.create(model=MODEL, messages=messages)
    assert error.value.param == param


@pytest.mark.parametrize(
    ("model", "fields", "param"),
    [
        ("gpt-4.1", {"input": "x"}, "input"),
        ("gpt-4.1", {"previous_response_id": "x"}, "previous_response_id"),
        ("gpt-4.1", {"stream_options": {"include_usage": True}}, "stream_options"),
        ("gpt-4.1", {"tools": []}, "tools"),
        ("gpt-4.1", {"tools": [{"type": "function", "name": "f"}]}, "tools[0].name"),
        ("gpt-4.1", {"tool_choice": "auto"}, "tool_choice"),
        ("gpt-4.1", {"parallel_tool_calls": True}, "parallel_tool_calls"),
        (
            "gpt-4.1",
            {"tools": [WEATHER], "tool_choice": {"type": "function", "name": "weather"}},
            "tool_choice.name",
        ),
        (
            "gpt-4.1",
            {"tools": [WEATHER], "tool_choice": {"type": "function", "function": {"name": "x"}}},
            "tool_choice",
        ),
        ("gpt-4.1", {"max_output_tokens": 99}, "max_output_tokens"),
        ("gpt-4.1", {"max_tokens": 9, "max_completion_tokens": 9}, "max_tokens"),
        ("gpt-4.1", {"reasoning_effort": "low"}, "reasoning_effort"),
        ("gpt-4.1", {"verbosity": "low"}, "verbosity"),
        ("gpt-4.1", {"metadata": {"a": "b"}}, "metadata"),
        ("gpt-4.1", {"service_tier": "ultrafast"}, "service_tier"),
        ("gpt-4.1", {"response_format": {"type": "json_object"}}, "messages"),
        ("gpt-4.1", {"top_logprobs": 2}, "top_logprobs"),
        ("gpt-4.1", {"temperature": 3}, "temperature"),
        ("gpt-5", {"max_tokens": 9}, "max_tokens"),
        ("gpt-5", {"temperature": 0.7}, "temperature"),
        ("gpt-5", {"top_p": 0.7}, "top_p"),
        ("gpt-5", {"logprobs": True}, "logprobs"),
        ("gpt-5", {"frequency_penalty": 0.5}, "frequency_penalty"),
        ("gpt-5", {"stop": "x"}, "stop"),
        ("gpt-5", {"reasoning_effort": "none"}, "reasoning_effort"),
        ("o3", {"tools": [WEATHER], "parallel_tool_calls": False}, "parallel_tool_calls"),
        ("gpt-5.4", {"tools": [WEATHER], "reasoning_effort": "low"}, "reasoning_effort"),
        ("gpt-5.5", {"tools": [WEATHER]}, "reasoning_effort"),
        ("gpt-6.1-sol", {"tools": [WEATHER], "reasoning_effort": "low"}, "reasoning_effort"),
    ],
)
async def test_bodies_that_the_service_refuses(
    simulator: Simulator, model: str, fields: dict[str, Any], param: str
) -> None:
    body = {"model": model, "messages": [USER], **fields}
    url = f"{simulator.base_url}/chat/completions"
    async with aiohttp.ClientSession() as session, session.post(url, json=body) as response:
        told = await response.json()
    assert response.status == 400
    assert told["error"]["param"] == param
    assert simulator.journal.entries[0].outcome == "refused"


@pytest.mark.parametrize(
    ("model", "fields"),
    [
        ("gpt-4.1", {"temperature": 0.5, "seed": 3, "stop": ["x"], "presence_penalty": 1}),
        ("gpt-4.1", {"tools": [WEATHER], "tool_choice": "required", "parallel_tool_calls": True}),
        (
            "gpt-4.1",
            {
                "tools": [WEATHER],
                "tool_choice": {"type": "function", "function": {"name": "weather"}},
            },
        ),
        ("gpt-4.1", {"logprobs": True, "top_logprobs": 2, "store": True, "metadata": {"a": "b"}}),
        ("gpt-5", {"tools": [WEATHER], "reasoning_effort": "minimal", "verbosity": "low"}),
        ("gpt-5", {"temperature": 1, "top_p": 1, "seed": 3, "max_completion_tokens": 99}),
        ("gpt-5.1", {"temperature": 0.5}),
        ("gpt-5.4", {"tools": [WEATHER]}),
        ("gpt-5.5", {"tools": [WEATHER], "reasoning_effort": "none"}),
    ],
)
async def test_bodies_that_the_service_takes(
    simulator: Simulator, model: str, fields: dict[str, Any]
) -> None:
    assert said(await stream(simulator, model=model, **fields)).startswith("You said")


async def test_an_unknown_model_is_not_found(simulator: Simulator) -> None:
    with pytest.raises(openai.NotFoundError) as error:
        await ask(simulator, model="gpt-9")
    assert error.value.code == "model_not_found"


async def test_what_is_not_json_is_refused(simulator: Simulator) -> None:
    url = f"{simulator.base_url}/chat/completions"
    async with aiohttp.ClientSession() as session, session.post(url, data=b"{") as response:
        assert response.status == 400
