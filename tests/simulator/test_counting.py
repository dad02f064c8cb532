"""The simulator counts what the model sees, however the context came; and its prompt cache."""

import asyncio
from typing import Any

import pytest

from rtllm.simulator import Call, Reply, Simulator, Text, calls_on_demand
from rtllm.simulator.counting import context_tokens
from simulator.replies import WEATHER
from simulator.wire import MODEL, connected

LONG = "You are a weather service in Paris. " * 20


def user(text: str) -> dict[str, Any]:
    return {"type": "message", "role": "user", "content": [{"type": "input_text", "text": text}]}


def counts_of(event: dict[str, Any]) -> tuple[int, int]:
    usage = event["response"]["usage"]
    return usage["input_tokens"], usage["input_tokens_details"]["cached_tokens"]


def as_history(output: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The items of an output as a client without a chain sends them back."""
    history = []
    for item in output:
        if item["type"] == "message":
            text = "".join(part["text"] for part in item["content"])
            history.append({"role": "assistant", "content": text})
        elif item["type"] == "function_call":
            kept = ("type", "call_id", "name", "arguments")
            history.append({name: item[name] for name in kept})
    return history


@pytest.mark.parametrize(
    "reply",
    [Reply.of("Hello there."), Reply.of(Text("Wait."), Call("get_weather", {"city": "Paris"}))],
    ids=["text", "call"],
)
async def test_a_context_counts_the_same_chained_and_in_full(reply: Reply) -> None:
    async with Simulator(reply) as service, connected(service) as wire:
        first = await wire.ask([user("Hi")], "a", tools=[WEATHER])
        output = first["response"]["output"]
        more: list[Any] = [
            {"type": "function_call_output", "call_id": item["call_id"], "output": "rain"}
            for item in output
            if item["type"] == "function_call"
        ]
        more.append(user("And then?"))
        parent = first["response"]["id"]
        chained = await wire.ask(more, "b", previous_response_id=parent, tools=[WEATHER])
        in_full = await wire.ask([user("Hi"), *as_history(output), *more], "c", tools=[WEATHER])
        assert counts_of(chained)[0] == counts_of(in_full)[0]


async def test_instructions_and_leading_texts_of_one_message_count_the_same() -> None:
    async with Simulator() as service, connected(service) as wire:
        as_field = await wire.ask([user("Hi")], instructions=LONG)
        as_item = await wire.ask([{"role": "system", "content": LONG}, user("Hi")])
        assert counts_of(as_field)[0] == counts_of(as_item)[0]


async def test_a_beginning_is_read_from_the_cache_chained_or_not() -> None:
    async with Simulator(calls_on_demand()) as service, connected(service) as wire:
        head: list[Any] = [{"role": "system", "content": LONG}]
        first = await wire.ask([*head, user("Hi")], "a")
        answer = as_history(first["response"]["output"])
        chained = await wire.ask([user("Two")], "b", previous_response_id=first["response"]["id"])
        in_full = await wire.ask([*head, user("Hi"), *answer, user("Three")], "c")
        other = await wire.ask([*head, user("Hello")], "d")
        total, cached = counts_of(chained)
        assert 0 < cached < total
        assert counts_of(in_full)[1] == cached
        assert counts_of(first)[1] == 0
        assert counts_of(other)[1] == context_tokens(head)


@pytest.mark.parametrize(
    "changed",
    [{"instructions": "Be brief."}, {"tools": [WEATHER]}, {"reasoning": {"effort": "low"}}],
    ids=["instructions", "tools", "effort"],
)
async def test_other_settings_break_the_cache(changed: dict[str, Any]) -> None:
    async with Simulator() as service, connected(service) as wire:
        settings: dict[str, Any] = {"model": "gpt-5.1"}
        head: list[Any] = [{"role": "system", "content": LONG}]
        await wire.ask([*head, user("Hi")], **settings)
        again = await wire.ask([*head, user("Hi")], **settings)
        broken = await wire.ask([*head, user("Hi")], **settings, **changed)
        assert counts_of(again)[1] == counts_of(again)[0]
        assert counts_of(broken)[1] == 0


async def test_the_cache_has_a_minimum_and_forgets_what_is_idle() -> None:
    async with (
        Simulator(cache_minimum=100, cache_lifetime=300) as service,
        connected(service) as wire,
    ):
        for text, expected in ((LONG, True), ("short", False)):
            await wire.ask([user(text)])
            assert (counts_of(await wire.ask([user(text)]))[1] > 0) is expected
        await asyncio.sleep(301)
        assert counts_of(await wire.ask([user(LONG)]))[1] == 0


async def test_models_with_cache_options_count_what_they_write() -> None:
    async with Simulator() as service, connected(service) as wire:
        for model, writes in ((MODEL, False), ("gpt-5.6-luna", True)):
            event = await wire.ask([user(LONG)], model=model)
            details = event["response"]["usage"]["input_tokens_details"]
            written = details["cache_write_tokens"]
            assert written == (counts_of(event)[0] if writes else 0)
