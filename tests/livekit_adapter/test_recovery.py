"""Nothing is said twice, recovery stays inside the turn, and a session outlives it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any

import pytest
from livekit.agents import Agent
from livekit.agents._exceptions import (
    APIConnectionError,
    APIError,
    APIStatusError,
    APITimeoutError,
)
from livekit.agents.types import DEFAULT_API_CONNECT_OPTIONS

from livekit_adapter.requests import (
    TWICE_MORE,
    answer,
    calls_of,
    chunks_of,
    hello,
    text_of,
    turn,
)
from livekit_adapter.sessions import errors_of, said_in, session_of
from livekit_adapter.stage import stage
from rtllm import ConfigError
from rtllm.simulator import (
    Abort,
    Call,
    Close,
    ErrorFrame,
    Reply,
    Silence,
    Simulator,
    echo,
)
from rtllm_livekit import LLM, ChatLLM
from support.oracle import is_chained
from support.stock import both
from support.waiting import until

# -- nothing is said twice ----------------------------------------------------------------------


@pytest.mark.parametrize("end", [Close, Abort], ids=["close", "reset"])
@pytest.mark.parametrize("flag", [True, False])
async def test_after_words_nothing_is_repeated(end: Callable[..., Any], flag: bool) -> None:
    fault = end(phase="output", after=2)
    async with stage("one two three four", simulator={"fault": fault}) as st:
        events = errors_of(st.llm)
        stream = st.llm.chat(chat_ctx=hello(), conn_options=TWICE_MORE)
        stream._retry_on_chunk_sent = flag
        chunks, error = await chunks_of(stream)
        assert text_of(chunks) == "one two "
        assert isinstance(error, APIConnectionError)
        assert not isinstance(error, APIStatusError)
        assert not error.retryable
        assert [e.recoverable for e in events] == [False]
        assert len(st.entries) == 1


async def test_stock_repeats_what_was_said() -> None:
    fault = [Close(phase="output", after=2)]
    async with stage("one two three four", stock=True, simulator={"fault": fault}) as st:
        chunks, _ = await chunks_of(st.llm.chat(chat_ctx=hello(), conn_options=TWICE_MORE))
        assert text_of(chunks) == "one two one two three four"


@both
@pytest.mark.parametrize("flag", [True, False])
async def test_after_a_call_nothing_is_repeated(stock: bool, flag: bool) -> None:
    # "complete" of a response that still owes words: the call is out, then the line is dead.
    reply = Reply.of(Call("book"), "Booked.")
    fault = [Close(phase="output", after=2)]
    async with stage(reply, stock=stock, simulator={"fault": fault}) as st:
        stream = st.llm.chat(chat_ctx=hello(), conn_options=TWICE_MORE)
        if not flag:
            stream._retry_on_chunk_sent = False
        chunks, error = await chunks_of(stream)
        if stock and flag:
            assert len(calls_of(chunks)) == 2  # the tool would run twice
        else:
            assert len(calls_of(chunks)) == 1
            assert error is not None


# -- recovery stays inside the turn -------------------------------------------------------------

_MISS = ErrorFrame(
    code="previous_response_not_found",
    status=400,
    kind="invalid_request_error",
    message="Previous response with id 'resp_x' not found.",
    param="previous_response_id",
)
_LIMIT = ErrorFrame(
    code="websocket_connection_limit_reached",
    status=400,
    kind="invalid_request_error",
    message="Responses websocket connection limit reached (60 minutes).",
    then_close=1000,
)


@pytest.mark.parametrize(
    ("fault", "connections"),
    [
        pytest.param(_MISS, 1, id="chain miss"),
        pytest.param(_LIMIT, 2, id="connection limit"),
        pytest.param(Close(phase="sent"), 2, id="close"),
        pytest.param(Close(phase="created", code=1001), 2, id="close after created"),
        pytest.param(Abort(phase="created"), 2, id="reset"),
    ],
)
async def test_recovery_is_silent_even_without_retries(
    host: Any, fault: Any, connections: int
) -> None:
    async with stage(echo(), **host) as st:
        events = errors_of(st.llm)
        ctx = hello("One")
        await turn(st, ctx)
        st.service.fault = [fault]
        assert await turn(st, ctx, "Two") == "You said: Two"
        assert await turn(st, ctx, "Three") == "You said: Three"
        assert events == []
        assert is_chained(st.entries[-1])
        refused = 1 if isinstance(fault, ErrorFrame) else 0
        await st.check(connections=connections, refused=refused, whole={2})


async def test_a_socket_that_died_while_idle_costs_no_error(any_host: Any) -> None:
    async with stage(echo(), **any_host) as st:
        events = errors_of(st.llm)
        ctx = hello("One")
        await turn(st, ctx)
        await st.service.close_connections(1001)
        assert await turn(st, ctx, "Two") == "You said: Two"
        st.service.abort_connections()
        assert await turn(st, ctx, "Three") == "You said: Three"
        assert events == []
        await st.check(connections=None, lost=2)


async def test_stock_never_gets_over_a_forgotten_response() -> None:
    async with stage(echo(), stock=True) as st:
        ctx = hello("One")
        await turn(st, ctx)
        st.service.fault = lambda r: _MISS if r.body.get("previous_response_id") else None
        for text in ("Two", "Three"):
            ctx.add_message(role="user", content=text)
            with pytest.raises(APIError):
                await answer(st, ctx)


async def test_a_connection_at_its_age_limit_is_replaced(host: Any) -> None:
    async with stage(echo(), simulator={"lifetime": 15.0}, **host) as st:
        events = errors_of(st.llm)
        ctx = hello("Word 0")
        await turn(st, ctx)
        number = 0
        while len(st.service.journal.connections) < 3:
            number += 1
            assert await turn(st, ctx, f"Word {number}") == f"You said: Word {number}"
            await asyncio.sleep(1.0)
        assert events == []


# -- sessions -----------------------------------------------------------------------------------


async def test_repeated_failure_closes_the_session_with_the_services_message() -> None:
    fault = ErrorFrame(code="invalid_prompt", status=400, message="Your prompt is not allowed.")
    async with stage(echo(), simulator={"fault": fault}) as st:
        closed: list[Any] = []
        async with session_of(st.llm, Agent(instructions="Be kind.")) as session:
            session.on("close", closed.append)
            for _ in range(4):
                with contextlib.suppress(APIStatusError):
                    await asyncio.wait_for(session.run(user_input="Hello"), 10)
            await until(lambda: closed)
        assert len(st.entries) == 4
        assert closed[0].error is not None
        assert "Your prompt is not allowed." in str(closed[0].error.error)


async def test_one_failed_turn_leaves_the_session_usable() -> None:
    async with stage(echo()) as st, session_of(st.llm, Agent(instructions="Be kind.")) as session:
        await session.run(user_input="One")
        st.service.fault = [ErrorFrame(code="invalid_prompt", status=400, message="Not allowed.")]
        with pytest.raises(APIStatusError, match="Not allowed"):
            await session.run(user_input="Two")
        await session.run(user_input="Three")
        assert said_in(session)[-1] == ("assistant", "You said: Three")
        await st.check(refused=1)


async def test_a_dead_service_ends_a_turn_within_the_silence_limit() -> None:
    async with Simulator(fault=Silence(phase="sent")) as service:
        model = LLM(api_key="key", base_url=service.base_url)
        for conn_options, seconds in ((DEFAULT_API_CONNECT_OPTIONS, 12.0), (TWICE_MORE, 15.0)):
            began = asyncio.get_running_loop().time()
            with pytest.raises(APITimeoutError):
                await model.chat(chat_ctx=hello(), conn_options=conn_options).collect()
            assert asyncio.get_running_loop().time() - began == pytest.approx(seconds, abs=1.0)
        await model.aclose()


@pytest.mark.parametrize("make", [LLM, ChatLLM])
@pytest.mark.parametrize("keyword", ["silence_limit", "first_output_timeout", "speech_floor"])
def test_a_limit_that_limits_nothing_is_refused(make: type[LLM], keyword: str) -> None:
    keywords: dict[str, Any] = {keyword: -1}
    with pytest.raises(ConfigError, match=f"{keyword} is -1"):
        make(api_key="key", **keywords)
