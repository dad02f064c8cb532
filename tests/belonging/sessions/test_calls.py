"""Calls over several turns, on both SDKs: callers who say the same are kept apart."""

from __future__ import annotations

from typing import Any

import pytest

from belonging.sessions.hall import hall_of, secret

TURNS = ("hello", "more", "look", "thanks")


@pytest.mark.parametrize("count", [1, 2, 8])
async def test_equal_calls_are_chained_each_by_itself(side: Any, any_host: str, count: int) -> None:
    async with hall_of(side, any_host) as hall:

        async def call(name: str) -> None:
            del name
            async with hall.line() as line:
                for text in TURNS:
                    await hall.together()
                    await line.say(text)

        await hall.play(count, call)
        hall.check(callers=count)
        assert len(hall.entries) == count * 5


async def test_forty_callers(side: Any, host: str) -> None:
    async with hall_of(side, host) as hall:

        async def call(name: str) -> None:
            del name
            async with hall.line() as line:
                for text in ("hello", "look", "thanks"):
                    await hall.together()
                    await line.say(text)

        await hall.play(40, call)
        hall.check(callers=40)


@pytest.mark.parametrize("store", [True, False], ids=["stored", "unstored"])
async def test_connections_are_lost_between_turns(side: Any, callers: int, store: bool) -> None:
    """Unstored, the full context is sent once; hidden items return to their own caller."""
    async with hall_of(side, "lanes-stored" if store else "lanes-unstored") as hall:

        async def call(name: str) -> None:
            async with hall.line() as line:
                await line.say("hello")
                await line.say("look")
                await hall.together(hall.drop)
                await line.say("again")
                await line.say("thanks")
                assert secret(name, "tool") in str(hall.of(name)[-1].context)

        await hall.play(callers, call)
        hall.check(whole=1 if store else 2, callers=callers)
        last = hall.of("caller0")[-1]
        assert secret("caller0", "mcp") in str(last.context)


@pytest.mark.parametrize(
    ("at", "lost"),
    [
        ("lanes-stored", False),
        ("lanes-unstored", False),
        ("lanes-unstored", True),
        ("alone-unstored", False),
        ("http-stored", False),
    ],
)
async def test_a_first_answer_that_is_cut(side: Any, callers: int, at: str, lost: bool) -> None:
    """Nothing of it may be continued: the second request sends the full context too."""
    async with hall_of(side, at) as hall:

        async def call(name: str) -> None:
            del name
            async with hall.line() as line:
                await line.cut("cut me")
                await hall.together()
                hall.gate.set()
                await hall.together(hall.drop if lost else None)
                await line.say("hello")
                await line.say("thanks")
                assert ("assistant", "One two three four.") not in line.history()

        await hall.play(callers, call)
        hall.check(whole=2, callers=callers)


async def test_everybodys_pictures_differ(side: Any, callers: int, host: str) -> None:
    async with hall_of(side, host, secrets="none") as hall:

        async def call(name: str) -> None:
            opening = side.opening(("user", "Look at this."), picture=secret(name, "picture"))
            async with hall.line(opening=opening) as line:
                for text in ("hello", "more"):
                    await hall.together()
                    await line.say(text)
            assert secret(name, "picture") in str(hall.of(name)[-1].context)

        await hall.play(callers, call)
        hall.check(callers=callers)
