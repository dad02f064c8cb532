"""Calls that begin alike, on both SDKs: copied openings, ids that mean nothing, transcripts."""

from __future__ import annotations

from typing import Any

import pytest

from belonging.sessions.hall import CALLER, hall_of, secret

TURNS = ("hello", "more", "again", "thanks")
SHOTS = (("user", "What do you do?"), ("assistant", "I look up."), ("user", "Good."))


@pytest.mark.parametrize("count", [1, 2, 40])
@pytest.mark.parametrize("lost", [False, True], ids=["kept", "lost"])
async def test_one_opening_is_copied_into_each_call(side: Any, count: int, lost: bool) -> None:
    opening = side.opening(*SHOTS)
    async with hall_of(side, "lanes-unstored") as hall:

        async def call(name: str) -> None:
            del name
            async with hall.line(opening=opening) as line:
                await line.say("hello")
                await hall.together(hall.drop if lost else None)
                await line.say("look")
                await line.say("thanks")

        await hall.play(count, call)
        hall.check(whole=1 + lost, callers=count)


@pytest.mark.parametrize("ids", ["greeting", "msg_"])
async def test_ids_that_the_user_set_himself(side: Any, host: str, callers: int, ids: str) -> None:
    async with hall_of(side, host) as hall:

        async def call(name: str) -> None:
            del name
            opening = side.opening(("assistant", "Welcome!"), ids=ids)
            async with hall.line(opening=opening) as line:
                for text in ("hello", "look", "thanks"):
                    await hall.together()
                    await line.say(text)

        await hall.play(callers, call)
        hall.check(callers=callers)


async def test_the_agent_speaks_first(side: Any, host: str, callers: int) -> None:
    """Before any item of the caller's; VideoSDK adds an item for it, LiveKit none."""
    async with hall_of(side, host) as hall:

        async def call(name: str) -> None:
            del name
            async with hall.line(greets=True) as line:
                await hall.together()
                await line.say("hello")
                await hall.together()
                await line.say("thanks")

        await hall.play(callers, call)
        hall.check(callers=callers)


@pytest.mark.parametrize("heirs", [1, 2])
@pytest.mark.parametrize("lost", [False, True], ids=["kept", "lost"])
async def test_sessions_go_on_from_one_stored_transcript(
    side: Any, host: str, heirs: int, lost: bool
) -> None:
    """They may go on from the call that was stored, never from each other."""
    names = [f"caller{n}" for n in range(1, heirs + 1)]
    async with hall_of(side, host) as hall:
        hall.may_know = {name: {"caller0"} for name in names}

        async def go_on(name: str) -> None:
            async with hall.line(opening=side.restored(kept)) as line:
                for text in ("back", "look", "thanks"):
                    await hall.together()
                    await line.say(text)
                await hall.together()
            assert secret("caller0", "mcp") in str(hall.of(name)[-1].context)

        CALLER.set("caller0")
        async with hall.line() as line:  # its end would close VideoSDK's LLM, which forgets then
            await line.say("hello")
            await line.say("look")
            kept = side.stored(line)
            if lost:
                await hall.drop()
            await hall.play(heirs, go_on, first=1)
        hall.check(whole=None)
        whole = lost and not hall.host["store"]
        for name in names:
            assert hall.chained(name) == [not whole, True, True, True], hall.story()


@pytest.mark.parametrize("secrets", ["none", "sealed", "all"])
@pytest.mark.parametrize("count", [1, 2, 8])
async def test_contexts_that_are_rebuilt_each_turn(
    side: Any, host: str, count: int, secrets: Any
) -> None:
    """With new ids. One caller is chained unless much is hidden, twins must not be."""
    async with hall_of(side, host, secrets=secrets) as hall:

        async def call(name: str) -> None:
            del name
            said = [("system", "You are kind.")]
            for text in TURNS * (10 if count == 1 else 1):
                await hall.together()
                said.append(("user", text))
                said.append(("assistant", await side.ask(hall, side.opening(*said))))

        await hall.play(count, call)
        assert hall.crossings() == [], hall.story()
        chained = hall.chained()
        if count == 1:
            assert chained == [False, *[secrets != "all"] * 39], hall.story()
            assert len(hall.service.journal.connections) == 1
            assert len({entry.lane for entry in hall.entries}) <= (32 if secrets == "all" else 8)
        else:
            assert not any(hall.chained(f"caller{n}")[1] for n in range(count)), hall.story()


async def test_rebuilt_twins_one_after_the_other(side: Any, host: str) -> None:
    """The second says what the first has said, when that one is silent already."""
    async with hall_of(side, host, secrets="sealed") as hall:

        async def call(name: str) -> None:
            said = [("system", "You are kind.")]
            for text in ("hello", "more"):
                said.append(("user", text))
                said.append(("assistant", await side.ask(hall, side.opening(*said))))
            del name

        await hall.play(1, call)
        await hall.play(1, call, first=1)
        assert hall.crossings() == [], hall.story()
