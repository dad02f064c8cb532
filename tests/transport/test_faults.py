"""What goes wrong on the way: each fault ends in the right answer or the right error."""

import asyncio
from typing import Any

import pytest

from rtllm import (
    Client,
    ConnectFailed,
    ConnectionLost,
    Credentials,
    Overloaded,
    RateLimited,
    RequestRejected,
    ResponseFailed,
    RetryPolicy,
    Timeouts,
    TurnError,
    TurnReport,
    TurnTimeout,
    endpoint,
)
from rtllm.simulator import (
    GARBAGE,
    Abort,
    Close,
    CutResponse,
    Empty,
    ErrorFrame,
    FailedResponse,
    Garbage,
    Mangle,
    Pause,
    Refusal,
    RefuseHandshake,
    Reply,
    Silence,
    Simulator,
    Text,
    in_turn,
    overloaded,
    rate_limited,
)
from transport.caller import QUICK, Caller, MakeClient, ended, spoken

Reports = list[TurnReport]
NO_BUDGET = RetryPolicy(budget=0, interval=0.0)


@pytest.mark.parametrize("store", [True, False])
@pytest.mark.parametrize("end", ["close", "abort"])
async def test_a_stale_connection_is_replaced_within_the_turn(
    make_client: MakeClient, reports: Reports, store: bool, end: str
) -> None:
    async with Simulator() as simulator:
        caller = Caller(make_client(simulator), settings={"store": store}, retry=NO_BUDGET)
        await caller.say("one")
        if end == "close":
            await simulator.close_connections()
        else:
            simulator.abort_connections()
        assert spoken(await caller.say("two")) == "You said: two"
        assert reports[-1].chained is store
        assert len(simulator.journal.connections) == 2


@pytest.mark.parametrize("phase", ["sent", "created"])
@pytest.mark.parametrize("fault", [Close, Abort])
async def test_a_connection_that_dies_before_output_costs_one_free_resend(
    make_client: MakeClient, phase: Any, fault: type[Close | Abort]
) -> None:
    async with Simulator(fault=[fault(phase=phase)]) as simulator:
        caller = Caller(make_client(simulator), retry=NO_BUDGET)
        assert spoken(await caller.say("hello")) == "You said: hello"
        assert len(simulator.journal.entries) == 2


@pytest.mark.parametrize("fault", [Close(phase="output"), Abort(phase="output")])
async def test_nothing_is_replayed_once_text_was_emitted(
    make_client: MakeClient, fault: Close | Abort
) -> None:
    async with Simulator("one two three", fault=[fault]) as simulator:
        caller = Caller(make_client(simulator))
        heard = ""

        async def hear() -> None:
            nonlocal heard
            with caller.client.ask(caller.request()) as answer:
                async for event in answer:
                    heard += spoken([event])

        with pytest.raises(ConnectionLost) as error:
            await hear()
        assert "one two three".startswith(heard)
        assert error.value.details.emitted[0] == len(heard) > 0
        assert len(simulator.journal.entries) == 1
        assert spoken(await caller.say("again")) == "one two three"


@pytest.mark.parametrize(
    "fault", [Close(phase="complete"), Abort(phase="complete"), Mangle("terminal_dropped")]
)
async def test_an_answer_that_lacks_only_its_last_event_is_whole(
    make_client: MakeClient, reports: Reports, fault: Any
) -> None:
    async with Simulator("one two", fault=[fault]) as simulator:
        caller = Caller(make_client(simulator), limits=QUICK)
        events = await caller.say("hello")
        assert spoken(events) == "one two"
        assert ended(events).outcome == "unfinished"
        await caller.say("go on")
        assert not reports[-1].chained


async def sign_of_life(client: Any) -> None:
    """Wait until no connection is doubted."""
    while any(connection.is_doubted for connection in client.connections):
        await asyncio.sleep(0)


@pytest.mark.parametrize("pongs", [True, False])
async def test_a_connection_that_died_silently_is_waited_for_once(
    make_client: MakeClient, reports: Reports, pongs: bool
) -> None:
    silence = Silence(phase="output", scope="lane" if pongs else "connection", pongs=pongs)
    async with Simulator("one two three", fault=[silence]) as simulator:
        caller = Caller(make_client(simulator), limits=QUICK)
        with pytest.raises(TurnTimeout):
            await caller.say("hello")
        if pongs:
            await asyncio.wait_for(sign_of_life(caller.client), 10)
        await caller.say("again")
        assert reports[-1].attempts == 1
        assert len(simulator.journal.connections) == (1 if pongs else 2)


async def test_a_chain_miss_costs_one_whole_resend(
    make_client: MakeClient, reports: Reports
) -> None:
    miss = ErrorFrame(
        code="previous_response_not_found",
        status=400,
        kind="invalid_request_error",
        param="previous_response_id",
    )
    async with Simulator() as simulator:
        caller = Caller(make_client(simulator), retry=NO_BUDGET)
        await caller.say("one")
        simulator.fault = in_turn(miss)
        assert spoken(await caller.say("two")) == "You said: two"
        assert [r.fault for r in reports[-1].recoveries] == ["chain miss"]
        assert len(simulator.journal.connections) == 1
        await caller.say("three")
        assert reports[-1].chained


@pytest.mark.parametrize("tagged", [True, False])
async def test_the_connection_limit_costs_one_resend_on_a_new_connection(
    make_client: MakeClient, tagged: bool
) -> None:
    limit = ErrorFrame(
        code="websocket_connection_limit_reached",
        status=400,
        kind="invalid_request_error",
        tagged=tagged,
        then_close=1000,
    )
    async with Simulator(fault=[None, limit]) as simulator:
        caller = Caller(make_client(simulator), retry=NO_BUDGET)
        await caller.say("one")
        assert spoken(await caller.say("two")) == "You said: two"
        assert len(simulator.journal.connections) == 2


@pytest.mark.parametrize("shape", list("abcdef"))
@pytest.mark.parametrize("tagged", [True, False])
async def test_error_frames_of_every_shape_end_the_turn(
    make_client: MakeClient, shape: Any, tagged: bool
) -> None:
    frame = ErrorFrame(
        code="invalid_prompt",
        status=400,
        kind="invalid_request_error",
        message="That won't do.",
        shape=shape,
        tagged=tagged,
    )
    async with Simulator(fault=frame) as simulator:
        caller = Caller(make_client(simulator), limits=QUICK)
        with pytest.raises(TurnError) as error:
            await caller.say("hello")
        assert error.value.message == "That won't do."
        assert isinstance(error.value, RequestRejected)
        assert len(simulator.journal.entries) == 1


@pytest.mark.parametrize(
    ("fault", "kind", "requests"),
    [
        (rate_limited("0"), RateLimited, 3),
        (overloaded(), Overloaded, 3),
        (rate_limited("60"), RateLimited, 1),
        (ErrorFrame(), ResponseFailed, 3),
        (
            ErrorFrame(code="insufficient_quota", status=429, kind="insufficient_quota"),
            RequestRejected,
            1,
        ),
        (
            ErrorFrame(code="model_not_found", status=404, kind="invalid_request_error"),
            RequestRejected,
            1,
        ),
        (FailedResponse(phase="created"), ResponseFailed, 3),
        (FailedResponse(phase="created", code="invalid_prompt"), RequestRejected, 1),
        (FailedResponse(phase="output"), ResponseFailed, 1),
        (Close(code=1008), RequestRejected, 1),
        (Close(code=1011, phase="created"), ConnectionLost, 4),
        (Silence(), TurnTimeout, 3),
        (Silence(phase="created", noise="in_progress", every=0.01), TurnTimeout, 3),
        (Silence(phase="created", noise="keepalive", every=0.01), TurnTimeout, 3),
        (Silence(phase="output", noise="keepalive", every=0.01), TurnTimeout, 1),
    ],
)
async def test_what_does_not_pass_ends_with_its_own_error(
    make_client: MakeClient, fault: Any, kind: type[TurnError], requests: int
) -> None:
    """A budget of two paid resends; a close before output has one free resend in addition."""
    async with Simulator("one two three", fault=fault) as simulator:
        caller = Caller(make_client(simulator), limits=QUICK, retry=RetryPolicy(2, 0.0))
        with pytest.raises(kind) as error:
            await caller.say("hello")
        assert type(error.value) is kind
        assert error.value.details.attempts == len(simulator.journal.entries) == requests
        simulator.fault = None
        caller.items.pop()
        assert spoken(await caller.say("again")) == "one two three", "the next turn must work"


async def test_rate_limits_pass_when_the_service_names_a_wait(make_client: MakeClient) -> None:
    async with Simulator(fault=[rate_limited("0.01"), rate_limited()]) as simulator:
        caller = Caller(make_client(simulator), retry=RetryPolicy(2, 0.0))
        assert spoken(await caller.say("hello")) == "You said: hello"


async def test_a_busy_fork_repeats_the_small_delta(
    make_client: MakeClient, reports: Reports
) -> None:
    async with Simulator(fault=[None, rate_limited("0.01")]) as simulator:
        caller = Caller(make_client(simulator), settings={"store": False})
        await caller.say("one")
        await caller.say("two")
        assert reports[-1].chained
        assert [len(e.input) for e in simulator.journal.entries] == [2, 1, 1]


async def test_an_incomplete_answer_is_an_outcome_and_never_continued(
    make_client: MakeClient, reports: Reports
) -> None:
    async with Simulator(
        "one two three", fault=[CutResponse(phase="output", after=2)]
    ) as simulator:
        caller = Caller(make_client(simulator))
        end = ended(await caller.say("hello"))
        assert (end.outcome, end.reason) == ("incomplete", "max_output_tokens")
        assert end.usage is not None
        await caller.say("go on")
        assert not reports[-1].chained


async def test_an_empty_completion_is_asked_again_once(
    make_client: MakeClient, reports: Reports
) -> None:
    async with Simulator("words", fault=[Empty(), None, Empty(), Empty()]) as simulator:
        caller = Caller(make_client(simulator), retry=NO_BUDGET)
        assert spoken(await caller.say("hello")) == "words"
        assert ended(await caller.say("hello?")).outcome == "empty"
        assert len(simulator.journal.entries) == 4


async def test_a_refusal_is_spoken(make_client: MakeClient) -> None:
    async with Simulator(Reply.of(Refusal("I can't help with that."))) as simulator:
        events = await Caller(make_client(simulator)).say("do harm")
        assert spoken(events) == "I can't help with that."


async def test_two_messages_are_said_with_a_blank_between_and_continued(
    make_client: MakeClient, reports: Reports
) -> None:
    two = Reply.of(Text("One moment.", phase="commentary"), Text("Done.", phase="final_answer"))
    async with Simulator(two) as simulator:
        caller = Caller(make_client(simulator))
        assert spoken(await caller.say("go")) == "One moment. Done."
        await caller.say("more")
        assert reports[-1].chained


@pytest.mark.parametrize("frame", list(GARBAGE.values()), ids=list(GARBAGE))
@pytest.mark.parametrize("phase", ["sent", "created", "output"])
async def test_frames_that_make_no_sense_are_passed_over(
    make_client: MakeClient, frame: str, phase: Any
) -> None:
    async with Simulator("one two three", fault=Garbage(phase=phase, frame=frame)) as simulator:
        assert spoken(await Caller(make_client(simulator)).say("hello")) == "one two three"


@pytest.mark.parametrize(
    "flaw",
    [
        "delta_without_logprobs",
        "delta_without_place",
        "delta_null",
        "deltas_dropped",
        "sequence_missing",
        "item_done_dropped",
        "usage_null",
        "usage_missing",
        "output_missing",
        "output_null",
        "output_empty",
        "response_done",
    ],
)
async def test_hosts_that_drift_are_understood(make_client: MakeClient, flaw: Any) -> None:
    async with Simulator("one two three", fault=Mangle(flaw)) as simulator:
        events = await Caller(make_client(simulator)).say("hello")
        assert spoken(events) == "one two three"
        assert ended(events).outcome == "completed"


@pytest.mark.parametrize(
    ("status", "kind", "tries"),
    [
        (400, RequestRejected, 1),
        (401, RequestRejected, 1),
        (403, RequestRejected, 1),
        (404, RequestRejected, 1),
        (426, RequestRejected, 1),
        (429, RateLimited, 3),
        (500, ResponseFailed, 3),
        (503, Overloaded, 3),
    ],
)
async def test_a_refused_handshake_tells_the_services_own_sentence(
    make_client: MakeClient, status: int, kind: type[TurnError], tries: int
) -> None:
    body = b'{"error": {"message": "Not today.", "type": "x", "code": null, "param": null}}'
    refusal = RefuseHandshake(status=status, body=body.decode(), headers={"x-request-id": "req_1"})
    asked: list[int] = []

    def refuse(number: int) -> RefuseHandshake:
        asked.append(number)
        return refusal

    async with Simulator(on_connect=refuse) as simulator:
        caller = Caller(make_client(simulator), retry=RetryPolicy(2, 0.0))
        with pytest.raises(kind, match="Not today") as error:
            await caller.say("hello")
        assert error.value.details.status == status
        assert error.value.details.request_id == "req_1"
        assert len(asked) == tries


async def test_a_host_that_is_not_there_is_unreachable() -> None:
    client = Client(endpoint("http://127.0.0.1:9/v1"), Credentials("key"))
    caller = Caller(client, retry=RetryPolicy(1, 0.0))
    with pytest.raises(ConnectFailed):
        await caller.say("hello")
    await client.aclose()


async def test_a_request_over_the_frame_limit_is_refused_before_it_is_sent(
    make_client: MakeClient,
) -> None:
    async with Simulator() as simulator:
        caller = Caller(make_client(simulator))
        with pytest.raises(RequestRejected, match="bytes"):
            await caller.say("x" * 16 * 2**20)
        assert not simulator.journal.entries


async def test_a_refused_parameter_is_left_out_from_then_on(
    make_client: MakeClient, caplog: pytest.LogCaptureFixture
) -> None:
    async with Simulator() as simulator:
        settings = {"reasoning": {"effort": "low"}, "temperature": 0.5}
        caller = Caller(make_client(simulator), settings=settings, retry=NO_BUDGET)
        await caller.say("one")
        await caller.say("two")
        assert len(simulator.journal.refused) == 1
        assert "reasoning" not in simulator.journal.entries[-1].body
        assert simulator.journal.entries[-1].body["temperature"] == 0.5
        assert sum("not sent" in record.message for record in caplog.records) == 1


async def test_a_turn_that_is_asked_while_the_client_closes_opens_again(
    make_client: MakeClient, reports: list[TurnReport]
) -> None:
    async with Simulator("yes") as simulator:
        caller = Caller(make_client(simulator, warm_connections=0))
        await caller.say("one")
        closing = asyncio.create_task(caller.client.aclose())
        await asyncio.sleep(0)  # it has begun, and waits for the old socket
        assert spoken(await caller.say("two")) == "yes"
        await closing
        assert spoken(await caller.say("three")) == "yes"
        assert [report.connection for report in reports] == [1, 2, 2]


async def test_a_turn_that_runs_when_the_client_is_closed_ends(make_client: MakeClient) -> None:
    async with Simulator(fault=Silence()) as simulator:
        client = make_client(simulator)
        task = asyncio.ensure_future(Caller(client).say("hello"))
        await simulator.journal.wait(lambda journal: journal.entries)
        await client.aclose()
        with pytest.raises(ConnectionLost, match="closed"):
            await task
        simulator.fault = None
        assert spoken(await Caller(client).say("again")) == "You said: again"


# -- the silence of a turn ---------------------------------------------------------------------

PATIENT = Timeouts(base=10.0, connect=10.0, open_item=30.0, total=120.0, silence=12.0)


async def test_a_dead_service_is_silent_no_longer_than_the_limit(
    make_client: MakeClient, caplog: pytest.LogCaptureFixture
) -> None:
    async with Simulator(fault=Silence(phase="sent")) as simulator:
        caller = Caller(make_client(simulator), limits=PATIENT)
        began = asyncio.get_running_loop().time()
        with pytest.raises(TurnTimeout, match="waited 12 s for the turn's first word"):
            await caller.say("Hello?")
        assert asyncio.get_running_loop().time() - began == pytest.approx(12.0, abs=0.5)
        warnings = [r.getMessage() for r in caplog.records if r.levelname == "WARNING"]
        assert len([w for w in warnings if "has no output after 5.0 s" in w]) == 1


async def test_a_turn_that_speaks_in_time_warns_of_nothing(
    make_client: MakeClient, caplog: pytest.LogCaptureFixture
) -> None:
    async with Simulator(Reply.of(Text(pieces=("One", Pause(15.0), " two")))) as simulator:
        assert spoken(await Caller(make_client(simulator)).say("Hello?")) == "One two"
        assert not [r for r in caplog.records if "has no output" in r.getMessage()]
