"""Call flows on LiveKit, as voice agents use a model, each with both plugins.

A flow gets a stage (`tests/livekit_adapter/stage.py`: a simulator and a model that records every
context) and acts as callers and agents do. Nothing is asserted here; the contexts that the model
saw are compared afterwards.
"""

import asyncio
from functools import partial
from typing import Any, Literal

from livekit.agents import Agent, AgentSession, function_tool, llm

from livekit_stages import Stage, session_of, stage, turn, until
from rtllm.simulator import Call, Pause, Reply, Request, Text
from score import Setting, Suite

PROMPT = "You are a kind receptionist of a small hotel. Answer in a sentence or two. " * 8
CUT_AFTER = 2  # pieces


def model(request: Request) -> Reply | str:
    """Play the model in every flow."""
    asked = request.last_user_text
    if request.trailing_outputs:
        left = asked.count("again") - sum(
            1 for item in request.context if item.get("type") == "function_call_output"
        )
        if "again" in asked and left > 0:
            return Reply.of(Call("look", {"what": f"step {request.index}"}))
        return f"It is so, says answer {request.index}."
    if "look twice" in asked:
        return Reply.of(*(Call("look", {"what": f"{n} of {request.index}"}) for n in range(2)))
    if "look" in asked:
        return Reply.of(Call("look", {"what": f"for {request.index}"}))
    if "long" in asked:
        words = (f"Well {request.index}, ", "let me see, ", Pause(0.15), "it is a long story.")
        return Reply.of(Text(pieces=words))
    return f"This is answer {request.index}, and it has some words to be heard."


@function_tool
async def look(what: str) -> str:
    """Look something up.

    Args:
        what: What to look up.
    """
    return f"found {what}"


def agent(**options: Any) -> Agent:
    """Create the agent of most flows."""
    return Agent(**{"instructions": PROMPT, "tools": [look], **options})


async def say(session: AgentSession[Any], words: str) -> None:
    """Say something as the caller, and hear the full response."""
    await asyncio.wait_for(session.run(user_input=words), 20)


async def cut(session: AgentSession[Any], stage: Stage, words: str) -> None:
    """Say something as the caller, and interrupt the response at its first words."""
    before = len(stage.entries)
    speech = session.generate_reply(user_input=words)
    await until(lambda: len(stage.entries) > before and stage.entries[-1].deltas >= CUT_AFTER)
    await until(lambda: session.agent_state == "speaking")
    await session.interrupt()
    await speech


async def plain_turns(stage: Stage) -> None:
    """Run fifteen turns."""
    async with session_of(stage.llm, agent()) as session:
        for number in range(15):
            await say(session, f"Question {number}")


async def one_tool(stage: Stage) -> None:
    """Run a tool in every second turn."""
    async with session_of(stage.llm, agent()) as session:
        for number in range(6):
            await say(session, f"Please look at {number}" if number % 2 else f"Hello {number}")


async def parallel_tools(stage: Stage) -> None:
    """Run two calls at once."""
    async with session_of(stage.llm, agent()) as session:
        for number in range(4):
            await say(session, f"Please look twice, {number}")


async def chain_of_tools(stage: Stage) -> None:
    """Run one call after the other."""
    async with session_of(stage.llm, agent()) as session:
        await say(session, "Hello")
        await say(session, "look again")
        await say(session, "Thanks")


async def instructions_of_one_reply(stage: Stage) -> None:
    """Generate a greeting and a reminder with ``generate_reply(instructions=…)``."""
    async with session_of(stage.llm, agent()) as session:
        await session.generate_reply(instructions="Greet the caller.")
        await say(session, "Hello")
        await session.generate_reply(instructions="Ask whether they are still there.")
        await say(session, "Yes")
        await say(session, "Go on")


async def said_between(stage: Stage) -> None:
    """Let the agent say text without the model."""
    async with session_of(stage.llm, agent()) as session:
        for number in range(4):
            await say(session, f"Question {number}")
            await session.say(f"One moment, number {number}.")


async def updated_instructions(stage: Stage) -> None:
    """Set new instructions before every second turn."""
    running = agent()
    async with session_of(stage.llm, running) as session:
        for number in range(8):
            if number % 2:
                await running.update_instructions(f"{PROMPT} Today is day {number}.")
            await say(session, f"Question {number}")


async def handoffs(stage: Stage) -> None:
    """Hand off from one agent to another and back, with the history."""
    async with session_of(stage.llm, agent()) as session:
        for number in range(4):
            await say(session, f"Question {number}")
            history = session.history.copy(exclude_instructions=True, exclude_config_update=True)
            session.update_agent(agent(instructions=f"You are desk {number}.", chat_ctx=history))
        await say(session, "Goodbye")


async def cuts_while_speaking(stage: Stage) -> None:
    """Interrupt five times in the middle of a response, with a turn between interruptions."""
    async with session_of(stage.llm, agent()) as session:
        await say(session, "Hello")
        for number in range(5):
            await cut(session, stage, f"A long one, {number}")
            await say(session, f"Sorry, {number}")


async def cuts_in_a_row(stage: Stage) -> None:
    """Interrupt four times in a row."""
    async with session_of(stage.llm, agent()) as session:
        await say(session, "Hello")
        for number in range(4):
            await cut(session, stage, f"A long one, {number}")
        await say(session, "Sorry")
        await say(session, "Thanks")


def heard(ctx: llm.ChatContext, share: float) -> None:
    """Shorten the last response to the part that was heard."""
    message = ctx.messages()[-1]
    words = (message.text_content or "").split()
    kept = words[: int(len(words) * share)]
    if kept:
        message.content = [" ".join(kept)]
        message.interrupted = True
    else:
        ctx.items.remove(message)


async def cuts_after_the_answer(stage: Stage) -> None:
    """Run ordinary barge-ins: the response was complete, and half of it was heard."""
    ctx = start()
    for number in range(8):
        await turn(stage, ctx, f"Question {number}")
        if number % 2:
            heard(ctx, 0.5)


async def answers_unheard(stage: Stage) -> None:
    """Interrupt responses that were complete, but not heard at all."""
    ctx = start()
    for number in range(6):
        await turn(stage, ctx, f"Question {number}")
        if number % 3 == 1:
            heard(ctx, 0.0)


async def drafts(stage: Stage) -> None:
    """Generate preemptive drafts: two are dropped before each response."""
    ctx = start()
    for number in range(5):
        for guess in ("Ques", "Question"):
            draft = ctx.copy()
            draft.add_message(role="user", content=f"{guess} {number} long")
            stream = stage.llm.chat(chat_ctx=draft)
            await asyncio.wait_for(anext(stream), 10)
            await stream.aclose()
        await turn(stage, ctx, f"Question {number}?")
        await stage.service.journal.wait_idle()  # the caller listens


async def rewritten_on_adoption(stage: Stage) -> None:
    """Adopt a draft and rewrite its question in place."""
    ctx = start()
    for number in range(5):
        await turn(stage, ctx, f"question {number}")
        ctx.messages()[-2].content = [f"Question {number}!"]


async def window(stage: Stage) -> None:
    """Limit the history to its last items before each turn."""
    ctx = start()
    for number in range(8):
        ctx.truncate(max_items=6)
        await turn(stage, ctx, f"Question {number}")


async def rewinds(stage: Stage) -> None:
    """Return to an earlier point of the conversation."""
    ctx = start()
    for number in range(4):
        await turn(stage, ctx, f"Question {number}")
    for keep in (5, 3):
        ctx.items = ctx.items[:keep]
        await turn(stage, ctx, f"Back at {keep}")
        await turn(stage, ctx, f"On from {keep}")


async def retrieved_text(stage: Stage) -> None:
    """Add text to one request only, as retrieval does."""
    ctx = start()
    for number in range(5):
        ctx.add_message(role="user", content=f"Question {number}")
        asked = ctx.copy()
        asked.add_message(role="system", content=f"Page {number} of the handbook.")
        said = await stage.llm.chat(chat_ctx=asked).collect()
        ctx.add_message(role="assistant", content=said.text)


async def two_sessions(stage: Stage) -> None:
    """Serve two callers with one model object, alternating."""
    async with (
        session_of(stage.llm, agent()) as one,
        session_of(stage.llm, agent(instructions="You are another desk.")) as two,
    ):
        for number in range(5):
            await say(one, f"First caller {number}")
            await say(two, f"Second caller {number}")


async def two_sessions_at_once(stage: Stage) -> None:
    """Serve two callers with one model object at the same time."""

    async def caller(name: str) -> None:
        async with session_of(stage.llm, agent(instructions=f"You serve {name}.")) as session:
            for number in range(5):
                await say(session, f"{name} asks {number}")

    await asyncio.gather(caller("Ada"), caller("Bob"))


async def side_calls(stage: Stage) -> None:
    """Generate a summary after each turn, on the same object."""
    async with session_of(stage.llm, agent()) as session:
        for number in range(4):
            await say(session, f"Question {number}")
            notes = llm.ChatContext.empty()
            notes.add_message(role="system", content="Summarise the conversation.")
            notes.add_message(role="user", content=str(session.history.to_dict()["items"][-2:]))
            await stage.llm.chat(chat_ctx=notes).collect()


def start() -> llm.ChatContext:
    """Create a context with the instructions only."""
    ctx = llm.ChatContext.empty()
    ctx.add_message(role="system", content=PROMPT)
    return ctx


async def a_long_call(stage: Stage) -> None:
    """Run thirty turns, some with a tool, and a barge-in in every sixth."""
    async with session_of(stage.llm, agent()) as session:
        for number in range(30):
            if number % 6 == 5:
                await cut(session, stage, f"A long one, {number}")
            else:
                await say(session, f"Please look at {number}" if number % 4 else f"Hello {number}")


async def ten_callers(stage: Stage) -> None:
    """Serve ten callers with one model object, alternating, all greeted with the same words."""
    callers = [start() for _ in range(10)]
    for ctx in callers:
        ctx.add_message(role="assistant", content="Good day, how can I help you?")
    for number in range(4):
        for name, ctx in enumerate(callers):
            await turn(stage, ctx, f"Caller {name} asks {number}")


async def restored_history(stage: Stage) -> None:
    """Store and restore the history between turns, so that no object is the same."""
    ctx = start()
    for number in range(6):
        ctx = llm.ChatContext.from_dict(ctx.to_dict())
        await turn(stage, ctx, f"Question {number}")


FLOWS = (
    plain_turns,
    one_tool,
    parallel_tools,
    chain_of_tools,
    instructions_of_one_reply,
    said_between,
    updated_instructions,
    handoffs,
    cuts_while_speaking,
    cuts_in_a_row,
    cuts_after_the_answer,
    answers_unheard,
    drafts,
    rewritten_on_adoption,
    window,
    rewinds,
    retrieved_text,
    two_sessions,
    two_sessions_at_once,
    side_calls,
    a_long_call,
    ten_callers,
    restored_history,
)


def _setting(
    *, stock: bool, lanes: Literal["on", "off", "ignore"] = "on", store: bool | None
) -> Setting[Stage]:
    host = {"on": "lanes", "off": "no lanes", "ignore": "lanes ignored"}[lanes]
    stored = "store=False" if store is False else "stored"
    return Setting(
        f"stock, {stored}" if stock else f"rtllm, {host}, {stored}",
        partial(stage, model, store=store, lanes=lanes, stock=stock),
    )


SUITE = Suite(
    "LiveKit",
    FLOWS,
    [
        setting
        for store in (None, False)
        for setting in (
            _setting(stock=True, store=store),
            _setting(stock=False, store=store),
            _setting(stock=False, store=store, lanes="off"),
            _setting(stock=False, store=store, lanes="ignore"),
        )
    ],
)
