"""Items to JSON, and the events of a response to what an agent acts on."""

import json
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtllm.codec.frames import read
from rtllm.codec.responses_decoder import ResponsesDecoder
from rtllm.codec.responses_encoder import item_json, request_frame
from rtllm.content.events import Event, PhaseChanged, ResponseEnded, TextDelta, ToolCallReady
from rtllm.content.items import Image, Item, Message, Opaque, Reasoning, Text, ToolCall, ToolOutput
from rtllm.content.usage import Usage
from rtllm.retry.faults import Fault, FaultKind

# -- out ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("item", "expected"),
    [
        (Message.of("user", "hi"), {"role": "user", "content": "hi"}),
        (
            Message.of("assistant", "hi", "commentary"),
            {"role": "assistant", "type": "message", "content": "hi", "phase": "commentary"},
        ),
        (
            Message("system", (Text("a", cache_breakpoint=True), Text("b"))),
            {
                "role": "system",
                "content": [
                    {
                        "type": "input_text",
                        "text": "a",
                        "prompt_cache_breakpoint": {"mode": "explicit"},
                    },
                    {"type": "input_text", "text": "b"},
                ],
            },
        ),
        (
            Message("user", (Image("https://h/a.png", "low"), Text("who?"))),
            {
                "role": "user",
                "content": [
                    {"type": "input_image", "image_url": "https://h/a.png", "detail": "low"},
                    {"type": "input_text", "text": "who?"},
                ],
            },
        ),
        (
            Message("assistant", (Text("a", cache_breakpoint=True), Text("b"))),
            {"role": "assistant", "type": "message", "content": "ab"},
        ),
        (
            ToolCall("c1", "f", '{ "a":1}'),
            {"type": "function_call", "call_id": "c1", "name": "f", "arguments": '{ "a":1}'},
        ),
        (
            ToolOutput("c1", "nine"),
            {"type": "function_call_output", "call_id": "c1", "output": "nine"},
        ),
        (Reasoning(b'{"type":"reasoning"}'), {"type": "reasoning"}),
        (Opaque("x", b'{"type":"x"}'), {"type": "x"}),
    ],
)
def test_an_item_is_sent_in_its_short_form_and_without_an_id(
    item: Item, expected: dict[str, Any]
) -> None:
    assert json.loads(bytes(item_json(item))) == expected


def test_a_request_is_flat_and_holds_only_what_is_set() -> None:
    body = json.loads(request_frame({"model": "m", "store": False}, (), [Message.of("user", "hi")]))
    assert body == {
        "type": "response.create",
        "model": "m",
        "store": False,
        "input": [{"role": "user", "content": "hi"}],
    }


def test_a_continuation_names_its_parent_its_lane_and_may_add_nothing() -> None:
    body = json.loads(
        request_frame({}, (), (), instructions="Be.", previous_response_id="r1", lane="lane-1")
    )
    assert body == {
        "type": "response.create",
        "instructions": "Be.",
        "previous_response_id": "r1",
        "stream_id": "lane-1",
        "input": [],
    }


def test_tool_fields_travel_only_with_tools() -> None:
    settings = {"tool_choice": "auto", "parallel_tool_calls": True}
    tool = b'{"type":"function","name":"f"}'
    with_tools = json.loads(request_frame(settings, (tool,), ()))
    assert with_tools["tools"] == [{"type": "function", "name": "f"}]
    assert with_tools["tool_choice"] == "auto"
    without = json.loads(request_frame(settings, (), ()))
    assert not {"tools", "tool_choice", "parallel_tool_calls"} & set(without)
    assert settings == {"tool_choice": "auto", "parallel_tool_calls": True}


# -- in -----------------------------------------------------------------------------------


def fed(
    *frames: dict[str, Any], drops_thoughts: bool = False
) -> tuple[ResponsesDecoder, list[Event], Fault | None]:
    assembler = ResponsesDecoder(drops_thoughts=drops_thoughts)
    events, fault = list[Event](), None
    for fields in frames:
        frame = read(json.dumps(fields))
        assert frame is not None
        more, fault = assembler.feed(frame)
        events += more
    return assembler, events, fault


def event(kind: str, index: int | None = 0, **fields: Any) -> dict[str, Any]:
    made = {"type": f"response.{kind}", "sequence_number": 1, **fields}
    return made if index is None else {**made, "output_index": index}


def message(text: str, **fields: Any) -> dict[str, Any]:
    part = {"type": "output_text", "text": text, "annotations": []}
    return {"type": "message", "id": "msg_1", "role": "assistant", "content": [part], **fields}


def call(number: int = 1, **fields: Any) -> dict[str, Any]:
    return {
        "type": "function_call",
        "id": f"fc_{number}",
        "call_id": f"call_{number}",
        "name": "f",
        "arguments": '{"a":1}',
        "status": "completed",
        **fields,
    }


CREATED = event("created", None, response={"id": "r1", "status": "in_progress"})
WORKING = event("in_progress", None, response={"id": "r1"})
USAGE = {
    "input_tokens": 10,
    "output_tokens": 5,
    "input_tokens_details": {"cached_tokens": 4, "cache_write_tokens": 2},
    "output_tokens_details": {"reasoning_tokens": 3},
}


def end(kind: str = "completed", **response: Any) -> dict[str, Any]:
    return event(kind, None, response={"id": "r1", "status": kind, **response})


def spoken(events: Sequence[Event]) -> str:
    return "".join(e.text for e in events if isinstance(e, TextDelta))


def calls(events: Sequence[Event]) -> list[ToolCall]:
    return [e.call for e in events if isinstance(e, ToolCallReady)]


ORDINARY = [
    CREATED,
    WORKING,
    event("output_item.added", 0, item={"type": "reasoning", "id": "rs_1"}),
    event("output_item.done", 0, item={"type": "reasoning", "id": "rs_1"}),
    event("output_item.added", 1, item=message("", content=[])),
    event("content_part.added", 1, part={"type": "output_text", "text": ""}),
    event("output_text.delta", 1, item_id="msg_1", content_index=0, delta="It is", obfuscation="x"),
    event("output_text.delta", 1, item_id="msg_1", content_index=0, delta=" nine."),
    event("output_text.done", 1, item_id="msg_1", text="It is nine."),
    event("output_item.done", 1, item=message("It is nine.", phase="commentary")),
    event("output_item.added", 2, item=call(arguments="", status="in_progress")),
    event("function_call_arguments.delta", 2, delta='{"a'),
    event("function_call_arguments.done", 2, arguments='{"a":1}'),
    event("output_item.done", 2, item=call()),
    end(usage=USAGE, service_tier="default", output=[]),
]


def test_an_ordinary_stream() -> None:
    assembler, events, fault = fed(*ORDINARY)
    usage = Usage(10, 5, 4, 2, 3, "default")
    assert events == [
        TextDelta("It is"),
        TextDelta(" nine."),
        PhaseChanged("commentary"),
        ToolCallReady(ToolCall("call_1", "f", '{"a":1}')),
        ResponseEnded("completed", None, "r1", usage),
    ]
    assert fault is None
    reasoning, said, called = assembler.output()
    assert isinstance(reasoning, Reasoning)
    assert said == Message.of("assistant", "It is nine.", "commentary")
    assert called == ToolCall("call_1", "f", '{"a":1}')


def test_created_and_in_progress_are_distinguished() -> None:
    assembler, _, _ = fed(CREATED)
    assert (assembler.created, assembler.in_progress, assembler.response_id) == (True, False, "r1")
    assert fed(CREATED, WORKING)[0].in_progress


def test_several_messages_have_one_blank_between() -> None:
    _, events, _ = fed(
        event("output_text.delta", 0, delta="One."),
        event("output_item.done", 0, item=message("One.")),
        event("output_text.delta", 1, delta="Two"),
        event("output_text.delta", 1, delta=" more."),
        event("output_item.done", 1, item=message("Two more.")),
        event("output_item.done", 2, item=message("Three.")),
    )
    assert spoken(events) == "One. Two more. Three."


def test_a_refusal_is_spoken_as_a_refusal() -> None:
    item = {"type": "message", "content": [{"type": "refusal", "refusal": "I can't."}]}
    assembler, events, _ = fed(
        event("refusal.delta", 0, delta="I "),
        event("output_item.done", 0, item=item),
        end(),
    )
    assert events[:2] == [TextDelta("I ", refusal=True), TextDelta("can't.", refusal=True)]
    assert assembler.output() == (Message.of("assistant", "I can't."),)


@pytest.mark.parametrize("said", ["", "It ", "It is nine."])
def test_a_finished_text_longer_than_its_deltas_is_completed(said: str) -> None:
    _, events, _ = fed(
        event("output_text.delta", 0, delta=said),
        event("output_item.done", 0, item=message("It is nine.")),
    )
    assert spoken(events) == "It is nine."


def test_a_finished_text_that_differs_is_not_spoken_again() -> None:
    _, events, _ = fed(
        event("output_text.delta", 0, delta="It was"),
        event("output_item.done", 0, item=message("It is nine.")),
    )
    assert spoken(events) == "It was"


@pytest.mark.parametrize("output", [None, [], "absent"])
def test_a_missing_output_is_filled_from_the_finished_items(output: Any) -> None:
    ending = end() if output == "absent" else end(output=output)
    assembler, events, _ = fed(event("output_item.done", 0, item=message("Yes.")), ending)
    assert assembler.output() == (Message.of("assistant", "Yes."),)
    assert isinstance(events[-1], ResponseEnded)
    assert events[-1].outcome == "completed"


def test_missing_items_are_filled_from_the_output_and_nothing_is_said_twice() -> None:
    assembler, events, _ = fed(
        event("output_text.delta", 0, item_id="msg_1", delta="Yes."),
        end(output=[message("Yes."), call()]),
    )
    assert spoken(events) == "Yes."
    assert calls(events) == [ToolCall("call_1", "f", '{"a":1}')]
    assert assembler.output() == (
        Message.of("assistant", "Yes."),
        ToolCall("call_1", "f", '{"a":1}'),
    )


def test_items_tied_by_id_alone_are_not_said_twice() -> None:
    _, events, _ = fed(
        event("output_text.delta", None, item_id="msg_1", delta="Yes."),
        event("output_item.done", None, item=message("Yes.")),
        end(output=[message("Yes.")]),
    )
    assert spoken(events) == "Yes."


def test_deltas_without_any_end_of_their_item_still_make_the_output() -> None:
    assembler, _, _ = fed(event("output_text.delta", 0, delta="Yes."), end(output=None))
    assert assembler.output() == (Message.of("assistant", "Yes."),)


def test_a_call_comes_once_though_it_is_sent_twice() -> None:
    done = event("output_item.done", 0, item=call())
    assert len(calls(fed(done, done, end(output=[call()]))[1])) == 1


@pytest.mark.parametrize(
    "fields",
    [
        {"status": "incomplete"},
        {"status": "in_progress"},
        {"call_id": None},
        {"name": ""},
        {"call_id": 5},
    ],
)
def test_a_call_that_is_not_whole_is_never_emitted(fields: dict[str, Any]) -> None:
    item = call(**fields)
    _, events, _ = fed(event("output_item.done", 0, item=item), end("incomplete", output=[item]))
    assert calls(events) == []


@pytest.mark.parametrize("given_arguments", ["", None])
def test_empty_arguments_are_empty_once_the_terminal_event_has_none_either(
    given_arguments: Any,
) -> None:
    done = event("output_item.done", 0, item=call(arguments=given_arguments, status=None))
    assembler, events, _ = fed(done)
    assert (calls(events), assembler.is_complete) == ([], False)
    _, events, _ = fed(done, end())
    assert calls(events) == [ToolCall("call_1", "f", "")]


def test_an_incomplete_answer_is_an_outcome_with_its_reason() -> None:
    details = {"reason": "max_output_tokens"}
    _, events, fault = fed(
        event("output_text.delta", 0, delta="It"), end("incomplete", incomplete_details=details)
    )
    assert events[-1] == ResponseEnded("incomplete", "max_output_tokens", "r1")
    assert fault is None


@pytest.mark.parametrize(
    ("status", "outcome"),
    [("completed", "completed"), (None, "completed"), ("incomplete", "incomplete")],
)
def test_response_done_ends_by_its_status(status: str | None, outcome: str) -> None:
    _, events, _ = fed(
        event("output_text.delta", 0, delta="It"),
        event("done", None, response={"id": "r1", "status": status}),
    )
    assert isinstance(events[-1], ResponseEnded)
    assert events[-1].outcome == outcome


@pytest.mark.parametrize(
    ("frame", "kind"),
    [
        (end("failed", error={"code": "server_error", "message": "m"}), FaultKind.SERVER),
        (end("failed", error=None), FaultKind.SERVER),
        (end("failed", error={"code": "previous_response_not_found"}), FaultKind.CHAIN_MISS),
        (event("done", None, response={"status": "failed"}), FaultKind.SERVER),
        (end("cancelled"), FaultKind.SERVER),
        ({"type": "error", "status": 429, "error": {"message": "m"}}, FaultKind.THROTTLED),
        ({"error": {"code": "server_error"}}, FaultKind.SERVER),
    ],
)
def test_a_failure_is_a_fault_and_no_answer(frame: dict[str, Any], kind: FaultKind) -> None:
    assembler, events, fault = fed(CREATED, frame)
    assert events == []
    assert fault is not None
    assert fault.kind is kind
    assert assembler.ended is None or assembler.ended.outcome != "completed"


def test_a_failed_response_keeps_its_usage() -> None:
    assembler, _, _ = fed(end("failed", usage=USAGE))
    assert assembler.ended is not None
    assert assembler.ended.usage == Usage(10, 5, 4, 2, 3)


@pytest.mark.parametrize(
    "frames",
    [[], [event("output_item.done", 0, item={"type": "reasoning"})]],
    ids=["nothing", "reasoning alone"],
)
def test_a_complete_answer_with_nothing_in_it_is_empty(frames: list[dict[str, Any]]) -> None:
    _, events, _ = fed(*frames, end(output=[]))
    assert isinstance(events[-1], ResponseEnded)
    assert events[-1].outcome == "empty"


@pytest.mark.parametrize(
    "usage",
    [
        None,
        {},
        [],
        {"input_tokens": "many"},
        {"input_tokens": True},
        {"input_tokens": -100, "output_tokens": 5},
        {"input_tokens": 100, "output_tokens": -5},
        {"input_tokens": 10**30, "output_tokens": 1},
    ],
)
def test_usage_that_was_not_reported_is_unknown(usage: Any) -> None:
    assembler, _, _ = fed(end(usage=usage))
    assert assembler.ended is not None
    assert assembler.ended.usage is None


def test_whole_is_a_finished_message_or_call_and_nothing_open() -> None:
    added = event("output_item.added", 0, item=message(""))
    done = event("output_item.done", 0, item=message("Yes."))
    assert not fed(CREATED)[0].is_complete
    assert not fed(added)[0].is_complete
    assert fed(added, done)[0].is_complete
    assert not fed(added, done, event("output_item.added", 1, item=call()))[0].is_complete
    assert not fed(event("output_item.done", 0, item={"type": "reasoning"}))[0].is_complete


@pytest.mark.parametrize("kind", ["reasoning", "function_call", "web_search_call"])
def test_a_slow_item_is_open_until_it_is_done_and_its_events_are_seen(kind: str) -> None:
    added = event("output_item.added", 0, item={"type": kind})
    assembler, _, _ = fed(added)
    assert (assembler.slow_item_open, assembler.touched_slow_item) == (True, True)
    assembler, _, _ = fed(added, event("whatever.delta", 0))
    assert assembler.touched_slow_item
    assembler, _, _ = fed(added, event("whatever.delta", 1))
    assert not assembler.touched_slow_item
    assembler, _, _ = fed(added, event("output_item.done", 0, item={"type": kind}))
    assert (assembler.slow_item_open, assembler.touched_slow_item) == (False, True)


@pytest.mark.parametrize(
    ("kind", "hidden"),
    [
        ("reasoning", "reasoning"),
        ("web_search_call", "web_search_call"),
        ("function_call", None),
        ("message", None),
        (None, None),
    ],
)
def test_a_hidden_item_is_open_until_it_is_done(kind: str | None, hidden: str | None) -> None:
    added = event("output_item.added", 0, item={"type": kind})
    assert fed(added)[0].hidden_item == hidden
    done = event("output_item.done", 0, item={"type": kind})
    assert fed(added, done)[0].hidden_item is None
    assert fed(added, event("completed", response={}))[0].hidden_item is None


def test_a_thought_in_the_text_is_a_hidden_item() -> None:
    begin = event("output_text.delta", 0, delta="<think>Hm.")
    assert fed(begin, drops_thoughts=True)[0].hidden_item == "reasoning"
    end = event("output_text.delta", 0, delta="</think>Yes.")
    assert fed(begin, end, drops_thoughts=True)[0].hidden_item is None


def test_a_message_is_not_a_slow_item() -> None:
    assembler, _, _ = fed(event("output_item.added", 0, item=message("")))
    assert (assembler.slow_item_open, assembler.touched_slow_item) == (False, False)


_TYPES = [
    "output_item.added",
    "output_item.done",
    "output_text.delta",
    "output_text.done",
    "refusal.delta",
    "created",
    "in_progress",
    "completed",
    "incomplete",
    "failed",
    "done",
    "steer.pending",
    "mcp_call.in_progress",
]
_leaves = (
    st.none()
    | st.booleans()
    | st.integers(-3, 3)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from(["", "a", "message", "function_call", "reasoning", "completed", "failed"])
)
_keys = [
    "id", "type", "content", "text", "refusal", "status", "call_id", "name", "arguments", "phase",
    "output", "usage", "error", "code", "message", "incomplete_details", "reason",
    "input_tokens", "output_tokens", "input_tokens_details", "service_tier", "cached_tokens",
]  # fmt: skip
_values = st.recursive(
    _leaves,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(_keys), inner, max_size=6)
    ),
    max_leaves=10,
)
_items = st.fixed_dictionaries(
    {"type": st.sampled_from(["message", "function_call", "reasoning", "x"]), "id": _values},
    optional={"content": _values, "call_id": _leaves, "name": _leaves, "arguments": _values},
)
_junk = st.fixed_dictionaries(
    {"type": st.sampled_from([f"response.{name}" for name in _TYPES] + ["error"]) | _leaves},
    optional={
        "output_index": _leaves,
        "item_id": _values,
        "item": _items | _values,
        "delta": _values,
        "response": st.fixed_dictionaries({"output": st.lists(_items, max_size=2)}) | _values,
        "error": _values,
        "headers": _values,
        "status": _values,
    },
)


@pytest.mark.parametrize("strange", [None, [], {}, 1.5, True, ["a"]])
def test_ids_of_any_kind_are_borne(strange: Any) -> None:
    _, events, _ = fed(
        event("output_item.added", None, item=message("", id=strange)),
        event("output_text.delta", None, item_id=strange, delta="Yes."),
        event("output_item.done", None, item=message("Yes.", id=strange)),
        end(output=[message("Yes.", id=strange)]),
    )
    assert spoken(events).startswith("Yes.")


@given(st.lists(_junk, max_size=8))
def test_no_junk_is_ever_raised(frames: list[dict[str, Any]]) -> None:
    assembler, events, _ = fed(*frames)
    assert all(
        isinstance(e, TextDelta | ToolCallReady | PhaseChanged | ResponseEnded) for e in events
    )
    assert all(e.text for e in events if isinstance(e, TextDelta))
    assembler.output()


@given(st.lists(st.integers(0, len(ORDINARY) - 1), max_size=12))
def test_frames_lost_or_doubled_never_double_a_call(order: list[int]) -> None:
    _, events, _ = fed(*(ORDINARY[index] for index in order))
    assert len(calls(events)) <= 1


# -- hosts that are careless with ids and places  -----------------------------------------


def _played(*frames: dict[str, Any]) -> tuple[str, list[str], ResponsesDecoder]:
    """The text and calls that some frames bring, and the assembler after them."""
    assembler = ResponsesDecoder()
    text, calls = "", []
    for frame in frames:
        read_ = read(msgspec.json.encode(frame))
        assert read_ is not None
        for event in assembler.feed(read_)[0]:
            if isinstance(event, TextDelta):
                text += event.text
            elif isinstance(event, ToolCallReady):
                calls.append(event.call.call_id)
    return text, calls, assembler


def _said(text: str, **ids: Any) -> dict[str, Any]:
    return {"type": "response.output_text.delta", "delta": text, **ids}


def _message_item(text: str, **ids: Any) -> dict[str, Any]:
    return {"type": "message", "content": [{"type": "output_text", "text": text}], **ids}


def _call_item(call_id: str, **ids: Any) -> dict[str, Any]:
    return {"type": "function_call", "call_id": call_id, "name": "f", "arguments": "{}", **ids}


def _done(item: dict[str, Any], **ids: Any) -> dict[str, Any]:
    return {"type": "response.output_item.done", "item": item, **ids}


def _completed(*output: dict[str, Any]) -> dict[str, Any]:
    return {"type": "response.completed", "response": {"id": "r", "output": list(output)}}


HELLO = _message_item("Hello there.", id="m")


@pytest.mark.parametrize(
    "frames",
    [
        [_said("Hello there.", item_id="m"), _done(HELLO, output_index=0), _completed()],
        [_said("Hello there.", output_index=0), _done(HELLO), _completed()],
        [_said("Hello there."), _done(HELLO, output_index=0), _completed(HELLO)],
        [_said("Hello there.", item_id="m", output_index=1), _completed(HELLO)],
        [_said("Hello there.", output_index=1), _completed(_message_item("Hello there."))],
        [_said("Hello ", item_id="m", output_index=1), _completed(HELLO)],
        [_done(HELLO, output_index=3), _done(HELLO), _completed(HELLO)],
        [_done(_message_item("Hello there."), output_index=0)] * 2 + [_completed()],
    ],
)
def test_no_word_is_said_twice_whatever_ties_its_events(frames: list[dict[str, Any]]) -> None:
    text, _, assembler = _played(*frames)
    assert text == "Hello there."
    assert [i.text for i in assembler.output() if isinstance(i, Message)] == ["Hello there."]


@pytest.mark.parametrize(
    "frames",
    [
        [_done(_call_item("c", id="i"), output_index=1), _completed(_call_item("c", id="i"))],
        [_done(_call_item("c"), output_index=1), _completed(_call_item("c"))],
        [_done(_call_item("c", id="i")), _done(_call_item("c", id="other"), output_index=4)],
    ],
)
def test_no_call_runs_twice_whatever_ties_its_events(frames: list[dict[str, Any]]) -> None:
    assert _played(*frames)[1] == ["c"]


def test_a_place_that_is_used_twice_loses_nothing() -> None:
    text, calls, assembler = _played(
        _done({"type": "reasoning", "id": "rs"}, output_index=0),
        _said("Hello.", item_id="m", output_index=0),
        _done(_message_item("Hello.", id="m"), output_index=0),
        _done(_call_item("c1", id="f1"), output_index=0),
        _done(_call_item("c2"), output_index=0),
        _done(_call_item("c3"), output_index=0),
        _completed(),
    )
    assert (text, calls) == ("Hello.", ["c1", "c2", "c3"])
    assert len(assembler.output()) == 5


def test_the_terminal_event_ends_the_response_whatever_its_id() -> None:
    assembler, events, fault = fed(CREATED, end(id="r1-encoded", usage=USAGE))
    assert fault is None
    assert events == [ResponseEnded("empty", None, "r1-encoded", Usage(10, 5, 4, 2, 3))]
    assert set(assembler.response_ids) == {"r1", "r1-encoded"}
    assert assembler.response_id == "r1-encoded"


def test_deltas_after_an_empty_message_are_another_messages() -> None:
    """Found by the fuzz target, on a host that names neither item nor place in its deltas."""
    empty = {"type": "message", "role": "assistant", "content": [{"type": "output_text"}]}
    frames: list[dict[str, Any]] = [
        {"type": "response.output_text.done", "item_id": "a", "output_index": 0, "text": ""},
        {"type": "response.output_item.done", "item": empty},
        {"type": "response.output_text.delta", "delta": "One "},
        {"type": "response.output_text.delta", "delta": "two"},
        {
            "type": "response.output_text.done",
            "item_id": "b",
            "output_index": 1,
            "text": "One two three",
        },
    ]
    decoder, heard = ResponsesDecoder(), ""
    for number, frame in enumerate(frames):
        one = read(json.dumps({**frame, "sequence_number": number}))
        assert one is not None
        heard += "".join(e.text for e in decoder.feed(one)[0] if isinstance(e, TextDelta))
    assert heard == "One two three"


def test_a_delta_repeated_after_its_item_under_another_id_is_not_spoken_again() -> None:
    decoder, spoken = ResponsesDecoder(), ""
    message = {
        "type": "message",
        "id": "m",
        "role": "assistant",
        "content": [{"type": "output_text", "text": "Yes, at nine."}],
    }
    about = {"type": "response.output_text.delta", "output_index": 0, "content_index": 0}
    for fields in (
        {
            "type": "response.output_item.added",
            "output_index": 0,
            "item": message | {"content": []},
        },
        about | {"item_id": "m", "delta": "Yes, "},
        about | {"item_id": "m", "delta": "at nine."},
        {"type": "response.output_item.done", "output_index": 0, "item": message},
        about | {"item_id": "m_again", "delta": "at nine."},
    ):
        frame = read(json.dumps(fields))
        assert frame is not None
        events, _ = decoder.feed(frame)
        spoken += "".join(event.text for event in events if isinstance(event, TextDelta))
    assert spoken == "Yes, at nine."
