"""Calls that can't run, in a session: answered by LiveKit itself, or inside one `chat`."""

from __future__ import annotations

from typing import Any

import pytest
from livekit.agents import Agent, AgentSession, APIError, function_tool

from livekit_adapter.sessions import errors_of, said_in, session_of
from livekit_adapter.stage import Stage, stage
from rtllm.simulator import BrokenArguments, Call, Reply, Request, only
from rtllm_livekit import LLM

GOOD = Call("get_weather", {"city": "Rome"})
UNKNOWN = Call("no_such_tool", {"city": "Rome"})


@function_tool
async def get_weather(city: str) -> str:
    """Look up the weather."""
    return f"sunny in {city}"


class Script:
    """Makes a call that can't run some times, then a good one, then speaks."""

    def __init__(self, *calls: Call, text: str = "", times: int = 1) -> None:
        self.calls, self.text, self.left = calls, text, times

    def __call__(self, request: Request) -> Reply:
        outputs = [str(item["output"]) for item in request.trailing_outputs]
        if any("sunny" in output for output in outputs):
            return Reply.of("It is sunny.")
        self.left -= 1
        if self.left >= 0:
            return Reply.of(self.text, *self.calls) if self.text else Reply.of(*self.calls)
        return Reply.of(GOOD)


async def held(st: Stage) -> AgentSession[Any]:
    async with session_of(st.llm, Agent(instructions="Be brief.", tools=[get_weather])) as session:
        await session.run(user_input="The weather?")
        return session


def calls_in(session: AgentSession[Any]) -> list[str]:
    return [item.name for item in session.history.items if item.type == "function_call"]


async def test_without_the_keyword_livekit_answers_and_records_them() -> None:
    async with stage(Script(UNKNOWN)) as st:
        session = await held(st)
        assert calls_in(session) == ["no_such_tool", "get_weather"]
        assert said_in(session)[-1] == ("assistant", "It is sunny.")


async def test_with_it_the_model_corrects_them_in_the_same_chat() -> None:
    async with stage(Script(UNKNOWN), answer_invalid_calls=True) as st:
        session = await held(st)
        assert calls_in(session) == ["get_weather"]
        assert said_in(session)[-1] == ("assistant", "It is sunny.")
        again = st.entries[1]
        assert again.texts()[-2][0] == "function_call"
        assert "no tool named 'no_such_tool'" in str(again.texts()[-1])
        assert again.previous_response_id is not None
        assert not st.service.journal.refused


async def test_arguments_that_are_not_json() -> None:
    simulator = {"fault": only(0, BrokenArguments())}
    script = Script(GOOD)
    async with stage(script, answer_invalid_calls=True, simulator=simulator) as st:
        session = await held(st)
        assert calls_in(session) == ["get_weather"]
        assert "they are not JSON" in str(st.entries[1].texts()[-1])


async def test_words_before_them_are_spoken_once() -> None:
    async with stage(Script(UNKNOWN, text="One moment."), answer_invalid_calls=True) as st:
        session = await held(st)
        words = " ".join(text for role, text in said_in(session) if role == "assistant")
        assert words == "One moment. It is sunny."


async def test_the_turns_after_a_corrected_one_continue_responses() -> None:
    script = Script(UNKNOWN, text="One moment.")

    def reply(request: Request) -> Reply:
        is_asked = request.last_user_text == "The weather?"
        return script(request) if is_asked else Reply.of("You are welcome.")

    agent = Agent(instructions="Be brief.", tools=[get_weather])
    async with stage(reply, answer_invalid_calls=True) as st, session_of(st.llm, agent) as session:
        for text in ("Hello", "The weather?", "Thanks"):
            await session.run(user_input=text)
        assert all(entry.previous_response_id for entry in st.entries[1:])
        assert len(st.entries) == 5


async def test_a_response_that_also_has_good_calls_is_livekits() -> None:
    async with stage(Script(UNKNOWN, GOOD), answer_invalid_calls=True) as st:
        session = await held(st)
        assert calls_in(session) == ["no_such_tool", "get_weather"]
        assert said_in(session)[-1] == ("assistant", "It is sunny.")


async def test_the_third_response_with_them_fails_the_turn() -> None:
    async with stage(Script(UNKNOWN, times=9), answer_invalid_calls=True) as st:
        events = errors_of(st.llm)
        with pytest.raises(APIError, match="tool calls can't be run"):
            await held(st)
        assert len(st.entries) == 3
        (event,) = events
        assert not event.recoverable


async def test_the_tokens_of_all_responses_are_reported() -> None:
    async with stage(Script(UNKNOWN), answer_invalid_calls=True) as st:
        metrics: list[Any] = []
        st.llm.on("metrics_collected", metrics.append)
        await held(st)
        billed = [entry.usage or {} for entry in st.entries]
        assert sum(m.prompt_tokens for m in metrics) == sum(u["input_tokens"] for u in billed)
        assert len(metrics) == len(billed) - 1


def test_it_is_a_switch() -> None:
    wrong: Any = "twice"
    with pytest.raises(ValueError, match="answer_invalid_calls is 'twice'"):
        LLM(api_key="k", answer_invalid_calls=wrong)
