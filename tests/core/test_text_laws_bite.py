"""Broken decoders lose words or say them twice: for each habit of hosts, a defect that is found."""

import random
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import pytest

import rtllm.codec.frames
import rtllm.codec.response_items
import rtllm.codec.responses_decoder
from core.mangled import ARGUMENTS, SENTENCES, judge, mangled
from rtllm.codec.frames import Frame, mapping
from rtllm.codec.lenient_json import clean
from rtllm.codec.response_items import ItemState, ItemTable
from rtllm.codec.responses_decoder import ResponsesDecoder
from rtllm.codec.sequence import SequenceCheck
from rtllm.content.events import Event
from rtllm.simulator import Call, Reasoning, Text
from rtllm.simulator.mangling import HABITS, Habit
from rtllm.simulator.script import Part

RESPONSES = 50
"""Within so many responses of a host that may have one habit, its defect must be found."""

WITH: dict[Habit, tuple[Habit, ...]] = {"late": ("late", "sequence")}
"""Habits that show only together: a late frame with its own number is a repeated one."""

Breaking = Callable[[pytest.MonkeyPatch], None]


def response_of(seed: int) -> list[Part]:
    """One to four parts, each of them once."""
    draw = random.Random(seed)  # noqa: S311
    parts: list[Part] = [Text(sentence) for sentence in SENTENCES]
    parts += [Reasoning("think"), *(Call("book", {"amount": value}) for value in ARGUMENTS)]
    return draw.sample(parts, draw.randint(1, 4))


def responses_until_found(habit: Habit) -> int | None:
    """Play responses of a host with a habit until the law is broken; None if it never is."""
    for seed in range(RESPONSES):
        try:
            judge(mangled(response_of(seed), seed, WITH.get(habit, (habit,)))[1])
        except Exception:  # noqa: BLE001 - a decoder that raises breaks the law too
            return seed + 1
    return None


# -- the defects -------------------------------------------------------------------------------


def guesses_no_item(patch: pytest.MonkeyPatch) -> None:
    """What has no known name is another item's, however its text goes on."""
    for name in ("_find_current_message", "_find_incomplete_message", "_find_incomplete_call"):
        patch.setattr(ResponsesDecoder, name, lambda *_: None)


def knows_items_by_id_alone(patch: pytest.MonkeyPatch) -> None:
    find = ItemTable.find
    patch.setattr(
        ItemTable, "find", lambda self, item_id, _index, *more: find(self, item_id, None, *more)
    )
    guesses_no_item(patch)


def takes_one_name_for_one_item(patch: pytest.MonkeyPatch) -> None:
    """The first item that had a name keeps it."""

    def first(
        self: ItemTable, item_id: str | None, index: int | None, *_: object
    ) -> ItemState | None:
        return next((i for i in self if item_id in i.ids or index in i.indexes), None)

    patch.setattr(ItemTable, "find", first)


def knows_items_by_place_alone(patch: pytest.MonkeyPatch) -> None:
    find = ItemTable.find
    patch.setattr(ItemTable, "find", lambda self, _id, index, *more: find(self, None, index, *more))
    guesses_no_item(patch)


def trusts_all_numbers(patch: pytest.MonkeyPatch) -> None:
    """A number that came before is a repeated frame's."""
    seen: dict[SequenceCheck, set[object]] = {}

    def is_repeat(self: SequenceCheck, frame: Frame) -> bool:
        numbers = seen.setdefault(self, set())
        is_known = frame.sequence_number in numbers
        numbers.add(frame.sequence_number)
        return is_known

    patch.setattr(SequenceCheck, "is_repeat", is_repeat)


def ignores_the_last_output(patch: pytest.MonkeyPatch) -> None:
    complete_rest = ResponsesDecoder._complete_rest
    patch.setattr(
        ResponsesDecoder, "_complete_rest", lambda self, _, **more: complete_rest(self, [], **more)
    )


def ignores_final_texts(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(ItemState, "complete", lambda *_: "")
    patch.setattr(ItemState, "complete_all", lambda *_: "")


def hears_repeated_frames(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(SequenceCheck, "is_repeat", lambda *_: False)


def speaks_text_after_its_item(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(ItemState, "take_after_final", lambda _, text, __: text)


def breaks_characters(patch: pytest.MonkeyPatch) -> None:
    def apart(held: str, text: str) -> tuple[str, str]:
        return clean(held + clean(text)), ""

    patch.setattr(rtllm.codec.response_items, "join", apart)


def gives_up_what_is_not_text(patch: pytest.MonkeyPatch) -> None:
    read = rtllm.codec.frames.read

    def strict(data: str | bytes) -> Frame | None:
        try:
            return read(data if isinstance(data, str) else data.decode())
        except UnicodeDecodeError:
            return None

    patch.setattr(rtllm.codec.frames, "read", strict)


def gives_up_what_is_not_strict_json(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(rtllm.codec.frames, "_read_leniently", lambda _: None)


def dies_of_what_is_not_an_event(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(rtllm.codec.frames, "read", msgspec.json.Decoder(Frame).decode)


def believes_the_last_arguments(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(rtllm.codec.responses_decoder, "_best_arguments", lambda last, _: last)


def believes_an_empty_output(patch: pytest.MonkeyPatch) -> None:
    end = ResponsesDecoder._end
    conclude = ResponsesDecoder._conclude
    outputs: list[object] = []

    def noted(self: ResponsesDecoder, frame: Frame) -> Any:
        outputs.append(mapping(frame.response).get("output"))
        return end(self, frame)

    def emptied(self: ResponsesDecoder, events: Sequence[Event], *how: Any, is_silent: bool) -> Any:
        return conclude(self, events, *how, is_silent=is_silent or not outputs[-1])

    patch.setattr(ResponsesDecoder, "_end", noted)
    patch.setattr(ResponsesDecoder, "_conclude", emptied)


def ends_only_with_its_own_id(patch: pytest.MonkeyPatch) -> None:
    end = ResponsesDecoder._end

    def strict(self: ResponsesDecoder, frame: Frame) -> Any:
        is_own = mapping(frame.response).get("id") in self.response_ids
        return end(self, frame) if is_own else ((), None)

    patch.setattr(ResponsesDecoder, "_end", strict)


def knows_calls_by_their_ids(patch: pytest.MonkeyPatch) -> None:
    """A call that another event names otherwise is another call."""
    patch.setattr(rtllm.codec.response_items, "is_same_call", lambda *_: False)
    patch.setattr(rtllm.codec.responses_decoder, "is_same_call", lambda *_: False)


def speaks_reasoning_parts(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(rtllm.codec.responses_decoder, "THOUGHT_PARTS", ())


DEFECTS: dict[Habit, Breaking] = {
    "ids": knows_items_by_id_alone,
    "places": knows_items_by_place_alone,
    "constant": takes_one_name_for_one_item,
    "sequence": trusts_all_numbers,
    "drops": ignores_the_last_output,
    "tail": ignores_final_texts,
    "repeats": hears_repeated_frames,
    "late": speaks_text_after_its_item,
    "halves": breaks_characters,
    "not_a_number": gives_up_what_is_not_strict_json,
    "deep": gives_up_what_is_not_strict_json,
    "broken_bytes": gives_up_what_is_not_text,
    "junk": dies_of_what_is_not_an_event,
    "arguments": believes_the_last_arguments,
    "output": believes_an_empty_output,
    "response_id": ends_only_with_its_own_id,
    "call_ids": knows_calls_by_their_ids,
    "thoughts": speaks_reasoning_parts,
}


@pytest.mark.parametrize("habit", HABITS)
def test_a_defect_against_a_habit_is_found(
    habit: Habit,
    monkeypatch: pytest.MonkeyPatch,
    record_property: Callable[[str, object], None],
) -> None:
    assert responses_until_found(habit) is None, "the habit alone breaks the law"
    DEFECTS[habit](monkeypatch)
    found = responses_until_found(habit)
    assert found is not None, f"a decoder that {DEFECTS[habit].__name__} survives {habit}"
    record_property("responses", found)
    print(f"{habit:12} | {DEFECTS[habit].__name__.replace('_', ' '):36} | {found:4}")  # noqa: T201
