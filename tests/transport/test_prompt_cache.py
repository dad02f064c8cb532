"""Reports about the prompt cache, on a service that has one."""

import asyncio
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest

from rtllm import Client, Message, TurnReport
from rtllm.simulator import Close, Simulator, fixed
from rtllm_livekit.testing import VirtualTimeLoop
from transport.caller import Caller, MakeClient

PROMPT = "You are a friendly receptionist, and it is Monday. Be brief, and kind to everyone. " * 80
TOOLS = (
    b'{"type":"function","name":"book","parameters":null,"strict":null}',
    b'{"type":"function","name":"cancel","parameters":null,"strict":null}',
)
CACHE: dict[str, Any] = {"cache_minimum": 1024, "cache_lifetime": 600.0}


def caller_of(client: Client, prompt: str = PROMPT) -> Caller:
    return Caller(client, [Message.of("system", prompt)], tools=TOOLS, model="gpt-5.1")


def told(reports: list[TurnReport]) -> list[str]:
    return [str(report.cache) for report in reports]


def kinds(report: TurnReport) -> list[str]:
    assert report.cache is not None
    return [one.kind for one in report.cache.breaks]


async def test_a_conversation_that_goes_on_reads_all_of_its_prompt(
    make_client: MakeClient, reports: list[TurnReport]
) -> None:
    async with Simulator(fixed("Yes."), **CACHE) as service:
        caller = caller_of(make_client(service, cache_report=True))
        for text in ("Hello", "And?", "Fine"):
            await caller.say(text)
    assert kinds(reports[0]) == ["first request"]
    for before, report in pairwise(reports):
        assert report.cache is not None
        assert before.usage is not None
        assert report.cache.readable == before.usage.input
        assert report.cache.breaks == ()
        assert report.cache.missed == 0


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("instructions", "instructions changed at character 44 of 6,640"),
        ("tools", "the tool list is in another order"),
        ("effort", "effort changed from the default to low"),
        ("idle", "idle for 31 minutes"),
    ],
)
async def test_what_broke_the_cache_is_named_with_the_tokens_that_it_cost(
    change: str, words: str, make_client: MakeClient, reports: list[TurnReport]
) -> None:
    async with Simulator(fixed("Yes."), **CACHE) as service:
        caller = caller_of(make_client(service, cache_report=True))
        await caller.say("Hello")
        match change:
            case "instructions":
                caller.items[0] = Message.of("system", PROMPT.replace("Monday", "Tuesday", 1))
            case "tools":
                caller.tools = TOOLS[::-1]
            case "effort":
                caller.settings = {"reasoning": {"effort": "low"}}
            case _:
                if not isinstance(asyncio.get_running_loop(), VirtualTimeLoop):
                    pytest.skip("only virtual time can jump half an hour")
                await asyncio.sleep(31 * 60)
        await caller.say("Again")
        used = service.journal.entries[0].usage
        assert used is not None
        lost = f"{used['input_tokens']:,} tokens were not read from the cache"
        assert told(reports)[1] == f"{words}: {lost}"


async def test_texts_are_quoted_only_if_that_is_wanted(
    make_client: MakeClient, reports: list[TurnReport]
) -> None:
    for wanted in (True, "texts"):
        async with Simulator(fixed("Yes."), **CACHE) as service:
            caller = caller_of(make_client(service, cache_report=wanted))
            await caller.say("Hello")
            caller.items[0] = Message.of("system", PROMPT.replace("Monday", "Tuesday", 1))
            await caller.say("Again")
    assert ["Tuesday" in str(report.cache) for report in reports] == [False, False, False, True]


async def test_a_barge_in_and_a_window_are_distinguished(
    make_client: MakeClient, reports: list[TurnReport]
) -> None:
    async with Simulator(fixed("one two three"), **CACHE) as service:
        caller = caller_of(make_client(service, cache_report=True))
        await caller.say("Hello")
        await caller.hear_only("And then? " * 100, 1)
        await caller.say("Stop")
        del caller.items[1:4]
        await caller.say("Where were we?")
    assert kinds(reports[2]) == []
    assert kinds(reports[3]) == ["items"]
    assert "3 items from item 1 of 5 (a user message) on were removed" in told(reports)[3]


async def test_the_first_turn_of_a_call_is_compared_with_another_call(
    make_client: MakeClient, reports: list[TurnReport]
) -> None:
    async with Simulator(fixed("Yes."), **CACHE) as service:
        client = make_client(service, cache_report=True)
        await caller_of(client).say("Hello")
        await caller_of(client).say("Good morning")
        await caller_of(client, f"The caller is Ann. {PROMPT}").say("Hi")
    assert [report.cache.compared_with for report in reports if report.cache] == [
        None,
        "client",
        "client",
    ]
    assert kinds(reports[1]) == []
    assert kinds(reports[2]) == ["instructions"]


async def test_a_resend_is_compared_with_the_prompt_before_its_turn(
    make_client: MakeClient, reports: list[TurnReport]
) -> None:
    fault = [None, Close(phase="created"), None]
    async with Simulator(fixed("Yes."), fault=fault, **CACHE) as service:
        caller = caller_of(make_client(service, cache_report=True))
        await caller.say("Hello")
        caller.tools = TOOLS[:1]
        await caller.say("Again")
    assert reports[1].attempts == 2
    assert reports[0].usage is not None
    assert reports[1].cache is not None
    assert reports[1].cache.readable == reports[0].usage.input


async def test_a_guide_is_part_of_the_instructions(
    make_client: MakeClient, reports: list[TurnReport]
) -> None:
    async with Simulator(fixed("Yes."), **CACHE) as service:
        client = make_client(service, cache_report=True)
        caller = caller_of(client)
        for guide in ("", "Speak slowly."):
            caller.items.append(Message.of("user", "Hello"))
            await client.ask(replace(caller.request(), guide=guide)).text()
    assert told(reports)[1].startswith("instructions changed at the end, after 6,640 characters:")


async def test_a_prompt_that_was_warmed_up_is_read_by_the_first_turn(
    make_client: MakeClient, reports: list[TurnReport]
) -> None:
    async with Simulator(fixed("Yes."), **CACHE) as service:
        client = make_client(service, cache_report=True)
        caller = caller_of(client)
        await client.warm_up(caller.request())
        await caller.say("Hello")
    cache = reports[-1].cache
    assert cache is not None
    assert (cache.compared_with, cache.breaks) == ("client", ())
    assert cache.read is not None
    assert cache.read > 1024


async def test_nothing_is_kept_or_computed_unless_it_is_wanted(
    make_client: MakeClient, reports: list[TurnReport], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise AssertionError("computed, though nobody asked")

    monkeypatch.setattr("rtllm.engine.attempts.note_prompt", fail)
    monkeypatch.setattr("rtllm.engine.prompt_reports.explain_cache", fail)
    async with Simulator(fixed("Yes.")) as service:
        await caller_of(make_client(service)).say("Hello")
    assert reports[0].cache is None
