"""What an adapter must do, point by point; where the stock plugin doesn't, it is shown too.

Each test is named after its point. ``[stock]`` runs play the same scene on
``videosdk.plugins.openai.OpenAILLM`` and assert the defect, so that each test is known to bite.
Points of the wire stand here, those of settings and tools in `test_checklist_settings.py`.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from contextlib import aclosing
from typing import Any

import pytest
from videosdk.agents import FallbackLLM, FunctionCall

from rtllm import ConnectionLost, RateLimited, ResponseFailed, TurnError, TurnTimeout
from rtllm.simulator import (
    Call,
    Close,
    ErrorFrame,
    FailedResponse,
    Incomplete,
    Pause,
    Reply,
    Request,
    Silence,
    Text,
    echo,
    only,
    rate_limited,
)
from support.waiting import until
from videosdk_adapter.asking import calls_of, chunks_of, hello, text_of, usages_of
from videosdk_adapter.stage import Stage, stage
from videosdk_adapter.talks import Plain, talk, tool

both = pytest.mark.parametrize("stock", [False, True], ids=["rtllm", "stock"])
both_ways = pytest.mark.parametrize("streaming", [False, True], ids=["http", "socket"])

HANGS = 0.7  # seconds after which a stock plugin that waits for nothing is given up


def finds_fault(stock: bool) -> Any:
    """The check passes; on the stock plugin it must find something."""
    return pytest.raises(AssertionError) if stock else _nothing()


class _nothing:  # noqa: N801 - stands in for pytest.raises
    def __enter__(self) -> None: ...

    def __exit__(self, *exc: object) -> None: ...


class Weather:
    """A tool that notes where it ran; it also runs without arguments."""

    def __init__(self) -> None:
        self.ran: list[str] = []

        @tool
        async def weather(city: str = "nowhere") -> str:
            """Tell the weather.

            Args:
                city: Where.
            """
            self.ran.append(city)
            return f"21 degrees in {city}"

        @tool
        async def broken(city: str) -> str:
            """Raise.

            Args:
                city: Where.
            """
            raise RuntimeError("no line to the weather service")

        self.agent = Plain(tools=[weather, broken])


def on_demand(request: Request) -> Reply | str:
    """``NAME CITY …`` calls the tool for each city, then tells that it is done."""
    name, *cities = request.last_user_text.split()
    if name not in ("weather", "broken"):
        return f"You said {request.last_user_text}."
    after = str(request.context).rpartition("'role': 'user'")[2]
    if "function_call_output" in after:
        return "It is done."
    return Reply.of(*(Call(name, {"city": city}) for city in cities))


async def read(st: Stage, text: str = "Hello", *, limit: float = 20) -> tuple[str, Any]:
    """What an answer came to: its text, and the error or TimeoutError that ended it."""
    try:
        async with asyncio.timeout(limit):
            chunks, error = await chunks_of(st.llm, hello(text))
    except TimeoutError as hanging:
        return "", hanging
    return text_of(chunks), error


async def say(c: Any, text: str) -> Exception | None:
    """A turn in text mode, and what went wrong in it."""
    try:
        await c.say(text)
    except Exception as error:  # noqa: BLE001 - it is looked at
        return error
    return None


# -- 1: both ids ----------------------------------------------------------------------------------


@both
@both_ways
async def test_01_a_call_has_the_services_id_under_both_names(streaming: bool, stock: bool) -> None:
    reply = Reply.of(Call("weather", {"city": "Paris"}))
    async with stage(reply, streaming=streaming, stock=stock) as st:
        chunks, _ = await chunks_of(st.llm, hello(), tools=Weather().agent.tools)
        (call,) = calls_of(chunks)
        assert call["id"] == "call_0_0"
        assert call.get("call_id") == (None if stock else "call_0_0")


@both
@both_ways
async def test_01_the_framework_records_the_services_id(streaming: bool, stock: bool) -> None:
    weather = Weather()
    async with (
        stage(on_demand, streaming=streaming, stock=stock) as st,
        talk(st.llm, weather.agent) as c,
    ):
        await say(c, "weather Paris")
        call = next(item for item in c.context.items if isinstance(item, FunctionCall))
        assert (call.call_id == "call_0_0") is not stock


# -- 2: calls are held, and all of them run -------------------------------------------------------


@both
@both_ways
async def test_02_all_parallel_calls_run_once_and_the_model_sees_all_outputs(
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
async def test_02_a_tool_costs_one_round_trip_on_the_socket(stock: bool) -> None:
    weather = Weather()
    async with stage(on_demand, store=True, stock=stock) as st, talk(st.llm, weather.agent) as c:
        await say(c, "hello")
        error = await say(c, "weather Paris")
        assert (error is None) is not stock
        assert bool(st.service.journal.refused) is stock
        if not stock:
            await st.check()
            assert c.last == ("assistant", "It is done.")


# -- 3: contexts are made legal -------------------------------------------------------------------


@both
@both_ways
async def test_03_a_tool_that_raises_is_no_end_of_the_conversation(
    streaming: bool, stock: bool
) -> None:
    async with (
        stage(on_demand, streaming=streaming, stock=stock) as st,
        talk(st.llm, Weather().agent) as c,
    ):
        await say(c, "broken Paris")
        for text in ("still there", "and now"):
            error = await say(c, text)
            assert (error is None) is not stock
            assert (c.last == ("assistant", f"You said {text}.")) is not stock
        with finds_fault(stock):
            await st.check()


@both
async def test_03_words_between_a_call_and_its_output_are_put_behind(stock: bool) -> None:
    agent: Any = None

    @tool
    async def weather(city: str) -> str:
        """Tell the weather.

        Args:
            city: Where.
        """
        await agent.session.say("Hold on.")
        return "fine"

    agent = Plain(tools=[weather])
    async with (
        stage(on_demand, streaming=False, stock=stock) as st,
        talk(st.llm, agent) as c,
    ):
        await say(c, "weather Paris")
        error = await say(c, "bye")
        assert (error is None) is not stock
        assert bool(st.service.journal.refused) is stock


# -- 4: anchors by content ------------------------------------------------------------------------


@both
async def test_04_an_instruction_edited_in_place_counts(stock: bool) -> None:
    async with stage(echo(), store=True, stock=stock) as st, talk(st.llm) as c:
        await c.say("hello")
        c.context.items[0].content = ["Be a pirate."]
        await c.say("again")
        entry = st.entries[-1]
        seen = f"{entry.texts()} {entry.instructions}"
        assert ("Be a pirate." in seen) is not stock
        with finds_fault(stock):
            await st.check(whole=[1])


@both
async def test_04_what_the_agent_said_by_itself_is_in_the_chain(stock: bool) -> None:
    async with stage(echo(), store=True, stock=stock) as st, talk(st.llm) as c:
        await c.say("hello")
        await c.session.say("Your order has shipped.")
        await c.say("great")
        assert (("assistant", "Your order has shipped.") in st.entries[1].texts()) is not stock
        with finds_fault(stock):
            await st.check()


@both
async def test_04_at_constant_size_the_question_is_sent(stock: bool) -> None:
    async with stage(echo(), store=True, stock=stock) as st, talk(st.llm) as c:
        for number in range(5):
            c.context.truncate(max_items=4)
            await c.say(f"question {number}")
        seen = [entry.texts()[-1] for entry in st.entries]
        asked = [("user", f"question {number}") for number in range(5)]
        assert (seen == asked) is not stock


@both
async def test_04_one_callers_words_never_reach_another(stock: bool) -> None:
    async with stage(echo(), store=True, stock=stock) as st:
        alice, bob = Plain("You are Alice. The code is 1234."), Plain("You are Bob.")
        async with talk(st.llm, alice) as one, talk(st.llm, bob) as two:
            await one.say("hello")
            await two.say("what is the code")
            assert ("1234" in str(st.entries[-1].context)) is stock


# -- 5: every ending ends -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "kind", "on_stock"),
    [
        pytest.param(
            FailedResponse("x", "No.", phase="created"), ResponseFailed, "hangs", id="failed"
        ),
        pytest.param(ErrorFrame(), ResponseFailed, "raises", id="error"),
        pytest.param(Close(phase="output", after=2), ConnectionLost, "silent", id="close"),
        pytest.param(Silence(), TurnTimeout, "hangs", id="silence"),
    ],
)
@both
async def test_05_a_broken_answer_ends_with_a_typed_error(
    fault: Any, kind: type[TurnError], on_stock: str, stock: bool
) -> None:
    options: dict[str, Any] = {"timeout": 0.3 if isinstance(fault, Silence) else 5.0}
    plan = {"fault": only(0, fault)}
    if not stock:
        options["max_retries"] = 0
    async with stage("one two three", stock=stock, simulator=plan, **options) as st:
        _, error = await read(st, limit=HANGS if stock else 20)
        if not stock:
            assert isinstance(error, kind)
            assert st.errors == [error]
            return
        assert isinstance(error, TimeoutError) is (on_stock == "hangs")
        assert (error is None) is (on_stock == "silent")


@both
async def test_05_an_incomplete_answer_ends(stock: bool) -> None:
    reply = Reply.of("It is long and", ending=Incomplete("max_output_tokens"))
    async with stage(reply, stock=stock) as st:
        text, error = await read(st, limit=HANGS if stock else 20)
        assert isinstance(error, TimeoutError) is stock
        if not stock:
            assert (text, error) == ("It is long and", None)


# -- 6: frames belong to their request ------------------------------------------------------------


def long_or_short(gate: asyncio.Event) -> Callable[[Request], Reply | str]:
    def script(request: Request) -> Reply | str:
        match request.last_user_text:
            case "long":
                return Reply.of(Text(pieces=("One ", Pause(gate), "two.")))
            case "silent":
                return Reply.of(Text(pieces=(Pause(gate), "Late.")))
        return f"You said {request.last_user_text}."

    return script


@both
async def test_06_an_abandoned_answer_never_leaks_into_the_next(stock: bool) -> None:
    gate = asyncio.Event()
    async with stage(long_or_short(gate), stock=stock) as st:
        async with aclosing(st.llm.chat(hello("long"))) as answer:
            assert (await anext(answer)).content == "One "
        gate.set()
        text, error = await read(st, "short")
        assert error is None
        assert (text == "You said short.") is not stock


# -- 7: cancelling --------------------------------------------------------------------------------


@both
async def test_07_cancelling_an_idle_one_sends_nothing_and_breaks_nothing(stock: bool) -> None:
    async with stage("Hi.", stock=stock) as st:
        await read(st)
        await st.llm.cancel_current_generation()
        text, error = await read(st, "Again")
        assert ((text, error) == ("Hi.", None)) is not stock


async def test_07_a_cut_wakes_a_reader_whom_the_server_gives_nothing() -> None:
    gate = asyncio.Event()
    async with stage(long_or_short(gate)) as st:
        reading = asyncio.create_task(chunks_of(st.llm, hello("silent")))
        await until(lambda: len(st.entries) == 1)
        await st.llm.cancel_current_generation()
        assert await asyncio.wait_for(reading, 10) == ([], None)
        assert st.entries[0].outcome == "running"
        gate.set()


@both
async def test_07_after_a_cut_before_the_first_word_the_next_answer_is_its_own(
    stock: bool,
) -> None:
    gate = asyncio.Event()
    async with stage(long_or_short(gate), stock=stock) as st, talk(st.llm) as c:
        await c.turn("hello")
        task = await c.hear("silent")
        await until(lambda: len(st.entries) == 2)
        await c.barge_in()
        await asyncio.wait([task], timeout=5)
        gate.set()
        following = await c.hear("next")
        await asyncio.wait([following], timeout=HANGS if stock else 10)
        if not following.done():
            await c.barge_in()
        assert (c.last == ("assistant", "You said next.")) is not stock


# -- 8: retries -----------------------------------------------------------------------------------


@both
@both_ways
async def test_08_a_rate_limit_before_the_first_word_is_not_noticed(
    streaming: bool, stock: bool
) -> None:
    plan = {"fault": only(0, rate_limited())}
    async with stage("Hi.", streaming=streaming, stock=stock, simulator=plan) as st:
        text, error = await read(st)
        assert ((text, error) == ("Hi.", None)) is not stock
        assert bool(st.errors) is stock


@both
async def test_08_after_the_first_word_nothing_is_said_again(stock: bool) -> None:
    fault = ErrorFrame(
        code="websocket_connection_limit_reached",
        status=400,
        kind="invalid_request_error",
        message="Responses websocket connection limit reached (60 minutes).",
        phase="output",
        after=2,
    )
    plan = {"fault": only(0, fault)}
    async with stage("The price is ten.", stock=stock, simulator=plan) as st:
        text, error = await read(st)
        if stock:
            assert text.count("The price") == 2
        else:
            assert "The price is ten.".startswith(text)
            assert isinstance(error, TurnError)
            assert error.details.emitted[0] == len(text) > 0


@both
async def test_08_a_retry_waits_as_long_as_the_service_says(stock: bool) -> None:
    plan = {"fault": only(0, rate_limited(retry_after="100000"))}
    async with stage("Hi.", stock=stock, simulator=plan) as st:
        text, error = await read(st)  # longer than a turn may take: no retry, at once
        assert text == ""
        assert isinstance(error, RateLimited) is not stock
        assert len(st.entries) == 1


# -- 9: several at once ---------------------------------------------------------------------------


@both
async def test_09_two_chats_at_once_on_one_object(stock: bool) -> None:
    async with stage(echo(), stock=stock) as st:
        texts = [f"number {n}" for n in range(3)]
        limit = HANGS if stock else 20.0
        came = await asyncio.gather(*(read(st, text, limit=limit) for text in texts))
        wanted = [(f"You said: {text}", None) for text in texts]
        assert (came == wanted) is not stock


# -- 10: one event for a failure, none for anything else ------------------------------------------


@both
@both_ways
async def test_10_a_call_that_cannot_run_switches_no_provider(streaming: bool, stock: bool) -> None:
    def script(request: Request) -> Reply | str:
        if request.last_user_text == "go" and "function_call" not in str(request.context):
            return Reply.of(Call("weather", '{"city": '))
        return "Well."

    async with (
        stage(script, streaming=streaming, stock=stock) as st,
        stage("Backup.", streaming=streaming) as backup,
    ):
        wrapped = FallbackLLM([st.llm, backup.llm])
        async with talk(wrapped, Weather().agent) as c:
            await say(c, "go")
            await say(c, "and now")
            switches = stock and streaming  # over HTTP it is only logged
            assert (wrapped.active_provider is st.llm) is not switches
            assert all(isinstance(error, Exception) for error in st.errors) is not switches
            assert st.errors == [] or stock


@both
async def test_10_a_failure_is_one_event_of_the_error_that_is_raised(stock: bool) -> None:
    fault = FailedResponse("data_residency_mismatch", "Not here.", phase="created")
    async with stage("Hi.", stock=stock, simulator={"fault": only(0, fault)}) as st:
        _, error = await read(st, limit=HANGS if stock else 20)
        told = [str(event) for event in st.errors]
        assert (len(told) == 1 and "Not here." in told[0] and st.errors == [error]) is not stock


# -- 11: usage ------------------------------------------------------------------------------------


@both
@both_ways
async def test_11_usage_is_one_fresh_dict_and_no_first_chunk_is_empty(
    streaming: bool, stock: bool
) -> None:
    async with stage("One two three.", streaming=streaming, stock=stock) as st:
        chunks, _ = await chunks_of(st.llm, hello())
        assert (len(usages_of(chunks)) == 1) is not stock
        assert usages_of(chunks)[-1]["total_tokens"] > 0
        if not streaming:
            assert (chunks[0].content == "") is stock
        else:
            assert chunks[0].content == "One "


@both
@both_ways
async def test_11_a_call_carries_its_usage(streaming: bool, stock: bool) -> None:
    reply = Reply.of(Call("weather", {"city": "Paris"}))
    async with stage(reply, streaming=streaming, stock=stock) as st:
        usage: list[int] = []
        async with aclosing(st.llm.chat(hello(), tools=Weather().agent.tools)) as answer:
            async for chunk in answer:
                if "function_call" in (chunk.metadata or {}):  # the framework reads no further
                    usage.append(chunk.metadata["usage"]["total_tokens"])
                    break
        assert (usage[0] > 0) is not stock


# -- 12: broken arguments -------------------------------------------------------------------------


@both
@both_ways
async def test_12_a_tool_never_runs_on_broken_arguments(streaming: bool, stock: bool) -> None:
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
