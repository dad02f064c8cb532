"""Conversations over a real socket: chained, cut, side by side, and on every kind of host."""

import asyncio
from dataclasses import replace

import pytest

from rtllm import Message, ToolCallReady, ToolOutput, TurnReport, Usage
from rtllm.simulator import Call, Pause, Reply, Simulator, Text
from support.waiting import until
from transport.caller import Caller, MakeClient, ended, spoken

HOSTS = ["on", "off", "refuse", "ignore"]
Reports = list[TurnReport]


@pytest.mark.parametrize("store", [None, True, False])
async def test_each_turn_continues_the_one_before(
    make_client: MakeClient, reports: Reports, store: bool | None
) -> None:
    async with Simulator() as simulator:
        settings = {} if store is None else {"store": store}
        caller = Caller(make_client(simulator), settings=settings)
        for turn in range(20):
            assert spoken(await caller.say(f"turn {turn}")) == f"You said: turn {turn}"
        assert [r.chained for r in reports] == [False] + [True] * 19
        assert {r.items_sent for r in reports[1:]} == {1}
        assert len(simulator.journal.connections) == 1
        assert not simulator.journal.refused


@pytest.mark.parametrize("lanes", HOSTS)
async def test_every_kind_of_host_answers_right(
    make_client: MakeClient, reports: Reports, lanes: str
) -> None:
    async with Simulator(lanes=lanes) as simulator:  # type: ignore[arg-type]
        caller = Caller(make_client(simulator), settings={"store": False})
        for turn in range(5):
            await caller.say(f"turn {turn}")
            seen = [text for _, text in simulator.journal.entries[-1].texts()]
            assert seen == [item.text for item in caller.items[:-1] if isinstance(item, Message)]
        assert [r.chained for r in reports[1:]] == [True] * 4
        assert len(simulator.journal.refused) == (lanes in ("off", "refuse"))


@pytest.mark.parametrize("store", [True, False])
async def test_a_barge_in_forks_before_the_cut_answer(
    make_client: MakeClient, reports: Reports, store: bool
) -> None:
    on = asyncio.Event()
    async with Simulator() as simulator:
        client = make_client(simulator)
        caller = Caller(client, settings={"store": store})
        await caller.say("hello")
        simulator.script = Reply.of(Text(pieces=("one two ", Pause(on), "three four")))
        heard = await caller.hear_only("count", 1)
        simulator.script = Reply.of("Sorry.")
        assert spoken(await caller.say("stop")) == "Sorry."
        cut = simulator.journal.entries[1]
        assert cut.outcome == "running", "the next answer must not wait for the cut one"
        assert reports[-1].chained
        assert [text for _, text in simulator.journal.entries[-1].texts()][-3:] == [
            "count",
            heard,
            "stop",
        ]
        assert client.usage.cancelled.attempts == 0
        on.set()
        await simulator.journal.wait_idle()
        await asyncio.sleep(0)
        await caller.say("thanks")
        assert client.usage.cancelled.attempts == 1
        assert client.usage.cancelled.unknown == 0
        assert len(simulator.journal.connections) == 1


async def test_the_usage_of_a_complete_response_that_was_not_read_to_its_end_is_reported(
    make_client: MakeClient,
) -> None:
    late: list[Usage] = []
    async with Simulator("one two three") as simulator:
        client = make_client(simulator)
        request = replace(Caller(client).request(), on_late_usage=late.append)
        with client.ask(request) as answer:
            await anext(answer)
            await simulator.journal.wait_idle()
            await until(lambda: client.usage.answered.attempts)
            assert late == []
        assert [usage.total for usage in late] == [client.usage.all.input + client.usage.all.output]


async def test_five_cuts_in_a_row_keep_the_chain(make_client: MakeClient, reports: Reports) -> None:
    on = asyncio.Event()
    async with Simulator() as simulator:
        caller = Caller(make_client(simulator), settings={"store": False})
        await caller.say("hello")
        simulator.script = Reply.of(Text(pieces=("one ", Pause(on), "two")))
        for number in range(5):
            await caller.hear_only(f"question {number}", 1)
        simulator.script = "At last."
        assert spoken(await caller.say("well?")) == "At last."
        assert all(report.chained for report in reports[1:])
        assert {r.previous_response_id for r in reports[1:]} == {reports[0].response_id}
        on.set()


async def test_a_cut_before_the_service_answers_leaves_no_trace(
    make_client: MakeClient, reports: Reports
) -> None:
    on = asyncio.Event()
    async with Simulator() as simulator:
        client = make_client(simulator)
        caller = Caller(client, settings={"store": False})
        await caller.say("hello")
        simulator.script = Reply.of(Pause(on), "Too late.")
        with client.ask(
            Caller(client, [*caller.items, Message.of("user", "draft")]).request()
        ) as a:
            waiting = asyncio.ensure_future(anext(a))
            await simulator.journal.wait(lambda journal: len(journal.entries) == 2)
            waiting.cancel()
            await asyncio.wait([waiting])
        simulator.script = "Right away."
        assert spoken(await caller.say("the real question")) == "Right away."
        assert reports[-1].chained
        on.set()


async def test_conversations_side_by_side_keep_to_themselves(
    make_client: MakeClient, reports: Reports
) -> None:
    async with Simulator(per_delta=0.001) as simulator:
        client = make_client(simulator)
        callers = [Caller(client, settings={"store": False}) for _ in range(10)]

        async def hold(number: int, caller: Caller) -> None:
            for turn in range(6):
                said = f"caller {number} turn {turn}"
                assert spoken(await caller.say(said)) == f"You said: {said}"

        await asyncio.gather(*(hold(n, c) for n, c in enumerate(callers)))
        for entry in simulator.journal.entries:
            numbers = {text.split()[1] for role, text in entry.texts() if role == "user"}
            assert len(numbers) == 1
        assert sum(report.chained for report in reports) == 50
        assert not simulator.journal.refused


async def test_ten_callers_in_alternation_are_chained_from_the_second_turn_on(
    make_client: MakeClient, reports: Reports
) -> None:
    async with Simulator() as simulator:
        client = make_client(simulator)
        callers = [Caller(client, settings={"store": False}) for _ in range(10)]
        for caller in callers:  # all begin with the very same greeting
            await caller.listen()
        for turn in range(4):
            for number, caller in enumerate(callers):
                await caller.say(f"caller {number} turn {turn}")
        assert all(report.chained for report in reports[10:])


async def test_parallel_calls_are_continued_in_whatever_order_they_are_recorded(
    make_client: MakeClient, reports: Reports
) -> None:
    tools = [
        {
            "type": "function",
            "name": "look",
            "strict": False,
            "parameters": {"type": "object", "properties": {}},
        }
    ]
    async with Simulator() as simulator:
        caller = Caller(make_client(simulator), settings={"tools": tools, "store": False})
        simulator.script = Reply.of(Call("look", {"n": 1}), Call("look", {"n": 2}))
        events = await caller.say("look twice")
        first, second = (e.call for e in events if isinstance(e, ToolCallReady))
        caller.items[-2:] = [
            second,
            ToolOutput(second.call_id, "b"),
            first,
            ToolOutput(first.call_id, "a"),
        ]
        simulator.script = "Both."
        assert ended(await caller.listen()).outcome == "completed"
        assert reports[-1].chained
        assert reports[-1].items_sent == 2
        assert not simulator.journal.refused


async def test_system_text_that_changes_is_sent_in_full_once_and_then_only_itself(
    make_client: MakeClient, reports: Reports
) -> None:
    async with Simulator() as simulator:
        caller = Caller(make_client(simulator), settings={"store": False})
        await caller.say("one")
        for number in range(4):
            caller.items[0] = Message.of("system", f"Be brief, version {number}.")
            await caller.say(f"more {number}")
            assert simulator.journal.entries[-1].instructions == f"Be brief, version {number}."
        assert [r.full_context_reason for r in reports] == [
            "first request",
            "instructions changed",
        ] + [None] * 3


@pytest.mark.parametrize("store", [True, False])
async def test_nothing_is_remembered_of_a_conversation_after_the_client_was_closed(
    make_client: MakeClient, *, store: bool
) -> None:
    async with Simulator("yes") as simulator:
        client = make_client(simulator)
        caller = Caller(client, settings={"store": store})
        await caller.say("one")
        await client.aclose()
        await caller.say("two")
        chained = [bool(e.previous_response_id) for e in simulator.journal.entries]
        assert chained == [False, False]
        assert len(simulator.journal.connections) == 2
