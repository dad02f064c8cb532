"""`chat()` outside a pipeline: a plain loop gets everything, and asks when it wants to."""

from __future__ import annotations

import json
from contextlib import aclosing
from typing import Any

import pytest
from videosdk.agents import ChatContext, ChatRole

from rtllm.simulator import Call, Reply, Request, Text
from videosdk_adapter.requests import calls_of, chunks_of, context, text_of, usages_of
from videosdk_adapter.scenes import Weather
from videosdk_adapter.stage import Host, stage

CITIES = ["Paris", "Rome", "Oslo"]
TOOLS = Weather().agent.tools


def travelling(request: Request) -> Reply | str:
    """Call the tool for each city after a sentence, then tell the weather."""
    if "function_call_output" in str(request.context[-1]):
        return "It is mild."
    return Reply.of(Text("One moment. "), *(Call("weather", {"city": city}) for city in CITIES))


def cities_of(chunks: Any) -> list[str]:
    return [call["arguments"]["city"] for call in calls_of(chunks)]


def record(ctx: ChatContext, call: dict[str, Any]) -> None:
    name, call_id = call["name"], call["call_id"]
    ctx.add_function_call(name, json.dumps(call["arguments"]), call_id=call_id)
    ctx.add_function_output(name, f"mild in {call['arguments']['city']}", call_id)


async def test_a_plain_loop_gets_every_call_with_one_request(host: Host) -> None:
    async with stage(travelling, **host) as st:
        chunks, error = await chunks_of(st.llm, context(("user", "weather?")), tools=TOOLS)
        assert error is None
        assert (text_of(chunks), cities_of(chunks)) == ("One moment. ", CITIES)
        assert len(st.entries) == len(usages_of(chunks)) == 1
        assert ", 0 running" in repr(st.llm)


async def test_the_tools_may_run_inside_the_loop(host: Host) -> None:
    ctx = context(("user", "weather?"))
    async with stage(travelling, **host) as st:
        called = []
        async with aclosing(st.llm.chat(ctx, tools=TOOLS)) as stream:
            async for chunk in stream:
                for call in calls_of([chunk]):
                    record(ctx, call)
                    called.append(call["arguments"]["city"])
        assert called == CITIES
        assert len(st.entries) == 1


@pytest.mark.parametrize("records_words", [True, False], ids=["words recorded", "words left out"])
async def test_the_next_request_continues_the_response(host: Host, records_words: bool) -> None:
    ctx = context(("user", "weather?"))
    async with stage(travelling, **host) as st:
        chunks, _ = await chunks_of(st.llm, ctx, tools=TOOLS)
        if records_words:
            ctx.add_message(role=ChatRole.ASSISTANT, content=text_of(chunks))
        for call in calls_of(chunks):
            record(ctx, call)
        chunks, _ = await chunks_of(st.llm, ctx, tools=TOOLS)
        assert text_of(chunks) == "It is mild."
        assert len(st.entries) == 2
        assert (st.entries[-1].previous_response_id is not None) is (st.can_chain and records_words)


async def test_a_loop_that_asks_while_it_is_suspended_gets_each_call_once(host: Host) -> None:
    """As the pipeline does: a call's tool runs, and the rest comes from a nested `chat`."""
    ctx = context(("user", "weather?"))
    called: list[str] = []
    said: list[str] = []

    async def talk(st: Any) -> None:
        async with aclosing(st.llm.chat(ctx, tools=TOOLS)) as stream:
            async for chunk in stream:
                said.append(chunk.content)
                for call in calls_of([chunk]):
                    called.append(call["arguments"]["city"])
                    record(ctx, call)
                    await talk(st)

    async with stage(travelling, **host) as st:
        await talk(st)
        assert called == CITIES
        assert "".join(said) == "One moment. It is mild."
        assert len(st.entries) == 2


def correcting(request: Request) -> Reply | str:
    """Make a good call and one with broken arguments; correct that one once it is explained."""
    outputs = [str(item["output"]) for item in request.trailing_outputs]
    if any(output.startswith("error: ") for output in outputs):
        return Reply.of(Call("weather", {"city": "Rome"}))
    if outputs:
        return "It is mild."
    if request.last_user_text == "thanks":
        return "You are welcome."
    return Reply.of(Text("One moment. "), Call("weather", {"city": "Paris"}), Call("weather", "{"))


@pytest.mark.parametrize("place", ["in the loop", "after it"])
async def test_a_call_that_cannot_run_is_corrected_in_the_next_chat(host: Host, place: str) -> None:
    ctx = context(("user", "weather?"))
    async with stage(correcting, **host) as st:

        async def chat() -> list[Any]:
            chunks: list[Any] = []
            async with aclosing(st.llm.chat(ctx, tools=TOOLS)) as stream:
                async for chunk in stream:
                    chunks.append(chunk)
                    for call in calls_of([chunk]) if place == "in the loop" else []:
                        record(ctx, call)
            for call in calls_of(chunks) if place == "after it" else []:
                record(ctx, call)
            return chunks

        assert cities_of(await chat()) == ["Paris"]
        assert cities_of(await chat()) == ["Rome"]
        seen = st.entries[1].texts()
        error, output = (text for role, text in seen if role == "function_call_output")
        assert "they are not JSON" in error
        assert output == "mild in Paris"
        assert text_of(await chat()) == "It is mild."
        ctx.add_message(role=ChatRole.ASSISTANT, content="It is mild.")
        ctx.add_message(role=ChatRole.USER, content="thanks")
        assert text_of(await chat()) == "You are welcome."
        assert "error: " not in str(st.entries[-1].texts())
        assert len(st.entries) == 4


async def test_a_corrected_call_continues_the_response(host: Host) -> None:
    ctx = context(("user", "weather?"))
    async with stage(correcting, **host) as st:
        for _ in range(2):
            chunks, _ = await chunks_of(st.llm, ctx, tools=TOOLS)
            if text := text_of(chunks):
                ctx.add_message(role=ChatRole.ASSISTANT, content=text)
            for call in calls_of(chunks):
                record(ctx, call)
        await chunks_of(st.llm, ctx, tools=TOOLS)
        continued = [entry.previous_response_id is not None for entry in st.entries]
        assert continued == [False, st.can_chain, st.can_chain]
