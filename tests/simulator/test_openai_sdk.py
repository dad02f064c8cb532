"""The openai SDK as a client: its session lanes, and its models as judges of every event."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from openai import AsyncOpenAI, AuthenticationError
from openai.lib.responses_websocket import (
    AsyncResponsesWebSocketLane,
    AsyncResponsesWebSocketSession,
    ResponsesWebSocketError,
    ResponsesWebSocketLimits,
)
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter

from rtllm.simulator import (
    CutResponse,
    FailedResponse,
    Incomplete,
    Pause,
    Reply,
    Request,
    Simulator,
    Text,
    calls_on_demand,
    in_turn,
)
from simulator.replies import RICH, WEATHER
from simulator.wire import MODEL, connected

LIMITS = ResponsesWebSocketLimits(
    max_lanes=8,
    max_events_per_lane=512,
    max_events=1024,
    max_bytes_per_lane=2**24,
    max_bytes=2**25,
    max_response_bytes=None,
)
JUDGE: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)


def create(given: Any, **fields: Any) -> Any:
    return {"type": "response.create", "model": MODEL, "input": given, **fields}


async def ask(lane: AsyncResponsesWebSocketLane, given: Any, **fields: Any) -> Response:
    await lane.send(create(given, **fields))
    return await lane.get_final_response()


async def test_the_sdk_holds_chained_conversations_on_two_lanes_at_once() -> None:
    both_run = asyncio.Event()
    running: set[str | None] = set()

    def script(request: Request) -> Reply:
        running.add(request.lane)
        if len(running) == 2:
            both_run.set()
        told = f"{request.lane} heard {request.last_user_text}"
        return Reply.of(Text(pieces=("So: ", Pause(both_run), told)))

    async with (
        Simulator(script) as service,
        AsyncOpenAI(api_key="k", base_url=service.base_url) as client,
        client.responses.connect() as connection,
        AsyncResponsesWebSocketSession(connection, limits=LIMITS) as session,
    ):
        lanes = [session.lane("left"), session.lane("right")]
        first = await asyncio.gather(*(ask(lane, "one", store=False) for lane in lanes))
        second = await asyncio.gather(
            *(
                ask(lane, "two", store=False, previous_response_id=parent.id)
                for lane, parent in zip(lanes, first, strict=True)
            )
        )
        assert [r.output_text for r in second] == [
            "So: left heard two",
            "So: right heard two",
        ]
        assert [r.previous_response_id for r in second] == [r.id for r in first]
        contexts = [entry.texts() for entry in service.journal.entries[2:]]
        assert sorted(len(context) for context in contexts) == [3, 3]
        assert len(service.journal.connections) == 1


async def test_the_sdk_gets_a_tool_called_and_its_output_answered() -> None:
    async with (
        Simulator(calls_on_demand()) as service,
        AsyncOpenAI(api_key="k", base_url=service.base_url) as client,
        client.responses.connect() as connection,
        AsyncResponsesWebSocketSession(connection, limits=LIMITS) as session,
    ):
        lane = session.lane("a")
        first = await ask(lane, 'call get_weather {"city":"Paris"}', tools=[WEATHER])
        call = first.output[0]
        assert call.type == "function_call"
        assert json.loads(call.arguments) == {"city": "Paris"}
        output = {"type": "function_call_output", "call_id": call.call_id, "output": "rain"}
        second = await ask(lane, [output], tools=[WEATHER], previous_response_id=first.id)
        assert second.output_text == "The tools said: rain"
        assert second.usage is not None
        assert second.usage.input_tokens_details.cached_tokens > 0


async def test_the_sdk_reads_a_refusal_as_its_own_error() -> None:
    async with (
        Simulator() as service,
        AsyncOpenAI(api_key="k", base_url=service.base_url) as client,
        client.responses.connect() as connection,
        AsyncResponsesWebSocketSession(connection, limits=LIMITS) as session,
    ):
        with pytest.raises(ResponsesWebSocketError) as caught:
            await ask(session.lane("a"), "Hi", previous_response_id="resp_gone")
        assert "previous_response_not_found" in caught.value.event.to_json()
        answer = await ask(session.lane("b"), "Still there?")
        assert answer.output_text == "You said: Still there?"


@pytest.mark.parametrize(
    ("reply", "fault"),
    [
        (RICH, None),
        (Reply.of("Cut", ending=Incomplete()), None),
        (RICH, FailedResponse(phase="output", after=2)),
        (RICH, FailedResponse(phase="created")),
        (RICH, CutResponse(phase="output", after=2)),
        (Reply(), None),
    ],
    ids=["all kinds of items", "incomplete", "failed", "failed before", "cut", "empty"],
)
async def test_every_event_satisfies_the_models_of_the_sdk(reply: Reply, fault: Any) -> None:
    async with (
        Simulator(reply, queued=True, fault=in_turn(fault)) as service,
        connected(service) as wire,
    ):
        await wire.create(
            "Hi",
            "lane",
            model="gpt-5.1",
            instructions="Be brief.",
            tools=[WEATHER],
            metadata={"a": "b"},
        )
        events = await wire.rest("lane")
    for event in events:
        JUDGE.validate_python(event, strict=False)
        assert event["stream_id"] == "lane"
    assert events[1]["response"]["instructions"] == "Be brief."
    assert events[1]["response"]["tools"] == [WEATHER]


async def test_the_sdk_lists_the_models_and_is_refused_with_a_wrong_key() -> None:
    async with Simulator(api_key="right", models=["my-deployment"]) as service:
        async with AsyncOpenAI(api_key="right", base_url=service.base_url) as client:
            names = [model.id async for model in client.models.list()]
            assert {"gpt-5.1", "my-deployment"} <= set(names)
        async with AsyncOpenAI(api_key="wrong", base_url=service.base_url) as client:
            with pytest.raises(AuthenticationError, match="Incorrect API key"):
                await client.models.list()
