"""Whole sessions in text mode: after each, every request must have been exactly what was asked."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from livekit.agents import (
    Agent,
    AgentSession,
    AgentTask,
    RunContext,
    ToolError,
    function_tool,
    llm,
)
from livekit.agents.llm.chat_context import Instructions
from livekit.agents.types import APIConnectOptions

from livekit_adapter.sessions import draft, end_of_turn, said_in, session_of
from livekit_adapter.stage import stage
from rtllm.simulator import (
    Call,
    Pause,
    Reply,
    Request,
    Silence,
    Text,
    calls_on_demand,
    echo,
    fixed,
)
from support.oracle import is_chained
from support.waiting import until

PROMPT = "You are a kind receptionist."


@function_tool
async def weather(city: str) -> str:
    """Tell the weather of a city."""
    return f"rain in {city}"


@function_tool
async def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


@function_tool
async def crash() -> str:
    """Raise."""
    raise RuntimeError("the tool is broken")


@function_tool
async def decline() -> str:
    """Raise an error that the model may read."""
    raise ToolError("no table is free")


def assistant(**options: Any) -> Agent:
    return Agent(**{"instructions": PROMPT, "tools": [weather, add, crash, decline], **options})


async def ask(session: AgentSession[Any], text: str) -> str:
    """Say something and return the last words of the answer."""
    await asyncio.wait_for(session.run(user_input=text), 20)
    return session.history.messages()[-1].text_content or ""


# -- turns -------------------------------------------------------------------------------------


async def test_turns_follow_one_another(any_host: Any) -> None:
    async with stage(echo(), **any_host) as st, session_of(st.llm, assistant()) as session:
        for text in ("Hello", "How are you?", "Fine.", "Bye."):
            assert await ask(session, text) == f"You said: {text}"
        await st.check()
        assert [is_chained(e) for e in st.entries[-3:]] == [True] * 3


async def test_sixty_turns_send_only_what_is_new(any_host: Any) -> None:
    async with stage(echo(), **any_host) as st, session_of(st.llm, assistant()) as session:
        for number in range(60):
            assert await ask(session, f"Word {number}") == f"You said: Word {number}"
        await st.check(connections=1 if any_host["lanes"] == "on" else None)
        if any_host["lanes"] == "on":
            assert [len(e.input) for e in st.entries[1:]] == [1] * 59


# -- tools -------------------------------------------------------------------------------------


async def test_a_tool_is_called_and_its_output_used(any_host: Any) -> None:
    async with stage(calls_on_demand(), **any_host) as st:
        async with session_of(st.llm, assistant()) as session:
            said = await ask(session, 'call weather {"city":"Paris"}')
            assert said == "The tools said: rain in Paris"
            assert await ask(session, "Thanks") == "You said: Thanks"
        await st.check()


async def test_words_before_a_call_are_part_of_its_answer(any_host: Any) -> None:
    script = fixed(
        Reply.of("Let me look.", Call("weather", '{"city":"Rome"}')), "Rain, sadly.", "Bye."
    )
    async with stage(script, **any_host) as st, session_of(st.llm, assistant()) as session:
        assert await ask(session, "Is it dry in Rome?") == "Rain, sadly."
        await ask(session, "Thanks")
        assert [text for role, text in said_in(session) if role == "assistant"] == [
            "Let me look.",
            "Rain, sadly.",
            "Bye.",
        ]
        await st.check()


async def test_two_tools_that_finish_in_reverse_order_are_one_answer(any_host: Any) -> None:
    second_done = asyncio.Event()

    @function_tool
    async def slow() -> str:
        """Finish last."""
        await second_done.wait()
        return "slow is done"

    @function_tool
    async def fast() -> str:
        """Finish first."""
        second_done.set()
        return "fast is done"

    async with stage(calls_on_demand(), **any_host) as st:
        async with session_of(st.llm, assistant(tools=[slow, fast])) as session:
            await ask(session, "call slow\ncall fast")
            assert await ask(session, "Thanks") == "You said: Thanks"
            outputs = [i for i in session.history.items if i.type == "function_call_output"]
            assert [o.output for o in outputs] == ["fast is done", "slow is done"]
        await st.check()


@pytest.mark.parametrize(
    ("tool", "told"), [("crash", "An internal error"), ("decline", "no table is free")]
)
async def test_an_error_of_a_tool_is_its_output(any_host: Any, tool: str, told: str) -> None:
    async with stage(calls_on_demand(), **any_host) as st:
        async with session_of(st.llm, assistant()) as session:
            assert told in await ask(session, f"call {tool}")
            await ask(session, "Never mind")
        await st.check()


async def test_tools_in_a_chain_each_send_one_output(any_host: Any) -> None:
    script = fixed(
        Reply.of(Call("add", {"a": 1, "b": 2})),
        Reply.of(Call("add", {"a": 3, "b": 4})),
        "Seven.",
        "Bye.",
    )
    async with stage(script, **any_host) as st, session_of(st.llm, assistant()) as session:
        assert await ask(session, "Add up.") == "Seven."
        await ask(session, "Thanks")
        await st.check()
        if any_host["lanes"] == "on":
            assert [len(e.input) for e in st.entries] == [2, 1, 1, 1]


@pytest.mark.parametrize("under_none", ["words", "words and a call"])
async def test_after_the_last_tool_step_the_model_must_speak(
    any_host: Any, under_none: str
) -> None:
    def script(request: Request) -> Reply | str:
        if request.last_user_text != "Add up.":
            return "Bye."
        if request.body.get("tool_choice") != "none":
            return Reply.of(Call("add", {"a": request.index, "b": 1}))
        dropped = [Call("add", {"a": 9, "b": 9})] if under_none == "words and a call" else []
        return Reply.of("Enough.", *dropped)

    async with stage(script, **any_host) as st:
        async with session_of(st.llm, assistant(), max_tool_steps=2) as session:
            assert await ask(session, "Add up.") == "Enough."
            assert await ask(session, "Thanks") == "Bye."
        await st.check()


async def test_broken_arguments_are_repaired_by_livekit_and_still_seen_as_in_the_context(
    any_host: Any,
) -> None:
    script = fixed(Reply.of(Call("add", '{"a": 1, "b": 2, }')), "Three.", "Bye.")
    async with stage(script, **any_host) as st, session_of(st.llm, assistant()) as session:
        assert await ask(session, "Add up.") == "Three."
        await ask(session, "Thanks")
        await st.check()


# -- instructions and other speech ---------------------------------------------------------------


async def test_a_greeting_by_instructions_costs_one_step_at_most(any_host: Any) -> None:
    script = fixed("Welcome!", "First.", "Second.", "Third.")
    async with stage(script, **any_host) as st, session_of(st.llm, assistant()) as session:
        await session.generate_reply(instructions="Greet the caller.")
        for text in ("One", "Two", "Three"):
            await ask(session, text)
        await st.check()
        assert is_chained(st.entries[-1])
        assert is_chained(st.entries[-2])


async def test_instructions_of_one_reply_cost_nothing_afterwards(any_host: Any) -> None:
    script = fixed("First.", "Are you there?", "Second.", "Third.")
    async with stage(script, **any_host) as st, session_of(st.llm, assistant()) as session:
        await ask(session, "One")
        await session.generate_reply(instructions="Ask whether anybody is there.")
        await ask(session, "Two")
        await ask(session, "Three")
        await st.check()
        texts = [text for _, text in st.entries[-1].texts()]
        assert "Ask whether anybody is there." not in texts


async def test_a_reply_without_any_new_input_is_asked_for(any_host: Any) -> None:
    script = fixed("First.", "And also.", "Second.")
    async with stage(script, **any_host) as st, session_of(st.llm, assistant()) as session:
        await ask(session, "One")
        await session.generate_reply()
        await ask(session, "Two")
        await st.check()


async def test_words_said_without_the_model_reach_it_with_the_next_turn(any_host: Any) -> None:
    async with stage(echo(), **any_host) as st, session_of(st.llm, assistant()) as session:
        await session.say("Good morning.")
        await ask(session, "Hello")
        await session.say("One moment.")
        await ask(session, "Yes")
        await st.check()
        assert ("assistant", "One moment.") in st.entries[-1].texts()


async def test_words_said_inside_a_tool_come_after_its_output(any_host: Any) -> None:
    @function_tool
    async def look_up(ctx: RunContext[Any]) -> str:
        """Say something meanwhile."""
        ctx.session.say("This takes a moment.")
        return "found"

    async with stage(calls_on_demand(), **any_host) as st:
        async with session_of(st.llm, assistant(tools=[look_up])) as session:
            await ask(session, "call look_up")
            await ask(session, "Thanks")
            await ask(session, "Bye")
        await st.check()


async def test_updated_instructions_cost_one_resend_in_all(any_host: Any) -> None:
    async with stage(echo(), **any_host) as st:
        agent = assistant()
        async with session_of(st.llm, agent) as session:
            await ask(session, "One")
            await ask(session, "Two")
            await agent.update_instructions("You are a strict receptionist.")
            await ask(session, "Three")
            await agent.update_instructions("You are a brief receptionist.")
            await ask(session, "Four")
            await ask(session, "Five")
        await st.check()
        asked = [st.asked_by(e).lead for e in st.entries if e.outcome == "completed"]
        assert asked[-1] == ("You are a brief receptionist.",)
        assert is_chained(st.entries[-1])
        assert is_chained(st.entries[-2])


class Clock(Agent):
    """An agent whose prompt contains the time of each turn."""

    minute = 0

    @property
    def instructions(self) -> Instructions:
        return Instructions(PROMPT, dynamic=f"It is 9:0{self.minute}.")


async def test_dynamic_instructions_change_each_turn_and_keep_the_chain(any_host: Any) -> None:
    async with stage(echo(), **any_host) as st:
        agent = Clock(instructions=Instructions(PROMPT, dynamic="It is 9:00."))
        async with session_of(st.llm, agent) as session:
            for number in range(5):
                agent.minute = number
                await ask(session, f"Word {number}")
        await st.check()
        assert "It is 9:04." in (st.entries[-1].instructions or "")
        assert [is_chained(e) for e in st.entries[-3:]] == [True] * 3


async def test_the_expressive_guide_at_the_end_keeps_the_chain(host: Any) -> None:
    async with stage(echo(), **host) as st:
        ctx = llm.ChatContext.empty()
        ctx.add_message(role="system", content=PROMPT)
        for number in range(4):
            ctx.add_message(role="user", content=f"Word {number}")
            sent = ctx.copy()
            sent.add_message(
                role="system",
                content=f"Speak with feeling {number}.",
                id="lk.expressive.instructions",
            )
            answer = await st.llm.chat(chat_ctx=sent).collect()
            assert answer.text == f"You said: Word {number}"
            ctx.add_message(role="assistant", content=answer.text)
        await st.check()
        assert st.entries[-1].instructions == "Speak with feeling 3."
        assert [len(e.input) for e in st.entries] == [2, 1, 1, 1]


# -- handoff -----------------------------------------------------------------------------------


class Reception(Agent):
    def __init__(self, *, share: bool, **options: Any) -> None:
        self.share = share
        super().__init__(instructions="You are the reception.", **options)

    @function_tool
    async def to_kitchen(self) -> Agent:
        """Hand over to the kitchen."""
        if self.share:
            return Kitchen(share=True, chat_ctx=self.chat_ctx.copy(exclude_instructions=True))
        return Kitchen(share=False)


class Kitchen(Agent):
    def __init__(self, *, share: bool, **options: Any) -> None:
        self.share = share
        super().__init__(instructions="You are the kitchen.", **options)

    async def on_enter(self) -> None:
        await self.session.generate_reply(instructions="Say that the kitchen is here.")

    @function_tool
    async def to_reception(self) -> Agent:
        """Hand over to the reception."""
        if self.share:
            return Reception(share=True, chat_ctx=self.chat_ctx.copy(exclude_instructions=True))
        return Reception(share=False)


@pytest.mark.parametrize("share", [True, False], ids=["with the context", "without"])
async def test_a_handoff_there_and_back(any_host: Any, share: bool) -> None:
    def script(request: Request) -> Reply | str:
        if request.trailing_outputs:
            return f"Bye from request {request.index}."
        offered = [tool["name"] for tool in request.tools]
        if request.last_user_text in offered:
            return Reply.of(Call(request.last_user_text))
        return f"Answer {request.index}."

    async with stage(script, **any_host) as st:
        async with session_of(st.llm, Reception(share=share)) as session:
            for text in ("Hello", "to_kitchen", "Soup?", "to_reception", "Anyone?", "Bye"):
                await ask(session, text)
            assert type(session.current_agent) is Reception
        await st.check()


# -- interruptions -------------------------------------------------------------------------------


async def test_an_interruption_in_the_middle_keeps_what_was_heard(any_host: Any) -> None:
    go_on = asyncio.Event()

    def script(request: Request) -> Reply | str:
        if request.last_user_text != "Count":
            return f"You said: {request.last_user_text}"
        return Reply.of(Text(pieces=("One, ", "two, ", Pause(go_on), "three, ", "four.")))

    async with stage(script, **any_host) as st, session_of(st.llm, assistant()) as session:
        await ask(session, "Hello")
        speech = session.generate_reply(user_input="Count")
        await until(lambda: st.entries[-1].deltas >= 2 and session.agent_state == "speaking")
        await session.interrupt()
        await speech
        assert await ask(session, "Stop") == "You said: Stop"
        go_on.set()
        assert await ask(session, "Thanks") == "You said: Thanks"
        await st.check()
        if any_host["lanes"] == "on":
            stop = next(e for e in st.entries if e.input[-1].get("content") == "Stop")
            assert stop.previous_response_id == st.entries[0].response_id


async def test_three_interruptions_in_a_row_while_the_cut_answers_still_run(any_host: Any) -> None:
    go_on = asyncio.Event()

    def script(request: Request) -> Reply | str:
        text = request.last_user_text
        if not text.startswith("Count"):
            return f"You said: {text}"
        return Reply.of(Text(pieces=(f"{text}: one, ", Pause(go_on), "two.")))

    async with stage(script, **any_host) as st, session_of(st.llm, assistant()) as session:
        await ask(session, "Hello")
        for number in range(3):
            speech = session.generate_reply(user_input=f"Count {number}")
            await until(lambda: session.agent_state == "speaking")
            await session.interrupt()
            await speech
        assert await ask(session, "Stop") == "You said: Stop"
        go_on.set()
        await ask(session, "Bye")
        await st.check()


async def test_an_interruption_before_anything_came_leaves_the_question(any_host: Any) -> None:
    go_on = asyncio.Event()

    async def script(request: Request) -> str:
        if request.last_user_text == "Wait":
            await go_on.wait()
        return f"Answer {request.index}."

    async with stage(script, **any_host) as st, session_of(st.llm, assistant()) as session:
        await ask(session, "Hello")
        speech = session.generate_reply(user_input="Wait")
        await until(lambda: len(st.answers.replies) == 1 and len(st.asked_texts("Wait")) >= 1)
        await session.interrupt()
        await speech
        await ask(session, "Hm")
        go_on.set()
        await ask(session, "Thanks")
        await st.check()


async def test_an_interruption_while_a_tool_runs_waits_for_its_output(any_host: Any) -> None:
    started, go_on = asyncio.Event(), asyncio.Event()

    @function_tool
    async def book() -> str:
        """Take long."""
        started.set()
        await go_on.wait()
        return "booked"

    async with stage(calls_on_demand(), **any_host) as st:
        async with session_of(st.llm, assistant(tools=[book])) as session:
            speech = session.generate_reply(user_input="call book")
            await started.wait()
            stopped = session.interrupt()
            go_on.set()
            await stopped
            await speech
            assert await ask(session, "Hello?") == "You said: Hello?"
            await ask(session, "Thanks")
        await st.check()


async def test_an_answer_of_which_nothing_was_heard_is_not_remembered(host: Any) -> None:
    """The ordinary barge-in: the answer is whole on the wire, the context holds less."""
    async with stage(echo(), **host) as st:
        ctx = llm.ChatContext.empty()
        ctx.add_message(role="system", content=PROMPT)
        heard = {"Hello": "You said: Hello", "Long": "You said:", "Cut": "", "Bye": ""}
        for text, recorded in heard.items():
            ctx.add_message(role="user", content=text)
            assert (await st.llm.chat(chat_ctx=ctx).collect()).text == f"You said: {text}"
            if recorded:
                ctx.add_message(role="assistant", content=recorded, interrupted=True)
        await st.check()
        parents = [e.previous_response_id for e in st.entries]
        first = st.entries[0].response_id
        assert parents == [None, first, first, first]


# -- drafts --------------------------------------------------------------------------------------


@pytest.mark.parametrize("slow", [False, True], ids=["drafts are whole", "drafts still run"])
async def test_three_drafts_of_which_the_last_is_adopted_with_its_words_rewritten(
    any_host: Any, slow: bool
) -> None:
    go_on = asyncio.Event()

    def script(request: Request) -> Reply | str:
        words = f"You said: {request.last_user_text}"
        if not slow or request.last_user_text not in ("say", "say: one"):
            return words
        return Reply.of(Text(pieces=("Hm, ", Pause(go_on), words)))

    async with stage(script, **any_host) as st, session_of(st.llm, assistant()) as session:
        await ask(session, "Hello")
        for text in ("say", "say: one", "say: two"):
            before = len(st.entries)
            draft(session, text)
            await until(lambda n=before: len(st.entries) > n)  # type: ignore[misc]
        end_of_turn(session, "Say: Two!")
        await until(lambda: said_in(session)[-1] == ("assistant", "You said: say: two"))
        assert said_in(session)[-2] == ("user", "Say: Two!")
        await ask(session, "Thanks")
        go_on.set()
        await ask(session, "Bye")
        await st.check()


async def test_drafts_that_are_never_adopted_leave_no_trace(any_host: Any) -> None:
    async with stage(echo(), **any_host) as st, session_of(st.llm, assistant()) as session:
        await ask(session, "Hello")
        for turn in range(3):
            for text in (f"let {turn}", f"let me {turn}"):
                before = len(st.entries)
                draft(session, text)
                await until(lambda n=before: len(st.entries) > n)  # type: ignore[misc]
            end_of_turn(session, f"let me think {turn}")
            await until(
                lambda t=turn: (
                    said_in(session)[-1]  # type: ignore[misc]
                    == ("assistant", f"You said: let me think {t}")
                )
            )
        await st.check()


# -- edited histories ------------------------------------------------------------------------------


async def test_a_history_cut_to_a_window_each_turn(any_host: Any) -> None:
    async with stage(calls_on_demand(), **any_host) as st:
        agent = assistant()
        async with session_of(st.llm, agent) as session:
            for number in range(6):
                await ask(session, f'call add {{"a":{number},"b":1}}')
                await ask(session, f"Word {number}")
                await agent.update_chat_ctx(agent.chat_ctx.copy().truncate(max_items=6))
        await st.check()


async def test_an_edited_context_is_what_the_model_sees(any_host: Any) -> None:
    async with stage(echo(), **any_host) as st:
        agent = assistant()
        async with session_of(st.llm, agent) as session:
            await ask(session, "My name is Bob")
            await ask(session, "Hello")
            ctx = agent.chat_ctx.copy()
            for message in ctx.messages():
                if message.text_content == "My name is Bob":
                    message.content = ["My name is hidden"]
            await agent.update_chat_ctx(ctx)
            await ask(session, "Who am I?")
            await ask(session, "Thanks")
        await st.check()
        assert ("user", "My name is Bob") not in st.entries[-1].texts()


async def test_a_history_restored_from_a_dict_continues_the_chain(any_host: Any) -> None:
    async with stage(calls_on_demand(), **any_host) as st:
        first = assistant()
        async with session_of(st.llm, first) as session:
            await ask(session, 'call add {"a":1,"b":2}')
            await ask(session, "Hello")
            kept = first.chat_ctx.to_dict(exclude_image=False)
        again = assistant(chat_ctx=llm.ChatContext.from_dict(kept))
        async with session_of(st.llm, again) as session:
            await ask(session, "I am back")
            await ask(session, "Bye")
        await st.check()


async def test_text_added_for_one_request_only_isnt_remembered(any_host: Any) -> None:
    class WithFacts(Agent):
        async def on_user_turn_completed(
            self, turn_ctx: llm.ChatContext, new_message: llm.ChatMessage
        ) -> None:
            turn_ctx.add_message(role="assistant", content=f"Fact about {new_message.text_content}")

    async with stage(echo(), **any_host) as st:
        async with session_of(st.llm, WithFacts(instructions=PROMPT)) as session:
            for text in ("Cats", "Dogs", "Birds"):
                end_of_turn(session, text)
                await until(
                    lambda t=text: (
                        said_in(session)[-1:]  # type: ignore[misc]
                        == [("assistant", f"You said: {t}")]
                    )
                )
        await st.check()
        assert ("assistant", "Fact about Cats") not in st.entries[-1].texts()


# -- several users of one object -------------------------------------------------------------------


async def test_two_sessions_on_one_object_never_mix(any_host: Any) -> None:
    async with stage(calls_on_demand(), **any_host) as st:

        async def caller(name: str) -> None:
            async with session_of(st.llm, assistant()) as session:
                await ask(session, "Hello")
                for number in range(4):
                    assert await ask(session, f"{name} {number}") == f"You said: {name} {number}"
                    await ask(session, f'call weather {{"city":"{name}{number}"}}')

        await asyncio.gather(caller("Ann"), caller("Ben"))
        # Both first requests are out before the first refusal of a lane comes back.
        await st.check(refused=2 if any_host["lanes"] == "refuse" else None)
        for entry in st.entries:
            texts = " ".join(text for _, text in entry.texts())
            assert not ("Ann" in texts and "Ben" in texts)


async def test_a_judge_and_a_summary_next_to_a_turn_disturb_nothing(any_host: Any) -> None:
    go_on = asyncio.Event()

    async def script(request: Request) -> Reply | str:
        if request.body.get("tool_choice") == "required":
            return Reply.of(Call("verdict", {"good": True}))
        if request.last_user_text == "Slowly":
            return Reply.of(Text(pieces=("I ", Pause(go_on), "am slow.")))
        return f"Answer {request.index}."

    @function_tool
    async def verdict(good: bool) -> None:
        """Judge."""

    async with stage(script, **any_host) as st, session_of(st.llm, assistant()) as session:
        await ask(session, "Hello")
        speech = session.generate_reply(user_input="Slowly")
        await until(lambda: session.agent_state == "speaking")
        judged = llm.ChatContext.empty()
        judged.add_message(role="system", content="You are a judge.")
        judged.add_message(role="user", content="Was that good?")
        stream = st.llm.chat(
            chat_ctx=judged,
            tools=[verdict],
            tool_choice="required",
            extra_kwargs={"temperature": 0},
        )
        calls = [
            c for chunk in [x async for x in stream] if chunk.delta for c in chunk.delta.tool_calls
        ]
        assert [c.name for c in calls] == ["verdict"]
        summary = judged.copy()
        summary.add_message(role="user", content="Sum up.")
        assert (await st.llm.chat(chat_ctx=summary).collect()).text.startswith("Answer")
        go_on.set()
        await speech
        await ask(session, "Thanks")
        await st.check(connections=1 if any_host["lanes"] == "on" else None)
        judge = next(e for e in st.entries if e.body.get("tool_choice") == "required")
        assert judge.body["temperature"] == 0


async def test_an_inline_task_talks_inside_a_tool(any_host: Any) -> None:
    class AskName(AgentTask[str]):
        def __init__(self, ctx: llm.ChatContext) -> None:
            super().__init__(instructions="Ask for the name.", chat_ctx=ctx)

        async def on_enter(self) -> None:
            await self.session.generate_reply(instructions="Ask now.")

        @function_tool
        async def got_name(self, name: str) -> None:
            """Take the name."""
            self.complete(name)

    class Host(Agent):
        @function_tool
        async def register(self) -> str:
            """Register the caller."""
            name = await AskName(self.chat_ctx.copy(exclude_instructions=True))
            return f"registered {name}"

    def script(request: Request) -> Reply | str:
        if request.trailing_outputs:
            return f"Done at {request.index}."
        if request.last_user_text == "Register me":
            names = [tool["name"] for tool in request.tools]
            return Reply.of(Call("register")) if "register" in names else "Your name, please?"
        if request.last_user_text == "Bob":
            return Reply.of(Call("got_name", {"name": "Bob"}))
        return f"Answer {request.index}."

    async with stage(script, **any_host) as st:
        async with session_of(st.llm, Host(instructions=PROMPT)) as session:
            await ask(session, "Hello")
            session.generate_reply(user_input="Register me")
            await until(lambda: ("assistant", "Your name, please?") in said_in(session))
            await ask(session, "Bob")
            await until(lambda: session.agent_state == "listening")
            await ask(session, "Thanks")
            await ask(session, "Bye")
        await st.check()


@pytest.mark.parametrize("stock", [False, True], ids=["rtllm", "stock"])
async def test_a_fallback_takes_over_from_a_silent_model(stock: bool) -> None:
    silent = {"fault": Silence(phase="created")}
    async with (
        stage("Never heard.", stock=stock, simulator=silent) as first,
        stage("Here I am.", stock=stock) as second,
    ):
        adapter = llm.FallbackAdapter([first.llm, second.llm], attempt_timeout=3.0)
        ctx = llm.ChatContext.empty()
        ctx.add_message(role="user", content="Hello?")
        answer = asyncio.ensure_future(adapter.chat(chat_ctx=ctx).collect())
        if stock:
            await first.service.journal.wait_for(1)
            done, _ = await asyncio.wait([answer], timeout=60.0)
            assert not done  # it waits without a limit
            answer.cancel()
            await asyncio.wait([answer])
        else:
            assert (await asyncio.wait_for(answer, 10)).text == "Here I am."
            assert len(second.entries) == 1
        await adapter.aclose()


async def test_a_turn_that_fails_leaves_the_session_usable(any_host: Any) -> None:
    async with stage(echo(), **any_host) as st, session_of(st.llm, assistant()) as session:
        await ask(session, "Hello")
        bad = APIConnectOptions(max_retry=0, timeout=2.0)
        st.service.fault = [Silence(phase="created")]
        ctx = llm.ChatContext.empty()
        ctx.add_message(role="user", content="Alone")
        with pytest.raises(Exception, match="first output"):
            await st.llm.chat(chat_ctx=ctx, conn_options=bad).collect()
        await ask(session, "Still there?")
