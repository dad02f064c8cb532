"""What the oracles compare with tells apart what differs, and nothing else."""

from __future__ import annotations

import pytest

from support.contexts import Unit, begins_with, by_value, canonical, message, unit_of, unpaired

USER, SAID = message("user", "Hello"), message("assistant", "Hi.")
CALLS: list[Unit] = [("call", "a", "look", "{}"), ("call", "b", "look", "{}")]
OUTPUTS: list[Unit] = [("output", "a", "1"), ("output", "b", "2")]


def test_calls_and_outputs_between_two_messages_are_a_set() -> None:
    pairs = [CALLS[0], OUTPUTS[0], CALLS[1], OUTPUTS[1]]
    assert canonical([USER, *pairs, SAID]) == canonical([USER, *CALLS, *reversed(OUTPUTS), SAID])
    assert canonical([USER, *pairs], rounds=True) != canonical(
        [USER, *CALLS, *OUTPUTS], rounds=True
    )
    assert canonical([USER, SAID]) != canonical([SAID, USER])


@pytest.mark.parametrize(
    ("whole", "known", "begins"),
    [
        ([USER, SAID], [USER], True),
        ([USER], [USER, SAID], False),
        ([SAID, USER], [USER], False),
        ([USER, *CALLS, *OUTPUTS], [USER, CALLS[1]], True),
        ([USER, *CALLS, *OUTPUTS, SAID], [USER, CALLS[1], SAID], False),
        ([USER, SAID, CALLS[0]], [USER, CALLS[0]], False),
        ([USER, CALLS[0]], [USER, CALLS[0], CALLS[0]], False),
    ],
)
def test_only_the_last_run_of_a_beginning_is_open(
    whole: list[Unit], known: list[Unit], begins: bool
) -> None:
    assert begins_with(canonical(whole), canonical(known)) is begins


def test_arguments_compare_by_value_and_texts_by_their_parts() -> None:
    assert by_value('{"b":1, "a":2}') == by_value('{"a":2,"b":1}') != by_value('{"a":2}')
    assert by_value("{broken") == "{broken"
    parts = [{"type": "input_text", "text": "Hel"}, {"type": "input_text", "text": "lo"}]
    assert unit_of({"role": "user", "content": parts}) == USER
    picture = {"type": "input_image", "image_url": "x"}
    first, last = [picture, *parts], [*parts, picture]
    assert unit_of({"role": "user", "content": first}) != unit_of({"role": "user", "content": last})


def test_a_call_is_answered_before_the_next_message() -> None:
    assert unpaired([USER, *CALLS, *OUTPUTS, SAID]) == set()
    assert unpaired([USER, CALLS[0], SAID, OUTPUTS[0]]) == {"a"}
    assert unpaired([USER, OUTPUTS[1]]) == {"b"}
