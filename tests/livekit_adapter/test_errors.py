"""What goes wrong, as LiveKit's users meet it: type, status, message, one event, no repetition."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from typing import Any

import pytest
from livekit.agents._exceptions import (
    APIConnectionError,
    APIError,
    APIStatusError,
    APITimeoutError,
)
from livekit.agents.types import APIConnectOptions

from livekit_adapter.requests import (
    ONCE,
    TWICE_MORE,
    answer,
    calls_of,
    chunks_of,
    hello,
    text_of,
    turn,
)
from livekit_adapter.sessions import errors_of
from livekit_adapter.stage import stage
from rtllm import ConnectFailed
from rtllm.simulator import (
    Abort,
    AcceptThen,
    Call,
    Close,
    DelayHandshake,
    Empty,
    ErrorFrame,
    FailedResponse,
    Pause,
    RefuseHandshake,
    Reply,
    Silence,
    Text,
    echo,
    overloaded,
    rate_limited,
)
from rtllm_livekit import LLM
from support.oracle import is_chained
from support.waiting import until


@dataclass(frozen=True)
class Row:
    """A fault that strikes each time, and what comes of it with two retries.

    Attributes:
        fault: What goes wrong with every request.
        error: LiveKit's type of the exception.
        status: Its status code, for an `APIStatusError`.
        attempts: Requests sent, the first one included.
        says: What its message holds.
    """

    fault: Any
    error: type[APIError]
    status: int | None
    attempts: int
    says: str


def kind_of(error: BaseException | None) -> type[APIError] | None:
    """LiveKit's own type of an error, the narrowest one."""
    kinds = (APITimeoutError, APIStatusError, APIConnectionError, APIError)
    return next((kind for kind in kinds if isinstance(error, kind)), None)


def refusal(status: int, code: str | None, **changes: Any) -> ErrorFrame:
    values = {"kind": "invalid_request_error", "message": f"The reason is {status}.", **changes}
    return ErrorFrame(code=code, status=status, **values)


_BROKEN = "had an error"

ROWS = {
    "bad request": Row(refusal(400, None), APIStatusError, 400, 1, "The reason is 400."),
    "bad key": Row(refusal(401, "invalid_api_key"), APIStatusError, 401, 1, "The reason is 401."),
    "forbidden": Row(refusal(403, None), APIStatusError, 403, 1, "The reason is 403."),
    "no such model": Row(refusal(404, "model_not_found"), APIStatusError, 404, 1, "reason is 404"),
    "too long": Row(refusal(400, "context_length_exceeded"), APIStatusError, 400, 1, "is 400"),
    "rate limit": Row(rate_limited(), APIStatusError, 429, 3, "Rate limit reached"),
    "quota": Row(refusal(429, "insufficient_quota"), APIStatusError, 429, 1, "reason is 429"),
    "overloaded": Row(overloaded(), APIStatusError, 503, 3, "overloaded"),
    "server error": Row(ErrorFrame(), APIStatusError, 500, 3, _BROKEN),
    "server error after created": Row(ErrorFrame(phase="created"), APIStatusError, 500, 3, _BROKEN),
    "flat": Row(ErrorFrame(shape="b"), APIStatusError, 500, 3, _BROKEN),
    "detail only": Row(ErrorFrame(shape="c"), APIStatusError, 500, 3, _BROKEN),
    "number as code": Row(ErrorFrame(shape="d"), APIStatusError, 500, 3, _BROKEN),
    "type only": Row(ErrorFrame(shape="e"), APIStatusError, 500, 3, _BROKEN),
    "no type": Row(ErrorFrame(shape="f"), APIStatusError, 500, 3, _BROKEN),
    "status_code": Row(ErrorFrame(status_name="status_code"), APIStatusError, 500, 3, _BROKEN),
    "untagged": Row(ErrorFrame(tagged=False), APIStatusError, 500, 3, _BROKEN),
    "failed": Row(FailedResponse(phase="created"), APIStatusError, 500, 3, _BROKEN),
    "failed by the rate limit": Row(
        FailedResponse(phase="created", code="rate_limit_exceeded", message="Too fast."),
        APIStatusError,
        429,
        3,
        "Too fast.",
    ),
    "failed for good": Row(
        FailedResponse(phase="created", code="bio_policy", message="Not this."),
        APIError,
        None,
        1,
        "Not this.",
    ),
    "close 1011": Row(Close(phase="sent"), APIConnectionError, None, 4, "1011"),
    "close after created": Row(
        Close(phase="created", code=1012), APIConnectionError, None, 4, "1012"
    ),
    "reset": Row(Abort(phase="created"), APIConnectionError, None, 4, "connection"),
    "close 1008": Row(Close(phase="sent", code=1008, reason="no"), APIError, None, 1, "1008"),
    "close 1009": Row(Close(phase="sent", code=1009), APIError, None, 1, "1009"),
}


@pytest.mark.parametrize("row", ROWS.values(), ids=list(ROWS))
async def test_a_fault_is_one_exception_and_one_event(row: Row, host: Any) -> None:
    async with stage(echo(), simulator={"fault": row.fault}, **host) as st:
        events = errors_of(st.llm)
        with pytest.raises(APIError, match=row.says) as caught:
            await answer(st, hello(), conn_options=TWICE_MORE)
        error = caught.value
        assert isinstance(error, APIError)
        assert kind_of(error) is row.error
        assert getattr(error, "status_code", None) == row.status
        assert not error.retryable
        assert [(e.recoverable, e.error) for e in events] == [(False, error)]
        assert len(st.entries) == row.attempts
        await until(lambda: st.reports)
        assert st.reports[0].outcome == "failed"
        assert st.reports[0].attempts == row.attempts


@pytest.mark.parametrize("row", ROWS.values(), ids=list(ROWS))
async def test_the_turn_after_a_fault_is_a_turn_like_any_other(row: Row, host: Any) -> None:
    async with stage(echo(), **host) as st:
        ctx = hello("One")
        await turn(st, ctx)
        st.service.fault = lambda request: row.fault if "Two" in str(request.context) else None
        with pytest.raises(APIError):
            await turn(st, ctx, "Two")
        ctx.items.pop()
        assert await turn(st, ctx, "Three") == "You said: Three"
        assert await turn(st, ctx, "Four") == "You said: Four"
        assert is_chained(st.entries[-1])


@pytest.mark.parametrize("row", ROWS.values(), ids=list(ROWS))
async def test_a_fault_after_words_is_not_tried_again(row: Row) -> None:
    fault = replace(row.fault, phase="output", after=2)
    async with stage("one two three", simulator={"fault": fault}) as st:
        events = errors_of(st.llm)
        chunks, error = await chunks_of(st.llm.chat(chat_ctx=hello(), conn_options=TWICE_MORE))
        assert text_of(chunks) == "one two "
        assert isinstance(error, APIError)
        assert kind_of(error) is row.error
        assert not error.retryable
        assert len(events) == 1
        assert len(st.entries) == 1


@pytest.mark.parametrize(
    "fault",
    [rate_limited(), overloaded(), ErrorFrame(), FailedResponse(phase="created"), Empty()],
    ids=["rate limit", "overloaded", "server error", "failed", "empty"],
)
async def test_what_passes_by_itself_is_tried_again_in_silence(fault: Any, any_host: Any) -> None:
    async with stage(echo(), **any_host) as st:
        events = errors_of(st.llm)
        ctx = hello("One")
        await turn(st, ctx)
        st.service.fault = [fault]
        ctx.add_message(role="user", content="Two")
        assert await turn(st, ctx, conn_options=TWICE_MORE) == "You said: Two"
        assert await turn(st, ctx, "Three") == "You said: Three"
        assert events == []


@pytest.mark.parametrize("fault", [rate_limited(), overloaded(), ErrorFrame()])
async def test_without_retries_what_passes_by_itself_is_raised_at_once(fault: Any) -> None:
    async with stage(echo(), simulator={"fault": fault}) as st:
        with pytest.raises(APIStatusError):
            await answer(st, hello(), conn_options=ONCE)
        assert len(st.entries) == 1


async def test_stock_doesnt_try_an_error_frame_again() -> None:
    async with stage(echo(), stock=True, simulator={"fault": [rate_limited()]}) as st:
        with pytest.raises(APIStatusError) as caught:
            await answer(st, hello(), conn_options=TWICE_MORE)
        assert caught.value.status_code == -1  # the status is lost
        assert len(st.entries) == 1


# -- retry-after -------------------------------------------------------------------------------


async def test_retry_after_is_honoured() -> None:
    async with stage(echo(), simulator={"fault": [rate_limited("0.25")]}) as st:
        said = await answer(st, hello(), conn_options=TWICE_MORE)
        assert said.text == "You said: Hello"
        assert [recovery.wait for recovery in st.reports[0].recoveries] == [0.25]


async def test_retry_after_in_words_is_honoured() -> None:
    fault = rate_limited(message="Rate limit reached. Please try again in 0.175s.")
    async with stage(echo(), simulator={"fault": [fault]}) as st:
        await answer(st, hello(), conn_options=TWICE_MORE)
        assert [recovery.wait for recovery in st.reports[0].recoveries] == [0.175]


async def test_a_retry_after_that_no_caller_would_wait_for_ends_the_turn() -> None:
    async with stage(echo(), simulator={"fault": rate_limited("60")}) as st:
        with pytest.raises(APIStatusError) as caught:
            await answer(st, hello(), conn_options=TWICE_MORE)
        assert caught.value.status_code == 429
        assert len(st.entries) == 1
        assert [recovery.wait for recovery in st.reports[0].recoveries] == [0.0]


# -- what the exception tells ------------------------------------------------------------------


async def test_a_refusal_tells_status_code_parameter_and_request_id() -> None:
    fault = ErrorFrame(
        code="invalid_value",
        status=400,
        kind="invalid_request_error",
        message="Invalid value: 'x'.",
        param="input[0]",
        headers={"x-request-id": "req_42"},
    )
    async with stage(echo(), simulator={"fault": fault}) as st:
        with pytest.raises(APIStatusError) as caught:
            await answer(st, hello())
        error = caught.value
        assert (error.status_code, error.request_id) == (400, "req_42")
        assert error.body == {
            "message": "Invalid value: 'x'.",
            "code": "invalid_value",
            "param": "input[0]",
        }
        assert "Invalid value: 'x'." in error.message
        cause = error.__cause__
        assert getattr(cause, "message", None) == "Invalid value: 'x'."


# -- handshakes --------------------------------------------------------------------------------


def _json(status: int) -> dict[str, Any]:
    return {"error": {"message": f"Reason {status}.", "type": "x", "code": None, "param": None}}


@pytest.mark.parametrize(
    ("refused", "status", "tries"),
    [
        (RefuseHandshake(400, _json(400)), 400, 1),
        (RefuseHandshake(401, _json(401)), 401, 1),
        (RefuseHandshake(403, _json(403)), 403, 1),
        (RefuseHandshake(404, _json(404)), 404, 1),
        (RefuseHandshake(404, "<html>no such page</html>"), 404, 1),
        (RefuseHandshake(429, _json(429)), 429, 3),
        (RefuseHandshake(500, _json(500)), 500, 3),
        (RefuseHandshake(503, "upstream is gone"), 503, 3),
    ],
    ids=["400", "401", "403", "404", "404 html", "429", "500", "503 text"],
)
async def test_a_refused_handshake_tells_its_status_and_reason(
    refused: RefuseHandshake, status: int, tries: int
) -> None:
    async with stage(echo(), simulator={"on_connect": lambda _: refused}) as st:
        events = errors_of(st.llm)
        with pytest.raises(APIStatusError) as caught:
            await answer(st, hello(), conn_options=TWICE_MORE)
        error = caught.value
        assert error.status_code == status
        assert not error.retryable
        if isinstance(refused.body, dict):
            assert f"Reason {status}." in error.message
        assert error.request_id is not None
        assert error.request_id.startswith("req_")
        assert len(st.service.journal.connections) == tries
        assert [e.recoverable for e in events] == [False]


async def test_stock_loses_the_status_of_a_refused_handshake() -> None:
    refused = RefuseHandshake(401, _json(401))
    async with stage(echo(), stock=True, simulator={"on_connect": lambda _: refused}) as st:
        with pytest.raises(APIConnectionError) as caught:
            await answer(st, hello(), conn_options=TWICE_MORE)
        assert not isinstance(caught.value, APIStatusError)
        assert len(st.service.journal.connections) == 3


async def test_an_upgrade_followed_by_an_error_tells_that_error() -> None:
    greeting = AcceptThen(error=refusal(403, None), close=1008)
    async with stage(echo(), simulator={"on_connect": lambda _: greeting}) as st:
        with pytest.raises(APIError):
            await answer(st, hello(), conn_options=TWICE_MORE)
        assert st.llm.usage.answered.attempts == 0


async def test_an_upgrade_that_fails_once_is_tried_again() -> None:
    plan = {0: RefuseHandshake(503)}
    async with stage(echo(), simulator={"on_connect": plan.get}) as st:
        said = await answer(st, hello(), conn_options=TWICE_MORE)
        assert said.text == "You said: Hello"
        await st.check(connections=2)


async def test_a_host_that_isnt_there_is_a_connection_error(unused_tcp_port: int) -> None:
    model = LLM(api_key="k", base_url=f"http://127.0.0.1:{unused_tcp_port}/v1")
    events = errors_of(model)
    try:
        with pytest.raises(APIConnectionError) as caught:
            await model.chat(chat_ctx=hello(), conn_options=TWICE_MORE).collect()
        assert kind_of(caught.value) is APIConnectionError
        assert len(events) == 1
    finally:
        await model.aclose()


# -- silence -----------------------------------------------------------------------------------

QUICK = APIConnectOptions(max_retry=0, timeout=2.0)


@pytest.mark.parametrize("scope", ["lane", "connection"])
@pytest.mark.parametrize("phase", ["sent", "created", "output"])
@pytest.mark.parametrize("noise", [None, "in_progress", "keepalive"])
async def test_silence_ends_in_a_timeout(phase: Any, scope: Any, noise: Any) -> None:
    fault = Silence(phase=phase, scope=scope, noise=noise)
    async with stage("one two three", simulator={"fault": fault}) as st:
        events = errors_of(st.llm)
        stream = st.llm.chat(chat_ctx=hello(), conn_options=QUICK)
        chunks, error = await chunks_of(stream)
        assert isinstance(error, APIError)
        assert kind_of(error) is APITimeoutError
        assert not error.retryable
        assert text_of(chunks) == ("one " if phase == "output" else "")
        assert "2 s" in error.message
        assert len(events) == 1
        assert len(st.entries) == 1


async def test_silence_before_words_is_tried_again_elsewhere() -> None:
    async with stage(echo(), simulator={"fault": [Silence(phase="created")]}) as st:
        events = errors_of(st.llm)
        patient = APIConnectOptions(max_retry=1, retry_interval=0.0, timeout=3.0)
        assert (await answer(st, hello(), conn_options=patient)).text == "You said: Hello"
        assert events == []
        assert len(st.service.journal.connections) == 2


async def test_a_handshake_that_never_ends_is_a_timeout() -> None:
    for_ever = asyncio.Event()
    delay = DelayHandshake(for_ever)
    async with stage(echo(), simulator={"on_connect": lambda _: delay}) as st:
        with pytest.raises(APITimeoutError, match="connection"):
            await answer(st, hello(), conn_options=QUICK)
        for_ever.set()


async def test_stock_waits_forever() -> None:
    fault = Silence(phase="created")
    async with stage(echo(), stock=True, simulator={"fault": fault}) as st:
        waiting = asyncio.ensure_future(st.llm.chat(chat_ctx=hello(), conn_options=QUICK).collect())
        await st.service.journal.wait_for(1)
        done, _ = await asyncio.wait([waiting], timeout=60.0)
        assert not done
        waiting.cancel()
        await asyncio.wait([waiting])


async def test_an_answer_that_is_slow_but_alive_is_heard_to_its_end() -> None:
    pieces = tuple(x for n in range(8) for x in (f"{n} ", Pause(0.5)))
    async with stage(Reply.of(Text(pieces=pieces))) as st:
        # Each gap is shorter than the limit, the whole answer longer.
        said = await answer(st, hello(), conn_options=QUICK)
        assert said.text == "0 1 2 3 4 5 6 7"
        await until(lambda: st.reports)
        assert st.reports[0].duration > QUICK.timeout


# -- whole, but for its last event -------------------------------------------------------------


@pytest.mark.parametrize(
    "fault",
    [Close(phase="complete"), Abort(phase="complete"), Silence(phase="complete")],
    ids=["close", "reset", "silence"],
)
async def test_a_whole_answer_without_its_last_event_ends_normally(fault: Any, host: Any) -> None:
    async with stage(echo(), simulator={"fault": [fault]}, **host) as st:
        events = errors_of(st.llm)
        ctx = hello("One")
        assert await turn(st, ctx, conn_options=QUICK) == "You said: One"
        assert events == []
        await until(lambda: st.reports)
        assert st.reports[0].outcome == "unfinished"
        assert await turn(st, ctx, "Two") == "You said: Two"
        assert not is_chained(st.entries[1])


async def test_a_whole_call_without_its_last_event_is_emitted_once() -> None:
    fault = [Close(phase="complete")]
    async with stage(Reply.of(Call("book")), simulator={"fault": fault}) as st:
        chunks, error = await chunks_of(st.llm.chat(chat_ctx=hello(), conn_options=TWICE_MORE))
        assert [c.name for c in calls_of(chunks)] == ["book"]
        assert error is None
        assert len(st.entries) == 1


# -- nothing said ------------------------------------------------------------------------------


async def test_an_empty_answer_is_asked_for_once_more() -> None:
    async with stage(echo(), simulator={"fault": [Empty()]}) as st:
        assert (await answer(st, hello())).text == "You said: Hello"
        assert len(st.entries) == 2


async def test_an_answer_that_stays_empty_is_an_end_and_no_error() -> None:
    async with stage(echo(), simulator={"fault": Empty()}) as st:
        events = errors_of(st.llm)
        assert (await answer(st, hello())).text == ""
        assert len(st.entries) == 2
        assert events == []
        assert st.reports[0].outcome == "empty"
        assert st.llm.usage.all.attempts == 2


async def test_a_connection_error_says_its_reason_once_and_keeps_its_cause() -> None:
    model = LLM(api_key="k", base_url="http://127.0.0.1:9/v1")
    with pytest.raises(APIConnectionError) as caught:
        await model.chat(chat_ctx=hello(), conn_options=ONCE).collect()
    assert str(caught.value).startswith("WebSocket ws://127.0.0.1:9/v1/responses: connection")
    assert str(caught.value).count("connection refused") == 1
    assert isinstance(caught.value.__cause__, ConnectFailed)
    await model.aclose()
