"""What only VideoSDK does with its contexts: forks, merges, windows, summaries, handoffs."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from videosdk.agents import ChatContext, ChatRole, ContextWindow

from belonging.sessions.hall import CALLER, Hall, hall_of, hidden_of, secret
from belonging.sessions.on_videosdk import VideoSDK, VideoSDKLine, look
from rtllm.simulator import Call, Reply, Request, Script
from videosdk_adapter.talks import Plain, tool

SIDE = VideoSDK()


async def forked_turns(hall: Hall, fork: ChatContext, *texts: str) -> None:
    """A sub-agent talks on a fork."""
    for text in texts:
        fork.add_message(role=ChatRole.USER, content=text)
        answer = await SIDE.ask(hall, fork)
        fork.add_message(role=ChatRole.ASSISTANT, content=answer)


@pytest.mark.parametrize("back", ["merge", "merge_result", "dropped"])
@pytest.mark.parametrize("at_once", [False, True], ids=["in-turn", "at-once"])
async def test_a_fork_and_back(host: str, callers: int, back: str, *, at_once: bool) -> None:
    async with hall_of(SIDE, host) as hall:

        async def call(name: str) -> None:
            del name
            async with hall.line() as line:
                await line.say("hello")
                fork = line.context.fork()
                await hall.together()
                if at_once:
                    await asyncio.gather(
                        forked_turns(hall, fork, "sub", "subsub"), line.say("look")
                    )
                else:
                    await forked_turns(hall, fork, "sub", "subsub")
                if back != "dropped":
                    await getattr(line.context, back)(fork)
                await hall.together()
                await line.say("more")
                await line.say("thanks")

        await hall.play(callers, call)
        hall.check(whole=None, callers=callers)
        for number in range(callers):
            chained = hall.chained(f"caller{number}")
            assert chained.count(False) <= 1 + (back == "merge" and at_once), hall.story()


@pytest.mark.parametrize("count", [1, 2, 8])
async def test_several_forks_of_one_call(host: str, count: int) -> None:
    """Each fork is a caller who may know the call, and none of the other forks."""
    async with hall_of(SIDE, host) as hall:
        hall.may_know = {f"caller{n}": {"caller0"} for n in range(1, count + 1)}
        CALLER.set("caller0")
        async with hall.line() as line:  # its end would close the LLM, which forgets then
            await line.say("hello")
            await line.say("look")
            forks = [line.context.fork() for _ in range(count)]

            async def go_on(name: str) -> None:
                for text in ("sub", "subsub", "end"):
                    await hall.together()
                    await forked_turns(hall, forks[int(name.removeprefix("caller")) - 1], text)

            await hall.play(count, go_on, first=1)
        hall.check(callers=1)
        for number in range(1, count + 1):
            assert hall.chained(f"caller{number}") == [True] * 3, hall.story()


async def test_a_window_with_summaries(host: str, callers: int) -> None:
    window = ContextWindow(max_context_items=6, keep_recent_turns=1)
    async with hall_of(SIDE, host) as hall:

        async def call(name: str) -> None:
            del name
            async with hall.line(context_window=window) as line:
                for number in range(6):
                    await hall.together()
                    await line.say(f"turn {number}")

        await hall.play(callers, call)
        hall.check(whole=None, callers=callers)


async def truncated(line: VideoSDKLine, hall: Hall) -> None:
    del hall
    line.context.truncate(max_items=4)


async def summarized(line: VideoSDKLine, hall: Hall) -> None:
    await line.context.summarize(hall.llm, keep_recent_turns=1)


async def through_json(line: VideoSDKLine, hall: Hall) -> None:
    del hall
    line.context._items = ChatContext.from_dict(line.context.to_dict()).items


@pytest.mark.parametrize("edit", [truncated, summarized, through_json])
async def test_an_edited_context_on_videosdk(host: str, callers: int, edit: Any) -> None:
    async with hall_of(SIDE, host) as hall:
        await hall.play_edited(callers, edit, ("look", "thanks"))
        hall.check(whole=1 if edit is through_json else None, callers=callers)
        assert hall.chained()[-2:] == [True] * 2, hall.story()


def handing_over(hall: Hall) -> Script:
    def answer(request: Request) -> Reply | str:
        parts = hidden_of(str(request.body["metadata"]["caller"]), hall.secrets)
        said = request.last_user_text
        if said.startswith("to_") and not request.trailing_outputs:
            return Reply.of(*parts, Call(said, call_id=f"call_{said}"))
        return Reply.of(*parts, f"You said {said}.")

    return answer


async def test_a_handoff_there_and_back_on_videosdk(host: str, callers: int) -> None:
    async with hall_of(SIDE, host, script=handing_over) as hall:

        async def call(name: str) -> None:
            del name

            @tool
            async def to_back() -> Any:
                """Hand over to the back."""
                return back

            @tool
            async def to_front() -> Any:
                """Hand over to the front."""
                return Plain("You are the front again.", tools=[look], inherit_context=True)

            back = Plain("You are the back.", tools=[to_front, look], inherit_context=True)
            front = Plain("You are the front.", tools=[to_back, look])
            async with hall.line(agent=front) as line:
                for text in ("hello", "to_back", "soup", "to_front", "anyone", "bye"):
                    await hall.together()
                    await line.say(text)

        await hall.play(callers, call)
        hall.check(whole=None, callers=callers)
        assert hall.chained()[-1], hall.story()


async def test_facts_for_one_request_on_videosdk(host: str, callers: int) -> None:
    class Base:
        async def process_query(self, text: str) -> str:
            del text
            return secret(CALLER.get(), "fact")

    async with hall_of(SIDE, host) as hall:

        async def call(name: str) -> None:
            del name
            agent = Plain()
            agent.knowledge_base = Base()
            async with hall.line(agent=agent) as line:
                for text in ("cats", "dogs", "birds"):
                    await hall.together()
                    await line.on.turn(text)

        await hall.play(callers, call)
        hall.check(whole=None, callers=callers)
