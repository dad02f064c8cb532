"""Many callers at once: a cap on connections is a queue with a limit, not a collapse."""

import asyncio

import pytest
from openai import AsyncOpenAI

from rtllm import (
    ChatClient,
    Client,
    ConfigError,
    Credentials,
    Message,
    RetryPolicy,
    Timeouts,
    TurnTimeout,
    endpoint,
)
from rtllm.scheduling.connection_pool import CROWDED
from rtllm.simulator import Pause, Reply, Simulator, Text
from transport.caller import Caller, MakeClient, spoken


def callers(client: Client, count: int, **options: object) -> list[Caller]:
    return [
        Caller(client, [Message.of("system", f"You serve caller {number}.")], **options)  # type: ignore[arg-type]
        for number in range(count)
    ]


@pytest.mark.parametrize("store", [True, False])
async def test_a_crowd_without_lanes_is_answered_and_goes_on_chained(
    make_client: MakeClient, store: bool
) -> None:
    async with Simulator("yes", lanes="off") as simulator:
        client = make_client(simulator, lanes=False, warm_connections=0)
        crowd = callers(client, 150, settings={"store": store})
        for _ in range(3):
            answers = await asyncio.gather(*(caller.say("Hello") for caller in crowd))
            assert {spoken(events) for events in answers} == {"yes"}
        later = simulator.journal.entries[150:]
        assert all(entry.body.get("previous_response_id") for entry in later)


async def test_a_crowd_over_http_is_answered_at_the_same_time(make_client: MakeClient) -> None:
    go_on = asyncio.Event()
    async with Simulator(Reply.of(Text(pieces=(Pause(go_on), "yes")))) as simulator:
        crowd = callers(make_client(simulator, websocket=False), 110)
        answers = asyncio.gather(*(caller.say("Hello") for caller in crowd))
        await simulator.journal.wait(lambda journal: len(journal.entries) == len(crowd))
        go_on.set()
        assert {spoken(events) for events in await answers} == {"yes"}


async def test_a_crowd_over_http_shares_one_http_client() -> None:
    async with Simulator("yes") as simulator:
        made: list[AsyncOpenAI] = []

        def make(_: str | None) -> AsyncOpenAI:
            made.append(AsyncOpenAI(base_url=simulator.base_url, api_key="key"))
            return made[-1]

        client = ChatClient(make_client=make)
        crowd = [Caller(client) for _ in range(20)]
        answers = await asyncio.gather(*(caller.say("Hello") for caller in crowd))
        assert {spoken(events) for events in answers} == {"yes"}
        assert len(made) == 1
        await client.aclose()


async def test_beyond_the_cap_requests_wait_for_a_connection(
    make_client: MakeClient, caplog: pytest.LogCaptureFixture
) -> None:
    async with Simulator("yes", lanes="off") as simulator:
        client = make_client(simulator, lanes=False, warm_connections=0, max_connections=3)
        answers = await asyncio.gather(*(caller.say("Hello") for caller in callers(client, 20)))
        assert [spoken(events) for events in answers] == ["yes"] * 20
        assert len(simulator.journal.connections) == 3
        told = [r.message for r in caplog.records if "max_connections" in r.message]
        assert len(told) == 1
        assert "all 3 connections are busy" in told[0]


async def test_the_wait_for_a_connection_has_a_limit(make_client: MakeClient) -> None:
    go_on = asyncio.Event()
    script = Reply.of(Text(pieces=("One ", Pause(go_on), "two.")))
    async with Simulator(script, lanes="off") as simulator:
        client = make_client(simulator, lanes=False, warm_connections=0, max_connections=1)
        first, second = callers(client, 2, retry=RetryPolicy(0))
        second.limits = Timeouts(base=20.0, connect=0.05)
        speaking = asyncio.create_task(first.say("Hello"))
        await simulator.journal.wait(lambda journal: bool(journal.entries))
        with pytest.raises(TurnTimeout, match=r"waited 0\.05 s for a connection"):
            await second.say("Hello")
        go_on.set()
        assert spoken(await speaking) == "One two."


async def test_a_turn_that_is_cut_while_it_waits_leaves_its_place(make_client: MakeClient) -> None:
    go_on = asyncio.Event()
    script = Reply.of(Text(pieces=("One ", Pause(go_on), "two.")))
    async with Simulator(script, lanes="off") as simulator:
        client = make_client(simulator, lanes=False, warm_connections=0, max_connections=1)
        first, second, third = callers(client, 3)
        speaking = asyncio.create_task(first.say("Hello"))
        await simulator.journal.wait(lambda journal: bool(journal.entries))
        waiting = asyncio.create_task(second.say("Hello"))
        last = asyncio.create_task(third.say("Hello"))
        await asyncio.sleep(0)
        waiting.cancel()
        go_on.set()
        assert spoken(await speaking) == "One two."
        assert spoken(await last) == "One two."
        assert len(simulator.journal.entries) == 2


def test_a_cap_below_one_is_refused() -> None:
    with pytest.raises(ConfigError, match="max_connections is 0; expected 1 or more"):
        Client(endpoint("https://host.example/v1"), Credentials("key"), max_connections=0)


async def test_short_calls_with_stored_responses_need_few_connections(
    make_client: MakeClient,
) -> None:
    async with Simulator("yes") as simulator:
        client = make_client(simulator, lanes=True, warm_connections=0)
        calls = callers(client, 4 * CROWDED + 40)
        for _ in range(2):
            for caller in calls:
                assert spoken(await caller.say("Hello")) == "yes"
        assert len(simulator.journal.connections) == CROWDED
        later = simulator.journal.entries[len(calls) :]
        assert all(entry.body.get("previous_response_id") for entry in later)


async def test_a_memory_of_the_connection_alone_is_kept_despite_fewer_connections(
    make_client: MakeClient,
) -> None:
    async with Simulator("yes") as simulator:
        client = make_client(simulator, lanes=True, warm_connections=0)
        calls = callers(client, 4 * CROWDED + 8, settings={"store": False})
        for _ in range(2):
            for caller in calls:
                assert spoken(await caller.say("Hello")) == "yes"
        assert len(simulator.journal.connections) == CROWDED + 2
        later = simulator.journal.entries[len(calls) :]
        assert all(entry.body.get("previous_response_id") for entry in later)
