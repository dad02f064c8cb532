"""Call flows on VideoSDK's pipeline, each with both plugins.

A flow gets a stage (`tests/videosdk_adapter/stage.py`: a simulator and a model that records every
context) and acts as callers and agents do. Nothing is asserted here; the contexts that the model
saw are compared afterwards.
"""

import asyncio
from functools import partial
from typing import Any, Literal

from videosdk.agents import ChatRole, ContextWindow

from rtllm.simulator import Call, Pause, Reply, Request, Text
from score import Setting, Suite
from videosdk_caller import Caller, call
from videosdk_stages import Plain, Stage, stage, tool

PROMPT = "You are a kind receptionist of a small hotel. Answer in a sentence or two. " * 8


def model(request: Request) -> Reply | str:
    """Play the model in every flow."""
    asked = request.last_user_text.split()
    number = request.index
    users = [n for n, item in enumerate(request.context) if item.get("role") == "user"]
    behind = request.context[users[-1] :] if users else []
    if rounds := sum(item.get("type") == "function_call_output" for item in behind):
        if rounds <= asked.count("again"):
            return Reply.of(Call("look", {"what": f"step {number}"}))
        return f"It is so, says answer {number}."
    calls = {
        "look": [Call("look", {"what": f"for {number}"})],
        "three": [Call("look", {"what": f"{n} of {number}"}) for n in range(3)],
        "fail": [Call("fail", {"what": f"for {number}"})],
        "plain": [Call("plain", {"what": f"for {number}"})],
        "aside": [Call("aside", {"what": f"for {number}"})],
        "transfer": [Call("transfer")],
    }
    if asked and asked[0] in calls and request.tools:
        words = ["One moment. "] if "politely" in asked else []
        return Reply.of(*words, *calls[asked[0]])
    if "long" in asked:
        pieces = (f"Well {number}, ", "let me see, ", Pause(0.15), "it is a long story.")
        return Reply.of(Text(pieces=pieces))
    if "slow" in asked:
        return Reply.of(Text(pieces=(Pause(0.15), f"Here it is, {number}.")))
    return f"This is answer {number}, and it has some words to be heard."


@tool
async def look(what: str) -> str:
    """Look something up.

    Args:
        what: What to look up.
    """
    return f"found {what}"


@tool
async def fail(what: str) -> str:
    """Look something up that can't be found.

    Args:
        what: What to look up.
    """
    raise RuntimeError(f"no line to {what}")


@tool
def plain(what: str) -> str:
    """Look something up without async.

    Args:
        what: What to look up.
    """
    return f"found {what}"


class Receptionist(Plain):
    """The agent of most flows."""

    def __init__(self, instructions: str = PROMPT, more_tools: Any = ()) -> None:
        super().__init__(instructions, tools=[look, fail, plain, *more_tools])


# -- turns and tools ------------------------------------------------------------------------------


async def plain_turns(on: Stage) -> None:
    """Run twelve turns."""
    async with call(on, Receptionist()) as caller:
        for number in range(12):
            await caller.say(f"Question {number}")


async def one_tool(on: Stage) -> None:
    """Run a tool in every second turn."""
    async with call(on, Receptionist()) as caller:
        for number in range(6):
            await caller.say(f"look at {number}" if number % 2 else f"Hello {number}")


async def words_before_a_tool(on: Stage) -> None:
    """Let the model say something before it calls a tool."""
    async with call(on, Receptionist()) as caller:
        for number in range(4):
            await caller.say(f"look politely at {number}")


async def three_parallel_tools(on: Stage) -> None:
    """Run three calls at once."""
    async with call(on, Receptionist()) as caller:
        for number in range(4):
            await caller.say(f"three {number}" if number % 2 else f"Hello {number}")


async def chain_of_tools(on: Stage) -> None:
    """Run one call after the other."""
    async with call(on, Receptionist()) as caller:
        await caller.say("Hello")
        await caller.say("look again again")
        await caller.say("Thanks")


async def a_tool_that_raises(on: Stage) -> None:
    """Let a tool raise; the conversation must continue."""
    async with call(on, Receptionist()) as caller:
        await caller.say("Hello")
        await caller.say("fail now")
        await caller.say("Still there?")
        await caller.say("Good")


async def a_tool_without_async(on: Stage) -> None:
    """Run a tool that is not async; the framework runs it and fails afterwards."""
    async with call(on, Receptionist()) as caller:
        await caller.say("Hello")
        await caller.say("plain now")
        await caller.say("Still there?")


# -- text without the model ----------------------------------------------------------------------


async def said_between(on: Stage) -> None:
    """Let the agent say text without the model."""
    async with call(on, Receptionist()) as caller:
        for number in range(4):
            await caller.say(f"Question {number}")
            await caller.line.session.say(f"One moment, number {number}.")


async def said_inside_a_tool(on: Stage) -> None:
    """Let the agent say something while a tool works."""
    agent: Any = None

    @tool
    async def aside(what: str) -> str:
        """Look something up and talk meanwhile.

        Args:
            what: What to look up.
        """
        await agent.session.say("Hold on.")
        return f"found {what}"

    agent = Receptionist(more_tools=[aside])
    async with call(on, agent) as caller:
        await caller.say("Hello")
        await caller.say("aside please")
        await caller.say("Thanks")
        await caller.say("Bye")


async def replies_without_a_caller(on: Stage) -> None:
    """Call ``session.reply(…)`` between turns."""
    async with call(on, Receptionist()) as caller:
        await caller.say("Hello")
        async with asyncio.timeout(10):
            await caller.line.session.reply("Ask whether they are still there.")
        await caller.say("Yes")
        await caller.say("Go on")


# -- instructions, handoffs, windows --------------------------------------------------------------


async def edited_instructions(on: Stage) -> None:
    """Set new instructions before every second turn."""
    async with call(on, Receptionist()) as caller:
        for number in range(6):
            if number % 2:
                caller.line.agent.instructions = f"{PROMPT} Today is day {number}."
            await caller.say(f"Question {number}")


async def replaced_instructions(on: Stage) -> None:
    """Replace the system text in place."""
    async with call(on, Receptionist()) as caller:
        for number in range(6):
            if number % 2:
                caller.line.context.items[0].content = [f"{PROMPT} Today is day {number}."]
            await caller.say(f"Question {number}")


async def updated_instructions(on: Stage) -> None:
    """Add an ``AgentConfigUpdate`` to the history."""
    async with call(on, Receptionist()) as caller:
        await caller.say("Hello")
        caller.line.context.add_config_update(instructions="Speak French.")
        await caller.say("Again")
        await caller.say("Bye")


async def handoffs(on: Stage) -> None:
    """Transfer the caller to another agent by a tool."""
    bob = Receptionist("You are Bob of the restaurant.")

    @tool
    async def transfer() -> Any:
        """Transfer the caller to Bob."""
        return bob

    async with call(on, Receptionist(more_tools=[transfer])) as caller:
        await caller.say("Hello")
        await caller.say("transfer me", wants_answer=False)
        for words in ("Who are you?", "look at the menu", "Thanks"):
            await caller.say(words)


async def window_and_summary(on: Stage) -> None:
    """Limit the history to six items, with a summary of the rest by the same model."""
    window = ContextWindow(max_context_items=6, keep_recent_turns=1)
    async with call(on, Receptionist(), context_window=window) as caller:
        for number in range(8):
            await caller.say(f"Question {number}")


async def truncation(on: Stage) -> None:
    """Limit the history to its last items, without a summary."""
    async with call(on, Receptionist()) as caller:
        for number in range(8):
            caller.line.context.truncate(max_items=6)
            await caller.say(f"Question {number}")


async def knowledge_base(on: Stage) -> None:
    """Add text of a knowledge base before each question, for its request only."""

    class Base:
        async def process_query(self, text: str) -> str:
            return f"Facts about {text}."

    agent = Receptionist()
    agent.knowledge_base = Base()
    async with call(on, agent) as caller:
        for number in range(5):
            await caller.say(f"Question {number}")


async def taken_back(on: Stage) -> None:
    """Take back a turn that was begun too early: as many items, other words."""
    async with call(on, Receptionist()) as caller:
        await caller.say("Hello")
        for number in range(3):
            await caller.say(f"I want {number}")
            del caller.line.context._items[-2:]
            await caller.say(f"I want a table {number}")


# -- several on one object ------------------------------------------------------------------------


async def two_agents(on: Stage) -> None:
    """Serve two callers with one model object, alternating."""
    ada = Receptionist("You are Ada. The code is 1234.")
    async with call(on, ada) as one, call(on, Receptionist("You are Bob.")) as two:
        for number in range(4):
            await one.say(f"First caller {number}")
            await two.say(f"Second caller {number}")


async def two_agents_at_once(on: Stage) -> None:
    """Serve two callers with one model object at the same time.

    Both stay on the line to the end, because a session that closes closes its model object.
    """

    async def talks(name: str, caller: Caller) -> None:
        for number in range(4):
            await caller.say(f"{name} asks {number}")

    ada, bob = (Receptionist(f"You serve {name}.") for name in ("Ada", "Bob"))
    async with call(on, ada) as one, call(on, bob) as two:
        await asyncio.gather(talks("Ada", one), talks("Bob", two))


async def side_calls(on: Stage) -> None:
    """Generate a summary after each turn, on the same object."""
    async with call(on, Receptionist()) as caller:
        for number in range(4):
            await caller.say(f"Question {number}")
            notes = type(caller.line.context).empty()
            notes.add_message(role=ChatRole.SYSTEM, content="Summarise the conversation.")
            notes.add_message(role=ChatRole.USER, content=str(caller.line.history()[-2:]))
            async with asyncio.timeout(10):
                _ = [chunk async for chunk in on.llm.chat(notes)]


# -- interruptions --------------------------------------------------------------------------------


async def cuts_before_words(on: Stage) -> None:
    """Interrupt before the response's first word, with a turn between interruptions."""
    async with call(on, Receptionist()) as caller:
        await caller.say("Hello")
        for number in range(3):
            await caller.cut(f"A slow one {number}", after_deltas=0)
            await caller.say(f"Sorry {number}")


async def cuts_within_words(on: Stage) -> None:
    """Interrupt in the middle of the response, with a turn between interruptions."""
    async with call(on, Receptionist()) as caller:
        await caller.say("Hello")
        for number in range(4):
            await caller.cut(f"A long one {number}", after_deltas=2)
            await caller.say(f"Sorry {number}")


async def cuts_after_the_answer(on: Stage) -> None:
    """Run ordinary barge-ins: the response was complete, and a part of it was heard."""
    async with call(on, Receptionist()) as caller:
        await caller.say("Hello")
        for number in range(4):
            await caller.say(f"Question {number}")
            await caller.interrupt_late("This is")
            await caller.say(f"Sorry {number}")


async def cuts_in_a_row(on: Stage) -> None:
    """Interrupt three times in a row."""
    async with call(on, Receptionist()) as caller:
        await caller.say("Hello")
        for number in range(3):
            await caller.cut(f"A long one {number}", after_deltas=2)
        await caller.say("Sorry")
        await caller.say("Thanks")


async def a_long_call(on: Stage) -> None:
    """Run twenty-four turns, some with a tool, and a barge-in in every sixth."""
    async with call(on, Receptionist()) as caller:
        for number in range(24):
            if number % 6 == 5:
                await caller.cut(f"A long one {number}", after_deltas=2)
            else:
                await caller.say(f"look at {number}" if number % 4 == 0 else f"Hello {number}")


FLOWS = (
    plain_turns,
    one_tool,
    words_before_a_tool,
    three_parallel_tools,
    chain_of_tools,
    a_tool_that_raises,
    a_tool_without_async,
    said_between,
    said_inside_a_tool,
    replies_without_a_caller,
    edited_instructions,
    replaced_instructions,
    updated_instructions,
    handoffs,
    window_and_summary,
    truncation,
    knowledge_base,
    taken_back,
    two_agents,
    two_agents_at_once,
    side_calls,
    cuts_before_words,
    cuts_within_words,
    cuts_after_the_answer,
    cuts_in_a_row,
    a_long_call,
)


def _setting(
    name: str,
    *,
    streaming: bool = True,
    store: bool = False,
    lanes: Literal["on", "off"] = "on",
) -> Setting[Stage]:
    made = partial(stage, model, stock=name.startswith("stock"), streaming=streaming)
    return Setting(name, partial(made, store=store, lanes=lanes))


SUITE = Suite(
    "VideoSDK",
    FLOWS,
    [
        _setting("stock, WebSocket, stored", store=True),
        _setting("stock, WebSocket, store=False"),
        _setting("stock, HTTP Chat", streaming=False),
        _setting("rtllm, lanes, stored", store=True),
        _setting("rtllm, lanes, store=False"),
        _setting("rtllm, no lanes, stored", store=True, lanes="off"),
        _setting("rtllm, no lanes, store=False", lanes="off"),
        _setting("rtllm, HTTP Chat", streaming=False),
    ],
    unanswered=lambda on: len(on.unanswered),
)
