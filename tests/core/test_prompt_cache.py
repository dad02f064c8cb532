"""What broke the prompt cache, in words that a person can act on."""

from dataclasses import replace
from typing import Any

import pytest

from rtllm import Item, Message, Opaque, PromptCacheReport, ToolCall, ToolOutput
from rtllm.context.prompt_cache import SentPrompt, explain_cache

DAY = "It is Monday. "
PROMPT = "You are a friendly receptionist, and brief. " * 100
TOOLS = (b'{"type":"function","name":"book"}', b'{"type":"function","name":"cancel"}')
ITEMS: tuple[Item, ...] = (
    Message.of("user", "Hello"),
    Message.of("assistant", "Good morning."),
    ToolCall("c1", "book", "{}"),
    ToolOutput("c1", "done"),
    Message.of("user", "A table for two"),
)
BEFORE = SentPrompt("gpt-4.1", {}, TOOLS, PROMPT, ITEMS, 0.0, 3000)
NEXT = replace(
    BEFORE, items=(*ITEMS, Message.of("assistant", "Yes."), Message.of("user", "Thanks")), at=9.0
)


def explained(
    sent: SentPrompt, before: SentPrompt | None = BEFORE, read: int | None = 0, **options: Any
) -> PromptCacheReport:
    settings: dict[str, Any] = {
        "prompt": 3100,
        "read": read,
        "full_context_reason": None,
        "is_same_conversation": True,
        "shows_texts": False,
    }
    return explain_cache(sent, before, **{**settings, **options})


def reasons(report: PromptCacheReport) -> list[str]:
    return [str(one) for one in report.breaks]


def test_what_was_read_in_full_needs_no_reason() -> None:
    for read in (3000, 2944, 3100):
        report = explained(NEXT, read=read)
        assert (report.readable, report.breaks) == (3000, ())
    assert str(explained(NEXT, read=2944)) == (
        "2,944 of 3,000 cacheable tokens read from the prompt cache"
    )


@pytest.mark.parametrize(
    ("changed", "kind", "words"),
    [
        (
            {"instructions": PROMPT.replace("brief", "kind", 1)},
            "instructions",
            "instructions changed at character 38 of 4,400",
        ),
        (
            {"instructions": PROMPT + "Be kind."},
            "instructions",
            "instructions changed at the end, after 4,400 characters",
        ),
        (
            {"instructions": PROMPT[:-50]},
            "instructions",
            "instructions changed at the end: the last 50 of 4,400 characters were removed",
        ),
        ({"instructions": ""}, "instructions", "instructions were removed"),
        ({"tools": TOOLS[::-1]}, "tools", "the tool list is in another order"),
        ({"tools": TOOLS[:1]}, "tools", "the tool list changed: removed cancel"),
        (
            {"tools": (TOOLS[0], b'{"type":"function","name":"cancel","strict":true}')},
            "tools",
            "the tool list changed: changed cancel",
        ),
        (
            {"tools": (*TOOLS, b'{"type":"web_search"}')},
            "tools",
            "the tool list changed: added web_search",
        ),
        ({"tools": (*TOOLS, TOOLS[0])}, "tools", "the tool list changed: a tool is repeated"),
        ({"model": "gpt-5"}, "model", "the model changed from gpt-4.1 to gpt-5"),
        (
            {"settings": {"reasoning": {"effort": "low"}}},
            "setting",
            "effort changed from the default to low",
        ),
        ({"settings": {"text": {"format": {}}}}, "setting", "the response format changed"),
        ({"at": 31 * 60.0}, "idle", "idle for 31 minutes"),
        ({"at": 5 * 3600.0}, "idle", "idle for 5 hours"),
        ({"items": ITEMS[:2]}, "items", "item 3 of 5 (a call of book) and the 2 after it was"),
        (
            {"items": (Message.of("user", "Help"), *ITEMS[1:])},
            "items",
            "item 1 of 5 (a user message) changed at character 4 of 5",
        ),
        (
            {"items": ITEMS[2:]},
            "items",
            "2 items from item 1 of 5 (a user message) on were removed",
        ),
        (
            {"items": (ITEMS[0], ITEMS[4])},
            "items",
            "3 items from item 2 of 5 (an assistant message) on were removed",
        ),
        (
            {"items": (*ITEMS[:3], Message.of("user", "x"))},
            "items",
            "item 4 of 5 (a tool's output) was replaced by a user message",
        ),
        (
            {"items": (Opaque("web_search_call", b"{}"), *ITEMS[2:])},
            "items",
            "item 1 of 5 (a user message) was replaced by a hidden item",
        ),
        ({}, "not found", "nothing changed; the service no longer had it in its cache"),
    ],
)
def test_each_reason_has_its_words(changed: dict[str, Any], kind: str, words: str) -> None:
    report = explained(replace(NEXT, **changed))
    assert [one.kind for one in report.breaks] == [kind]
    assert reasons(report)[0].startswith(words)
    assert report.missed == 3000


def test_effort_that_changes_is_named_before_and_after() -> None:
    before = replace(BEFORE, settings={"reasoning": {"effort": "none"}})
    sent = replace(NEXT, settings={"reasoning": {"effort": "low"}})
    report = explained(sent, before, read=690)
    assert str(report) == (
        "effort changed from none to low: 2,310 tokens were not read from the cache"
    )


def test_settings_that_are_not_part_of_the_prompt_are_not_named() -> None:
    report = explained(replace(NEXT, settings={"metadata": {"a": "b"}, "temperature": 1}))
    assert [one.kind for one in report.breaks] == ["not found"]


def test_several_changes_are_named_in_the_order_of_the_prompt() -> None:
    sent = replace(NEXT, tools=TOOLS[:1], instructions="Other", items=ITEMS[:1])
    kinds = [one.kind for one in explained(sent).breaks]
    assert kinds == ["tools", "instructions", "items"]


def test_texts_are_quoted_only_if_that_is_wanted() -> None:
    before = replace(BEFORE, instructions=DAY + PROMPT)
    sent = replace(NEXT, instructions=DAY.replace("Monday", "Tuesday") + PROMPT)
    assert "day" not in str(explained(sent, before))
    [told] = explained(sent, before, shows_texts=True).breaks
    assert told.quote is not None
    assert "Monday" in told.quote[0]
    assert "Tuesday" in told.quote[1]
    assert str(told).startswith("instructions changed at character 7 of 4,414 ('It is Monday.")


def test_a_short_prompt_is_not_cached() -> None:
    report = explained(NEXT, replace(BEFORE, tokens=1000))
    assert reasons(report) == ["a prompt of fewer than 1,024 tokens is not cached"]
    assert explained(NEXT, replace(BEFORE, tokens=1000), read=900).breaks == ()


def test_the_first_prompt_has_nothing_to_read() -> None:
    report = explained(NEXT, None)
    assert (report.readable, report.missed, report.compared_with) == (0, 0, None)
    assert reasons(report) == ["it was the client's first request"]


def test_a_full_context_is_a_reason_only_if_nothing_else_is() -> None:
    reason: dict[str, Any] = {"full_context_reason": "response unavailable"}
    assert reasons(explained(NEXT, **reason)) == [
        "the context was sent in full (response unavailable)"
    ]
    changed = replace(NEXT, instructions="Other")
    assert [one.kind for one in explained(changed, **reason).breaks] == ["instructions"]


def test_tokens_that_were_not_reported_are_estimated_or_unknown() -> None:
    report = explained(NEXT, replace(BEFORE, tokens=None), read=None)
    assert report.is_estimated
    assert 700 < report.readable < 1400
    assert report.missed is None
    assert str(explained(NEXT, read=None)).startswith("unknown of 3,000")


def test_another_conversation_shares_what_both_begin_with() -> None:
    other: dict[str, Any] = {"is_same_conversation": False, "full_context_reason": "first request"}
    first = replace(BEFORE, instructions=PROMPT * 2, items=ITEMS[:1])
    sent = replace(first, items=(Message.of("user", "Something else"),), at=20.0)
    read_all = explained(sent, first, read=2048, **other)
    assert (read_all.compared_with, read_all.is_estimated) == ("client", True)
    assert read_all.breaks == ()
    named = replace(sent, instructions=f"The caller is Ann. {PROMPT * 2}")
    report = explained(named, first, read=0, **other)
    assert [one.kind for one in report.breaks] == ["instructions"]
    assert report.missed is not None
    assert report.missed > 1500
    assert str(report).endswith("tokens were not read from the cache")
    assert ": about " in str(report)
