"""Hosts without lanes: one response and one remembered state a connection."""

import asyncio

import pytest

from rtllm import Message, TurnReport
from rtllm.engine import cancellation
from rtllm.simulator import Pause, Reply, Simulator, Text
from transport.caller import Caller, MakeClient, spoken

Reports = list[TurnReport]


@pytest.mark.parametrize("warm_connections", [0, 1, 2])
async def test_a_warm_connection_is_opened_with_the_first_turn_and_none_costs_nothing(
    make_client: MakeClient, warm_connections: int
) -> None:
    async with Simulator(lanes="off") as simulator:
        caller = Caller(make_client(simulator, lanes=False, warm_connections=warm_connections))
        for turn in range(5):
            await caller.say(f"turn {turn}")
        await simulator.journal.wait(
            lambda journal: len(journal.open_connections) == 1 + warm_connections
        )
        assert len(simulator.journal.connections) == 1 + warm_connections
        assert {entry.connection for entry in simulator.journal.entries} == {0}


@pytest.mark.parametrize("store", [True, False])
@pytest.mark.parametrize("warm_connections", [0, 1])
async def test_a_barge_in_goes_on_over_another_connection_at_once(
    make_client: MakeClient, reports: Reports, store: bool, warm_connections: int
) -> None:
    on = asyncio.Event()
    async with Simulator(lanes="off") as simulator:
        client = make_client(simulator, lanes=False, warm_connections=warm_connections)
        caller = Caller(client, settings={"store": store})
        await caller.say("hello")
        if warm_connections:
            await simulator.journal.wait(lambda journal: len(journal.open_connections) == 2)
        simulator.script = Reply.of(Text(pieces=("one ", Pause(on), "two")))
        await caller.hear_only("count", 1)
        simulator.script = "Sorry."
        assert spoken(await caller.say("stop")) == "Sorry."
        assert simulator.journal.entries[1].outcome == "running"
        assert reports[-1].chained is store
        assert reports[-1].reused is bool(warm_connections)
        await caller.say("go on")
        assert reports[-1].chained
        on.set()
        await simulator.journal.wait_idle()
        for turn in range(3):
            await caller.say(f"turn {turn}")
            assert reports[-1].chained
        assert len(simulator.journal.connections) == 2 + warm_connections
        assert client.usage.cancelled.attempts == 1


async def test_cuts_without_end_keep_to_a_few_connections(
    make_client: MakeClient, reports: Reports
) -> None:
    async with Simulator(lanes="off", per_delta=0.001) as simulator:
        caller = Caller(make_client(simulator, lanes=False), settings={"store": False})
        simulator.script = "one two three four five six"
        for number in range(20):
            await caller.hear_only(f"question {number}", 1)
            await caller.say(f"sorry {number}")
            await simulator.journal.wait_idle()
        assert len(simulator.journal.connections) <= 4
        assert not simulator.journal.refused


@pytest.mark.parametrize("at_once", [True, False])
@pytest.mark.parametrize("store", [True, False])
async def test_ten_conversations_are_each_chained(
    make_client: MakeClient, reports: Reports, at_once: bool, store: bool
) -> None:
    async with Simulator(lanes="off") as simulator:
        client = make_client(simulator, lanes=False)
        callers = [Caller(client, settings={"store": store}) for _ in range(10)]
        for turn in range(4):
            turns = [caller.say(f"caller {n} turn {turn}") for n, caller in enumerate(callers)]
            if at_once:
                await asyncio.gather(*turns)
            else:
                for each in turns:
                    await each
        assert not simulator.journal.refused
        assert sum(report.chained for report in reports) == 30
        for entry in simulator.journal.entries:
            numbers = {text.split()[1] for role, text in entry.texts() if role == "user"}
            assert len(numbers) == 1


@pytest.mark.parametrize("lanes", [True, False])
@pytest.mark.parametrize("store", [True, False])
async def test_side_calls_do_not_evict_the_main_conversation(
    make_client: MakeClient, reports: Reports, lanes: bool, store: bool
) -> None:
    async with Simulator(lanes="on" if lanes else "off") as simulator:
        client = make_client(simulator, lanes=lanes)
        main = Caller(client, settings={"store": store})
        for turn in range(6):
            await main.say(f"turn {turn}")
            assert reports[-1].chained is (turn > 0)
            for side in ("summarise", "judge", "classify"):
                words = [Message.of("system", side), Message.of("user", f"{side} turn {turn}")]
                await Caller(client, list(words), settings={"store": store}).listen()


@pytest.mark.parametrize("lanes", [True, False])
async def test_a_cut_answer_that_never_ends_is_abandoned(
    make_client: MakeClient, monkeypatch: pytest.MonkeyPatch, lanes: bool
) -> None:
    monkeypatch.setattr(cancellation, "DRAIN_LIMIT", 0.05)
    never = asyncio.Event()
    async with Simulator(lanes="on" if lanes else "off") as simulator:
        client = make_client(simulator, lanes=lanes)
        caller = Caller(client)
        await caller.say("hello")
        simulator.script = Reply.of(Text(pieces=("one ", Pause(never), "two")))
        await caller.hear_only("count", 1)
        await simulator.journal.wait(
            lambda journal: journal.connections[0] not in journal.open_connections
        )
        simulator.script = "Here I am."
        assert spoken(await caller.say("still there?")) == "Here I am."
        assert client.usage.cancelled.unknown == 1
        never.set()


@pytest.mark.parametrize("lanes", ["refuse", "ignore"])
async def test_what_a_host_is_found_to_be_is_remembered(
    make_client: MakeClient, lanes: str
) -> None:
    async with Simulator(lanes=lanes) as simulator:  # type: ignore[arg-type]
        client = make_client(simulator)
        await Caller(client).say("hello")
        await client.aclose()
        for turn in range(3):
            await Caller(client).say(f"caller {turn}")
        named = [e for e in simulator.journal.entries if "stream_id" in e.body]
        assert len(named) == 1


async def test_two_turns_that_meet_a_host_which_ignores_lanes_are_both_answered(
    make_client: MakeClient,
) -> None:
    async with Simulator(lanes="ignore", per_delta=0.002) as simulator:
        client = make_client(simulator)
        callers = [Caller(client) for _ in range(4)]
        client.prewarm("gpt-4.1", callers[0].request().network)
        await simulator.journal.wait(lambda journal: journal.open_connections)
        said = await asyncio.gather(*(c.say(f"caller {n}") for n, c in enumerate(callers)))
        assert [spoken(events) for events in said] == [f"You said: caller {n}" for n in range(4)]
