"""The adapter of docs/adapters.md, in conversations on the simulator."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from rtllm import ConfigError, RetryPolicy
from rtllm.simulator import Abort, Call, Reply, Request, Simulator, calls_on_demand, only
from rtllm.testing import CONTRACT
from support.page_adapter import PAGE as PAGE_FILE
from support.page_adapter import adapter_of_the_page, blocks
from support.waiting import until

PAGE = adapter_of_the_page()
PAGE_TEXT = PAGE_FILE.read_text()


async def get_weather(city: str) -> str:
    """Look up the weather."""
    return f"sunny in {city}"


def play(_: str) -> bool:
    return True


@asynccontextmanager
async def agent_on(service: Simulator, **options: Any) -> AsyncIterator[Any]:
    options.setdefault("retry", RetryPolicy(interval=0.0))
    model = PAGE.RtllmModel("gpt-4.1", api_key="any", base_url=service.base_url, **options)
    try:
        yield PAGE.Agent(model, "Be brief.", [get_weather])
    finally:
        await model.aclose()


def is_chained(service: Simulator) -> list[bool]:
    return [entry.previous_response_id is not None for entry in service.journal.entries]


def test_the_adapter_is_short() -> None:
    assert len(blocks()[1].splitlines()) < 150


def test_the_page_lists_the_checks_of_the_contract() -> None:
    table = PAGE_TEXT.split("| check |")[1].split("\n\n")[0]
    assert re.findall(r"^\| ([^|-]+) \| [^-]", table, re.MULTILINE) == list(CONTRACT)


async def test_two_turns_with_a_tool_are_chained() -> None:
    async with Simulator(calls_on_demand()) as service, agent_on(service) as agent:
        await agent.say('call get_weather {"city": "Rome"}', play)
        agent.add(note="The agent was moved.")
        await agent.say("Thanks", play)
        seen = service.journal.entries[-1].texts()
        assert is_chained(service) == [False, True, True]
    assert seen == [
        ("system", "Be brief."),
        ("user", 'call get_weather {"city": "Rome"}'),
        ("function_call", 'get_weather {"city": "Rome"}'),
        ("function_call_output", "sunny in Rome"),
        ("assistant", "The tools said: sunny in Rome"),
        ("user", "Thanks"),
    ]


async def test_text_before_calls_is_chained() -> None:
    def script(request: Request) -> Reply | str:
        calls = (Call("get_weather", {"city": city}) for city in ("Rome", "Oslo"))
        return "Sunny." if request.trailing_outputs else Reply.of("One moment.", *calls)

    async with Simulator(script) as service, agent_on(service) as agent:
        await agent.say("The weather in Rome and Oslo?", play)
        await agent.say("Thanks", play)
        assert is_chained(service) == [False, True, True, True]


async def test_an_interrupted_turn_is_recorded_as_heard_and_forked() -> None:
    spent: list[int] = []
    async with (
        Simulator("one two three") as service,
        agent_on(service, on_usage=lambda usage: spent.append(usage.total)) as agent,
    ):
        await agent.say("Hello", play)
        await agent.say("Count", lambda piece: "two" not in piece)
        await agent.say("Stop", play)
        assert is_chained(service) == [False, True, True]
        seen = [text for _, text in service.journal.entries[-1].texts()]
        assert seen[-3:] == ["Count", "one two ", "Stop"]
        await until(lambda: len(spent) == 3)


@pytest.mark.parametrize("name", ["get_weather", "get_time"])
async def test_a_call_that_cannot_run_is_explained_to_the_model(name: str) -> None:
    def script(request: Request) -> Reply | str:
        outputs = request.trailing_outputs
        return str(outputs[0]["output"]) if outputs else Reply.of(Call(name, {"town": "Rome"}))

    async with Simulator(script) as service, agent_on(service) as agent:
        await agent.say("The weather?", play)
        assert is_chained(service) == [False, True]
    reason = "city: " if name == "get_weather" else "no tool named"
    assert reason in agent.entries[-1]["text"]


async def test_a_turn_that_fails_after_its_first_word_is_not_retryable() -> None:
    fault = only(0, Abort(phase="output"))
    async with Simulator("one two", fault=fault) as service, agent_on(service) as agent:
        with pytest.raises(PAGE.ModelError) as failure:
            await agent.say("Count", play)
        assert not failure.value.retryable
        assert agent.entries[-1]["text"] == "one "
        await agent.say("Again", play)
        assert len(service.journal.entries) == 2


def test_a_wrong_setting_is_an_error_at_once() -> None:
    with pytest.raises(ConfigError, match="temperature"):
        PAGE.RtllmModel("gpt-4.1", api_key="any", temperature="hot")
