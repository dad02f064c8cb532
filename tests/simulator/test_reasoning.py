"""What a reasoning model gives along, and wants back."""

from __future__ import annotations

from typing import Any

import pytest

from rtllm.simulator import Call, Reply, Request, Simulator, Text, calls_on_demand
from simulator.wire import Wire, connected

MINI = "gpt-5-mini"
ASKED: dict[str, Any] = {"model": MINI, "include": ["reasoning.encrypted_content"]}
TWO_CALLS = "call look\ncall listen"


def says(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text}


def output(call: dict[str, Any]) -> dict[str, Any]:
    return {"type": "function_call_output", "call_id": call["call_id"], "output": "seen"}


async def output_of(wire: Wire, *items: Any, **fields: Any) -> list[dict[str, Any]]:
    last = await wire.ask(list(items), **{**ASKED, **fields})
    assert last["type"] == "response.completed", last
    found: list[dict[str, Any]] = last["response"]["output"]
    return found


def short(call: dict[str, Any]) -> dict[str, Any]:
    """A call as clients send it back that keep no ids."""
    return {name: call[name] for name in ("type", "call_id", "name", "arguments")}


@pytest.mark.parametrize("include", [[], ["reasoning.encrypted_content"]])
async def test_reasoning_comes_first_and_sealed_only_if_asked(include: list[str]) -> None:
    async with Simulator("Hello", reasoning="given") as service, connected(service) as wire:
        reasoning, message = await output_of(wire, says("Hi"), include=include)
        assert (reasoning["type"], message["type"]) == ("reasoning", "message")
        assert (reasoning["encrypted_content"] is not None) == bool(include)


@pytest.mark.parametrize(
    "fields",
    [
        {"model": "gpt-4.1"},
        {"model": "gpt-5.1"},
        {"model": "gpt-5.6-luna", "reasoning": {"effort": "none"}},
    ],
    ids=["a model that never does", "none by default", "none asked for"],
)
async def test_who_does_not_think_shows_no_reasoning(fields: dict[str, Any]) -> None:
    async with Simulator("Hello", reasoning="given") as service, connected(service) as wire:
        [message] = await output_of(wire, says("Hi"), **{"include": [], **fields})
        assert message["type"] == "message"


async def test_a_resend_brings_the_reasoning_of_its_calls() -> None:
    async with (
        Simulator(calls_on_demand(), reasoning="demanded") as service,
        connected(service) as wire,
    ):
        reasoning, look, listen = await output_of(wire, says(TWO_CALLS))
        calls = [short(look), output(look), short(listen), output(listen)]
        [_, answer] = await output_of(wire, says(TWO_CALLS), reasoning, *calls)
        assert answer["content"][0]["text"] == "The tools said: seen"
        refused = await wire.refusal([says(TWO_CALLS), *calls], **ASKED)
        assert refused["message"] == (
            f"Item '{look['id']}' of type 'function_call' was provided without its required "
            f"'reasoning' item: '{reasoning['id']}'."
        )
        # The next turn may leave the reasoning of past ones out.
        await output_of(wire, says(TWO_CALLS), *calls, says("Thanks."))


async def test_reasoning_comes_back_as_it_was_and_in_its_place() -> None:
    async with (
        Simulator(calls_on_demand(), reasoning="demanded") as service,
        connected(service) as wire,
    ):
        first, call = await output_of(wire, says("call look"))
        other, _ = await output_of(wire, says("Hi"))
        rest = [short(call), output(call)]
        swapped = {**first, "encrypted_content": other["encrypted_content"]}
        for items, words in (
            ([swapped, *rest], "could not be verified"),
            ([{**first, "encrypted_content": "x"}, *rest], "could not be verified"),
            ([*rest, first], "without its required 'reasoning' item"),
            ([other, *rest], "without its required 'reasoning' item"),
        ):
            refused = await wire.refusal([says("call look"), *items], **ASKED)
            assert words in refused["message"]


async def test_a_chained_turn_sends_no_reasoning() -> None:
    async with (
        Simulator(calls_on_demand(), reasoning="demanded") as service,
        connected(service) as wire,
    ):
        last = await wire.ask([says("call look")], **ASKED)
        [_, call] = last["response"]["output"]
        parent = last["response"]["id"]
        await output_of(wire, output(call), previous_response_id=parent)


async def test_nothing_is_demanded_that_was_not_sealed() -> None:
    async with (
        Simulator(calls_on_demand(), reasoning="demanded") as service,
        connected(service) as wire,
    ):
        _, call = await output_of(wire, says("call look"), include=[])
        await output_of(wire, says("call look"), short(call), output(call))


async def test_messages_have_phases() -> None:
    def script(request: Request) -> Reply:
        if request.trailing_outputs:
            return Reply.of("Here.", Text("Aside.", phase="commentary"))
        return Reply.of("A moment.", Call("look"))

    async with Simulator(script, phases=True) as service, connected(service) as wire:
        message, call = await output_of(wire, says("Hi"))
        assert message["phase"] == "commentary"
        said = {key: message[key] for key in ("type", "role", "content", "phase")}
        final, aside = await output_of(wire, says("Hi"), said, short(call), output(call))
        assert (final["phase"], aside["phase"]) == ("final_answer", "commentary")
        assert service.journal.entries[1].context[1]["phase"] == "commentary"
