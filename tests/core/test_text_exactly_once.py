"""Each word is heard once, whatever a host does to the frames of a response."""

import itertools
import json
import time
from typing import Any

import msgspec
import pytest
from hypothesis import given, note
from hypothesis import strategies as st

from core.mangled import ARGUMENTS, SENTENCES, judge, mangled, pieces, spoken
from rtllm.codec.fingerprint import fingerprint
from rtllm.codec.frames import read
from rtllm.codec.responses_decoder import ResponsesDecoder
from rtllm.content.events import Event, TextDelta, ToolCallReady
from rtllm.content.items import Message
from rtllm.content.items import Reasoning as Reasoning_
from rtllm.simulator import Call, Reasoning, Text

_parts = st.lists(
    st.one_of(
        st.sampled_from(SENTENCES).map(Text),
        st.sampled_from(["think", ""]).map(Reasoning),
        st.sampled_from(ARGUMENTS).map(lambda v: Call("book", {"amount": v})),
    ),
    min_size=1,
    max_size=4,
    unique_by=lambda part: part.text if isinstance(part, Text) else id(part),
)


@given(_parts, st.integers(0, 2**32))
def test_law_every_word_and_call_comes_once_whatever_the_hosts_habits(
    parts: list[Any], seed: int
) -> None:
    host, frames = mangled(parts, seed)
    note(repr(host))
    for frame in frames:
        note(f"{'again ' if frame.is_repeat else ''}{frame.data[:300]!r}")
    judge(frames)


# -- single habits, each on its own -------------------------------------------------------------


def heard(*frames: dict[str, Any] | str) -> tuple[str, list[tuple[str, str]], ResponsesDecoder]:
    """The words and calls that some frames bring, and the decoder after them."""
    decoder, events = ResponsesDecoder(), list[Event]()
    for frame in frames:
        data = frame if isinstance(frame, str) else json.dumps(frame)
        if (one := read(data)) is not None:
            events += decoder.feed(one)[0]
    calls = [(e.call.call_id, e.call.arguments) for e in events if isinstance(e, ToolCallReady)]
    return spoken(events), calls, decoder


def delta(text: str, **names: Any) -> dict[str, Any]:
    return {"type": "response.output_text.delta", "delta": text, **names}


def message(text: str, **names: Any) -> dict[str, Any]:
    return {"type": "message", "content": [{"type": "output_text", "text": text}], **names}


def added(item: dict[str, Any], **names: Any) -> dict[str, Any]:
    return {"type": "response.output_item.added", "item": item, **names}


def done(item: dict[str, Any], **names: Any) -> dict[str, Any]:
    return {"type": "response.output_item.done", "item": item, **names}


def text_done(text: str, **names: Any) -> dict[str, Any]:
    return {"type": "response.output_text.done", "text": text, **names}


def end(*output: dict[str, Any], status: str = "completed", **fields: Any) -> dict[str, Any]:
    return {"type": f"response.{status}", "response": {"output": list(output), **fields}}


_IDS = (None, "a", "b", "c", "d")


@pytest.mark.parametrize("places", list(itertools.product((0, None), repeat=3)))
def test_any_ids_and_missing_places_make_one_message(places: tuple[int | None, ...]) -> None:
    for ids in itertools.product(_IDS[:4], repeat=4):
        named = [{"output_index": p} if p is not None else {} for p in places]
        frames = [
            added(message("", id=ids[0]), **named[0]),
            delta("Your table ", item_id=ids[1], **named[1]),
            delta("is booked.", item_id=ids[1] and f"{ids[1]}2", **named[1]),
            done(message("Your table is booked.", id=ids[2]), **named[2]),
            end(message("Your table is booked.", id=ids[3])),
        ]
        text, _, decoder = heard(*frames)
        assert (text, len(decoder.output())) == ("Your table is booked.", 1), (ids, places)


@pytest.mark.parametrize(
    "frames",
    [
        [text_done("Hello.", item_id="a")],
        [{"type": "response.content_part.done", "part": {"type": "output_text", "text": "Hello."}}],
        [end(message("Hello."))],
        [delta("Hel"), text_done("Hello."), end()],
        [delta("Hello.", item_id="a"), text_done("Hello.", item_id="b"), done(message("Hello."))],
        [done(message("Hello.")), delta("Hel"), delta("lo."), end(message("Hello."))],
        [delta(" Hello", item_id="a"), done(message("Hello.", id="a"))],
    ],
)
def test_a_message_may_come_in_any_event(frames: list[dict[str, Any]]) -> None:
    text, _, _ = heard(*frames, *([] if "completed" in frames[-1]["type"] else [end()]))
    assert text.strip() == "Hello."


@pytest.mark.parametrize(
    "names",
    [
        ({"item_id": "a", "output_index": 0}, {"item_id": "b", "output_index": 1}),
        ({"item_id": "msg", "output_index": 0}, {"item_id": "msg", "output_index": 1}),
        ({"item_id": "a", "output_index": 0}, {"item_id": "b", "output_index": 0}),
        ({"item_id": "a"}, {"item_id": "b"}),
        ({"output_index": 0}, {"output_index": 1}),
        ({}, {}),
    ],
)
def test_two_messages_have_one_blank_between(names: tuple[dict[str, Any], ...]) -> None:
    frames: list[dict[str, Any]] = []
    for text, name in zip(("Yes.", "Yes. And no."), names, strict=True):
        item = message(text, id=name.get("item_id"))
        place = {k: v for k, v in name.items() if k == "output_index"}
        frames += [added(message("", id=name.get("item_id")), **place)]
        frames += [delta(piece, **name) for piece in pieces(text)]
        frames += [done(item, **place)]
    text, _, decoder = heard(*frames, end())
    assert text == "Yes. Yes. And no."
    assert len(decoder.output()) == 2


def test_a_repeated_frame_is_known_by_its_number_and_an_equal_one_is_not_a_repeat() -> None:
    numbered = [delta("ha ", sequence_number=n) for n in (4, 5, 5, 6)]
    assert heard(*numbered)[0] == "ha ha ha "
    assert heard(*(delta("ha ", sequence_number=0) for _ in range(3)))[0] == "ha ha ha "
    assert heard(*(delta("ha ") for _ in range(3)))[0] == "ha ha ha "
    constant = [added(message("", id="a"), sequence_number=1), *numbered[:1] * 2]
    assert heard(*({**f, "sequence_number": 1} for f in constant))[0] == "ha ha "


@pytest.mark.parametrize("repeated", ["two", "o ", "one "])
def test_a_delta_after_its_item_adds_nothing(repeated: str) -> None:
    frames = [delta(p, item_id="a") for p in ("one ", "o ", "two")]
    frames += [done(message("one o two", id="a")), delta(repeated, item_id="a"), end()]
    assert heard(*frames)[0] == "one o two"


def test_new_text_after_an_item_is_not_lost() -> None:
    frames = [delta("One.", item_id="a"), done(message("One.", id="a"))]
    assert heard(*frames, delta("Two.", item_id="x"), end())[0] == "One. Two."


@pytest.mark.parametrize("again", ["a1", "a3"])
@pytest.mark.parametrize("text", ["One two.", "One two\ud83d", "One tw\ud83d\ude00o."])
def test_a_delta_after_its_announced_item_adds_nothing_under_an_unknown_id(
    text: str, again: str
) -> None:
    frames = [added(message("", id="a1"))]
    frames += [delta(piece, item_id="a1") for piece in (text[:-3], text[-3:])]
    frames += [done(message(text, id="a2")), delta(text[-3:], item_id=again)]
    frames += [added(message("", id="b")), delta("Three.", item_id="b")]
    said, _, decoder = heard(*frames, done(message("Three.", id="b")), end())
    assert said == text.encode("utf-16", "surrogatepass").decode("utf-16", "replace") + " Three."
    assert len(decoder.output()) == 2


def test_a_delta_after_its_text_and_before_the_end_of_its_item_adds_nothing() -> None:
    frames = [added(message("", id="a")), delta("One ", item_id="a"), delta("two.", item_id="a")]
    frames += [text_done("One two.", item_id="a"), delta("two.", item_id="b")]
    assert heard(*frames, done(message("One two.", id="a")), end())[0] == "One two."


@pytest.mark.parametrize("more", [[], [" Of course."]])
@pytest.mark.parametrize("ends", [True, False])
def test_a_message_that_begins_as_the_last_one_ended_is_spoken(
    more: list[str], *, ends: bool
) -> None:
    text = "".join(["Yes.", *more])
    frames = [delta("Yes.", item_id="a"), done(message("Yes.", id="a"))]
    frames += [delta(piece, item_id="b") for piece in ("Yes.", *more)]
    frames += [done(message(text, id="b"))] if ends else []
    assert heard(*frames, end(message("Yes."), message(text)))[0] == f"Yes. {text}"


@pytest.mark.parametrize(
    ("said", "final"),
    [
        ("Hello ", "Hello"),
        ("Hel\ufffdo", "Hello"),
        ("Hello", "Hello\ufffd"),
        ("Hi  there", "Hi there"),
    ],
)
def test_a_final_text_that_differs_by_blanks_or_broken_bytes_adds_nothing_old(
    said: str, final: str
) -> None:
    rest = " More."
    text, _, _ = heard(delta(said), done(message(final + rest)), end())
    assert text.startswith(said)
    assert text.endswith("More.")
    assert len(text) <= len(said) + len(rest) + 1


@pytest.mark.parametrize("kind", ["reasoning_text", "summary_text", "reasoning", "thinking"])
def test_the_models_reasoning_is_not_spoken_as_a_part_of_the_content(kind: str) -> None:
    part = {"type": kind, "text": "They want a table."}
    reasoning = {"type": "reasoning", "id": "r", "summary": [], "content": [part]}
    answer = {**message("Yes.", id="m"), "content": [part, {"type": "output_text", "text": "Yes."}]}
    frames = [added({**reasoning, "content": []}, output_index=0)]
    frames += [
        {"type": "response.content_part.done", "item_id": "r", "output_index": 0, "part": part}
    ]
    frames += [done(reasoning, output_index=0), delta("Yes.", item_id="m"), done(answer)]
    text, _, decoder = heard(*frames, end(reasoning, answer))
    assert text == "Yes."
    assert [type(item) for item in decoder.output()] == [Reasoning_, Message]


# -- halves of surrogate pairs -----------------------------------------------------------------

HIGH, LOW = "\ud83d", "\ude00"


@pytest.mark.parametrize(
    ("deltas", "expected"),
    [
        (["a" + HIGH, LOW + "b"], "a\U0001f600b"),
        ([HIGH, LOW], "\U0001f600"),
        ([HIGH + LOW], "\U0001f600"),
        (["a" + HIGH, "b"], "a\ufffdb"),
        ([LOW + "a"], "\ufffda"),
        (["a" + HIGH], "a\ufffd"),
        ([HIGH, HIGH, LOW], "\ufffd\U0001f600"),
    ],
)
@pytest.mark.parametrize("ends", ["item", "response"])
def test_halves_are_joined_across_deltas_and_lone_ones_replaced(
    deltas: list[str], expected: str, ends: str
) -> None:
    frames = [delta(text, item_id="a") for text in deltas]
    frames += [done(message("".join(deltas), id="a"))] if ends == "item" else []
    text, _, decoder = heard(*frames, end())
    assert text == expected
    [said] = decoder.output()
    assert isinstance(said, Message)
    assert said.text == expected


def test_halves_are_joined_over_another_frame_and_within_raw_bytes() -> None:
    raw = b'{"type":"response.output_text.delta","delta":"\xed\xa0\xbd"}'
    decoder, events = ResponsesDecoder(), list[Event]()
    for data in (raw, b'{"type":"ping"}', raw.replace(b"\xa0\xbd", b"\xb8\x80")):
        frame = read(data)
        assert frame is not None
        events += decoder.feed(frame)[0]
    assert events == [TextDelta("\U0001f600")]


# -- frames that aren't strict JSON ------------------------------------------------------------

DEEP = "[" * 2000 + "]" * 2000


@pytest.mark.parametrize(
    "more",
    [
        '"logprobs":[{"logprob":-Infinity}]',
        '"logprobs":[{"logprob":NaN}]',
        '"logprobs":[{"logprob":Infinity}]',
        f'"extensions":{DEEP}',
        '"extensions":"\\udc00"',
        '"extensions":"a\nb"',
        '"extensions":' + "1" * 5000,
    ],
)
def test_what_is_next_to_a_word_costs_nothing(more: str) -> None:
    frame = json.dumps(delta("table "))[:-1] + f",{more}}}"
    assert heard(delta("Your "), frame, delta("is booked."))[0] == "Your table is booked."


def test_abandoning_a_frame_loses_that_frame_alone() -> None:
    assert heard(delta("One "), '{"type":"response.output_', delta("two."), end())[0] == "One two."


@pytest.mark.parametrize("odd", ["NaN", '"\\ud83d"', DEEP])
def test_an_item_to_be_sent_back_is_strict_json(odd: str) -> None:
    item = f'{{"type":"reasoning","encrypted_content":"x","odd":{odd}}}'
    _, _, decoder = heard(f'{{"type":"response.output_item.done","item":{item}}}', end())
    [reasoning] = decoder.output()
    assert isinstance(reasoning, Reasoning_)
    assert msgspec.json.decode(reasoning.json)["encrypted_content"] == "x"


# -- calls and ends ----------------------------------------------------------------------------


def call(arguments: Any = None, **fields: Any) -> dict[str, Any]:
    item = {"type": "function_call", "id": "fc", "call_id": "c", "name": "book", **fields}
    return item if arguments is ... else {**item, "arguments": arguments}


def arguments_event(kind: str, text: Any, **names: Any) -> dict[str, Any]:
    field = "delta" if kind == "delta" else "arguments"
    return {"type": f"response.function_call_arguments.{kind}", field: text, **names}


WHOLE = '{"amount": 5}'


@pytest.mark.parametrize("in_item", [..., None, "", "{}", {"amount": 5}])
@pytest.mark.parametrize(
    "source",
    [
        [arguments_event("done", WHOLE, item_id="fc")],
        [arguments_event("delta", WHOLE[:5], item_id="x"), arguments_event("delta", WHOLE[5:])],
        [arguments_event("done", {"amount": 5})],
        [],
    ],
)
def test_arguments_count_wherever_they_come(in_item: Any, source: list[dict[str, Any]]) -> None:
    terminal = end(call(in_item if source else WHOLE))
    if not source and in_item == "{}":
        return
    _, calls, _ = heard(added(call("")), *source, done(call(in_item)), terminal)
    assert [(i, json.loads(a)) for i, a in calls] == [("c", {"amount": 5})]


@pytest.mark.parametrize("ids", list(itertools.product(("fc", "x", None), repeat=3)))
@pytest.mark.parametrize(
    "call_ids", [("c", "c", "d"), ("a", "c", "c"), ("a", "c", "d"), ("fc", "c", "")]
)
@pytest.mark.parametrize("at_end", [WHOLE, '{"amount":5}', "", {"amount": 5}])
def test_a_call_whose_id_differs_in_other_events_runs_once(
    ids: tuple[str | None, ...], call_ids: tuple[str, ...], at_end: Any
) -> None:
    begun, ended, listed = (
        call("", id=item_id, call_id=call_id)
        for item_id, call_id in zip(ids, call_ids, strict=True)
    )
    events = [arguments_event("delta", WHOLE, item_id=ids[0])]
    frames = [added(begun, output_index=0), *events, done({**ended, "arguments": WHOLE})]
    _, calls, _ = heard(*frames, end({**listed, "arguments": at_end}))
    assert calls == [(call_ids[1], WHOLE)]
    _, calls, _ = heard(*frames[:-1], end({**listed, "arguments": at_end}))
    assert [json.loads(arguments) for _, arguments in calls] == [{"amount": 5}]


@pytest.mark.parametrize("call_ids", [("c", "d"), ("x", "y"), ("d", "c"), ("c", "x")])
def test_two_equal_calls_run_twice_also_with_other_ids_at_the_end(
    call_ids: tuple[str, ...],
) -> None:
    frames = [
        done(call(WHOLE, id=name, call_id=name), output_index=i) for i, name in enumerate("cd")
    ]
    terminal = end(*(call(WHOLE, id=name, call_id=name) for name in call_ids))
    assert heard(*frames, terminal)[1] == [("c", WHOLE), ("d", WHOLE)]


def test_an_equal_call_that_only_the_end_has_runs_too() -> None:
    listed = [call(WHOLE, id=name, call_id=name) for name in "dc"]
    assert heard(done(call(WHOLE, id="c")), end(*listed))[1] == [("c", WHOLE), ("d", WHOLE)]


def test_a_call_that_no_event_ends_is_whole_when_its_arguments_parse() -> None:
    frames = [added(call("")), arguments_event("delta", WHOLE)]
    assert heard(*frames, end())[1] == [("c", WHOLE)]
    assert heard(added(call("")), arguments_event("delta", WHOLE[:7]), end())[1] == []
    assert heard(added(call("")), end())[1] == []


@pytest.mark.parametrize("arguments", ["", "{}", WHOLE, ..., None])
@pytest.mark.parametrize("status", [{}, {"status": "completed"}])
def test_an_incomplete_response_runs_no_call(arguments: Any, status: dict[str, str]) -> None:
    frames = [added(call("")), arguments_event("done", WHOLE)]
    terminal = end(call(arguments, **status), status="incomplete")
    for before in ([], frames):
        _, calls, decoder = heard(*before, terminal)
        assert calls == []
        assert decoder.output() == ()
        assert decoder.ended is not None
        assert decoder.ended.outcome == "incomplete"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"x":"\\ud83d\\ude00"}', "\U0001f600"),
        ('{"x":"\\ud83d"}', "\ufffd"),
        ('{"x":"' + HIGH + LOW + '"}', "\U0001f600"),
    ],
)
def test_halves_in_arguments_are_joined_or_replaced(text: str, expected: str) -> None:
    cut = text.index("d") + 2 if "\\" in text else text.index(HIGH) + 1
    frames = [arguments_event("delta", text[:cut]), arguments_event("delta", text[cut:])]
    for pieces_of_call in (frames, [arguments_event("done", text)]):
        _, calls, _ = heard(added(call("")), *pieces_of_call, done(call(...)), end())
        assert [json.loads(a) for _, a in calls] == [{"x": expected}]


@pytest.mark.parametrize("arguments", ['{"x":' + "[" * 2000, '{"x":' + DEEP + "}"])
def test_deep_arguments_stay_text(arguments: str) -> None:
    _, calls, decoder = heard(added(call("")), done(call(arguments)), end())
    assert calls == [("c", arguments)]
    assert fingerprint(decoder.output()[0])


def test_deep_arguments_sent_as_an_object_end_the_turn_all_the_same() -> None:
    raw = f'{{"type":"response.output_item.done","item":{json.dumps(call("@"))}}}'
    _, calls, decoder = heard(raw.replace('"@"', f'{{"x":{DEEP}}}'), end())
    assert [call_id for call_id, _ in calls] == ["c"]
    assert decoder.ended is not None


def test_nothing_follows_the_end() -> None:
    text, calls, decoder = heard(
        end(usage={"input_tokens": 1}), delta("x"), done(call(WHOLE)), end()
    )
    assert (text, calls) == ("", [])
    assert decoder.ended is not None


def test_an_answer_of_an_empty_message_is_empty() -> None:
    _, _, decoder = heard(added(message("")), done(message("")), end(message("")))
    assert decoder.ended is not None
    assert decoder.ended.outcome == "empty"


def test_many_items_with_one_name_are_read_in_linear_time() -> None:
    items = [call(WHOLE, id="fc", call_id=f"c{n}") for n in range(2000)]
    frames = [f for item in items for f in (added(item, output_index=0), done(item))]
    started = time.perf_counter()
    _, calls, _ = heard(*frames, end(*items))
    assert len(calls) == 2000
    assert time.perf_counter() - started < 5
