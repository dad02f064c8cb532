"""Reasoning and phases that no framework records survive a resend of the full context."""

from typing import Any

import pytest

from rtllm import Message, ToolCallReady, ToolOutput, TurnReport
from rtllm.simulator import (
    Abort,
    ErrorFrame,
    Hosted,
    Reply,
    Request,
    Simulator,
    Text,
    calls_on_demand,
)
from transport.caller import Caller, MakeClient, spoken

THINKING = {"store": False, "include": ["reasoning.encrypted_content"]}


def caller_of(make_client: MakeClient, simulator: Simulator, **options: Any) -> Caller:
    caller = Caller(make_client(simulator, **options), settings=THINKING)
    caller.model = "gpt-5-mini"
    return caller


async def look(caller: Caller, words: str) -> None:
    """Ask for calls, and answer them."""
    heard = await caller.say(words)
    calls = [event.call for event in heard if isinstance(event, ToolCallReady)]
    caller.items += [ToolOutput(call.call_id, "seen") for call in calls]


@pytest.mark.parametrize("calls", ["call look", "call look\ncall listen"])
async def test_a_turn_whose_connection_broke_between_its_calls_keeps_its_reasoning(
    make_client: MakeClient, reports: list[TurnReport], calls: str
) -> None:
    broken = [None, Abort(phase="sent")]
    async with Simulator(calls_on_demand(), reasoning="demanded", fault=broken) as simulator:
        caller = caller_of(make_client, simulator)
        await look(caller, calls)
        assert spoken(await caller.listen()).startswith("The tools said: seen")
        entries = simulator.journal.entries
        assert [e.outcome for e in entries] == ["completed", "dropped", "completed"]
        assert not entries[2].previous_response_id
        sent = [item.get("type", "message") for item in entries[2].input]
        assert sent[:3] == ["message", "message", "reasoning"]
        assert not simulator.journal.refused


async def test_a_chained_turn_sends_none(make_client: MakeClient) -> None:
    async with Simulator(calls_on_demand(), reasoning="demanded") as simulator:
        caller = caller_of(make_client, simulator)
        await look(caller, "call look")
        await caller.listen()
        assert [i["type"] for i in simulator.journal.entries[1].input] == ["function_call_output"]


async def test_what_was_heard_otherwise_brings_none(make_client: MakeClient) -> None:
    async with Simulator("one two", reasoning="given") as simulator:
        caller = caller_of(make_client, simulator)
        await caller.say("hello")
        caller.items[-1] = Message.of("assistant", "one")
        await caller.say("go on")
        entry = simulator.journal.entries[1]
        assert all(item.get("type") != "reasoning" for item in entry.input)


async def test_reasoning_that_is_refused_is_left_out_for_good(
    make_client: MakeClient, reports: list[TurnReport]
) -> None:
    def refuse(request: Request) -> ErrorFrame | Abort | None:
        if "previous_response_id" in request.body:
            return Abort(phase="sent")
        if any(item.get("type") == "reasoning" for item in request.body["input"]):
            message = "The encrypted content for item rs_1 could not be verified."
            return ErrorFrame(code=None, status=400, message=message, kind="invalid_request_error")
        return None

    async with Simulator(calls_on_demand(), reasoning="given", fault=refuse) as simulator:
        caller = caller_of(make_client, simulator)
        await look(caller, "call look")
        assert spoken(await caller.listen()).startswith("The tools said")
        assert reports[-1].attempts == 3
        await caller.say("thanks")
        assert reports[-1].attempts == 2  # the abort alone: nothing sealed goes again


async def test_a_phase_comes_back_with_its_message(make_client: MakeClient) -> None:
    def model(request: Request) -> Reply:
        return Reply.of(Text(pieces=("Let me see.",), phase="final_answer"))

    async with Simulator(model, fault=[None, Abort(phase="sent")]) as simulator:
        caller = caller_of(make_client, simulator)
        await caller.say("one")
        await caller.say("two")
        said = [i for i in simulator.journal.entries[2].input if i.get("role") == "assistant"]
        assert [i.get("phase") for i in said] == ["final_answer"]


async def test_what_a_hosted_tool_did_is_reported_and_comes_back(
    make_client: MakeClient, reports: list[TurnReport]
) -> None:
    searched = Hosted("web_search_call", {"action": {"type": "search", "query": "weather"}})

    def model(request: Request) -> Reply | str:
        return Reply.of(searched, "Sunny.") if request.last_user_text == "one" else "Yes."

    async with Simulator(model, fault=[None, Abort(phase="sent")]) as simulator:
        caller = Caller(make_client(simulator), settings={"store": False})
        caller.settings["tools"] = [{"type": "web_search"}]
        assert spoken(await caller.say("one")) == "Sunny."
        (told,) = reports[0].hosted_tool_items
        assert (told["type"], told["action"]["query"]) == ("web_search_call", "weather")
        await caller.say("two")
        entries = simulator.journal.entries
        assert [t["type"] for t in entries[0].body["tools"]] == ["web_search"]
        kinds = [item.get("type", "message") for item in entries[2].input]
        assert kinds == ["message", "message", "web_search_call", "message", "message"]
        assert not simulator.journal.refused
