"""Connections are exchanged before their end, replaced when they break, closed when unused."""

import asyncio

import pytest

from rtllm import Client, HostProfile, TurnReport
from rtllm.scheduling import connection_pool as pool_rules
from rtllm.simulator import Abort, Close, ErrorFrame, Fault, RefuseHandshake, Request, Simulator
from transport.caller import Caller, MakeClient, spoken


def profile(**known: object) -> HostProfile:
    return HostProfile("test", **{"lanes": True, "model_in_query": False, **known})  # type: ignore[arg-type]


async def until_open(client: Client, number: int) -> None:
    """Wait until the client itself knows that a connection is open."""
    while not any(c.number >= number and c.state == "open" for c in client.connections):
        await asyncio.sleep(0)


@pytest.mark.parametrize("lanes", [True, False])
@pytest.mark.parametrize("store", [True, False])
async def test_an_old_connection_is_exchanged_between_turns(
    make_client: MakeClient, reports: list[TurnReport], *, store: bool, lanes: bool
) -> None:
    async with Simulator("yes") as simulator:
        client = make_client(
            simulator, lanes=lanes, warm_connections=0, profile=profile(lifetime=0.6)
        )
        caller = Caller(client, settings={"store": store})
        await caller.say("one")
        await simulator.journal.wait(lambda j: j.connections[0].closed and j.connections[1].open)
        await caller.say("two")
        assert reports[1].attempts == 1
        assert reports[1].reused  # no handshake was waited for
        assert reports[1].connection != reports[0].connection
        if store:
            assert reports[1].chained
        else:
            assert reports[1].full_context_reason == "connection replaced"


@pytest.mark.parametrize("lanes", [True, False])
async def test_a_new_connection_can_be_prepared_so_that_nothing_is_sent_twice(
    make_client: MakeClient, reports: list[TurnReport], *, lanes: bool
) -> None:
    async with Simulator("yes") as simulator:
        options = {"lanes": lanes, "warm_connections": 0, "rebuild": True}
        client = make_client(simulator, profile=profile(lifetime=0.6), **options)
        caller = Caller(client, settings={"store": False})
        await caller.say("one")
        await simulator.journal.wait(lambda j: j.connections[0].closed)
        await caller.say("two")
        assert [e.body.get("generate") for e in simulator.journal.entries[:2]] == [None, False]
        assert reports[1].chained
        assert reports[1].items_sent == 1
        assert len(reports) == 2  # a preparation is not a turn
        usage_ledger = client.usage
        assert usage_ledger.warm_up.attempts == 1
        assert usage_ledger.warm_up.input > 0
        assert usage_ledger.answered.attempts == 2
        said = [t for t in simulator.journal.entries[-1].texts() if t[0] != "system"]
        assert said == [("user", "one"), ("assistant", "yes"), ("user", "two")]


async def test_what_runs_on_an_old_connection_runs_to_its_end(
    make_client: MakeClient, reports: list[TurnReport]
) -> None:
    async with Simulator("one two three four five", per_delta=0.2) as simulator:
        client = make_client(simulator, warm_connections=0, profile=profile(lifetime=0.3))
        assert spoken(await Caller(client).say("tell")) == "one two three four five"
        assert reports[0].attempts == 1
        assert len(simulator.journal.connections) > 1


async def test_a_failed_exchange_leaves_the_old_connection_in_use(
    make_client: MakeClient, reports: list[TurnReport]
) -> None:
    def on_connect(number: int) -> RefuseHandshake | None:
        return RefuseHandshake(status=503) if number else None

    async with Simulator("yes", on_connect=on_connect) as simulator:
        client = make_client(simulator, warm_connections=0, profile=profile(lifetime=0.6))
        caller = Caller(client)
        await caller.say("one")
        await simulator.journal.wait(lambda j: j.connections[1].refused)
        await caller.say("two")
        assert [r.connection for r in reports] == [1, 1]
        assert reports[1].chained


@pytest.mark.parametrize("fault", [Close(code=1011, phase="output"), Abort(phase="output")])
async def test_a_connection_that_broke_has_a_warm_successor_before_the_next_turn(
    make_client: MakeClient, reports: list[TurnReport], fault: Fault
) -> None:
    async with Simulator("one two", fault=[None, fault]) as simulator:
        client = make_client(simulator, warm_connections=1)
        caller = Caller(client)
        await caller.say("one")
        with pytest.raises(Exception, match="connection"):
            await caller.say("two")
        await simulator.journal.wait(lambda j: j.connections[1].open)
        await asyncio.wait_for(until_open(client, 2), 10)
        caller.items.pop()
        await caller.say("three")
        assert reports[-1].reused
        assert len(simulator.journal.connections) == 2


async def test_without_spares_nothing_is_opened_ahead(make_client: MakeClient) -> None:
    async with Simulator("one two", fault=[Abort(phase="output")]) as simulator:
        caller = Caller(make_client(simulator, warm_connections=0))
        with pytest.raises(Exception, match="connection"):
            await caller.say("one")
        caller.items.pop()
        await caller.say("two")
        assert len(simulator.journal.connections) == 2


async def test_a_connection_that_is_unused_is_closed_and_opened_again_when_it_is_needed(
    make_client: MakeClient, reports: list[TurnReport], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool_rules, "IDLE_BEFORE_CLOSED", 0.3)
    async with Simulator("yes") as simulator:
        caller = Caller(make_client(simulator))
        await caller.say("one")
        await simulator.journal.wait(lambda j: j.connections[0].closed)
        await caller.say("two")
        assert reports[1].chained  # stored
        assert reports[1].attempts == 1
        assert len(simulator.journal.connections) == 2


async def test_a_connection_for_one_model_is_asked_for_no_other(
    make_client: MakeClient,
) -> None:
    async with Simulator("yes") as simulator:
        client = make_client(simulator, warm_connections=0, profile=profile(one_model=True))
        caller, other = Caller(client), Caller(client)
        other.model = "gpt-4.1-mini"
        for text in ("one", "two"):
            await caller.say(text)
            await other.say(text)
        models = {(e.connection, e.body["model"]) for e in simulator.journal.entries}
        assert len(models) == 2


async def test_a_host_that_remembers_nothing_is_asked_to_no_more(
    make_client: MakeClient, reports: list[TurnReport]
) -> None:
    def fault(request: Request) -> ErrorFrame | None:
        missed = "previous_response_id" in request.body
        return ErrorFrame(code="previous_response_not_found", status=400) if missed else None

    async with Simulator("yes", fault=fault) as simulator:
        caller = Caller(make_client(simulator), settings={"store": False})
        for number in range(8):
            assert spoken(await caller.say(f"turn {number}")) == "yes"
        assert [r.attempts for r in reports] == [1, 2, 2, 2, 1, 1, 1, 1]
