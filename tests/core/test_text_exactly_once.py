"""Each word is heard once, whatever a host does to the frames of a response."""

import itertools
import json
from collections.abc import Iterator, Sequence
from typing import Any

from core.heard import events_of, listen, words_of
from hypothesis import given, note
from hypothesis import strategies as st

from rtllm.events import Called, Delta, Ended, Event
from rtllm.simulator import Call, Reasoning, Reply, Text
from rtllm.simulator.mangling import HABITS, MangledFrame, Mangler
from rtllm.wire.frames import read
from rtllm.wire.response_events import Assembler


def decoded(frames: Sequence[MangledFrame]) -> list[Event]:
    """What the decoder makes of some frames."""
    decoder, events = Assembler(), list[Event]()
    for frame in frames:
        if (one := read(frame.data)) is not None:
            more, fault = decoder.feed(one)
            assert fault is None
            events += more
    decoder.output()
    return events


def spoken(events: Sequence[Event]) -> str:
    return "".join(e.text for e in events if isinstance(e, Delta))


def called(events: Sequence[Event]) -> dict[str, Any]:
    calls = [e.call for e in events if isinstance(e, Called)]
    assert len({call.call_id for call in calls}) == len(calls), "a call ran twice"
    return {call.call_id: json.loads(call.arguments or "null") for call in calls}


def pieces(text: str) -> Iterator[str]:
    """Cut a text every three characters."""
    for start in range(0, len(text), 3):
        yield text[start : start + 3]


_SENTENCES = (
    "Your table is booked.",
    "ha ha ha, ha ha",
    "I am so happy \U0001f600 for you.",
    "Zweitens: grüße \U0001f44d\U0001f3fd!",
    "A last word",
)
_parts = st.lists(
    st.one_of(
        st.sampled_from(_SENTENCES).map(Text),
        st.sampled_from(["think", ""]).map(Reasoning),
        st.sampled_from([5, "\U0001f600", [1, 2]]).map(lambda v: Call("book", {"amount": v})),
    ),
    min_size=1,
    max_size=4,
    unique_by=lambda part: part.text if isinstance(part, Text) else id(part),
)


@given(_parts, st.integers(0, 2**32))
def test_law_every_word_and_call_comes_once_whatever_the_hosts_habits(
    parts: list[Any], seed: int
) -> None:
    host = Mangler(seed, HABITS)
    note(repr(host))
    frames = [f for event in events_of(Reply(tuple(parts)), pieces) for f in host.frames(event)]
    for frame in frames:
        note(f"{'again ' if frame.is_repeat else ''}{frame.data[:300]!r}")
    expected, events = listen(frames), decoded(frames)
    assert words_of(spoken(events)) == words_of(expected.text)
    calls = called(events)
    assert {call_id: calls.get(call_id) for call_id in expected.calls} == expected.calls
    assert isinstance(events[-1], Ended)
    assert events[-1].usage is not None
    spoken(events).encode()  # no lone half is passed on
