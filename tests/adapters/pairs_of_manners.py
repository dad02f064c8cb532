"""A short call with a host that has two manners, on each SDK and over each API."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from contextlib import asynccontextmanager
from itertools import combinations
from typing import Any

from livekit.agents import Agent, function_tool
from livekit.agents.utils import http_context

from livekit_adapter.sessions import said_in, session_of
from rtllm.simulator import MANNERS, Call, Reply, Request, Simulator
from rtllm.simulator.script import text_of
from rtllm_livekit import LLM, ChatLLM
from rtllm_videosdk import OpenAILLM
from videosdk_adapter.talks import Plain, talk, tool

Say = Callable[[str], Awaitable[str]]
"""Say something; returns the agent's words."""

CALL = (
    ("hello one", "Yes: hello one."),
    ("weather please", "It is sunny."),
    ("bye two", "Yes: bye two."),
)
"""What the caller says, and the agent answers."""
SEEN = (
    "Be kind.",
    "hello one",
    CALL[0][1],
    "weather please",
    "sunny in Rome",
    CALL[1][1],
    "bye two",
)
"""What the last request must have, in this order, each once."""


def script(request: Request) -> Reply | str:
    """Call the tool once, and answer everything else in a sentence."""
    asked = request.last_user_text
    if "weather" not in asked:
        return f"Yes: {'bye two' if 'bye two' in asked else 'hello one'}."
    places = [i for i, item in enumerate(request.context) if "weather please" in text_of(item)]
    after = request.context[places[-1] :]
    if any(item.get("type") == "function_call_output" for item in after):
        return "It is sunny."
    return Reply.of(Call("weather", {"city": "Rome"}))


async def weather(city: str) -> str:
    """Tell the weather of a city."""
    return f"sunny in {city}"


@asynccontextmanager
async def livekit_session(model: Any) -> AsyncIterator[Say]:
    agent = Agent(instructions="Be kind.", tools=[function_tool(weather)])
    async with session_of(model, agent) as session:

        async def say(text: str) -> str:
            before = len(said_in(session))
            await session.run(user_input=text)
            return "".join(t for role, t in said_in(session)[before:] if role == "assistant")

        yield say


@asynccontextmanager
async def videosdk_pipeline(model: Any) -> AsyncIterator[Say]:
    async with talk(model, Plain("Be kind.", [tool(weather)])) as call:

        async def say(text: str) -> str:
            await call.say(text)
            role, words = call.last
            return words if role == "assistant" else ""

        yield say


Stage = tuple[Callable[..., Any], Callable[[Any], Any]]
STAGES: dict[str, Stage] = {
    "livekit": (LLM, livekit_session),
    "livekit http": (lambda **o: LLM(use_websocket=False, **o), livekit_session),
    "livekit chat": (ChatLLM, livekit_session),
    "videosdk": (lambda **o: OpenAILLM(streaming=True, **o), videosdk_pipeline),
    "videosdk chat": (OpenAILLM, videosdk_pipeline),
}
"""The LLMs, and how a call is played with each."""

IMPOSSIBLE = (
    {"ignores parents", "claims parents"},
    {"ignores parents", "renames parents"},
    {"signs calls", "no unknown fields"},
    {"thinks beside calls", "no unknown fields"},
)
"""Manners that are an error together: a host that denies that it forgot the context, or one that
rejects the fields that it demands."""


def pairs() -> list[tuple[str, ...]]:
    """All pairs of manners that a call can be played with."""
    return [pair for pair in combinations(MANNERS, 2) if set(pair) not in IMPOSSIBLE]


async def play(stage: str, manners: Collection[str]) -> None:
    """Play the call, and check what was said and what the model saw at the end."""
    make, session = STAGES[stage]
    async with (
        http_context.open(),
        Simulator(script, manners=manners, strict=False) as service,
    ):
        model = make(model="some-model", api_key="key", base_url=service.base_url)
        try:
            async with session(model) as say:
                for asked, expected in CALL:
                    assert await say(asked) == expected, service.journal
        finally:
            await model.aclose()
        last = [entry for entry in service.journal.entries if entry.outcome == "completed"][-1]
        texts = [last.instructions or "", *(_text(item) for item in last.context)]
        seen = "\n".join(texts)
        places = [seen.find(each) for each in SEEN]
        assert -1 not in places, seen
        assert places == sorted(places), seen
        assert [seen.count(each) for each in SEEN] == [SEEN_TWICE.get(each, 1) for each in SEEN]


SEEN_TWICE = {"hello one": 2, "bye two": 1}
"""The caller's first words are also in the answer."""


def _text(item: dict[str, Any]) -> str:
    return str(item.get("output")) if "output" in item else text_of(item)
