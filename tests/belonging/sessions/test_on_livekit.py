"""What only LiveKit does with its contexts: handoffs, drafts, edits, windows, single requests."""

from __future__ import annotations

from typing import Any

import pytest
from livekit.agents import Agent, function_tool, llm

from belonging.sessions.hall import CALLER, PROMPT, Hall, hall_of, hidden_of, secret
from belonging.sessions.on_livekit import LiveKit, LiveKitLine, look
from livekit_adapter.sessions import draft, end_of_turn
from rtllm.simulator import Call, Reply, Request, Script
from support.waiting import until

SIDE = LiveKit()


class Desk(Agent):
    """Hands over to the other desk, with the context or without it."""

    def __init__(self, name: str, *, share: bool, **options: Any) -> None:
        self.name = name
        self.share = share
        super().__init__(instructions=f"You are {name}.", tools=[look], **options)

    @function_tool
    async def hand_over(self) -> Agent:
        """Hand over."""
        other = "back" if self.name == "front" else "front"
        if not self.share:
            return Desk(other, share=False)
        return Desk(other, share=True, chat_ctx=self.chat_ctx.copy(exclude_instructions=True))


def handing_over(hall: Hall) -> Script:
    def answer(request: Request) -> Reply | str:
        parts = hidden_of(str(request.body["metadata"]["caller"]), hall.secrets)
        said = request.last_user_text
        if said == "hand_over" and not request.trailing_outputs:
            asked = sum(item.get("role") == "user" for item in request.context)
            return Reply.of(*parts, Call(said, call_id=f"call_{asked}"))
        return Reply.of(*parts, f"You said {said}.")

    return answer


@pytest.mark.parametrize("share", [True, False], ids=["with-context", "without"])
async def test_a_handoff_there_and_back_on_livekit(host: str, callers: int, *, share: bool) -> None:
    async with hall_of(SIDE, host, script=handing_over) as hall:

        async def call(name: str) -> None:
            del name
            async with hall.line(agent=Desk("front", share=share)) as line:
                for text in ("hello", "hand_over", "soup", "hand_over", "anyone", "bye"):
                    await hall.together()
                    await line.say(text)

        await hall.play(callers, call)
        hall.check(whole=None, callers=callers)
        for number in range(callers):
            assert hall.chained(f"caller{number}")[-1]


@pytest.mark.parametrize("adopted", [True, False])
async def test_drafts(host: str, callers: int, *, adopted: bool) -> None:
    """Of two drafts the second is adopted and its words rewritten, or neither is."""
    async with hall_of(SIDE, host) as hall:

        async def call(name: str) -> None:
            async with hall.line() as line:
                await line.say("hello")
                for text in ("say", "say two"):
                    before = len(hall.of(name))
                    draft(line.session, text)
                    await until(lambda n=before: len(hall.of(name)) > n)  # type: ignore[misc]
                said = "Say: Two!" if adopted else "something else"
                end_of_turn(line.session, said)
                answer = "You said say two." if adopted else f"You said {said}."
                await until(lambda: line.history()[-1] == ("assistant", answer))
                assert line.history()[-2] == ("user", said)
                await hall.together()
                await line.say("thanks")
                await line.say("bye")

        await hall.play(callers, call)
        hall.check(callers=callers)


async def test_a_first_draft_is_adopted(host: str, callers: int) -> None:
    """The very first request; its message is rewritten afterwards, so that nothing is known."""
    async with hall_of(SIDE, host) as hall:

        async def call(name: str) -> None:
            async with hall.line() as line:
                draft(line.session, "say two")
                await until(lambda: hall.of(name))
                end_of_turn(line.session, "Say: Two!")
                await until(lambda: line.history()[-1:] == [("assistant", "You said say two.")])
                await hall.together()
                await line.say("thanks")
                await line.say("bye")

        await hall.play(callers, call)
        hall.check(whole=2, callers=callers)


class WithFacts(Agent):
    """Adds a message to each request, for that one only."""

    async def on_user_turn_completed(
        self, turn_ctx: llm.ChatContext, new_message: llm.ChatMessage
    ) -> None:
        turn_ctx.add_message(role="assistant", content=secret(CALLER.get(), "fact"))


async def test_facts_for_one_request_on_livekit(host: str, callers: int) -> None:
    async with hall_of(SIDE, host) as hall:

        async def call(name: str) -> None:
            del name
            async with hall.line(agent=WithFacts(instructions=PROMPT)) as line:
                for number, text in enumerate(("cats", "dogs", "birds"), 1):
                    await hall.together()
                    end_of_turn(line.session, text)
                    await until(lambda n=number: len(line.history()) == 2 * n)  # type: ignore[misc]

        await hall.play(callers, call)
        hall.check(whole=None, callers=callers)


async def same_items(line: LiveKitLine, hall: Hall) -> None:
    """A copy that says the same."""
    del hall
    await line.replace(line.context)


async def through_json(line: LiveKitLine, hall: Hall) -> None:
    del hall
    await line.replace(llm.ChatContext.from_dict(line.context.to_dict()))


async def window(line: LiveKitLine, hall: Hall) -> None:
    del hall
    await line.replace(line.context.truncate(max_items=3))


async def summary(line: LiveKitLine, hall: Hall) -> None:
    ctx = line.context
    await ctx._summarize(hall.llm, keep_last_turns=1)
    await line.replace(ctx)


async def other_words(line: LiveKitLine, hall: Hall) -> None:
    del hall
    ctx = line.context
    next(m for m in ctx.messages() if m.role == "user").content = ["hidden"]
    await line.replace(ctx)


async def new_ids(line: LiveKitLine, hall: Hall) -> None:
    """Rebuilt from the words, without what the framework recorded in addition."""
    del hall
    said = [pair for pair in line.history() if pair[0] != "system"]
    await line.replace(SIDE.opening(*said))


@pytest.mark.parametrize(
    ("edit", "whole"),
    [
        (same_items, 1),
        (through_json, 1),
        (window, None),
        (summary, None),
        (other_words, 2),
        (new_ids, 2),
    ],
)
async def test_an_edited_context_on_livekit(
    host: str, callers: int, edit: Any, whole: int | None
) -> None:
    async with hall_of(SIDE, host) as hall:
        await hall.play_edited(callers, edit, ("look", "thanks", "bye"))
        if edit is new_ids:  # the framework can't prove whose it is: hosted tools were at work
            assert hall.crossings() == [], hall.story()
        else:
            hall.check(whole=whole, callers=callers)
        assert hall.chained()[-3:] == [True] * 3, hall.story()
