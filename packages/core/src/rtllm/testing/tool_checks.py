"""The checks of tool calls: invalid, corrected, interrupted, and with outputs in any order."""

import asyncio
import json
from collections.abc import Iterable, Sequence
from contextlib import ExitStack, suppress
from functools import partial

from rtllm.context.normalize import NO_RESULT
from rtllm.simulator import BrokenArguments, Call, Entry, Reply, Request, only
from rtllm.testing.stage import Stage, limited, require, seen_in, stage_of
from rtllm.testing.under_test import (
    ContextEntry,
    ConversationUnderTest,
    Heard,
    MakeAdapter,
    SlowCity,
    slow_city,
)

GOOD = Call("get_weather", {"city": "Rome"})
BAD = (Call("no_such_tool"), Call("get_weather", {"town": "Rome"}))
"""Calls that can't run: an unknown tool, and wrong arguments."""

QUESTION = "The weather?"
SUNNY = "It is sunny."

ONE_AT_A_TIME = 1.0
"""Seconds after which a framework that has not started a second tool runs one at a time."""


@limited
async def check_invalid_calls(make: MakeAdapter) -> None:
    """Check that a call that can't run leaves a context that the host accepts."""

    def script(call: Call, request: Request) -> Reply | str:
        return "I see." if request.trailing_outputs else Reply.of(call)

    for call in BAD:
        async with stage_of(make, partial(script, call)) as stage:
            await _check_calls(stage)
    broken = only(0, BrokenArguments())
    async with stage_of(make, partial(script, GOOD), fault=broken) as stage:
        await _check_calls(stage)


async def _check_calls(stage: Stage) -> None:
    conversation = await stage.adapter.start()
    heard = await conversation.say(QUESTION)
    require(bool(heard.text) or heard.failed, "the user heard nothing, without an error")
    stage.service.script = "Hello."
    heard = await conversation.say("Hello?")
    require(heard == Heard("Hello."), f"the turn after a call that can't run is {heard}")
    stage.check_accepted()


@limited
async def check_corrected_calls(make: MakeAdapter) -> None:
    """Check that text before a call that can't run, and before the corrected one, is kept."""
    texts = ("Let me look.", "Once more.")

    def script(bad: Call, request: Request) -> Reply | str:
        outputs = [str(item["output"]) for item in request.trailing_outputs]
        if any("sunny" in output for output in outputs):
            return SUNNY
        if outputs:
            return Reply.of(texts[1], GOOD)
        asks = request.last_user_text.startswith(QUESTION)
        return Reply.of(texts[0], bad) if asks else "You are welcome."

    for bad in BAD:
        async with stage_of(make, partial(script, bad)) as stage:
            conversation = await stage.adapter.start()
            for question in (QUESTION, f"{QUESTION} Again?"):
                await _check_turn(stage, conversation, question, [*texts, SUNNY])
                for number, entry in enumerate(stage.requests(question)):
                    seen = _since_the_user(seen_in(entry))
                    before = [text for kind, text in seen if kind == "assistant"]
                    require(
                        _words(before) == _words(texts[:number])
                        and (not seen or seen[-1][0] == "output"),
                        f"in request {number} of the turn {question!r} the model saw {seen}; the "
                        "text of each earlier response should be there, and not after its call",
                    )
            await _check_end(stage, conversation)


@limited
async def check_mixed_calls(make: MakeAdapter) -> None:
    """Check a response with text, a call that can run, and one that can't."""

    def script(calls: Sequence[Call], request: Request) -> Reply | str:
        if request.trailing_outputs:
            return SUNNY
        asks = request.last_user_text == QUESTION
        return Reply.of("One moment.", *calls) if asks else "You are welcome."

    for calls in ((GOOD, BAD[0]), (BAD[1], GOOD)):
        async with stage_of(make, partial(script, calls)) as stage:
            conversation = await stage.adapter.start()
            await _check_turn(stage, conversation, QUESTION, ["One moment.", SUNNY])
            seen = _since_the_user(seen_in(stage.requests(QUESTION)[-1]))
            made = [text for kind, text in seen if kind == "call"]
            outputs = [text for kind, text in seen if kind == "output"]
            require(
                len(made) == len(outputs)
                and sum("sunny in Rome" in output for output in outputs) == 1,
                f"the model saw {seen}; each call should have one output, and one call should have "
                "run",
            )
            await _check_end(stage, conversation)


@limited
async def check_interrupted_tools(make: MakeAdapter) -> None:
    """Check that a turn that is interrupted while a tool runs ends, and harms no later one."""
    with slow_city("Lima") as city:

        def script(request: Request) -> Reply | str:
            asks = request.last_user_text == QUESTION and not request.trailing_outputs
            call = Call("get_weather", {"city": city.name})
            return Reply.of("One moment.", call) if asks else f"You said: {request.last_user_text}"

        async with stage_of(make, script) as stage:
            conversation = await stage.adapter.start()
            await stage.say(conversation, "Hello")
            turn = asyncio.ensure_future(conversation.say(QUESTION))
            await city.started.wait()
            interrupting = asyncio.ensure_future(conversation.interrupt())
            await asyncio.sleep(ONE_AT_A_TIME)
            city.known.set()  # for a framework that lets a tool end
            await interrupting
            heard = await turn
            require(
                not heard.failed and _words([heard.text]) in ("", _words(["One moment."])),
                f"the interrupted turn is {heard}",
            )
            await _say(stage, conversation, "Stop")
            await _check_end(stage, conversation)
            count = len(stage.requests(QUESTION))
            require(
                count == 1 and city.runs == 1,
                f"the tool ran {city.runs} times, and the interrupted turn had {count} requests",
            )


@limited
async def check_late_outputs(make: MakeAdapter) -> None:
    """Check that outputs reach the model whole and once if the first tool returns last."""
    with ExitStack() as stack:
        cities = [stack.enter_context(slow_city(name)) for name in ("Quito", "Accra")]

        def script(request: Request) -> Reply | str:
            if request.trailing_outputs:
                return SUNNY
            asks = request.last_user_text == QUESTION
            calls = (Call("get_weather", {"city": city.name}) for city in cities)
            return Reply.of("One moment.", *calls) if asks else "You are welcome."

        async with stage_of(make, script) as stage:
            conversation = await stage.adapter.start()
            returning = asyncio.ensure_future(_return_last_first(*cities))
            await _check_turn(stage, conversation, QUESTION, ["One moment.", SUNNY])
            await returning
            results = _results(stage.requests(QUESTION)[-1])
            require(
                len(results) == len(cities) and all(c in results[c] for c in results),
                f"the model saw {results}; each call should have its own output",
            )
            await _check_end(stage, conversation)


async def _return_last_first(first: SlowCity, last: SlowCity) -> None:
    """Let the second tool return before the first one, if the framework runs both at once."""
    last.known.set()
    await first.started.wait()
    with suppress(TimeoutError):
        async with asyncio.timeout(ONE_AT_A_TIME):
            await last.returned.wait()
    first.known.set()


# -- the parts of these checks ---------------------------------------------------------------------


async def _check_turn(
    stage: Stage, conversation: ConversationUnderTest, text: str, spoken: Sequence[str]
) -> None:
    """Hold a turn, and check its text; spaces between the texts of responses don't matter."""
    heard = await conversation.say(text)
    require(
        not heard.failed and _words([heard.text]) == _words(spoken),
        f"the turn {text!r} is {heard}; its text should be {' '.join(spoken)!r}",
    )


async def _check_end(stage: Stage, conversation: ConversationUnderTest) -> None:
    """Check the two turns after tool calls: contexts, and from the second one on the chain."""
    for text in ("Thanks", "Bye"):
        await _say(stage, conversation, text)
    stage.check_chained(stage.requests("Bye")[-1])
    stage.check_accepted()


async def _say(stage: Stage, conversation: ConversationUnderTest, text: str) -> None:
    """Hold a turn; check that the model saw of each earlier one what the framework has.

    Frameworks record the text of a turn with tools before its calls or after them, so the order
    within a turn is not compared. A call without an output gets one from the core.
    """
    heard = await conversation.say(text)
    require(not heard.failed, f"the turn {text!r} failed after {heard.text!r}")
    last = stage.requests(text)[-1]
    seen = _by_turn([*seen_in(last), ("assistant", last.reply_text)])
    expected = _by_turn(conversation.context())
    require(
        seen == expected,
        f"in the turn {text!r} the model saw and answered {seen}; the context is {expected}",
    )


def _by_turn(entries: Iterable[ContextEntry]) -> list[tuple[str, list[ContextEntry]]]:
    """Divide a context into turns: the text of the assistant, and all other entries."""
    turns: list[list[ContextEntry]] = [[]]
    for entry in entries:
        if entry[0] == "user":
            turns.append([])
        turns[-1].append(entry)
    missing = ("output", NO_RESULT)
    return [
        (
            _words(text for kind, text in turn if kind == "assistant"),
            sorted(e for e in turn if e[0] != "assistant" and e != missing),
        )
        for turn in turns
    ]


def _since_the_user(entries: Sequence[ContextEntry]) -> list[ContextEntry]:
    """Return the entries after the newest message of the user."""
    places = [place for place, (kind, _) in enumerate(entries) if kind == "user"]
    return list(entries[places[-1] + 1 :])


def _results(entry: Entry) -> dict[str, str]:
    """Return the cities that the model asked for, each with the output of its call."""
    cities: dict[str, str] = {}
    results: dict[str, str] = {}
    for item in entry.context:
        if item.get("type") == "function_call":
            cities[item["call_id"]] = json.loads(item["arguments"])["city"]
        elif item.get("type") == "function_call_output":
            results[cities[item["call_id"]]] = str(item["output"])
    return results


def _words(texts: Iterable[str]) -> str:
    """Join texts without their spaces, because frameworks differ in those between responses."""
    return "".join("".join(text.split()) for text in texts)
