"""Tool calls: their ids, that all of them run, once, and what they cost."""

from __future__ import annotations

import json

import pytest
from videosdk.agents import FunctionCall

from rtllm.simulator import (
    Call,
    Reply,
    Request,
)
from support.stock import both
from videosdk_adapter.requests import calls_of, chunks_of, hello
from videosdk_adapter.scenes import Weather, both_ways, on_demand, say
from videosdk_adapter.stage import stage
from videosdk_adapter.talks import talk

# -- both ids -----------------------------------------------------------------------------------


@both
@both_ways
async def test_a_call_has_the_services_id_under_both_names(streaming: bool, stock: bool) -> None:
    reply = Reply.of(Call("weather", {"city": "Paris"}))
    async with stage(reply, streaming=streaming, stock=stock) as st:
        chunks, _ = await chunks_of(st.llm, hello(), tools=Weather().agent.tools)
        (call,) = calls_of(chunks)
        assert call["id"] == "call_0_0"
        assert call.get("call_id") == (None if stock else "call_0_0")


@both
@both_ways
async def test_the_framework_records_the_services_id(streaming: bool, stock: bool) -> None:
    weather = Weather()
    async with (
        stage(on_demand, streaming=streaming, stock=stock) as st,
        talk(st.llm, weather.agent) as c,
    ):
        await say(c, "weather Paris")
        call = next(item for item in c.context.items if isinstance(item, FunctionCall))
        assert (call.call_id == "call_0_0") is not stock


# -- calls are held, and all of them run --------------------------------------------------------


@both
@both_ways
async def test_all_parallel_calls_run_once_and_the_model_sees_all_outputs(
    streaming: bool, stock: bool
) -> None:
    weather = Weather()
    async with (
        stage(on_demand, streaming=streaming, stock=stock) as st,
        talk(st.llm, weather.agent) as c,
    ):
        await say(c, "weather Paris Rome Oslo")
        if stock:
            if streaming:  # some run, but the model never sees their outputs
                with pytest.raises(AssertionError):
                    await st.check()
            else:
                assert weather.ran == ["Paris"]
            return
        assert weather.ran == ["Paris", "Rome", "Oslo"]
        await st.check()
        assert len(st.entries) == 2


@both
async def test_a_tool_costs_one_round_trip_on_the_socket(stock: bool) -> None:
    weather = Weather()
    async with stage(on_demand, store=True, stock=stock) as st, talk(st.llm, weather.agent) as c:
        await say(c, "hello")
        error = await say(c, "weather Paris")
        assert (error is None) is not stock
        assert bool(st.service.journal.refused) is stock
        if not stock:
            await st.check()
            assert c.last == ("assistant", "It is done.")


# -- broken arguments ---------------------------------------------------------------------------


@both
@both_ways
async def test_a_tool_never_runs_on_broken_arguments(streaming: bool, stock: bool) -> None:
    def script(request: Request) -> Reply | str:
        seen = json.dumps(request.context)
        return "Well." if "function_call" in seen else Reply.of(Call("weather", '{"city": "Par'))

    weather = Weather()
    async with (
        stage(script, streaming=streaming, stock=stock) as st,
        talk(st.llm, weather.agent) as c,
    ):
        await say(c, "go")
        assert bool(weather.ran) is stock
        if not stock:
            assert c.last == ("assistant", "Well.")


def corrected(request: Request) -> Reply | str:
    """Make a call that can't run, then one that can, each after some text."""
    outputs = [str(item["output"]) for item in request.trailing_outputs]
    if request.last_user_text != "go":
        return "Bye."
    if not outputs:
        return Reply.of("One moment.", Call("forecast", {"city": "Paris"}))
    if "degrees" in outputs[0]:
        return "It is warm."
    return Reply.of("Once more.", Call("weather", {"city": "Paris"}))


@both_ways
async def test_text_before_a_corrected_call_is_divided_in_later_turns(streaming: bool) -> None:
    async with stage(corrected, streaming=streaming) as st, talk(st.llm, Weather().agent) as c:
        await say(c, "go")
        assert c.last == ("assistant", "One moment. Once more.It is warm.")
        await say(c, "thanks")
        assert [pair for pair in st.entries[-1].texts() if pair[0] != "system"] == [
            ("user", "go"),
            ("assistant", "One moment. Once more."),
            ("function_call", 'weather {"city": "Paris"}'),
            ("function_call_output", '"21 degrees in Paris"'),
            ("assistant", "It is warm."),
            ("user", "thanks"),
        ]


async def test_the_turns_after_a_corrected_one_continue_responses() -> None:
    async with stage(corrected, store=True) as st, talk(st.llm, Weather().agent) as c:
        for text in ("hello", "go", "thanks", "bye"):
            await say(c, text)
        assert len(st.entries) == 6
        assert all(entry.previous_response_id for entry in st.entries[1:])
