"""Prompts that the service prepares before anybody speaks."""

import pytest

from rtllm import Message, RequestRejected, TurnReport
from rtllm.simulator import ErrorFrame, Simulator, in_turn
from transport.caller import Caller, MakeClient, spoken

Reports = list[TurnReport]


@pytest.mark.parametrize("store", [True, False])
@pytest.mark.parametrize("lanes", ["on", "off", "ignore"])
async def test_first_turns_go_on_from_a_prepared_prompt(
    make_client: MakeClient, reports: Reports, lanes: str, store: bool
) -> None:
    async with Simulator(lanes=lanes) as simulator:  # type: ignore[arg-type]
        client = make_client(simulator, lanes=lanes != "off")
        caller = Caller(client, settings={"store": store})
        await client.warm_up(caller.request())
        assert simulator.journal.entries[0].body["generate"] is False
        assert client.usage.warm_up.attempts == 1
        assert client.usage.warm_up.input > 0
        for turn in range(3):
            assert spoken(await caller.say(f"turn {turn}")) == f"You said: turn {turn}"
            assert reports[-1].chained
            assert reports[-1].items_sent == 1
        assert [role for role, _ in simulator.journal.entries[1].texts()] == ["system", "user"]
        assert not simulator.journal.refused


async def test_a_prepared_prompt_is_everyones_and_mixes_no_conversations(
    make_client: MakeClient, reports: Reports
) -> None:
    async with Simulator() as simulator:
        client = make_client(simulator)
        callers = [Caller(client, settings={"store": False}) for _ in range(3)]
        await client.warm_up(callers[0].request())
        for turn in range(3):
            for number, caller in enumerate(callers):
                await caller.say(f"caller {number} turn {turn}")
                assert reports[-1].chained
        assert len({report.conversation for report in reports[1:]}) == 3
        for entry in simulator.journal.entries[1:]:
            numbers = {text.split()[1] for role, text in entry.texts() if role == "user"}
            assert len(numbers) == 1


async def test_a_full_connection_takes_no_more_callers_for_its_prepared_prompt(
    make_client: MakeClient, reports: Reports
) -> None:
    """Each needs lanes of its own there, and a connection has so many names and no more."""
    async with Simulator() as simulator:
        client = make_client(simulator)
        callers = [Caller(client, settings={"store": False}) for _ in range(6)]
        await client.warm_up(callers[0].request())
        for turn in range(2):
            for caller in callers:
                await caller.say(f"turn {turn}")
        assert [r.chained for r in reports[1:]] == [True] * 3 + [False] * 3 + [True] * 6
        assert len(simulator.journal.connections) == 2


async def test_other_system_texts_do_not_go_on_from_it(
    make_client: MakeClient, reports: Reports
) -> None:
    async with Simulator() as simulator:
        client = make_client(simulator)
        await client.warm_up(Caller(client).request())
        other = Caller(client, [Message.of("system", "Be long.")])
        await other.say("hello")
        assert not reports[-1].chained
        assert simulator.journal.entries[-1].texts()[0] == ("system", "Be long.")


async def test_a_prepared_prompt_that_is_gone_costs_one_resend(
    make_client: MakeClient, reports: Reports
) -> None:
    miss = ErrorFrame(code="previous_response_not_found", status=400, kind="invalid_request_error")
    async with Simulator(fault=in_turn(None, miss)) as simulator:
        client = make_client(simulator)
        await client.warm_up(Caller(client).request())
        for number in range(2):
            await Caller(client).say(f"caller {number}")
        assert [len(report.recoveries) for report in reports] == [0, 1, 0]


async def test_a_refused_warm_up_is_reported(make_client: MakeClient) -> None:
    async with Simulator() as simulator:
        client = make_client(simulator)
        caller = Caller(client, settings={"nonsense": 1})
        with pytest.raises(RequestRejected, match="nonsense"):
            await client.warm_up(caller.request())
