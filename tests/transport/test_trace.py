"""The trace events of real clients: what comes, in which order, and to whom."""

from __future__ import annotations

import asyncio
import logging
from contextlib import aclosing
from dataclasses import fields
from decimal import Decimal
from typing import Any

import pytest

from rtllm import (
    ChatClient,
    Client,
    ConfigError,
    Message,
    ModelPrices,
    Prices,
    RequestRejected,
    TraceEvent,
)
from rtllm.simulator import (
    Call,
    Close,
    Dribble,
    ErrorFrame,
    Hosted,
    Reasoning,
    Reply,
    Simulator,
    echo,
    fixed,
    only,
)
from rtllm.trace import (
    EVENTS,
    AttemptEnded,
    ConnectionClosed,
    ConnectionOpened,
    FaultHandled,
    HiddenItemReceived,
    RequestSent,
    ToolCalled,
    TurnCancelled,
    TurnFinished,
    TurnQueued,
)
from rtllm.trace import events as event_classes
from transport.caller import Caller, MakeClient

SECRET = "my pin is 1234"


def kinds(events: list[TraceEvent], turn: int | None = None) -> list[str]:
    return [event.kind for event in events if event.turn == turn]


def only_one(kind: type[Any], events: list[TraceEvent]) -> Any:
    (found,) = [event for event in events if isinstance(event, kind)]
    return found


async def test_a_turn_is_traced_from_its_request_to_its_end(make_client: MakeClient) -> None:
    events: list[TraceEvent] = []
    async with Simulator(echo()) as service:
        caller = Caller(make_client(service, on_trace=events.append, label="line 7"))
        await caller.say("Hello")
        await caller.say("Again")
    assert kinds(events)[:2] == ["connecting", "connected"]  # then the simulator ends
    assert kinds(events, 1) == [
        "queued",
        "waiting",
        "sent",
        "written",
        "created",
        "first_output",
        "first_word",
        "ended",
        "finished",
    ]
    assert kinds(events, 2) == [kind for kind in kinds(events, 1) if kind != "waiting"]
    first, second = (event for event in events if isinstance(event, RequestSent))
    assert (first.items, first.chained, first.full_context_reason) == (2, False, "first request")
    assert (second.items, second.items_known, second.chained, second.reused) == (1, 3, True, True)
    assert {event.call.label for event in events if event.turn} == {"line 7"}
    assert {event.conversation for event in events if event.turn} == {1}
    assert len({event.client for event in events}) == 1
    assert [event.at for event in events] == sorted(event.at for event in events)
    assert next(e for e in events if isinstance(e, ConnectionOpened)).seconds > 0


async def test_the_ends_have_the_usage_of_the_ledger(make_client: MakeClient) -> None:
    events: list[TraceEvent] = []
    async with Simulator(echo()) as service:
        client = make_client(service, on_trace=events.append)
        await Caller(client).say("Hello")
    ended, finished = only_one(AttemptEnded, events), only_one(TurnFinished, events)
    assert (ended.category, ended.counted, ended.drained) == ("answered", True, False)
    assert ended.usage.total == client.usage.answered.input + client.usage.answered.output
    assert finished.usage == ended.usage
    assert finished.outcome == "completed"


async def test_an_end_has_its_cost_once_the_prices_are_there(make_client: MakeClient) -> None:
    events: list[TraceEvent] = []
    prices = Prices({"gpt-4.1": ModelPrices(Decimal(2), Decimal(8))}, currency="EUR")
    async with Simulator(echo()) as service:
        client = make_client(service, on_trace=events.append, prices=prices)
        await Caller(client).say("Hello")
    ended = only_one(AttemptEnded, events)
    assert (ended.currency, ended.host) == ("EUR", client.endpoint.profile.name)
    assert ended.cost == pytest.approx(float(client.usage.cost.amount or 0))
    assert ended.cost > 0


async def test_the_end_of_a_turn_has_what_broke_the_prompt_cache(make_client: MakeClient) -> None:
    events: list[TraceEvent] = []
    async with Simulator(echo()) as service:
        caller = Caller(make_client(service, on_trace=events.append, cache_report="texts"))
        caller.items[0] = Message.of("system", f"It is Monday. {SECRET} " * 200)
        await caller.say("Hello")
        caller.items[0] = Message.of("system", f"It is Sunday. {SECRET} " * 200)
        await caller.say("Again")
    last = [event for event in events if isinstance(event, TurnFinished)][-1]
    assert last.cache_missed is not None
    assert last.cache_missed > 1000
    assert any("instructions changed" in text for text in last.cache_breaks)
    assert SECRET not in repr(events)
    assert "Monday" not in repr(events)


REASONED = Reply.of(
    Reasoning(tokens=400, seconds=3.0), Hosted("web_search_call", seconds=2.0), "Sunny."
)


async def test_reasoning_and_hosted_tools_have_the_time_that_they_took(
    make_client: MakeClient,
) -> None:
    events: list[TraceEvent] = []
    async with Simulator(REASONED) as service:
        await Caller(make_client(service, on_trace=events.append)).say("Hello")
    hidden = [event for event in events if isinstance(event, HiddenItemReceived)]
    assert [event.item for event in hidden] == ["reasoning", "web_search_call"]
    assert hidden[0].seconds >= 3.0
    assert hidden[1].seconds >= 2.0
    of_turn = kinds(events, 1)
    assert of_turn[of_turn.index("created") :][:4] == [
        "created",
        "hidden_item",
        "hidden_item",
        "first_output",
    ]


async def test_reasoning_that_the_turn_does_not_outlast_is_traced_before_its_end(
    make_client: MakeClient,
) -> None:
    events: list[TraceEvent] = []
    async with Simulator(Reply.of(Reasoning(seconds=30.0), "Yes.")) as service:
        caller = Caller(make_client(service, on_trace=events.append))
        caller.items.append(Message.of("user", "Hello"))
        with caller.client.ask(caller.request()) as response:
            reading = asyncio.create_task(anext(response))
            while "created" not in kinds(events, 1):
                await asyncio.sleep(0.1)
            await asyncio.sleep(5.0)
            reading.cancel()
            await asyncio.wait([reading])
    assert kinds(events, 1)[-4:-1] == ["hidden_item", "cancelled", "finished"]
    assert only_one(HiddenItemReceived, events).seconds >= 5.0


async def test_a_barge_in_is_cancelled_first_and_drained_later(make_client: MakeClient) -> None:
    events: list[TraceEvent] = []
    has_drained = asyncio.Event()

    def listen(event: TraceEvent) -> None:
        events.append(event)
        if isinstance(event, AttemptEnded) and event.drained:
            has_drained.set()

    async with Simulator(echo(), fault=only(0, Dribble(0.1, 5))) as service:
        caller = Caller(make_client(service, on_trace=listen))
        await caller.hear_only("A long story, please, and do not stop before it is over", 1)
        await caller.say("Stop")
        await has_drained.wait()
    cancelled = only_one(TurnCancelled, events)
    assert cancelled.characters > 0
    order = [e.kind for e in events if e.turn == 1][-3:]
    assert order == ["cancelled", "finished", "ended"]
    ended = next(e for e in events if isinstance(e, AttemptEnded) and e.turn == 1)
    assert (ended.category, ended.drained) == ("cancelled", True)
    assert ended.usage is not None


async def test_a_fault_says_what_is_done_about_it(make_client: MakeClient) -> None:
    events: list[TraceEvent] = []
    async with Simulator(echo(), fault=only(0, Close(phase="created"))) as service:
        await Caller(make_client(service, on_trace=events.append)).say("Hi")
    fault = only_one(FaultHandled, events)
    assert (fault.fault, fault.resends) == ("dropped", True)
    assert "sent again" in fault.action
    closed = next(e for e in events if isinstance(e, ConnectionClosed))
    assert (closed.reason, closed.fault) == ("lost", "dropped")
    assert [e.category for e in events if isinstance(e, AttemptEnded)] == ["failed", "answered"]


async def test_a_failed_turn_names_its_error_without_the_hosts_words(
    make_client: MakeClient,
) -> None:
    events: list[TraceEvent] = []
    refused = ErrorFrame(status=400, code="invalid_prompt", message=f"Not allowed: {SECRET}")
    async with Simulator(echo(), fault=refused) as service:
        caller = Caller(make_client(service, on_trace=events.append, profile="openai"))
        with pytest.raises(RequestRejected):
            await caller.say(SECRET)
    assert only_one(TurnFinished, events).error == "RequestRejected"
    assert only_one(FaultHandled, events).code == "invalid_prompt"
    assert SECRET not in repr(events)


async def test_a_tool_call_is_traced_by_its_name(make_client: MakeClient) -> None:
    events: list[TraceEvent] = []
    async with Simulator(fixed(Reply((Call("look_up", {"pin": SECRET}),)))) as service:
        client = make_client(service, on_trace=events.append)
        with client.ask(Caller(client).request()) as stream:
            async for _ in stream:
                pass
    called = only_one(ToolCalled, events)
    assert called.name == "look_up"
    assert called.characters > len(SECRET)
    assert "first_word" not in kinds(events, 1)
    assert SECRET not in repr(events)


async def test_a_chat_completion_is_traced_too() -> None:
    events: list[TraceEvent] = []
    async with (
        Simulator(echo()) as service,
        aclosing(
            ChatClient.connect(api_key="key", base_url=service.base_url, on_trace=events.append)
        ) as client,
    ):
        await Caller(client).say("Hello")
    assert kinds(events, 1) == [
        "queued",
        "sent",
        "written",
        "created",
        "first_output",
        "first_word",
        "ended",
        "finished",
    ]
    sent = only_one(RequestSent, events)
    assert (sent.protocol, sent.full_context_reason) == ("http", "no chaining here")
    assert only_one(TurnQueued, events).api == "chat"


async def test_a_listener_that_raises_is_logged_once_and_hurts_nothing(
    make_client: MakeClient, caplog: pytest.LogCaptureFixture
) -> None:
    events: list[TraceEvent] = []

    def fail(_: TraceEvent) -> None:
        raise LookupError("a bug in the listener")

    async with Simulator(echo()) as service:
        caller = Caller(make_client(service, on_trace=(fail, events.append)))
        assert await caller.say("Hello")
        assert await caller.say("Again")
    assert len(events) > 10
    failures = [record for record in caplog.records if record.exc_info]
    assert len(failures) == 1
    assert "fail raised" in failures[0].getMessage()


async def test_at_debug_the_log_tells_the_story_of_a_turn(
    make_client: MakeClient, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "rtllm.client.trace_log")
    async with Simulator(echo()) as service:
        await Caller(make_client(service, label="line 7")).say(SECRET)
    lines = [r.getMessage() for r in caplog.records if r.name == "rtllm.client.trace_log"]
    assert any(line.startswith("conversation 1, turn 1 (line 7): queued: model") for line in lines)
    assert any("first word" in line for line in lines)
    assert SECRET not in "".join(lines)


@pytest.mark.parametrize("wrong", ["no function", 7, [print, None], {"a": 1}])
async def test_what_is_not_a_listener_is_refused(wrong: Any) -> None:
    with pytest.raises(ConfigError, match="on_trace"):
        Client.connect(api_key="key", on_trace=wrong)


async def test_an_async_listener_is_refused() -> None:
    async def listen(_: TraceEvent) -> None:
        """Be never awaited."""

    with pytest.raises(ConfigError, match="on_trace is async"):
        Client.connect(api_key="key", on_trace=listen)


def test_every_event_is_listed_by_its_kind_and_has_plain_fields() -> None:
    classes = [one for one in vars(event_classes).values() if isinstance(one, type)]
    assert set(EVENTS.values()) == {
        one for one in classes if issubclass(one, TraceEvent) and one is not TraceEvent
    }
    for kind, event in EVENTS.items():
        assert event.kind == kind
        assert {field.name for field in fields(TraceEvent)} <= {f.name for f in fields(event)}
