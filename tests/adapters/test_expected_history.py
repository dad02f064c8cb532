"""The expected history, and the checker of a framework's own recordings."""

from __future__ import annotations

from dataclasses import replace

import pytest

from rtllm import Item, Message, ToolCall, ToolOutput
from rtllm.adapters import Recording, find_unrecognized, message_then_calls

ASKED: tuple[Item, ...] = (Message.of("system", "Be brief."), Message.of("user", "Weather?"))
WORDS = Message.of("assistant", "One moment.")
CALL = ToolCall("call-1", "weather", '{"city": "Rome"}')
OUTPUT = ToolOutput("call-1", "mild")
THANKS = Message.of("user", "Thanks.")


def test_messages_are_joined_before_the_calls() -> None:
    more = Message.of("assistant", "I look.", "commentary")
    assert message_then_calls((WORDS, more, CALL)) == (
        Message.of("assistant", "One moment. I look."),
        CALL,
    )
    assert message_then_calls((WORDS, more), separator="", keeps_phase=True) == (
        Message.of("assistant", "One moment.I look.", "commentary"),
    )


def test_text_after_a_call_is_in_another_order() -> None:
    assert message_then_calls((CALL, WORDS)) is None
    assert message_then_calls((WORDS, CALL, WORDS)) is None


@pytest.mark.parametrize(
    "recorded",
    [(WORDS, CALL, OUTPUT), (WORDS, replace(CALL, arguments='{"city":"Rome"}'), OUTPUT)],
    ids=["the same", "other spaces"],
)
def test_a_faithful_recording_is_found(recorded: tuple[Item, ...]) -> None:
    recording = Recording(ASKED, (WORDS, CALL), (*ASKED, *recorded, THANKS))
    assert find_unrecognized([recording], message_then_calls) == []


@pytest.mark.parametrize(
    ("recorded", "reason"),
    [
        ((replace(WORDS, parts=()), CALL, OUTPUT), "is the assistant text ''"),
        ((Message.of("assistant", "One moment"), CALL, OUTPUT), "is the assistant text"),
        ((CALL, OUTPUT, WORDS), "but is the call weather"),
        ((WORDS, replace(CALL, call_id="other"), OUTPUT), "with the id 'other'"),
        ((), "should be the assistant text 'One moment.', but is the user text"),
    ],
)
def test_another_recording_is_explained(recorded: tuple[Item, ...], reason: str) -> None:
    recording = Recording(ASKED, (WORDS, CALL), (*ASKED, *recorded, THANKS))
    (sentence,) = find_unrecognized([recording], message_then_calls)
    assert sentence.startswith("output 0: in what is recorded for it, item ")
    assert reason in sentence


def test_a_changed_context_is_distinguished_from_the_recording() -> None:
    changed = (ASKED[0], Message.of("user", "Weather, please?"))
    (sentence,) = find_unrecognized(
        [Recording(ASKED, (WORDS,), (*changed, WORDS))], message_then_calls
    )
    assert "in the context before it, item 1" in sentence


def test_an_output_without_expected_history_is_not_counted() -> None:
    assert find_unrecognized([Recording(ASKED, (CALL, WORDS), ())], message_then_calls) == []
