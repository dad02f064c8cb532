"""What one call does to a host or a connection costs the others nothing."""

import asyncio

import pytest

from network.relay import Relay
from rtllm import Client, Credentials, Message, RetryPolicy, TurnReport, endpoint
from rtllm.simulator import ErrorFrame, Fault, Garbage, Request, Silence, Simulator
from transport.caller import QUICK, Caller, MakeClient, spoken


def mute_for_bob(request: Request) -> Silence | None:
    over_socket = request.transport == "websocket"
    return Silence(scope="connection") if over_socket and "Bob" in str(request.body) else None


async def test_a_mute_connection_says_nothing_against_those_that_speak(
    make_client: MakeClient, reports: list[TurnReport]
) -> None:
    async with Simulator("yes", lanes="off", fault=mute_for_bob) as simulator:
        client = make_client(simulator, lanes=False, warm_connections=0, fallback="http")
        alice = Caller(client, [Message.of("system", "You serve Alice.")])
        bob = Caller(client, [Message.of("system", "You serve Bob.")], limits=QUICK)
        assert spoken(await alice.say("one")) == "yes"
        assert spoken(await bob.say("one")) == "yes"
        assert reports[-1].protocol == "http"
        assert reports[-1].attempts == 3  # another connection is tried before HTTP is
        assert spoken(await alice.say("two")) == "yes"
        assert (reports[-1].protocol, reports[-1].chained, reports[-1].attempts) == (
            "websocket",
            True,
            1,
        )


@pytest.mark.parametrize("reconnects", [False, True])
async def test_a_stray_created_before_the_lanes_of_a_connection_are_proved_changes_nothing(
    make_client: MakeClient, reports: list[TurnReport], *, reconnects: bool
) -> None:
    stray = Garbage(phase="sent", frame='{"type":"response.created","response":{"id":"stray"}}')
    async with Simulator("yes") as simulator:
        caller = Caller(make_client(simulator), retry=RetryPolicy(0))
        if reconnects:
            await caller.say("zero")
            await simulator.close_connections()
        simulator.fault = stray
        assert spoken(await caller.say("one")) == "yes"
        simulator.fault = None
        assert spoken(await caller.say("two")) == "yes"
        assert "stream_id" in simulator.journal.entries[-1].body
        assert [report.attempts for report in reports] == [1] * len(reports)
        assert [report.chained for report in reports] == [False] + [True] * (len(reports) - 1)


async def test_a_refused_warm_up_leaves_the_lanes_on(
    make_client: MakeClient, reports: list[TurnReport]
) -> None:
    refusal = ErrorFrame(
        code="unknown_parameter",
        status=400,
        kind="invalid_request_error",
        message="Unknown parameter: 'generate'.",
        param="generate",
    )

    def refuse(request: Request) -> Fault | None:
        return refusal if request.body.get("generate") is False else None

    async with Simulator("yes", fault=refuse) as simulator:
        caller = Caller(make_client(simulator), retry=RetryPolicy(0))
        with pytest.raises(Exception, match="generate"):
            await caller.client.warm_up(caller.request())  # type: ignore[union-attr]
        assert spoken(await caller.say("one")) == "yes"
        assert "stream_id" in simulator.journal.entries[-1].body


async def test_a_large_request_on_a_slow_link_leaves_the_others_their_connection() -> None:
    reports: list[TurnReport] = []
    async with Simulator("yes") as simulator, Relay(simulator.base_url, rate=400_000) as relay:
        client = Client(
            endpoint(relay.base_url),
            Credentials("key"),
            lanes=True,
            on_turn=reports.append,
        )
        alice = Caller(client, [Message.of("system", "You serve Alice.")])
        bob = Caller(client, [Message.of("system", "You serve Bob.")])
        await alice.say("one")
        uploading = asyncio.create_task(bob.say("x" * 6_000_000))
        assert spoken(await alice.say("two")) == "yes"
        await (await relay.link(1)).up.wait_passed(1_000_000)
        assert spoken(await alice.say("three")) == "yes"
        assert not uploading.done()
        assert spoken(await uploading) == "yes"
        assert [report.chained for report in reports] == [False, True, True, False]
        assert len(relay.links) == 2
        await client.aclose()
