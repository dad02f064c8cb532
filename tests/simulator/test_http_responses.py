"""``POST /v1/responses``, with the openai SDK's own client and the stock plugin as judges."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import httpx2
import pytest
from livekit.agents import llm
from livekit.agents.utils import http_context
from livekit.plugins.openai import responses
from openai import (
    APIConnectionError,
    APIError,
    AsyncAzureOpenAI,
    AsyncOpenAI,
    AuthenticationError,
    BadRequestError,
    InternalServerError,
    NotFoundError,
    RateLimitError,
)
from openai.types.responses import ResponseStreamEvent
from pydantic import BaseModel, TypeAdapter

from rtllm.simulator import (
    GARBAGE,
    Abort,
    Close,
    CutResponse,
    Empty,
    ErrorFrame,
    FailedResponse,
    Fault,
    Garbage,
    HangUp,
    Incomplete,
    Mangle,
    Pause,
    RefuseRequest,
    Reply,
    Silence,
    Simulator,
    Text,
    calls_on_demand,
    rate_limited,
)
from simulator.replies import RICH, WEATHER, get_weather
from simulator.wire import MODEL, connected

LONG = "one two three four five"
JUDGE: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)


@asynccontextmanager
async def sdk_client(service: Simulator, key: str = "k") -> AsyncIterator[AsyncOpenAI]:
    async with AsyncOpenAI(api_key=key, base_url=service.base_url, max_retries=0) as client:
        yield client


async def post(service: Simulator, **fields: Any) -> tuple[int, Any]:
    """What is answered to a body as it is."""
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{service.base_url}/responses", json=fields) as answer,
    ):
        return answer.status, await answer.json()


async def lines(service: Simulator, **fields: Any) -> list[str]:
    """The lines of a streamed answer, up to whatever ends it."""
    body = {"model": MODEL, "input": "Hi", "stream": True, **fields}
    found: list[str] = []
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{service.base_url}/responses", json=body) as answer,
    ):
        assert answer.headers["Content-Type"].startswith("text/event-stream")
        async for line in answer.content:
            found.append(line.decode().rstrip("\n"))
    return found


# -- what the SDK gets -------------------------------------------------------------------------


async def test_the_sdk_gets_one_object() -> None:
    async with Simulator() as service, sdk_client(service) as client:
        raw = await client.responses.with_raw_response.create(model=MODEL, input="Hi")
        answer = raw.parse()
        assert answer.output_text == "You said: Hi"
        assert answer.usage is not None
        assert answer.status == "completed"
        assert answer.usage.output_tokens == 3
        assert raw.headers["x-request-id"].startswith("req_")
        assert raw.headers["x-ratelimit-remaining-requests"]
        [entry] = service.journal.entries
        assert (entry.api, entry.transport, entry.outcome) == ("responses", "http", "completed")
        assert entry.texts() == [("user", "Hi")]
        assert entry.headers["Authorization"] == "Bearer k"
        assert (entry.response_id, entry.reply_text) == (answer.id, "You said: Hi")


@pytest.mark.parametrize(
    ("reply", "fault", "last"),
    [
        (RICH, None, "response.completed"),
        (Reply.of("Cut", ending=Incomplete()), None, "response.incomplete"),
        (RICH, FailedResponse(phase="output", after=2), "response.failed"),
        (RICH, CutResponse(phase="output", after=2), "response.incomplete"),
        (RICH, Empty(), "response.completed"),
    ],
    ids=["all kinds of items", "incomplete", "failed", "cut", "empty"],
)
async def test_every_event_of_a_stream_satisfies_the_models_of_the_sdk(
    reply: Reply, fault: Fault | None, last: str
) -> None:
    async with Simulator(reply, queued=True, fault=fault) as service, sdk_client(service) as client:
        tools: list[Any] = [WEATHER]
        stream = await client.responses.create(
            model="gpt-5.1", input="Hi", tools=tools, stream=True
        )
        events = [event async for event in stream]
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert events[-1].type == last
    for event in events:
        JUDGE.validate_python(event.to_dict(), strict=False)


async def test_names_come_before_the_data_and_no_done_after() -> None:
    async with Simulator("Hello") as service:
        told = await lines(service)
    assert told[0] == "event: response.created"
    assert told[1].startswith('data: {"type":"response.created","sequence_number":0,')
    assert told[2] == ""
    assert told[-3] == "event: response.completed"
    assert not any("[DONE]" in line or "stream_id" in line for line in told)


async def test_the_helper_of_the_sdk_assembles_the_stream() -> None:
    class Weather(BaseModel):
        city: str

    async with Simulator('{"city":"Paris"}') as service, sdk_client(service) as client:
        async with client.responses.stream(model=MODEL, input="Hi", text_format=Weather) as stream:
            text = "".join(
                [e.delta async for e in stream if e.type == "response.output_text.delta"]
            )
            final = await stream.get_final_response()
        assert text == '{"city":"Paris"}'
        assert final.output_parsed == Weather(city="Paris")


@pytest.mark.parametrize("streamed", [False, True])
async def test_a_stored_response_is_continued_also_from_a_socket(streamed: bool) -> None:
    async with Simulator(calls_on_demand()) as service, sdk_client(service) as client:
        first = await client.responses.create(
            model=MODEL,
            input='call get_weather {"city":"Paris"}',
            tools=[WEATHER],  # type: ignore[list-item]
        )
        [call] = first.output
        assert call.type == "function_call"
        output = {"type": "function_call_output", "call_id": call.call_id, "output": "rain"}
        if streamed:
            async with client.responses.stream(
                model=MODEL,
                input=[output],  # type: ignore[list-item]
                tools=[WEATHER],  # type: ignore[list-item]
                previous_response_id=first.id,
            ) as stream:
                second: Any = await stream.get_final_response()
        else:
            second = await client.responses.create(
                model=MODEL,
                input=[output],  # type: ignore[list-item]
                tools=[WEATHER],  # type: ignore[list-item]
                previous_response_id=first.id,
            )
        assert second.output_text == "The tools said: rain"
        assert second.usage.input_tokens_details.cached_tokens > 0
        async with connected(service) as wire:
            await wire.ask_id("And now?", previous_response_id=second.id)
        roles = [role for role, _ in service.journal.entries[-1].texts()]
        assert roles == ["user", "function_call", "function_call_output", "assistant", "user"]


async def test_what_is_not_stored_is_not_continued() -> None:
    async with Simulator() as service, sdk_client(service) as client, connected(service) as wire:
        on_socket = await wire.ask_id("Hi")
        posted = await client.responses.create(model=MODEL, input="Hi", store=False)
        for parent in (on_socket, posted.id, "resp_never"):
            with pytest.raises(BadRequestError) as caught:
                await client.responses.create(
                    model=MODEL, input="Go on", previous_response_id=parent
                )
            assert caught.value.code == "previous_response_not_found"
            assert caught.value.param == "previous_response_id"
        assert service.journal.entries[-1].outcome == "refused"


async def test_a_stored_response_can_be_looked_at() -> None:
    async with Simulator() as service, sdk_client(service) as client, connected(service) as wire:
        stored = await client.responses.create(model=MODEL, input="Hi")
        assert await client.responses.retrieve(stored.id) == stored
        from_socket = await wire.ask_id("Hi", store=True)
        assert (await client.responses.retrieve(from_socket)).output_text == "You said: Hi"
        with pytest.raises(NotFoundError, match="not found"):
            await client.responses.retrieve(await wire.ask_id("Hi", store=False))


# -- what is refused ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "status", "code", "param"),
    [
        ({"type": "response.create"}, 400, "unsupported_parameter", "type"),
        ({"stream_id": "a"}, 400, "unsupported_parameter", "stream_id"),
        ({"generate": False}, 400, "unsupported_parameter", "generate"),
        ({"messages": []}, 400, "unknown_parameter", "messages"),
        ({"stream": "yes"}, 400, "invalid_type", "stream"),
        ({"stream_options": {"include_obfuscation": True}}, 400, None, "stream_options"),
        ({"background": True}, 400, None, "background"),
        ({"model": "gpt-0"}, 404, "model_not_found", "model"),
        ({"temperature": 2.5}, 400, "decimal_above_max_value", "temperature"),
        ({"reasoning": {"effort": "low"}}, 400, "unsupported_parameter", "reasoning.effort"),
        (
            {"input": [{"type": "function_call_output", "call_id": "c", "output": ""}]},
            400,
            None,
            "input",
        ),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else None,
)
async def test_a_body_is_refused(
    fields: dict[str, Any], status: int, code: str | None, param: str
) -> None:
    async with Simulator() as service:
        got, body = await post(service, **{"model": MODEL, "input": "Hi", **fields})
        assert (got, body["error"]["code"], body["error"]["param"]) == (status, code, param)
        assert body["error"]["type"] == "invalid_request_error"
        assert [entry.outcome for entry in service.journal.entries] == ["refused"]


async def test_options_of_the_stream_are_taken_with_a_stream() -> None:
    async with Simulator() as service:
        told = await lines(service, stream_options={"include_obfuscation": False}, background=False)
    assert told[-3] == "event: response.completed"


@pytest.mark.parametrize("data", [b"{", b"[]", b'{"model":NaN}', b"[" * 100_000])
async def test_what_is_not_a_json_object_is_refused(data: bytes) -> None:
    async with (
        Simulator() as service,
        aiohttp.ClientSession() as session,
        session.post(f"{service.base_url}/responses", data=data) as answer,
    ):
        assert answer.status == 400
        assert (await answer.json())["error"]["message"].startswith("We could not parse")


async def test_a_wrong_key_is_refused() -> None:
    async with Simulator(api_key="right") as service, sdk_client(service, "wrong") as client:
        with pytest.raises(AuthenticationError, match="Incorrect API key"):
            await client.responses.create(model=MODEL, input="Hi")


@pytest.mark.parametrize("version", ["2025-04-01-preview", None])
async def test_azure_is_answered_with_and_without_a_date(version: str | None) -> None:
    async with Simulator(models=["my-deployment"]) as service:
        client: AsyncOpenAI
        if version is None:
            root = f"{service.azure_endpoint}/openai/v1"
            client = AsyncOpenAI(api_key="k", base_url=root, max_retries=0)
        else:
            client = AsyncAzureOpenAI(
                api_key="k", azure_endpoint=service.azure_endpoint, api_version=version
            )
        async with client:
            answer = await client.responses.create(model="my-deployment", input="Hi")
            assert answer.output_text == "You said: Hi"
        assert service.journal.entries[0].query == ({"api-version": version} if version else {})
        async with (
            aiohttp.ClientSession() as session,
            session.post(f"{service.azure_endpoint}/openai/responses", json={}) as undated,
        ):
            assert undated.status == 404


# -- what goes wrong ---------------------------------------------------------------------------


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("status", [401, 403, 404, 405, 426, 429, 500, 502, 503])
async def test_a_request_is_refused_by_status(status: int, streamed: bool) -> None:
    fault = RefuseRequest(status, {"error": {"message": "no", "code": "c"}}, {"retry-after": "7"})
    async with Simulator(fault=fault) as service, sdk_client(service) as client:
        with pytest.raises(APIError) as caught:
            await client.responses.create(model=MODEL, input="Hi", stream=streamed)
        answer = getattr(caught.value, "response", None)
        assert isinstance(answer, httpx2.Response)
        assert (answer.status_code, answer.headers["retry-after"]) == (status, "7")
        assert caught.value.code == "c"
        assert service.journal.entries[0].outcome == "refused"


@pytest.mark.parametrize("streamed", [False, True])
async def test_an_error_before_the_answer_is_a_status(streamed: bool) -> None:
    async with (
        Simulator(fault=[rate_limited("1.5"), None]) as service,
        sdk_client(service) as client,
    ):
        with pytest.raises(RateLimitError) as caught:
            await client.responses.create(model=MODEL, input="Hi", stream=streamed)
        assert caught.value.response.headers["retry-after"] == "1.5"
        assert caught.value.code == "rate_limit_exceeded"
        assert (await client.responses.create(model=MODEL, input="Hi")).output_text


@pytest.mark.parametrize("shape", [None, "a", "b", "c", "d", "e", "f"])
async def test_an_error_within_the_answer_is_an_event(shape: Any) -> None:
    fault = ErrorFrame("boom", 500, "It broke.", phase="output", after=2, shape=shape)
    async with Simulator(LONG, fault=fault) as service:
        told = await lines(service)
        data = json.loads(told[-2].removeprefix("data: "))
        if shape in {None, "b"}:
            # As the SDK has it: its number follows those before.
            assert told[-3] == "event: error"
            JUDGE.validate_python(data)
            assert data["sequence_number"] == 6
            assert data["message"] == "It broke."
        else:
            assert "It broke." in data["error"].values()
        [entry] = service.journal.entries
        assert (entry.outcome, entry.error_code) == ("failed", "boom")


async def test_an_answer_in_one_object_fails_with_a_status_at_any_phase() -> None:
    fault = ErrorFrame(phase="output", after=2)
    async with Simulator(LONG, fault=fault) as service, sdk_client(service) as client:
        with pytest.raises(InternalServerError) as caught:
            await client.responses.create(model=MODEL, input="Hi")
        assert caught.value.code == "server_error"


async def test_a_failed_response_is_an_object_with_its_error() -> None:
    async with Simulator(fault=FailedResponse("c", "m")) as service, sdk_client(service) as client:
        answer: Any = await client.responses.create(model=MODEL, input="Hi")
        assert (answer.status, answer.error.code, answer.error.message) == ("failed", "c", "m")


PHASES: list[tuple[Any, str | None]] = [
    ("sent", None),
    ("headers", None),
    ("created", "response.in_progress"),
    ("opened", "response.output_item.added"),
    ("output", "response.output_text.delta"),
    ("item", "response.output_item.done"),
    ("complete", "response.output_item.done"),
]


@pytest.mark.parametrize(("phase", "last"), PHASES)
@pytest.mark.parametrize("fault", [Close, HangUp, Abort])
async def test_the_answer_breaks_off_at_every_phase(
    phase: Any, last: str | None, fault: type[Close | HangUp | Abort]
) -> None:
    seen: list[str] = []
    async with (
        Simulator(LONG, fault=fault(phase=phase)) as service,
        sdk_client(service) as client,
    ):
        try:
            stream = await client.responses.create(model=MODEL, input="Hi", stream=True)
            async for event in stream:
                seen.append(event.type)
            ended = "quietly"
        except (APIConnectionError, httpx2.TransportError):
            ended = "badly"
        assert ended == ("quietly" if fault is Close and phase != "sent" else "badly")
        if fault is not Abort:  # a reset may overtake what was sent before
            assert (seen[-1] if seen else None) == last
        assert not any(kind == "response.completed" for kind in seen)
        assert service.journal.entries[0].outcome == "dropped"


@pytest.mark.parametrize(("phase", "last"), PHASES)
async def test_the_answer_stops_at_every_phase_until_the_client_goes(
    phase: Any, last: str | None
) -> None:
    async with (
        Simulator(LONG, fault=Silence(phase=phase)) as service,
        sdk_client(service) as client,
    ):
        seen: asyncio.Queue[str] = asyncio.Queue()

        async def read() -> None:
            async for event in await client.responses.create(model=MODEL, input="Hi", stream=True):
                seen.put_nowait(event.type)

        reading = asyncio.create_task(read())
        kind = None
        async with asyncio.timeout(10):
            while kind != last:
                kind = await seen.get()
        await service.journal.wait_for(outcome="running")
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)
        await service.journal.wait_for(outcome="dropped")


@pytest.mark.parametrize(
    ("noise", "line"),
    [("keepalive", ": keepalive"), ("in_progress", "event: response.in_progress")],
)
async def test_silence_over_http_may_be_noisy(noise: Any, line: str) -> None:
    fault = Silence(phase="output", after=1, noise=noise, every=0.01)
    body = {"model": MODEL, "input": "Hi", "stream": True}
    async with (
        Simulator(LONG, fault=fault) as service,
        aiohttp.ClientSession() as session,
        session.post(f"{service.base_url}/responses", json=body) as answer,
    ):
        heard: list[str] = []
        async with asyncio.timeout(10):
            while heard[-1:] != ["event: response.output_text.delta"]:
                heard.append((await answer.content.readline()).decode().strip())
            while heard.count(line) < 3:
                heard.append((await answer.content.readline()).decode().strip())


@pytest.mark.parametrize("frame", GARBAGE.values(), ids=GARBAGE.keys())
async def test_junk_comes_in_between_and_all_goes_on(frame: str) -> None:
    async with Simulator("Hello", fault=Garbage(frame, phase="output")) as service:
        told = await lines(service)
        assert f"data: {frame}" in told
        assert told[-3] == "event: response.completed"


async def test_junk_may_be_other_than_text() -> None:
    async with (
        Simulator("Hello", fault=Garbage(b"\xff\x00")) as service,
        sdk_client(service) as client,
    ):
        with pytest.raises(UnicodeDecodeError):
            async for _ in await client.responses.create(model=MODEL, input="Hi", stream=True):
                pass


async def test_events_have_flaws() -> None:
    async with Simulator("Hello", fault=Mangle("terminal_dropped")) as service:
        told = await lines(service)
        assert told[-3] == "event: response.output_item.done"


async def test_an_answer_may_begin_and_say_nothing() -> None:
    body = {"model": MODEL, "input": "Hi", "stream": True}
    async with (
        Simulator(fault=[Silence(phase="headers"), Close(phase="headers")]) as service,
        aiohttp.ClientSession() as session,
    ):
        async with session.post(f"{service.base_url}/responses", json=body) as answer:
            assert answer.status == 200
            await service.journal.wait_for(outcome="running")
        async with session.post(f"{service.base_url}/responses", json=body) as answer:
            assert (answer.status, await answer.read()) == (200, b"")


async def test_the_answer_ends_with_its_client() -> None:
    """Over HTTP nothing drains: who hangs up gets nothing stored."""
    reached = asyncio.Event()
    reply = Reply.of(Text(pieces=("one ", Pause(reached), "two")))
    async with Simulator(reply) as service, sdk_client(service) as client:
        stream = await client.responses.create(model=MODEL, input="Hi", stream=True)
        async for event in stream:
            if event.type == "response.output_text.delta":
                break
        await stream.close()
        [entry] = await service.journal.wait_for(outcome="dropped")
        assert entry.reply_text == "one "
        with pytest.raises(NotFoundError):
            await client.responses.retrieve(str(entry.response_id))


# -- an independent client ----------------------------------------------------------------------


async def test_the_stock_plugin_has_a_tool_called_over_http() -> None:
    async with Simulator(calls_on_demand()) as service, http_context.open():
        model = responses.LLM(
            api_key="k", base_url=service.base_url, model=MODEL, use_websocket=False
        )
        context = llm.ChatContext.empty()
        context.add_message(role="user", content='call get_weather {"city":"Paris","days":null}')
        first = await model.chat(chat_ctx=context, tools=[get_weather]).collect()
        [call] = first.tool_calls
        context.items += [
            llm.FunctionCall(call_id=call.call_id, name=call.name, arguments=call.arguments),
            llm.FunctionCallOutput(
                call_id=call.call_id, name=call.name, output="rain", is_error=False
            ),
        ]
        second = await model.chat(chat_ctx=context, tools=[get_weather]).collect()
        assert second.text == "The tools said: rain"
        await model.aclose()
        told = [(entry.transport, entry.outcome) for entry in service.journal.entries]
        assert told == [("http", "completed")] * 2
        assert service.journal.connections == []
