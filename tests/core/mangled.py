"""The law of text exactly once: responses, a host that mangles their frames, and the judgement."""

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from core.heard import events_of, listen, words_of
from rtllm.codec import frames
from rtllm.codec.responses_decoder import ResponsesDecoder
from rtllm.content.events import Event, ResponseEnded, TextDelta, ToolCallReady
from rtllm.simulator import Reply
from rtllm.simulator.mangling import HABITS, Habit, MangledFrame, Mangler
from rtllm.simulator.script import Part

SENTENCES = (
    "Your table is booked.",
    "ha ha ha, ha ha",
    "I am so happy \U0001f600 for you.",
    "Zweitens: grüße \U0001f44d\U0001f3fd!",
    "A last word",
)
ARGUMENTS: tuple[Any, ...] = (5, "\U0001f600", [1, 2])


def decoded(response: Sequence[MangledFrame]) -> list[Event]:
    """What the decoder makes of some frames."""
    decoder, events = ResponsesDecoder(), list[Event]()
    for frame in response:
        if (one := frames.read(frame.data)) is not None:
            more, fault = decoder.feed(one)
            assert fault is None
            events += more
    decoder.output()
    return events


def spoken(events: Sequence[Event]) -> str:
    return "".join(e.text for e in events if isinstance(e, TextDelta))


def called(events: Sequence[Event]) -> dict[str, Any]:
    calls = [(own_id(e.call.call_id), e.call) for e in events if isinstance(e, ToolCallReady)]
    assert len({call_id for call_id, _ in calls}) == len(calls), "a call ran twice"
    return {call_id: json.loads(call.arguments or "null") for call_id, call in calls}


def own_id(call_id: str) -> str:
    """The id of a call without what a host with other ids in other events added to it."""
    return call_id.removesuffix("_added").removesuffix("_end")


def pieces(text: str) -> Iterator[str]:
    """Cut a text every three characters."""
    for start in range(0, len(text), 3):
        yield text[start : start + 3]


def mangled(
    parts: Sequence[Part], seed: int, habits: Iterable[Habit] = HABITS
) -> tuple[Mangler, list[MangledFrame]]:
    """Write a response as a host with habits does."""
    host = Mangler(seed, habits)
    events = events_of(Reply(tuple(parts)), pieces)
    return host, [frame for event in events for frame in host.frames(event)]


def judge(response: Sequence[MangledFrame]) -> None:
    """Demand that the decoder makes of the frames of a response what a careful listener does."""
    expected, events = listen(response), decoded(response)
    assert words_of(spoken(events)) == words_of(expected.text)
    calls = called(events)
    assert {call_id: calls.get(call_id) for call_id in expected.calls} == expected.calls
    ended = events[-1]
    assert isinstance(ended, ResponseEnded)
    assert ended.usage is not None
    assert not (expected.text or expected.calls) or ended.outcome == "completed"
    spoken(events).encode()  # no lone half is passed on
