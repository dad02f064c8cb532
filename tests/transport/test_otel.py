"""OpenTelemetry's spans and metrics of real clients, by the GenAI conventions."""

from __future__ import annotations

import asyncio
import logging
from contextvars import copy_context
from decimal import Decimal
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor
from opentelemetry.trace import SpanKind, StatusCode

from rtllm import (
    ChatClient,
    ConfigError,
    ModelPrices,
    Prices,
    RequestRejected,
    TraceEvent,
    TurnReport,
    Usage,
)
from rtllm.instrumentation.otel_metrics import SECONDS, TOKENS
from rtllm.otel import OpenTelemetry
from rtllm.simulator import Call, Close, Dribble, ErrorFrame, Reply, Simulator, echo, fixed, only
from rtllm.trace import (
    AttemptEnded,
    ConnectionClosed,
    ConnectionOpened,
    RequestSent,
    TurnFinished,
    TurnQueued,
    TurnWaiting,
)
from support.otel import Telemetry, attributes_of, events_of, everything, is_child, seconds_of
from transport.caller import Caller, MakeClient

SECRET = "my pin is 1234"
LONG = "A long story, please, and do not stop before it is over"


@pytest.fixture
def telemetry() -> Telemetry:
    return Telemetry()


async def test_a_turn_is_a_span_with_a_child_for_its_attempt(
    make_client: MakeClient, telemetry: Telemetry
) -> None:
    events: list[TraceEvent] = []
    async with Simulator(echo()) as service:
        listeners = [telemetry.listener, events.append]
        caller = Caller(make_client(service, on_trace=listeners, label="line 7"))
        await caller.say("Hello")
        await caller.say("Again")
        port = int(service.base_url.split(":")[2].split("/")[0])
    first, second = telemetry.turns
    assert (first.name, first.kind, first.parent) == ("chat gpt-4.1", SpanKind.CLIENT, None)
    known = attributes_of(first)
    assert known["gen_ai.operation.name"] == "chat"
    assert known["gen_ai.provider.name"] == "openai"
    assert known["gen_ai.request.model"] == "gpt-4.1"
    assert known["gen_ai.request.stream"] is True
    assert (known["server.address"], known["server.port"]) == ("127.0.0.1", port)
    assert known["openai.api.type"] == "responses"
    assert (known["rtllm.outcome"], known["rtllm.call.label"]) == ("completed", "line 7")
    ended = [event for event in events if isinstance(event, AttemptEnded)]
    assert ended[0].usage is not None
    assert known["gen_ai.usage.input_tokens"] == ended[0].usage.input
    assert known["gen_ai.usage.output_tokens"] == ended[0].usage.output
    assert known["gen_ai.response.id"] == ended[0].response_id
    assert known["gen_ai.response.model"] == ended[0].model
    (attempt,) = telemetry.attempts_of(second)
    of_attempt = attributes_of(attempt)
    assert of_attempt["gen_ai.request.previous_response.id"] == ended[0].response_id
    assert (
        of_attempt["rtllm.usage.input_tokens"] == attributes_of(second)["gen_ai.usage.input_tokens"]
    )
    assert events_of(attempt) == ["rtllm.written", "rtllm.created", "rtllm.first_output"]
    assert events_of(first) == ["rtllm.waiting", "rtllm.connected", "rtllm.first_word"]
    assert second.status.status_code is StatusCode.UNSET


async def test_the_times_are_those_of_the_turn_in_seconds(
    make_client: MakeClient, telemetry: Telemetry
) -> None:
    events: list[TraceEvent] = []
    async with Simulator(echo(), fault=only(0, Dribble(0.1, 5))) as service:
        listeners = [telemetry.listener, events.append]
        await Caller(make_client(service, on_trace=listeners)).say(LONG)
    (finished,) = [event for event in events if isinstance(event, TurnFinished)]
    (span,) = telemetry.turns
    assert finished.duration > 0.1
    assert seconds_of(span) == pytest.approx(finished.duration, abs=1e-6)
    duration = telemetry.metrics()["gen_ai.client.inference.duration"]
    assert duration.unit == "s"
    (point,) = duration.data.data_points
    assert point.sum == pytest.approx(finished.duration)
    assert point.explicit_bounds == SECONDS == tuple(0.01 * 2**n for n in range(14))
    (first,) = telemetry.metrics()["gen_ai.client.inference.time_to_first_chunk"].data.data_points
    assert first.sum == finished.time_to_first
    assert first.explicit_bounds == SECONDS
    assert attributes_of(span)["gen_ai.response.time_to_first_chunk"] == finished.time_to_first


async def test_the_parent_is_the_span_that_is_current_where_the_turn_is_asked_for(
    make_client: MakeClient, telemetry: Telemetry
) -> None:
    tracer = telemetry.tracers.get_tracer("framework")
    async with Simulator(echo()) as service:
        caller = Caller(make_client(service, on_trace=telemetry.listener))
        with tracer.start_as_current_span("one"):
            await caller.say("Hello")  # opens the connection, whose tasks live on
        with tracer.start_as_current_span("two"):
            await caller.say("Again")
        await caller.say("And again")
    one, two, nothing = telemetry.turns
    assert is_child(one, telemetry.named("one")[0])
    assert is_child(two, telemetry.named("two")[0])
    assert nothing.parent is None


async def test_a_turn_that_is_asked_for_inside_of_another_one_has_its_own_parent(
    make_client: MakeClient, telemetry: Telemetry
) -> None:
    """A listener runs while the runtime carries out what another turn needs."""
    tracer = telemetry.tracers.get_tracer("framework")
    span = tracer.start_span("own")
    own = copy_context()
    own.run(lambda: _attach(span))
    inner: list[Any] = []

    def ask_more(event: TraceEvent) -> None:
        if isinstance(event, TurnQueued) and not inner:
            stream = caller.client.ask(caller.request())
            step = stream.__anext__()
            inner.append(stream)
            own.run(step.send, None)
            step.close()

    async with Simulator(echo()) as service:
        listeners = [telemetry.listener, ask_more]
        caller = Caller(make_client(service, on_trace=listeners))
        with tracer.start_as_current_span("another"):
            await caller.say("Hello")
        inner[0].close()
    span.end()
    another, of_own = telemetry.turns
    assert is_child(another, telemetry.named("another")[0])
    assert is_child(of_own, telemetry.named("own")[0])


def _attach(span: trace.Span) -> None:
    from opentelemetry.context import attach  # noqa: PLC0415

    attach(trace.set_span_in_context(span))


def test_a_rebuild_has_no_parent_since_no_caller_asked_for_it(telemetry: Telemetry) -> None:
    tracer = telemetry.tracers.get_tracer("framework")
    with tracer.start_as_current_span("turn of a caller"):
        where: dict[str, Any] = {"client": "c", "turn": 1}
        telemetry.listener(TurnQueued(at=1.0, model="m", purpose="rebuild", **where))
        telemetry.listener(TurnFinished(at=2.0, outcome="completed", duration=1.0, **where))
    (rebuild,) = telemetry.turns
    assert (rebuild.name, rebuild.parent) == ("rebuild m", None)


async def test_another_parent_may_be_named(make_client: MakeClient) -> None:
    parents: list[Context] = []
    telemetry = Telemetry({"parent": lambda: parents[0]})
    span = telemetry.tracers.get_tracer("framework").start_span("session")
    parents.append(trace.set_span_in_context(span))
    async with Simulator(echo()) as service:
        await Caller(make_client(service, on_trace=telemetry.listener)).say("Hello")
    span.end()
    assert is_child(telemetry.turns[0], telemetry.named("session")[0])


async def test_a_cancelled_turns_span_has_the_tokens_that_are_known_later(
    make_client: MakeClient, telemetry: Telemetry
) -> None:
    has_drained = asyncio.Event()

    def listen(event: TraceEvent) -> None:
        if isinstance(event, AttemptEnded) and event.drained:
            has_drained.set()

    async with Simulator(echo(), fault=only(0, Dribble(0.1, 5))) as service:
        client = make_client(service, on_trace=[telemetry.listener, listen])
        caller = Caller(client)
        await caller.hear_only(LONG, 1)
        assert telemetry.turns == []  # it is over, but its tokens are not known
        await caller.say("Stop")
        await has_drained.wait()
    cancelled = telemetry.turns[0]
    known = attributes_of(cancelled)
    assert known["rtllm.outcome"] == "cancelled"
    assert cancelled.status.status_code is StatusCode.UNSET
    assert events_of(cancelled)[-1] == "rtllm.cancelled"
    spent = client.usage.cancelled
    assert known["gen_ai.usage.input_tokens"] == spent.input > 0
    (attempt,) = telemetry.attempts_of(cancelled)
    assert (attempt.end_time or 0) > (cancelled.end_time or 0)
    tokens = "rtllm.client.tokens"
    assert telemetry.sum_of(tokens, rtllm__category="cancelled") == spent.input + spent.output


async def test_the_sums_are_those_of_the_usage(
    make_client: MakeClient, telemetry: Telemetry
) -> None:
    prices = Prices({"gpt-4.1": ModelPrices(Decimal(2), Decimal(8))}, currency="EUR")
    async with Simulator(echo(), fault=only(1, Close(phase="created"))) as service:
        client = make_client(service, on_trace=telemetry.listener, prices=prices)
        caller = Caller(client)
        for text in ("Hello", "Again", "And again"):
            await caller.say(text)
    total = client.usage.all
    name = "gen_ai.client.inference.usage"
    assert telemetry.sum_of(f"{name}.input_tokens") == total.input
    assert telemetry.sum_of(f"{name}.output_tokens") == total.output
    assert telemetry.sum_of(f"{name}.cache_read.input_tokens") == total.cached
    histogram = "gen_ai.client.inference.operation.input_tokens"
    (point,) = telemetry.metrics()[histogram].data.data_points
    assert (point.sum, point.count) == (total.input, 3)
    assert point.explicit_bounds == TOKENS
    assert telemetry.sum_of("rtllm.client.cost", rtllm__currency="EUR") == pytest.approx(
        float(client.usage.cost.amount or 0)
    )


async def test_a_retry_is_a_second_child_and_is_counted(
    make_client: MakeClient, telemetry: Telemetry
) -> None:
    async with Simulator(echo(), fault=only(0, Close(phase="created"))) as service:
        await Caller(make_client(service, on_trace=telemetry.listener)).say("Hi")
    (turn,) = telemetry.turns
    failed, answered = telemetry.attempts_of(turn)
    assert failed.status.status_code is StatusCode.ERROR
    assert attributes_of(failed)["error.type"] == "dropped"
    assert attributes_of(answered)["rtllm.category"] == "answered"
    assert "rtllm.retry" in events_of(turn)
    assert turn.status.status_code is StatusCode.UNSET
    assert "error.type" not in attributes_of(turn)
    assert telemetry.sum_of("rtllm.client.retries", rtllm__fault="dropped") == 1


async def test_a_failed_turn_has_the_type_of_its_error_and_no_text(
    make_client: MakeClient, telemetry: Telemetry
) -> None:
    refused = ErrorFrame(status=400, code="invalid_prompt", message=f"Not allowed: {SECRET}")
    async with Simulator(echo(), fault=refused) as service:
        caller = Caller(make_client(service, on_trace=telemetry.listener, profile="openai"))
        with pytest.raises(RequestRejected):
            await caller.say(SECRET)
    (turn,) = telemetry.turns
    assert turn.status.status_code is StatusCode.ERROR
    assert attributes_of(turn)["error.type"] == "RequestRejected"
    (attempt,) = telemetry.attempts_of(turn)
    assert attributes_of(attempt)["error.type"] == "invalid_prompt"
    (point,) = telemetry.metrics()["gen_ai.client.inference.duration"].data.data_points
    assert point.attributes["error.type"] == "RequestRejected"
    assert SECRET not in everything(telemetry)


async def test_no_text_of_a_conversation_leaves(
    make_client: MakeClient, telemetry: Telemetry
) -> None:
    reply = fixed(Reply((Call("look_up", {"pin": SECRET}),)))
    async with Simulator(reply) as service:
        caller = Caller(make_client(service, on_trace=telemetry.listener))
        await caller.say(SECRET)
    called = next(e for e in telemetry.turns[0].events if e.name == "rtllm.tool_call")
    assert (called.attributes or {})["rtllm.name"] == "look_up"
    assert SECRET not in everything(telemetry)


async def test_connections_are_counted_with_their_handshakes(
    make_client: MakeClient, telemetry: Telemetry
) -> None:
    async with Simulator(echo()) as service:
        client = make_client(service, on_trace=telemetry.listener)
        await Caller(client).say("Hello")
        assert telemetry.sum_of("rtllm.client.connections") == 1
        await client.aclose()
    assert telemetry.sum_of("rtllm.client.connections") == 0
    assert telemetry.sum_of("rtllm.client.connections.closed", rtllm__reason="closed") == 1
    (handshake,) = telemetry.metrics()["rtllm.client.handshake.duration"].data.data_points
    assert (handshake.count, handshake.explicit_bounds) == (1, SECONDS)


def test_a_connection_that_could_not_be_opened_was_never_open(telemetry: Telemetry) -> None:
    closed = ConnectionClosed(at=2.0, client="c", connection=1, reason="not opened")
    telemetry.listener(ConnectionOpened(at=1.0, client="c", connection=2, seconds=0.1))
    telemetry.listener(closed)
    assert telemetry.sum_of("rtllm.client.connections") == 1


def test_a_turn_that_waits_twice_for_a_connection_has_its_handshake_once(
    telemetry: Telemetry,
) -> None:
    where: dict[str, Any] = {"client": "c", "turn": 1}
    telemetry.listener(TurnQueued(at=1.0, model="m", **where))
    for _ in range(2):
        telemetry.listener(TurnWaiting(at=1.0, reason="connection", connection=1, **where))
    telemetry.listener(ConnectionOpened(at=2.0, client="c", connection=1, seconds=1.0))
    telemetry.listener(TurnFinished(at=3.0, outcome="completed", duration=2.0, **where))
    (turn,) = telemetry.turns
    assert events_of(turn) == ["rtllm.waiting", "rtllm.waiting", "rtllm.connected"]


def test_the_tokens_of_an_attempt_that_is_not_counted_are_not_the_turns(
    telemetry: Telemetry,
) -> None:
    where: dict[str, Any] = {"client": "c", "turn": 1}
    spent: dict[str, Any] = {"category": "answered", "usage": Usage(100, 10)}
    telemetry.listener(TurnQueued(at=1.0, model="m", **where))
    telemetry.listener(AttemptEnded(at=2.0, attempt=1, counted=False, **spent, **where))
    telemetry.listener(AttemptEnded(at=2.0, attempt=2, **spent, **where))
    telemetry.listener(TurnFinished(at=3.0, outcome="completed", duration=2.0, **where))
    (turn,) = telemetry.turns
    assert attributes_of(turn)["gen_ai.usage.input_tokens"] == 100


async def test_a_warm_up_is_not_a_chat(make_client: MakeClient, telemetry: Telemetry) -> None:
    async with Simulator(echo()) as service:
        client = make_client(service, on_trace=telemetry.listener)
        await client.warm_up(Caller(client).request())
    (turn,) = telemetry.turns
    assert turn.name == "warm_up gpt-4.1"
    assert "gen_ai.client.inference.duration" not in telemetry.metrics()
    tokens = "gen_ai.client.inference.usage.input_tokens"
    assert telemetry.sum_of(tokens) == client.usage.warm_up.input > 0


async def test_a_chat_completion_has_the_other_api(telemetry: Telemetry) -> None:
    async with Simulator(echo()) as service:
        client = ChatClient.connect(
            api_key="key", base_url=service.base_url, on_trace=telemetry.listener
        )
        await Caller(client).say("Hello")
        await client.aclose()
    known = attributes_of(telemetry.turns[0])
    assert known["openai.api.type"] == "chat_completions"
    assert known["gen_ai.usage.input_tokens"] == client.usage.answered.input


@pytest.mark.parametrize(
    ("conventions", "names"),
    [
        ("0.1.0", {"gen_ai.client.inference.duration"}),
        ("1.41.0", {"gen_ai.client.operation.duration"}),
        ("both", {"gen_ai.client.inference.duration", "gen_ai.client.operation.duration"}),
    ],
)
async def test_the_names_of_the_former_conventions_may_be_chosen(
    conventions: str, names: set[str], make_client: MakeClient
) -> None:
    telemetry = Telemetry({"conventions": conventions})
    async with Simulator(echo()) as service:
        client = make_client(service, on_trace=telemetry.listener)
        await Caller(client).say("Hello")
    found = telemetry.metrics()
    assert {name for name in found if name.startswith("gen_ai") and ".duration" in name} == names
    has_former = conventions != "0.1.0"
    assert ("gen_ai.client.token.usage" in found) is has_former
    assert ("gen_ai.client.operation.time_to_first_chunk" in found) is has_former
    has_current = conventions != "1.41.0"
    assert ("gen_ai.client.inference.usage.input_tokens" in found) is has_current
    if has_former:
        usage = client.usage.answered
        former = "gen_ai.client.token.usage"
        assert telemetry.sum_of(former, gen_ai__token__type="input") == usage.input
        assert telemetry.sum_of(former, gen_ai__token__type="output") == usage.output


def test_unknown_conventions_are_rejected() -> None:
    with pytest.raises(ConfigError, match=r"expected one of '0\.1\.0', '1\.41\.0', 'both'"):
        OpenTelemetry(conventions="2.0")  # type: ignore[arg-type]


async def test_a_listener_that_fails_never_hurts_a_turn(
    make_client: MakeClient, reports: list[TurnReport], caplog: pytest.LogCaptureFixture
) -> None:
    def no_parent() -> Context:
        raise OSError("the backend is away")

    telemetry = Telemetry({"parent": no_parent})
    with caplog.at_level(logging.ERROR, "rtllm"):
        async with Simulator(echo()) as service:
            caller = Caller(make_client(service, on_trace=telemetry.listener))
            await caller.say("Hello")
            await caller.say("Again")
    assert [report.outcome for report in reports] == ["completed", "completed"]
    assert len([r for r in caplog.records if "trace listener" in r.getMessage()]) == 1
    assert telemetry.turns == []
    (point,) = telemetry.metrics()["gen_ai.client.inference.duration"].data.data_points
    assert point.count == 2  # the metrics go on
    assert repr(telemetry.listener) == "<OpenTelemetry: 0 turns open>"


class _Broken(SpanProcessor):
    def on_end(self, span: ReadableSpan) -> None:
        raise OSError("the backend is away")


async def test_spans_that_fail_hurt_neither_the_turn_nor_the_metrics(
    make_client: MakeClient, telemetry: Telemetry, reports: list[TurnReport]
) -> None:
    telemetry.tracers.add_span_processor(_Broken())
    async with Simulator(echo()) as service:
        client = make_client(service, on_trace=telemetry.listener)
        caller = Caller(client)
        await caller.say("Hello")
        await caller.say("Again")
    assert [report.outcome for report in reports] == ["completed", "completed"]
    tokens = "gen_ai.client.inference.usage.input_tokens"
    assert telemetry.sum_of(tokens) == client.usage.all.input > 0
    assert repr(telemetry.listener) == "<OpenTelemetry: 0 turns open>"


def test_turns_whose_event_loop_ended_are_not_kept_without_a_limit(
    telemetry: Telemetry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rtllm.instrumentation.otel_turns.LIMIT", 3)
    for number in range(10):
        where: dict[str, Any] = {"at": 1.0, "client": "c", "turn": number, "model": "m"}
        telemetry.listener(TurnQueued(**where))
        telemetry.listener(RequestSent(attempt=number, protocol="http", bytes=1, items=1, **where))
    assert repr(telemetry.listener) == "<OpenTelemetry: 3 turns open>"
    assert len(telemetry.turns) == 7
    assert all(len(telemetry.attempts_of(turn)) == 1 for turn in telemetry.turns)
