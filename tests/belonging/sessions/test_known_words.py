"""Callers whose words are known here already: another caller said them, and was answered so."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from livekit.agents import llm
from videosdk.agents import FallbackLLM

from belonging.sessions.hall import Hall, hall_of
from belonging.sessions.on_livekit import LiveKit
from rtllm.simulator import ErrorFrame
from support.waiting import until

SAID = (("user", "hello"), ("assistant", "You said hello."))
ON_WORDS_ALONE = "the proof of content takes who comes with new ids for who said these words here"


async def in_turn(hall: Hall, first: Any, second: Any) -> None:
    """Two callers on the line together, of whom the second begins when the first has spoken."""
    spoke, over = asyncio.Event(), asyncio.Event()

    async def call(name: str) -> None:
        async def goes_on(line: Any) -> None:
            spoke.set()
            await over.wait()
            for text in ("more", "thanks"):
                await line.say(text)

        if name == "caller0":
            await first(goes_on)
        else:
            await spoke.wait()
            await second()
            over.set()

    await hall.play(2, call)


def says_hello(hall: Hall) -> Any:
    """A caller who is answered with known words, and goes on when the other one is gone."""

    async def first(goes_on: Any) -> None:
        async with hall.line() as line:
            await line.say("hello")
            await goes_on(line)

    return first


@pytest.mark.parametrize(
    "secrets",
    ["all", pytest.param("sealed", marks=pytest.mark.xfail(strict=True, reason=ON_WORDS_ALONE))],
)
async def test_examples_hold_what_another_was_answered(side: Any, host: str, secrets: Any) -> None:
    async with hall_of(side, host, secrets=secrets) as hall:

        async def second() -> None:
            async with hall.line(opening=side.opening(*SAID)) as line:
                for text in ("more", "thanks"):
                    await line.say(text)

        await in_turn(hall, says_hello(hall), second)
        hall.check(callers=2)


async def test_what_comes_under_new_ids_costs_the_caller_nothing(side: Any, host: str) -> None:
    """A caller keeps his own conversation, whatever other callers said before."""
    async with hall_of(side, host, secrets="sealed") as hall:

        async def second() -> None:
            async with hall.line(opening=side.opening(*SAID)) as line:
                for text in ("more", "thanks"):
                    await line.say(text)

        await in_turn(hall, says_hello(hall), second)
        assert hall.chained("caller0") == [False, True, True], hall.story()


async def test_a_call_that_falls_over_to_this_object(
    side: Any, host: str, request: pytest.FixtureRequest
) -> None:
    """LiveKit's marks tell that it began on another one; VideoSDK keeps none."""
    if "videosdk" in request.node.name:
        request.applymarker(pytest.mark.xfail(strict=True, reason=ON_WORDS_ALONE))
    async with (
        hall_of(side, host, secrets="sealed") as hall,
        hall_of(side, host, secrets="sealed") as other,
    ):
        models = [other.llm, hall.llm]
        both: Any = (
            llm.FallbackAdapter(models) if isinstance(hall.llm, llm.LLM) else FallbackLLM(models)
        )

        async def second() -> None:
            async with hall.line(model=both) as line:
                await line.say("hello")
                other.service.fault = ErrorFrame(code="invalid_api_key", status=401)
                for text in ("more", "thanks"):
                    await line.say(text)

        await in_turn(hall, says_hello(hall), second)
        assert (len(other.of("caller1")), len(hall.of("caller1"))) == (1, 2)
        hall.check(callers=2)


@pytest.mark.xfail(strict=True, reason=ON_WORDS_ALONE)
async def test_a_greeting_that_was_kept_is_said_to_the_next(host: str) -> None:
    """On LiveKit: the first caller's is made by the model, the next ones get it for nothing."""
    async with hall_of(LiveKit(), host, secrets="sealed") as hall:

        async def first(goes_on: Any) -> None:
            async with hall.line(greets=True) as line:
                await goes_on(line)

        async def second() -> None:
            async with hall.line() as line:
                await line.session.say("You said .")
                for text in ("more", "thanks"):
                    await line.say(text)

        await in_turn(hall, first, second)
        hall.check(callers=2)


@pytest.mark.parametrize("callers", [2], ids=["twins"])
@pytest.mark.parametrize(
    "counted",
    [
        False,
        pytest.param(
            True,
            marks=pytest.mark.xfail(
                strict=True, reason="a second call with all the same ids passes for a repeat"
            ),
        ),
    ],
    ids=["content", "figures"],
)
async def test_all_ids_are_numbers(side: Any, host: str, callers: int, *, counted: bool) -> None:
    """The same in every call, by the user's own doing."""
    async with hall_of(side, host) as hall:

        async def call(name: str) -> None:
            del name
            said = [("system", "You are kind.")]
            for text in ("hello", "more", "thanks"):
                await hall.together()
                said.append(("user", text))
                said.append(("assistant", await side.ask(hall, side.opening(*said, ids="item"))))

        await hall.play(callers, call)
        crossings = hall.crossings()
        assert counted or [c for c in crossings if not c.startswith("conversation")] == []
        assert not counted or crossings == []


async def test_some_are_answered_while_others_still_listen(side: Any, any_host: str) -> None:
    async with hall_of(side, any_host) as hall:

        async def call(name: str) -> None:
            async with hall.line() as line:
                await line.say("hello")
                await hall.together()
                if name < "caller2":
                    await line.say("cut nothing")
                else:
                    await until(lambda: hall.running("caller0") and hall.running("caller1"))
                    for text in ("look", "more"):
                        await line.say(text)
                    if name == "caller3":
                        hall.gate.set()
                await line.say("thanks")

        await hall.play(4, call)
        hall.check(callers=4)


async def test_marks_alone_tell_whose_answer_it_was(host: str, callers: int) -> None:
    """LiveKit's context is rebuilt for each turn, with all but the ids."""
    async with hall_of(LiveKit(), host) as hall:

        async def call(name: str) -> None:
            del name
            async with hall.line() as line:
                for text in ("hello", "more", "thanks"):
                    await hall.together()
                    await line.say(text)
                    rebuilt = llm.ChatContext.empty()
                    for message in line.context.copy(exclude_instructions=True).messages():
                        rebuilt.add_message(
                            role=message.role, content=message.content, extra=message.extra
                        )
                    await line.replace(rebuilt)

        await hall.play(callers, call)
        hall.check(callers=callers)
