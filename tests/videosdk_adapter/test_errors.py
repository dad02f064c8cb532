"""What goes wrong: one event, one error, nothing said twice, and the next turn works."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from videosdk.agents import FallbackLLM

from rtllm import (
    ConfigError,
    ConnectionLost,
    EmptyContext,
    RateLimited,
    RequestRejected,
    ResponseFailed,
    TurnError,
    TurnTimeout,
)
from rtllm.simulator import (
    Abort,
    Call,
    Close,
    ErrorFrame,
    FailedResponse,
    Incomplete,
    Refusal,
    RefuseHandshake,
    Reply,
    Request,
    Silence,
    in_turn,
    only,
    rate_limited,
)
from support.oracle import KEY
from support.waiting import until
from videosdk_adapter.phone import Voice
from videosdk_adapter.requests import chunks_of, context, hello, text_of, usages_of
from videosdk_adapter.stage import Host, stage
from videosdk_adapter.talks import Plain, talk, tool

NEVER: dict[str, Any] = {"max_retries": 0, "timeout": 5.0}


async def test_a_failed_response_is_one_event_and_the_same_error(host: Host) -> None:
    fault = only(1, FailedResponse("data_residency_mismatch", "Not here.", phase="created"))
    async with stage("Hi.", **host, **NEVER, simulator={"fault": fault}) as st, talk(st.llm) as c:
        await c.say("hello")
        with pytest.raises(TurnError, match=r"Not here\.") as caught:
            await c.say("again")
        assert st.errors == [caught.value]
        await c.say("and now")
        assert c.last == ("assistant", "Hi.")


@pytest.mark.parametrize("reason", ["max_output_tokens", "content_filter"])
async def test_an_incomplete_answer_ends_and_tells_why(
    host: Host, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    reply = Reply.of("It is long and", ending=Incomplete(reason))
    async with stage(reply, **host) as st:
        chunks, error = await chunks_of(st.llm, hello())
    wanted = "length" if reason == "max_output_tokens" else reason
    assert error is None
    assert text_of(chunks) == "It is long and"
    assert chunks[-1].metadata["finish_reason"] == wanted
    assert f"cut short: {wanted}" in caplog.text
    assert st.errors == []


async def test_a_silent_server_is_not_awaited_forever(host: Host) -> None:
    options = {**NEVER, "timeout": 1.0}  # making an HTTP client takes a while, too
    async with stage("Hi.", **host, **options, simulator={"fault": only(0, Silence())}) as st:
        _, error = await chunks_of(st.llm, hello())
        assert isinstance(error, TurnTimeout)
        chunks, error = await chunks_of(st.llm, hello())
        assert (text_of(chunks), error) == ("Hi.", None)


@pytest.mark.parametrize("fault", [Close(), Abort(), ErrorFrame()])
async def test_what_a_second_try_recovers_is_not_noticed(host: Host, fault: Any) -> None:
    async with stage("Hi.", **host, simulator={"fault": only(1, fault)}) as st, talk(st.llm) as c:
        await c.say("hello")
        await c.say("again")
        assert c.last == ("assistant", "Hi.")
        assert st.errors == []


async def test_two_faults_in_one_turn_are_recovered_too(host: Host) -> None:
    plan = in_turn(rate_limited(), ErrorFrame())
    async with stage("Hi.", **host, simulator={"fault": plan}) as st:
        chunks, error = await chunks_of(st.llm, hello())
    assert (text_of(chunks), error) == ("Hi.", None)


async def test_without_a_budget_a_limit_is_an_error(host: Host) -> None:
    async with stage("Hi.", **host, **NEVER, simulator={"fault": only(0, rate_limited())}) as st:
        _, error = await chunks_of(st.llm, hello())
    assert isinstance(error, RateLimited)
    assert error.details.code == "rate_limit_exceeded"
    assert st.errors == [error]


@pytest.mark.parametrize("fault", [Abort, Close, ErrorFrame])
async def test_after_the_first_word_nothing_is_repeated(host: Host, fault: Any) -> None:
    plan = only(0, fault(phase="output", after=2))
    async with stage("The price is ten.", **host, simulator={"fault": plan}) as st:
        chunks, error = await chunks_of(st.llm, hello())
    assert isinstance(error, ConnectionLost | ResponseFailed | RateLimited), error
    assert "The price is ten.".startswith(text_of(chunks))
    assert text_of(chunks)
    assert len(st.entries) == 1
    assert st.errors == [error]


async def test_calls_are_held_so_that_a_drop_before_the_end_is_recovered(host: Host) -> None:
    ran: list[str] = []

    @tool
    async def weather(city: str) -> str:
        """Tell the weather."""
        ran.append(city)
        return "fine"

    def script(request: Request) -> Reply | str:
        if request.trailing_outputs:
            return "It is fine."
        return Reply.of(*(Call("weather", {"city": c}) for c in ("Paris", "Rome")))

    plan = only(0, Abort(phase="output", after=3))
    async with (
        stage(script, **host, simulator={"fault": plan}) as st,
        talk(st.llm, Plain(tools=[weather])) as c,
    ):
        await c.say("go")
        assert c.last == ("assistant", "It is fine.")
    assert ran == ["Paris", "Rome"]


async def test_a_nested_failure_reaches_the_caller_once(host: Host) -> None:
    """The framework swallows it and comes back to the outer generator."""

    @tool
    async def weather() -> str:
        """Tell the weather."""
        return "fine"

    def script(request: Request) -> Reply | str:
        return "Late." if request.last_user_text != "go" else Reply.of(Call("weather"))

    plan = only(1, FailedResponse("data_residency_mismatch", "Not here.", phase="created"))
    async with (
        stage(script, **host, **NEVER, simulator={"fault": plan}) as st,
        talk(st.llm, Plain(tools=[weather])) as c,
    ):
        with pytest.raises(TurnError, match=r"Not here\.") as caught:
            await c.say("go")
        assert st.errors == [caught.value]
        await c.say("next")
        assert c.last == ("assistant", "Late.")


async def test_in_the_voice_pipeline_the_next_utterance_is_answered(host: Host) -> None:
    plan = only(0, FailedResponse("data_residency_mismatch", phase="created"))
    voice = Voice()
    async with (
        stage("Hi.", **host, **NEVER, simulator={"fault": plan}) as st,
        talk(st.llm, tts=voice) as c,
    ):
        stuck = await c.hear("hello")
        await until(lambda: st.errors)
        await c.barge_in()
        await asyncio.wait([stuck], timeout=5)
        await c.turn("again")
        assert voice.said[-1] == "Hi."
        assert c.last == ("assistant", "Hi.")


@pytest.mark.parametrize("nested", [False, True])
async def test_the_failure_text_is_spoken_and_the_turn_ends(host: Host, nested: bool) -> None:
    @tool
    async def weather() -> str:
        """Tell the weather."""
        return "fine"

    def script(request: Request) -> Reply | str:
        if request.last_user_text == "go" and nested and not request.trailing_outputs:
            return Reply.of(Call("weather"))
        return "Hi."

    plan = only(int(nested), FailedResponse("data_residency_mismatch", phase="created"))
    voice = Voice()
    async with (
        stage(
            script, **host, **NEVER, failure_text="Sorry, once more?", simulator={"fault": plan}
        ) as st,
        talk(st.llm, Plain(tools=[weather]), tts=voice) as c,
    ):
        await c.turn("go")
        assert voice.said == ["Sorry, once more?"]
        assert c.last == ("assistant", "Sorry, once more?")
        await c.turn("again")
        assert voice.said[-1] == "Hi."
        assert len(st.errors) == 1


async def test_the_failure_text_follows_words_with_a_blank(host: Host) -> None:
    plan = only(0, Abort(phase="output", after=2))
    options = {**host, **NEVER, "failure_text": "Sorry."}
    async with stage("The price is ten.", **options, simulator={"fault": plan}) as st:
        chunks, error = await chunks_of(st.llm, hello())
    assert error is None
    assert text_of(chunks).endswith(" Sorry.")
    assert len(st.errors) == 1


async def test_a_fallback_switches_in_time(host: Host) -> None:
    plan = FailedResponse("data_residency_mismatch", phase="created")
    async with (
        stage("Primary.", **host, **NEVER, simulator={"fault": plan}) as st,
        stage("Backup.") as backup,
    ):
        wrapped = FallbackLLM([st.llm, backup.llm])
        async with talk(wrapped) as c:
            await c.say("hello")
            assert c.last == ("assistant", "Backup.")
            await until(lambda: wrapped.active_provider is backup.llm)
            await c.say("again")
        assert len(st.entries) == 1


async def test_a_refusal_is_spoken_and_reported(
    host: Host, caplog: pytest.LogCaptureFixture
) -> None:
    async with stage(Reply.of(Refusal("I can't help with that.")), **host) as st:
        chunks, error = await chunks_of(st.llm, hello())
    assert (text_of(chunks), error) == ("I can't help with that.", None)
    assert chunks[-1].metadata["refusal"] == "I can't help with that."
    assert "declined to answer" in caplog.text


async def test_a_refusal_is_raised_where_wanted(host: Host) -> None:
    reply = Reply.of(Refusal("I can't help with that."))
    async with stage(reply, **host, on_refusal="error") as st:
        chunks, error = await chunks_of(st.llm, hello())
    assert text_of(chunks) == ""
    assert isinstance(error, RequestRejected)
    assert "I can't help with that." in str(error)
    assert st.errors == [error]


async def test_a_wrong_key_is_reported_without_the_key(host: Host) -> None:
    options = {**host, "api_key": "sk-wrong-key"}
    async with stage("Hi.", **options, simulator={"api_key": KEY}) as st:
        _, error = await chunks_of(st.llm, hello())
    assert isinstance(error, RequestRejected)
    assert error.details.status == 401
    assert "sk-wrong-key" not in f"{error!r} {error}"
    refused = [c for c in st.service.journal.connections if c.refused]
    assert len(refused) <= 2  # the constructor's, and the chat's own if that came too late


async def test_a_refused_handshake_is_tried_again(host: Host) -> None:
    if not host["streaming"] or "use_websocket" in host:
        pytest.skip("over HTTP there is no handshake")
    refusals = [RefuseHandshake(503), RefuseHandshake(503)]
    plan: Any = lambda number: refusals[number] if number < 2 else None  # noqa: E731
    async with stage("Hi.", **host, simulator={"on_connect": plan}) as st:
        chunks, error = await chunks_of(st.llm, hello())
    assert (text_of(chunks), error) == ("Hi.", None)


async def test_an_empty_context_is_the_callers_error(host: Host) -> None:
    async with stage("Hi.", **host) as st:
        _, error = await chunks_of(st.llm, context())
    assert isinstance(error, EmptyContext)
    assert len(st.errors) == 1


async def test_an_unknown_keyword_is_named(host: Host) -> None:
    async with stage("Hi.", **host) as st:
        _, error = await chunks_of(st.llm, hello(), temprature=1.0)
    assert isinstance(error, ConfigError)
    assert "temprature" in str(error)


async def test_usage_is_given_once_and_fresh(host: Host) -> None:
    async with stage("One two three.", **host) as st:
        first, _ = await chunks_of(st.llm, hello())
        second, _ = await chunks_of(st.llm, hello("again"))
    assert all(chunk.content or chunk.metadata for chunk in first)
    assert first[0].content
    (one,), (two,) = usages_of(first), usages_of(second)
    assert one is not two
    assert one["prompt_tokens"] > 0
    assert one["total_tokens"] == one["prompt_tokens"] + one["completion_tokens"]
    assert {"prompt_cached_tokens", "reasoning_tokens", "request_id", "model"} <= set(one)


async def test_a_call_carries_its_usage_and_both_ids(host: Host) -> None:
    @tool
    async def weather() -> str:
        """Tell the weather."""
        return "fine"

    reply = Reply.of(Call("weather", {"a": 1}, "call_x"), Call("weather", "", "call_y"))
    async with stage(reply, **host) as st:
        chunk = await anext(st.llm.chat(hello(), tools=[weather]))
    function = chunk.metadata["function_call"]
    assert (function["id"], function["call_id"]) == ("call_x", "call_x")
    assert function["arguments"] == {"a": 1}
    assert chunk.metadata["usage"]["total_tokens"] > 0
