"""VideoSDK's own metrics through real pipelines: all their fields, all rounds included."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from videosdk.agents import global_event_emitter

from rtllm.simulator import Call, Pause, Reply, Request, Text
from support.waiting import until
from videosdk_adapter.phone import Voice
from videosdk_adapter.stage import Host, stage
from videosdk_adapter.talks import Plain, Talk, talk, tool

LONG = "A long system prompt, which the service keeps in its cache. " * 150


@tool
async def weather() -> str:
    """Tell the weather."""
    return "fine"


def twice(request: Request) -> Reply | str:
    """Call the tool two times, one after the other, then answer."""
    done = len([i for i in request.context if i.get("type") == "function_call_output"])
    return "Fine." if done == 2 else Reply.of(Call("weather"))


@pytest.fixture
def metered() -> Iterator[list[dict[str, Any]]]:
    """What the framework's metrics say of each use of an LLM."""
    found: list[dict[str, Any]] = []

    def note(event: dict[str, Any]) -> None:
        if event["component"] == "llm":
            found.append(event["metrics"])

    global_event_emitter.on("COMPONENT_METRIC", note)
    yield found
    global_event_emitter.off("COMPONENT_METRIC", note)


def tracked(call: Talk) -> list[dict[str, Any]]:
    """The usage that the framework tracks from now on."""
    seen: list[dict[str, Any]] = []

    def note(usage: dict[str, Any]) -> None:
        seen.append(usage)

    call.pipeline.orchestrator.content_generation.on("usage_tracked", note)
    return seen


async def test_a_turn_has_every_field(host: Host) -> None:
    async with stage("Hi.", **host) as st, talk(st.llm, Plain(LONG)) as call:
        seen = tracked(call)
        await call.say("One")
        await call.say("Two")
    for usage, entry in zip(seen, st.entries, strict=True):
        used: Any = entry.usage
        whole = {**used, **used.get("input_tokens_details", {})}
        whole |= used.get("prompt_tokens_details", {})
        assert usage["prompt_tokens"] == used.get("input_tokens", used.get("prompt_tokens"))
        assert usage["total_tokens"] == used["total_tokens"]
        assert usage["prompt_cached_tokens"] == whole["cached_tokens"]
        assert usage["prompt_cache_write_tokens"] == whole.get("cache_write_tokens", 0)
        assert usage["request_id"] == entry.response_id
        assert usage["responses"] == 1
        assert usage["model"] == entry.body["model"]
    assert seen[1]["prompt_cached_tokens"] > 0


async def test_the_rounds_after_tools_are_counted(
    host: Host, metered: list[dict[str, Any]]
) -> None:
    async with stage(twice, **host) as st, talk(st.llm, Plain(tools=[weather])) as call:
        seen = tracked(call)
        await call.turn("go")
        await until(lambda: metered)
    everything = st.llm.usage.answered
    assert [usage["request_id"] for usage in seen] == [e.response_id for e in st.entries]
    assert sum(usage["prompt_tokens"] for usage in seen) == everything.input
    assert sum(usage["completion_tokens"] for usage in seen) == everything.output
    assert metered[-1]["prompt_tokens"] == everything.input
    assert metered[-1]["completion_tokens"] == everything.output
    assert metered[-1]["total_tokens"] == everything.input + everything.output


async def test_a_barge_in_during_a_tool_keeps_the_tokens_before_it(host: Host) -> None:
    running, go_on = asyncio.Event(), asyncio.Event()

    @tool
    async def slow() -> str:
        """Take a while."""
        running.set()
        await go_on.wait()
        return "done"

    async with (
        stage(Reply.of(Call("slow")), **host) as st,
        talk(st.llm, Plain(tools=[slow])) as call,
    ):
        seen = tracked(call)
        await call.hear("go")
        await running.wait()
        await call.barge_in()
        go_on.set()
        await until(lambda: st.llm.usage.answered.attempts)
        assert seen[0]["total_tokens"] == st.llm.usage.answered.input + st.llm.usage.answered.output


async def test_the_time_to_the_first_token_is_that_of_the_first_words(
    metered: list[dict[str, Any]],
) -> None:
    pause = 3.0
    words = Reply.of(Text(pieces=("One. ", Pause(pause), "Two.")))
    async with stage(words) as st, talk(st.llm, tts=Voice()) as call:
        await call.turn("Count")
        await until(lambda: metered)
    first, whole = metered[-1]["llm_ttft"], metered[-1]["llm_duration"]
    assert first is not None
    assert whole - first > pause * 900
