"""Flaws that some hosts give the events of a response. No I/O.

`mangle` gives each event one named flaw. `Mangler` plays a host with many habits at once, chosen by
a seed, and returns for each frame the event that it was made from, so that a test knows what a
careful client should make of it.
"""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, get_args

Event: TypeAlias = dict[str, Any]
Flaw: TypeAlias = Literal[
    "delta_without_logprobs",
    "delta_without_place",
    "delta_null",
    "deltas_dropped",
    "sequence_missing",
    "stream_id_missing",
    "item_done_dropped",
    "call_incomplete",
    "usage_null",
    "usage_missing",
    "output_missing",
    "output_null",
    "output_empty",
    "response_done",
    "terminal_dropped",
]


_TERMINAL = frozenset({"response.completed", "response.incomplete", "response.failed"})


def mangle(event: Event, flaw: Flaw) -> Event | None:  # noqa: C901, PLR0912
    """Give an event a flaw; return None to drop it."""
    kind = event["type"]
    is_delta, is_terminal = kind.endswith(".delta"), kind in _TERMINAL
    match flaw:
        case "delta_without_logprobs" if is_delta:
            return _without(event, "logprobs")
        case "delta_without_place" if is_delta:
            return _without(event, "item_id", "output_index", "content_index")
        case "delta_null" if is_delta:
            return {**event, "delta": None}
        case "deltas_dropped" if is_delta:
            return None
        case "sequence_missing":
            return _without(event, "sequence_number")
        case "stream_id_missing":
            return _without(event, "stream_id")
        case "item_done_dropped" if kind == "response.output_item.done":
            return None
        case "call_incomplete" if kind == "response.output_item.done":
            return {**event, "item": _unfinished(event["item"])}
        case "call_incomplete" if is_terminal:
            items = [_unfinished(item) for item in event["response"]["output"]]
            return _with_response(event, output=items)
        case "usage_null" if is_terminal:
            return _with_response(event, usage=None)
        case "usage_missing" if is_terminal:
            return {**event, "response": _without(event["response"], "usage")}
        case "output_missing" if is_terminal:
            return {**event, "response": _without(event["response"], "output")}
        case "output_null" if is_terminal:
            return _with_response(event, output=None)
        case "output_empty" if is_terminal:
            return _with_response(event, output=[])
        case "response_done" if kind == "response.completed":
            return {**event, "type": "response.done"}
        case "terminal_dropped" if is_terminal:
            return None
    return event


def _without(event: Event, *names: str) -> Event:
    return {key: value for key, value in event.items() if key not in names}


def _with_response(event: Event, **changes: Any) -> Event:
    return {**event, "response": {**event["response"], **changes}}


def _as_content(event: Event) -> Event:
    """Return the end of a reasoning summary as the end of a part of the content."""
    event = {**_without(event, "summary_index"), "content_index": 0}
    part = {"type": "reasoning_text", "text": event["part"]["text"]}
    return {**event, "type": "response.content_part.done", "part": part}


def _unfinished(item: Event) -> Event:
    return {**item, "status": "incomplete"} if item["type"] == "function_call" else item


Habit: TypeAlias = Literal[
    "ids",
    "places",
    "constant",
    "sequence",
    "drops",
    "tail",
    "repeats",
    "late",
    "halves",
    "not_a_number",
    "deep",
    "broken_bytes",
    "junk",
    "arguments",
    "output",
    "response_id",
    "call_ids",
    "thoughts",
]
"""The ways in which a host may differ:

* ``ids``: an item's id is missing, or differs in each kind of event, or in each event,
* ``places``: ``output_index`` and ``content_index`` are missing in some kinds of events,
* ``constant``: all items have one id, or one index,
* ``sequence``: ``sequence_number`` is missing, or always the same,
* ``drops``: some kinds of events never come,
* ``tail``: the deltas of an item stop before its text does,
* ``repeats``: a frame comes twice, with its ``sequence_number``,
* ``late``: the last delta of an item comes again after its end,
* ``halves``: texts are split within a surrogate pair,
* ``not_a_number``: ``NaN``, ``Infinity`` or ``-Infinity`` next to a delta,
* ``deep``: an unknown field is nested 20,000 levels deep,
* ``broken_bytes``: an unknown field isn't UTF-8,
* ``junk``: frames in between are not events,
* ``arguments``: a finished call has none, null, an empty text, or an object,
* ``output``: the terminal event's output is empty, null or missing,
* ``response_id``: the terminal event has another id of the response,
* ``call_ids``: the id of a call differs when it is announced, or in the terminal event,
* ``thoughts``: the model's own reasoning comes as parts of the content of reasoning items.
"""

HABITS: tuple[Habit, ...] = get_args(Habit)

_STAGES = {
    "response.output_item.added": "added",
    "response.content_part.added": "part",
    "response.output_text.delta": "delta",
    "response.refusal.delta": "delta",
    "response.output_text.done": "text",
    "response.refusal.done": "text",
    "response.content_part.done": "part",
    "response.function_call_arguments.delta": "arguments_delta",
    "response.function_call_arguments.done": "arguments",
    "response.output_item.done": "done",
}
_DROPPED = tuple(
    kind for kind in _STAGES if kind not in ("response.refusal.delta", "response.refusal.done")
)
_JUNK = ("not JSON", "[]", "null", "{}", '{"type":5}', '{"delta":', '"text"')
_DEEP = "[" * 20_000 + "]" * 20_000


@dataclass(frozen=True, slots=True)
class MangledFrame:
    """A frame of a host with habits.

    Attributes:
        data: The data that is sent.
        event: The well-formed event with the same meaning; None for junk.
        is_repeat: Whether the host sent it before.
    """

    data: str | bytes
    event: Event | None
    is_repeat: bool = False


class Mangler:
    """A host with habits, for one response.

    Args:
        seed: Determines how it has its habits; the same seed changes the same events equally.
        habits: The habits that it may have; the seed determines which of them it has.
    """

    def __init__(self, seed: int, habits: Iterable[Habit] = HABITS) -> None:
        self._random = random.Random(seed)  # noqa: S311 - no secret
        allowed = set(habits)
        self._habits = {h for h in HABITS if h in allowed and self._random.random() < 0.4}
        choose = self._random.choice
        stages = sorted({*_STAGES.values(), "end"})
        self._ids = {stage: choice for stage in stages if (choice := self._id_mode()) != "as it is"}
        self._placeless = {stage for stage in stages if self._has("places", 0.5)}
        self._constant: str | None = None
        if self._has("constant"):  # then the other one distinguishes items
            self._constant = choose(("id", "place"))
            self._ids, self._placeless = {}, set()
        self._sequence = choose(("missing", "constant")) if self._has("sequence") else "as it is"
        self._drops = {kind for kind in _DROPPED if self._has("drops", 0.3)}
        self._tail = choose((1, 2, 3)) if self._has("tail") else None
        if self._tail is not None:
            self._drops -= {"response.output_text.done", "response.output_item.done"}
        self._arguments = {s: choose(("missing", "null", "empty", "object")) for s in stages}
        self._output = choose(("empty", "null", "missing")) if self._has("output") else "as it is"
        self._call_ids = {stage for stage in ("added", "end") if self._has("call_ids", 0.6)}
        self._number = 0
        self._deltas: Counter[str] = Counter()
        self._last_delta: dict[str, MangledFrame] = {}

    def __repr__(self) -> str:
        return (
            f"Mangler({sorted(self._habits)}, constant {self._constant}, ids={self._ids},"
            f" no places={sorted(self._placeless)},"
            f" sequence {self._sequence}, drops={sorted(self._drops)}, tail={self._tail},"
            f" arguments={self._arguments}, output {self._output}, call_ids={self._call_ids})"
        )

    def frames(self, event: Event) -> Iterator[MangledFrame]:
        """Yield the frames that the host sends for an event."""
        kind = event["type"]
        if "junk" in self._habits and self._random.random() < 0.2:
            yield MangledFrame(self._random.choice(_JUNK), None)
        if kind in self._drops or self._is_in_tail(event):
            return
        for said, sent in self._cut(event):
            frame = MangledFrame(self._encode(self._renamed(sent), kind), said)
            yield frame
            if "delta" in said and "item_id" in said:
                self._last_delta[said["item_id"]] = frame
            if self._sequence == "as it is" and self._has("repeats", 0.2):
                yield MangledFrame(frame.data, said, is_repeat=True)
        if kind == "response.reasoning_summary_part.done" and self._has("thoughts"):
            yield MangledFrame(self._encode(self._renamed(_as_content(event)), kind), None)
        if kind == "response.output_item.done":
            late = self._last_delta.get(event["item"]["id"])
            if late is not None and self._has("late", 0.5):
                yield MangledFrame(late.data, late.event, is_repeat=True)

    def _has(self, habit: Habit, probability: float = 1.0) -> bool:
        return habit in self._habits and self._random.random() < probability

    def _id_mode(self) -> str:
        if "ids" not in self._habits:
            return "as it is"
        return self._random.choice(("as it is", "missing", "other", "each"))

    def _is_in_tail(self, event: Event) -> bool:
        if self._tail is None or event["type"] != "response.output_text.delta":
            return False
        self._deltas[event["item_id"]] += 1
        return self._deltas[event["item_id"]] > self._tail

    def _cut(self, event: Event) -> Iterator[tuple[Event, Event]]:
        """Split a delta within its first surrogate pair; yield the intended and the sent events."""
        text = event.get("delta")
        place = -1
        if isinstance(text, str) and "halves" in self._habits:
            place = next((i for i, c in enumerate(text) if ord(c) > 0xFFFF), -1)
        if place < 0 or not isinstance(text, str):
            yield event, event
            return
        pair = text[place].encode("utf-16-be")
        high, low = (pair[i : i + 2].decode("utf-16-be", "surrogatepass") for i in (0, 2))
        before, after = text[:place], text[place + 1 :]
        yield {**event, "delta": before}, {**event, "delta": before + high}
        yield {**event, "delta": text[place] + after}, {**event, "delta": low + after}

    def _renamed(self, event: Event) -> Event:
        """Give an event other names, numbers and contents."""
        kind = event["type"]
        event = dict(event)
        if self._sequence == "missing":
            event.pop("sequence_number", None)
        else:
            event["sequence_number"] = 0 if self._sequence == "constant" else self._number
        self._number += 1
        stage = _STAGES.get(kind)
        if stage is not None:
            event = self._named(event, stage)
            if stage in self._placeless:
                event = _without(event, "output_index", "content_index")
            elif self._constant == "place":
                event["output_index"] = 0
        if stage in ("added", "done"):
            event["item"] = self._item(event["item"], stage)
        if kind in _TERMINAL:
            event["response"] = self._ended(event["response"])
        return event

    def _named(self, event: Event, stage: str) -> Event:
        if "item_id" not in event or (item_id := self._id(event["item_id"], stage)) is None:
            return _without(event, "item_id") if stage in self._ids else event
        return {**event, "item_id": item_id}

    def _id(self, item_id: str, stage: str) -> str | None:
        if self._constant == "id":
            return "item"
        match self._ids.get(stage):
            case "missing":
                return None
            case "other":
                return f"{item_id}_{stage}"
            case "each":
                return f"{item_id}_{self._number}"
            case _:
                return item_id

    def _item(self, item: Event, stage: str) -> Event:
        item_id = self._id(item["id"], stage)
        item = {**item, "id": item_id} if item_id is not None else _without(item, "id")
        if item["type"] == "function_call" and stage in self._call_ids:
            item["call_id"] = f"{item['call_id']}_{stage}"
        if item["type"] != "function_call" or stage == "added" or "arguments" not in self._habits:
            return item
        match self._arguments[stage]:
            case "missing":
                return _without(item, "arguments")
            case "null":
                return {**item, "arguments": None}
            case "empty":
                return {**item, "arguments": ""}
            case _:
                return {**item, "arguments": json.loads(item["arguments"])}

    def _ended(self, response: Event) -> Event:
        if "response_id" in self._habits:
            response = {**response, "id": f"{response['id']}_encoded"}
        match self._output:
            case "empty":
                return {**response, "output": []}
            case "null":
                return {**response, "output": None}
            case "missing":
                return _without(response, "output")
            case _:
                return {**response, "output": [self._item(i, "end") for i in response["output"]]}

    def _encode(self, event: Event, kind: str) -> str | bytes:
        if kind.endswith(".delta") and self._has("not_a_number", 0.5):
            number = self._random.choice((float("nan"), float("inf"), float("-inf")))
            event = {**event, "logprobs": [{"token": "a", "logprob": number}]}
        text = json.dumps(event)
        if self._has("deep", 0.3):
            text = f'{text[:-1]},"extensions":{_DEEP}}}'
        if self._has("broken_bytes", 0.3):
            return text.encode()[:-1] + b',"obfuscation":"\xff\xfe"}'
        return text
