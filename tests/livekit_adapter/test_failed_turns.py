"""Turns that fail or are refused: what is spoken instead, and what is raised."""

from __future__ import annotations

from typing import Any

import pytest
from livekit.agents import Agent, APIError
from livekit.agents.llm import FallbackAdapter

from livekit_adapter.requests import ONCE, answer, chunks_of, hello, text_of
from livekit_adapter.sessions import errors_of, said_in, session_of
from livekit_adapter.stage import stage
from rtllm.simulator import Close, ErrorFrame, Refusal, Reply, Text, fixed, only

SORRY = "I am having trouble, please say that again."
DOWN = {"fault": only(0, ErrorFrame(code="insufficient_quota", status=429))}
REFUSED = "I can't help with that."


async def test_a_failed_turn_ends_with_the_failure_text_and_one_event() -> None:
    async with stage("Hello.", simulator=DOWN, failure_text=SORRY) as st:
        events = errors_of(st.llm)
        chunks, error = await chunks_of(st.llm.chat(chat_ctx=hello(), conn_options=ONCE))
        assert (text_of(chunks), error) == (SORRY, None)
        (event,) = events
        assert isinstance(event.error, APIError)
        assert not event.recoverable


async def test_without_a_failure_text_the_same_turn_raises() -> None:
    async with stage("Hello.", simulator=DOWN) as st:
        chunks, error = await chunks_of(st.llm.chat(chat_ctx=hello(), conn_options=ONCE))
        assert text_of(chunks) == ""
        assert isinstance(error, APIError)


async def test_the_failure_text_is_apart_from_the_words_before_it() -> None:
    reply = Reply.of(Text(pieces=("The price ", "is ten.")))
    cut = {"fault": only(0, Close(phase="output"))}
    async with stage(reply, simulator=cut, failure_text=SORRY) as st:
        chunks, error = await chunks_of(st.llm.chat(chat_ctx=hello(), conn_options=ONCE))
        assert error is None
        assert text_of(chunks).endswith(f" {SORRY}")


async def test_a_session_speaks_the_failure_text_and_goes_on() -> None:
    async with (
        stage(fixed("Hello."), simulator=DOWN, failure_text=SORRY) as st,
        session_of(st.llm, Agent(instructions="Be kind.")) as session,
    ):
        await session.run(user_input="Hi")
        await session.run(user_input="Again")
        assert said_in(session)[-4:] == [
            ("user", "Hi"),
            ("assistant", SORRY),
            ("user", "Again"),
            ("assistant", "Hello."),
        ]


async def test_a_fallback_adapter_switches_if_only_the_last_has_a_failure_text() -> None:
    async with stage("", simulator=DOWN) as first, stage("Hello.", failure_text=SORRY) as last:
        model = FallbackAdapter([first.llm, last.llm])
        response = await model.chat(chat_ctx=hello()).collect()
        assert response.text == "Hello."


@pytest.mark.parametrize("spoken", [True, False])
async def test_a_refusal_is_spoken_or_raised(spoken: bool) -> None:
    options: dict[str, Any] = {} if spoken else {"on_refusal": "error"}
    async with stage(Reply.of(Refusal(REFUSED)), **options) as st:
        if spoken:
            assert (await answer(st, hello())).text == REFUSED
            return
        chunks, error = await chunks_of(st.llm.chat(chat_ctx=hello(), conn_options=ONCE))
        assert text_of(chunks) == ""
        assert REFUSED in str(error)
        assert len(st.entries) == 1


async def test_a_refusal_as_an_error_ends_with_the_failure_text() -> None:
    options: dict[str, Any] = {"on_refusal": "error", "failure_text": SORRY}
    async with stage(Reply.of(Refusal(REFUSED)), **options) as st:
        assert (await answer(st, hello())).text == SORRY
