"""Chat Completions: what is sent, and what chunks of every shape come to."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types.chat import ChatCompletionChunk

from rtllm.codec.chat_decoder import DONE, ChatDecoder, from_body, read_chunk
from rtllm.codec.chat_encoder import (
    messages,
    nested_choice,
    nested_format,
    nested_tool,
    parameters,
)
from rtllm.content.events import Event, ResponseEnded, TextDelta, ToolCallReady
from rtllm.content.items import (
    Image,
    Item,
    Message,
    Opaque,
    Reasoning,
    Text,
    ToolCall,
    ToolOutput,
)
from rtllm.content.usage import Usage
from rtllm.context.normalize import normalize_context
from rtllm.errors import ConfigError
from rtllm.parameters import DROPPABLE, text_format_of, tool_choice_of
from rtllm.retry.faults import Fault, FaultKind

CALL = ToolCall("call_1", "weather", '{"city":"Bonn"}')
OTHER = ToolCall("call_2", "time", "{}")


# -- messages ----------------------------------------------------------------------------


def test_system_messages_stay_in_their_place() -> None:
    items = [
        Message.of("system", "Be brief."),
        Message.of("user", "Hi"),
        Message.of("developer", "Be long."),
        Message.of("user", "Well?"),
    ]
    assert messages(items) == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hi"},
        {"role": "developer", "content": "Be long."},
        {"role": "user", "content": "Well?"},
    ]


def test_calls_join_the_words_before_them_and_outputs_follow() -> None:
    items: list[Item] = [
        Message.of("user", "Weather?"),
        Message.of("assistant", "One moment."),
        CALL,
        OTHER,
        ToolOutput("call_2", "noon"),
        ToolOutput("call_1", "rain"),
        ToolCall("call_3", "book", "{}"),
        ToolOutput("call_3", ""),
    ]
    _, assistant, *rest = messages(items)
    assert assistant["content"] == "One moment."
    assert [c["id"] for c in assistant["tool_calls"]] == ["call_1", "call_2"]
    assert assistant["tool_calls"][0] == {
        "id": "call_1",
        "type": "function",
        "function": {"name": "weather", "arguments": '{"city":"Bonn"}'},
    }
    assert [m["role"] for m in rest] == ["tool", "tool", "assistant", "tool"]
    assert rest[0] == {"role": "tool", "tool_call_id": "call_2", "content": "noon"}
    assert "content" not in rest[2]


def test_hidden_items_stay_out_and_part_nothing() -> None:
    items: list[Item] = [
        Message.of("assistant", "Well.", "commentary"),
        Reasoning(b'{"type":"reasoning"}'),
        Opaque("web_search_call", b'{"type":"web_search_call"}'),
        CALL,
        ToolOutput("call_1", "rain"),
    ]
    assistant, tool = messages(items)
    assert assistant.keys() == {"role", "content", "tool_calls"}
    assert tool["role"] == "tool"


def test_pictures_and_breakpoints_make_parts() -> None:
    picture = Image("https://x/y.png", "low")
    message = Message("user", (Text("Look:", cache_breakpoint=True), picture, Image("data:image/")))
    assert messages([message])[0]["content"] == [
        {"type": "text", "text": "Look:", "prompt_cache_breakpoint": {"mode": "explicit"}},
        {"type": "image_url", "image_url": {"url": "https://x/y.png", "detail": "low"}},
        {"type": "image_url", "image_url": {"url": "data:image/"}},
    ]


def test_the_guide_follows_the_leading_system_texts() -> None:
    items = [Message.of("system", "A"), Message.of("user", "B"), Message.of("system", "C")]
    assert [m["content"] for m in messages(items, "guide")] == ["A", "guide", "B", "C"]
    assert [m["content"] for m in messages(items[:1], "guide")] == ["A", "guide"]


def test_ids_too_long_for_chat_are_shortened_alike_on_both_sides() -> None:
    long = "call_" + "x" * 59
    assistant, tool = messages([ToolCall(long, "f", "{}"), ToolOutput(long, "done")])
    assert assistant["tool_calls"][0]["id"] == tool["tool_call_id"]
    assert len(tool["tool_call_id"]) <= 40


_ITEMS = st.lists(
    st.one_of(
        st.builds(
            Message.of, st.sampled_from(["system", "user", "assistant"]), st.sampled_from("abc")
        ),
        st.builds(
            ToolCall, st.sampled_from(["1", "2", "3", "x" * 50]), st.just("f"), st.just("{}")
        ),
        st.builds(ToolOutput, st.sampled_from(["1", "2", "3", "x" * 50]), st.just("out")),
        st.just(Reasoning(b"{}")),
    ),
    max_size=14,
)


@given(_ITEMS)
def test_law_every_call_is_answered_directly_after_its_message(items: list[Item]) -> None:
    open_calls: set[str] = set()
    legal = normalize_context(items).items
    encoded = messages(legal)
    for message in encoded:
        if message["role"] == "tool":
            open_calls.remove(message["tool_call_id"])
        else:
            assert not open_calls
            open_calls = {call["id"] for call in message.get("tool_calls", ())}
    assert not open_calls
    seen = [m.get("content") for m in encoded if m["role"] != "tool" and "content" in m]
    assert seen == [item.text for item in legal if isinstance(item, Message)]


# -- tools and settings ------------------------------------------------------------------

FLAT = {
    "type": "function",
    "name": "weather",
    "description": "Tells it.",
    "parameters": {"type": "object", "properties": {}},
    "strict": True,
}


def test_tools_are_nested() -> None:
    nested = nested_tool(FLAT)
    assert nested == {
        "type": "function",
        "function": {k: v for k, v in FLAT.items() if k != "type"},
    }
    assert nested_tool(nested) == nested


@pytest.mark.parametrize("tool", [{"type": "web_search"}, {**FLAT, "async": True}])
def test_a_tool_that_chat_has_not_is_named(tool: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="Chat Completions"):
        nested_tool(tool)


@pytest.mark.parametrize(
    ("flat", "nested"),
    [
        ("required", "required"),
        (
            {"type": "function", "name": "f"},
            {"type": "function", "function": {"name": "f"}},
        ),
        (
            {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function", "name": "f"}]},
            {
                "type": "allowed_tools",
                "allowed_tools": {
                    "mode": "auto",
                    "tools": [{"type": "function", "function": {"name": "f"}}],
                },
            },
        ),
    ],
)
def test_tool_choices_are_nested_and_back_again(flat: object, nested: object) -> None:
    assert nested_choice(flat) == nested
    assert nested_choice(nested) == nested
    assert tool_choice_of(nested) == flat


def test_formats_are_nested_and_back_again() -> None:
    flat = {"type": "json_schema", "name": "n", "schema": {"type": "object"}, "strict": True}
    nested = nested_format(flat)
    assert nested == {
        "type": "json_schema",
        "json_schema": {"name": "n", "schema": {"type": "object"}, "strict": True},
    }
    assert text_format_of(nested) == flat
    assert nested_format({"type": "json_object"}) == {"type": "json_object"}


def test_settings_get_their_names_in_chat() -> None:
    settings = {
        "max_output_tokens": 100,
        "reasoning": {"effort": "none", "summary": None},
        "text": {"verbosity": "low", "format": {"type": "json_object"}},
        "temperature": 0.5,
        "seed": 7,
        "store": False,
        "truncation": "disabled",
        "include": ["reasoning.encrypted_content"],
        "tool_choice": {"type": "function", "name": "weather"},
        "parallel_tool_calls": False,
        "user": None,
        "extra_body": {"top_k": 5},
    }
    tools = (msgspec.json.encode(FLAT),)
    assert parameters(settings, tools) == {
        "max_completion_tokens": 100,
        "reasoning_effort": "none",
        "verbosity": "low",
        "response_format": {"type": "json_object"},
        "temperature": 0.5,
        "seed": 7,
        "store": False,
        "tool_choice": {"type": "function", "function": {"name": "weather"}},
        "parallel_tool_calls": False,
        "tools": [nested_tool(FLAT)],
        "extra_body": {"top_k": 5},
    }


def test_without_tools_no_tool_fields_are_sent() -> None:
    assert parameters({"tool_choice": "auto", "parallel_tool_calls": True}) == {}


@pytest.mark.parametrize(
    "settings", [{"top_logprobs": 2}, {"include": ["message.output_text.logprobs"]}]
)
def test_logprobs_are_asked_for_as_chat_wants_it(settings: dict[str, Any]) -> None:
    assert parameters(settings)["logprobs"] is True


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"previous_response_id": "resp_1"}, "previous_response_id"),
        ({"truncation": "auto"}, "truncation"),
        ({"reasoning": {"summary": "auto"}}, "reasoning.summary"),
        ({"top_k": 5}, "top_k"),
        ({"n": 2}, "'n'"),
        ({"timeout": 3}, "timeout"),
    ],
)
def test_what_chat_does_not_know_is_named(settings: dict[str, Any], named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        parameters(settings)


@pytest.mark.parametrize(
    ("param", "setting"),
    [
        ("reasoning_effort", "reasoning.effort"),
        ("verbosity", "text.verbosity"),
        ("temperature", "temperature"),
        ("seed", "seed"),
        ("frequency_penalty", "frequency_penalty"),
        ("logprobs", "logprobs"),
    ],
)
def test_a_refused_parameter_is_named_as_in_the_settings(param: str, setting: str) -> None:
    error = {"message": "no", "code": "unsupported_parameter", "param": param}
    fault = from_body(error, 400)
    assert (fault.kind, fault.param) == (FaultKind.PARAMETER_REFUSED, setting)
    assert setting in DROPPABLE


# -- chunks ------------------------------------------------------------------------------


def chunk(delta: Any = None, finish: str | None = None, **fields: Any) -> dict[str, Any]:
    choice = {"index": 0, "delta": {} if delta is None else delta, "finish_reason": finish}
    return {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "m"} | {
        "choices": [choice],
        **fields,
    }


def said(text: str) -> dict[str, Any]:
    return chunk({"content": text})


def piece(arguments: str = "", **fields: Any) -> dict[str, Any]:
    name = fields.pop("name", None)
    function = {"arguments": arguments, **({"name": name} if name else {})}
    return chunk({"tool_calls": [{**fields, "function": function}]})


USAGE = {
    "prompt_tokens": 20,
    "completion_tokens": 7,
    "total_tokens": 27,
    "prompt_tokens_details": {"cached_tokens": 8, "cache_write_tokens": 2},
    "completion_tokens_details": {"reasoning_tokens": 3},
}
TAIL = chunk() | {"choices": [], "usage": USAGE, "service_tier": "default"}
BOTH = pytest.mark.parametrize("as_objects", [False, True])


def read(*chunks: Any, as_objects: bool = False, end: bool = True) -> list[Event | Fault]:
    """All that some chunks, and the end of the stream, come to."""
    assembler = ChatDecoder()
    found: list[Event | Fault] = []
    for one in chunks:
        events, fault = assembler.feed(ChatCompletionChunk.construct(**one) if as_objects else one)
        found += [*events, *([fault] if fault else [])]
    if end:
        events, fault = assembler.finish()
        found += [*events, *([fault] if fault else [])]
    return found


def calls(*chunks: Any, as_objects: bool = False) -> list[tuple[str, str, str]]:
    found = read(*chunks, chunk(finish="tool_calls"), as_objects=as_objects)
    assert isinstance(found[-1], ResponseEnded)
    return [
        (e.call.call_id, e.call.name, e.call.arguments)
        for e in found
        if isinstance(e, ToolCallReady)
    ]


@BOTH
def test_text_streams_and_ends_with_its_usage(as_objects: bool) -> None:
    first = chunk({"role": "assistant", "content": "", "refusal": None})
    found = read(first, said("Hel"), said("lo"), chunk(finish="stop"), TAIL, as_objects=as_objects)
    usage = Usage(20, 7, 8, 2, 3, "default")
    assert found == [
        TextDelta("Hel"),
        TextDelta("lo"),
        ResponseEnded("completed", None, "chatcmpl-1", usage),
    ]


def test_the_usage_chunk_ends_it_before_the_stream_does() -> None:
    found = read(said("Hi"), chunk(finish="stop"), TAIL, end=False)
    assert isinstance(found[-1], ResponseEnded)


def test_what_the_service_does_not_say_of_its_usage_stays_unknown() -> None:
    bare = TAIL | {"usage": {"prompt_tokens": 1, "completion_tokens": 2}, "service_tier": None}
    [*_, end] = read(said("Hi"), chunk(finish="stop"), bare)
    assert isinstance(end, ResponseEnded)
    assert end.usage == Usage(1, 2, None, None, None, None)
    [*_, end] = read(said("Hi"), chunk(finish="stop"))
    assert isinstance(end, ResponseEnded)
    assert end.usage is None


def test_usage_in_the_last_chunk_or_in_every_chunk_counts_once() -> None:
    growing = USAGE | {"completion_tokens": 1}
    last = chunk(finish="stop", usage=USAGE)
    [*_, end] = read(said("Hi") | {"usage": growing}, last)
    assert isinstance(end, ResponseEnded)
    assert end.usage is not None
    assert end.usage.output == 7


@BOTH
@pytest.mark.parametrize(
    "odd",
    [
        {"choices": [], "prompt_filter_results": [{"prompt_index": 0}], "id": "", "model": ""},
        {"choices": [{"index": 0, "delta": None, "finish_reason": None}]},
        {"choices": None},
        {"choices": [{"index": 0}, {"index": 1, "delta": {"content": "other choice"}}]},
        {},
    ],
)
def test_odd_chunks_bring_nothing_and_break_nothing(odd: dict[str, Any], as_objects: bool) -> None:
    found = read(odd, said("Hi"), odd, chunk(finish="stop"), odd, TAIL, odd, as_objects=as_objects)
    assert found[0] == TextDelta("Hi")
    assert isinstance(found[1], ResponseEnded)
    assert len(found) == 2
    assert found[1].response_id == "chatcmpl-1"


def test_content_next_to_a_finish_reason_is_said() -> None:
    assert read(chunk({"content": "Bye"}, "stop"))[0] == TextDelta("Bye")
    with_call = chunk({"content": "One moment."}, "tool_calls")
    found = read(piece("{}", index=0, id="a", name="f"), with_call)
    assert [type(e) for e in found] == [TextDelta, ToolCallReady, ResponseEnded]


def test_refusals_are_distinguished() -> None:
    assert read(chunk({"refusal": "No."}), chunk(finish="stop"))[0] == TextDelta(
        "No.", refusal=True
    )


def test_parts_in_a_delta_are_read() -> None:
    parts = [{"type": "text", "text": "Hi"}, {"type": "reference", "ids": [1]}]
    assert read(chunk({"content": parts}), chunk(finish="stop"))[0] == TextDelta("Hi")


@pytest.mark.parametrize(
    ("finish", "reason"),
    [("length", "max_output_tokens"), ("content_filter", "content_filter")],
)
def test_a_cut_answer_is_incomplete_and_gives_no_call_out(finish: str, reason: str) -> None:
    whole = piece("{}", index=0, id="a", name="f")
    cut = piece('{"ci', index=1, id="b", name="f")
    found = read(said("Hi"), whole, cut, chunk(finish=finish), TAIL)
    assert found[0] == TextDelta("Hi")
    assert [type(e) for e in found] == [TextDelta, ResponseEnded]
    assert isinstance(found[-1], ResponseEnded)
    assert (found[-1].outcome, found[-1].reason) == ("incomplete", reason)


def test_broken_arguments_of_a_finished_call_are_emitted_as_they_are() -> None:
    assert calls(piece('{"a":', index=0, id="a", name="f")) == [("a", "f", '{"a":')]


def test_calls_are_emitted_at_the_end_only() -> None:
    found = read(piece("{}", index=0, id="a", name="f"), end=False)
    assert found == []


def test_an_answer_of_nothing_is_empty() -> None:
    [end] = read(chunk(finish="stop"), TAIL)
    assert isinstance(end, ResponseEnded)
    assert end.outcome == "empty"


def test_a_stream_that_just_ends_was_dropped() -> None:
    [_, fault] = read(said("Hi"))
    assert isinstance(fault, Fault)
    assert fault.kind is FaultKind.DROPPED
    [fault] = read()
    assert isinstance(fault, Fault)


def test_a_usage_chunk_is_an_end_for_hosts_that_give_no_reason() -> None:
    found = read(said("Hi"), piece("{}", index=0, id="a", name="f"), TAIL)
    assert [type(e) for e in found] == [TextDelta, ToolCallReady, ResponseEnded]
    assert isinstance(read(TAIL)[-1], Fault)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        ({"message": "overloaded", "code": "server_is_overloaded"}, FaultKind.THROTTLED),
        ({"message": "slow", "code": 429}, FaultKind.THROTTLED),
        ({"message": "boom", "type": "server_error"}, FaultKind.SERVER),
        ({"message": "nothing known"}, FaultKind.SERVER),
        ("a mere string", FaultKind.SERVER),
    ],
)
def test_an_error_line_is_a_fault(error: Any, kind: FaultKind) -> None:
    found = read(said("Hi"), {"error": error}, end=False)
    assert isinstance(found[-1], Fault)
    assert found[-1].kind is kind


WEATHER = ("a", "weather", '{"city":"Bonn"}')
TIME = ("b", "time", '{"zone":1}')
SHAPES: dict[str, list[dict[str, Any]]] = {
    "as at OpenAI": [
        piece(index=0, id="a", name="weather", type="function"),
        piece('{"city":', index=0),
        piece('"Bonn"}', index=0),
        piece(index=1, id="b", name="time", type="function"),
        piece('{"zone":1}', index=1),
    ],
    "id repeated": [
        piece('{"city":', index=0, id="a", name="weather"),
        piece('"Bonn"}', index=0, id="a"),
        piece('{"zone":', index=1, id="b", name="time"),
        piece("1}", index=1, id="b"),
    ],
    "name repeated": [
        piece('{"city":', index=0, id="a", name="weather"),
        piece('"Bonn"}', index=0, name="weather"),
        piece('{"zone":', index=1, id="b", name="time"),
        piece("1}", index=1, name="time"),
    ],
    "all repeated without place": [
        piece('{"city":', id="a", name="weather"),
        piece('"Bonn"}', id="a", name="weather"),
        piece('{"zone":', id="b", name="time"),
        piece("1}", id="b", name="time"),
    ],
    "without place": [
        piece('{"city":', id="a", name="weather"),
        piece('"Bonn"}'),
        piece('{"zone":', id="b", name="time"),
        piece("1}"),
    ],
    "whole": [
        piece('{"city":"Bonn"}', index=0, id="a", name="weather"),
        piece('{"zone":1}', index=1, id="b", name="time"),
    ],
    "whole, all at place 0": [
        piece('{"city":"Bonn"}', index=0, id="a", name="weather"),
        piece('{"zone":1}', index=0, id="b", name="time"),
    ],
    "whole, then repeated": [
        piece('{"city":"Bonn"}', index=0, id="a", name="weather"),
        piece('{"zone":1}', index=1, id="b", name="time"),
        piece('{"city":"Bonn"}', index=0, id="a", name="weather"),
        piece('{"zone":1}', index=1, id="b", name="time"),
    ],
    "both in one chunk": [
        chunk(
            {
                "tool_calls": [
                    {"id": "a", "function": {"name": "weather", "arguments": {"city": "Bonn"}}},
                    {"id": "b", "function": {"name": "time", "arguments": '{"zone":1}'}},
                ]
            }
        )
    ],
    "places with gaps": [
        piece(index=1, id="a", name="weather"),
        piece('{"city":"Bonn"}', index=1),
        piece(index=5, id="b", name="time"),
        piece('{"zone":1}', index=5),
    ],
    "interleaved": [
        piece(index=0, id="a", name="weather"),
        piece(index=1, id="b", name="time"),
        piece('{"city":', index=0),
        piece('{"zone":', index=1),
        piece('"Bonn"}', index=0),
        piece("1}", index=1),
    ],
    "an id of its own for each piece": [
        piece('{"city":', index=0, id="a", name="weather"),
        piece('"Bonn"}', index=0, id="x"),
        piece('{"zone":', index=1, id="b", name="time"),
        piece("1}", index=1, id="y"),
    ],
    "an id of its own and the name for each piece": [
        piece(index=0, id="a", name="weather"),
        piece('{"city":', index=0, id="x", name="weather"),
        piece('"Bonn"}', index=0, id="y", name="weather"),
        piece('{"zone":', index=1, id="b", name="time"),
        piece("1}", index=1, id="z", name="time"),
    ],
    "begun at place 0, continued at place 1": [
        piece(index=0, id="a", name="weather"),
        piece('{"city":"Bonn"}', index=0),
        piece(index=0, id="b", name="time"),
        piece('{"zone":', index=1),
        piece("1}", index=1),
    ],
    "growing in three steps": [
        piece('{"ci', index=0, id="a", name="weather"),
        piece('{"city":', index=0, id="a", name="weather"),
        piece('{"city":"Bonn"}', index=0, id="a", name="weather"),
        piece('{"zone":1}', index=1, id="b", name="time"),
    ],
    "the name in pieces": [
        piece(index=0, id="a", name="wea"),
        piece(index=0, name="ther"),
        piece('{"city":"Bonn"}', index=0),
        piece('{"zone":1}', index=1, id="b", name="time"),
    ],
}


@BOTH
@pytest.mark.parametrize("shape", SHAPES)
def test_calls_come_together_whatever_the_host_sends(shape: str, as_objects: bool) -> None:
    assert calls(*SHAPES[shape], as_objects=as_objects) == [WEATHER, TIME]


def test_calls_in_an_object_or_without_a_function_are_read() -> None:
    whole = {"id": "a", "function": {"name": "weather", "arguments": '{"city":"Bonn"}'}}
    assert calls(chunk({"tool_calls": whole})) == [WEATHER]
    flat = {"id": "a", "name": "weather", "arguments": '{"city":"Bonn"}'}
    assert calls(chunk({"tool_calls": [flat]})) == [WEATHER]


@pytest.mark.parametrize(
    "name",
    [
        "functions.weather",
        "functions.weather:0",
        "weather:12",
        " weather\n",
        "weather<|channel|>commentary",
        "functions.weather <|constrain|>json",
    ],
)
def test_a_name_is_freed_from_what_the_template_added(name: str) -> None:
    assert calls(piece('{"city":"Bonn"}', id="a", name=name)) == [WEATHER]


@pytest.mark.parametrize("name", ["a.b", "functions", "functions.", "<|channel|>", "a:b"])
def test_any_other_name_is_left_as_it_is(name: str) -> None:
    assert calls(piece("{}", id="a", name=name)) == [("a", name, "{}")]


def test_arguments_encoded_twice_are_decoded_once() -> None:
    assert calls(piece('"{\\"city\\":\\"Bonn\\"}"', id="a", name="weather")) == [WEATHER]
    assert calls(piece('"Bonn"', id="a", name="weather")) == [("a", "weather", '"Bonn"')]


def test_calls_without_ids_get_different_ones() -> None:
    found = calls(piece('{"a":1}', name="f"), piece('{"a":2}', name="f"))
    assert [arguments for _, _, arguments in found] == ['{"a":1}', '{"a":2}']
    assert len({call_id for call_id, _, _ in found}) == 2
    assert all(len(call_id) <= 40 for call_id, _, _ in found)


def test_a_call_without_a_name_is_never_emitted() -> None:
    assert calls(piece("{}", index=0, id="a")) == []


def test_calls_without_arguments_are_two() -> None:
    found = calls(piece(index=0, id="a", name="f"), piece(index=0, id="b", name="f"))
    assert found == [("a", "f", ""), ("b", "f", "")]


def test_the_old_function_call_is_read() -> None:
    found = calls(
        chunk({"function_call": {"name": "f", "arguments": ""}}),
        chunk({"function_call": {"arguments": "{}"}}),
    )
    assert [(name, arguments) for _, name, arguments in found] == [("f", "{}")]


def test_a_call_that_comes_in_is_slow_until_the_end() -> None:
    assembler = ChatDecoder()
    assembler.feed(piece("{", index=0, id="a", name="f"))
    assert (assembler.slow_item_open, assembler.touched_slow_item) == (True, True)
    assert assembler.hidden_item is None
    assembler.feed(chunk())
    assert (assembler.slow_item_open, assembler.touched_slow_item) == (True, False)
    assembler.feed(chunk(finish="tool_calls"))
    assert (assembler.slow_item_open, assembler.touched_slow_item) == (False, True)


@pytest.mark.parametrize("name", ["reasoning", "reasoning_content"])
def test_thoughts_are_slow_and_never_spoken(name: str) -> None:
    assembler = ChatDecoder()
    assert assembler.feed(chunk({name: "hmm"})) == ([], None)
    assert (assembler.slow_item_open, assembler.hidden_item) == (True, "reasoning")
    assert assembler.feed(said("Hi")) == ([TextDelta("Hi")], None)
    assert assembler.hidden_item is None
    assert (assembler.slow_item_open, assembler.touched_slow_item) == (False, True)


def test_it_is_whole_once_the_service_has_finished() -> None:
    assembler = ChatDecoder()
    found = []
    for one in (said("Hi"), chunk(finish="stop")):
        assembler.feed(one)
        found.append(assembler.is_complete)
    assert found == [False, True]
    assert assembler.output() == (Message.of("assistant", "Hi"),)


_TEXTS = st.text(alphabet='ab"{}', max_size=6)


@given(
    st.lists(
        st.one_of(
            st.none(),
            st.builds(said, _TEXTS),
            st.builds(
                piece,
                _TEXTS,
                index=st.one_of(st.none(), st.integers(0, 3)),
                id=st.one_of(st.none(), st.sampled_from("xyz")),
                name=st.one_of(st.none(), st.sampled_from("fg")),
            ),
            st.builds(chunk, st.just({}), st.sampled_from(["stop", "length", "tool_calls", None])),
            st.just(TAIL),
            st.recursive(
                st.one_of(st.none(), st.booleans(), st.integers(), _TEXTS),
                lambda inner: st.one_of(
                    st.lists(inner, max_size=2),
                    st.dictionaries(
                        st.sampled_from(["choices", "delta", "usage", "error", "tool_calls", "id"]),
                        inner,
                        max_size=3,
                    ),
                ),
                max_leaves=8,
            ),
        ),
        max_size=12,
    )
)
def test_law_any_chunks_end_once_and_nothing_follows_the_end(chunks: list[Any]) -> None:
    found = read(*chunks)
    ends = [i for i, e in enumerate(found) if isinstance(e, ResponseEnded)]
    assert len(ends) <= 1
    if ends and not any(isinstance(e, Fault) for e in found):
        assert ends == [len(found) - 1]
    assert all(e.text for e in found if isinstance(e, TextDelta))


# -- ends, halves and odd usage ----------------------------------------------------------------


def test_content_after_a_finish_reason_still_counts() -> None:
    assembler = ChatDecoder()
    found: list[Event] = []
    for one in (said("one ")["choices"][0]["delta"]["content"], "two ", "three"):
        found += assembler.feed(chunk({"content": one}, "stop"))[0]
    assert found == [TextDelta("one "), TextDelta("two "), TextDelta("three")]
    assert assembler.continued_after_finish
    assert not assembler.may_end_after_silence
    assert isinstance(assembler.feed(TAIL)[0][-1], ResponseEnded)


def test_calls_after_a_finish_reason_are_emitted_at_the_end() -> None:
    early = chunk({"tool_calls": [{"index": 0, "id": "a", "function": {"name": "f"}}]}, "stop")
    found = read(early, piece('{"x":', index=0), piece("1}", index=0), TAIL)
    assert [e.call.arguments for e in found if isinstance(e, ToolCallReady)] == ['{"x":1}']


def test_a_finish_reason_allows_an_end_after_a_short_silence() -> None:
    assembler = ChatDecoder()
    assembler.feed(said("Hi"))
    assert not assembler.may_end_after_silence
    assembler.feed(chunk(finish="stop"))
    allowed = [assembler.may_end_after_silence]
    assert assembler.finish()[0] == (ResponseEnded("completed", None, "chatcmpl-1"),)
    assert [*allowed, assembler.may_end_after_silence] == [True, False]


@pytest.mark.parametrize("chunks", [[said("Hi")], [piece("{}", index=0, id="a", name="f")]])
def test_done_is_an_end_without_a_finish_reason(chunks: list[Any]) -> None:
    found = read(*chunks, DONE, end=False)
    assert isinstance(found[-1], ResponseEnded)
    assert found[-1].outcome == "completed"
    assert isinstance(read(DONE, end=False)[-1], Fault)


def test_a_failure_as_a_finish_reason_is_a_fault() -> None:
    found = read(said("Hi"), chunk(finish="network_error"))
    assert isinstance(found[-1], Fault)
    assert found[-1].kind is FaultKind.SERVER


@pytest.mark.parametrize(
    ("reason", "kind"),
    [
        ("SAFETY", FaultKind.CUT_BEFORE_OUTPUT),
        ("content_filter: RECITATION", FaultKind.CUT_BEFORE_OUTPUT),
        ("refusal", FaultKind.CUT_BEFORE_OUTPUT),
        ("MAX_TOKENS", FaultKind.CUT_BEFORE_OUTPUT),
        ("model_length", FaultKind.CUT_BEFORE_OUTPUT),
        ("insufficient_system_resource", FaultKind.SERVER),
        ("abort", FaultKind.SERVER),
        ("MALFORMED_FUNCTION_CALL", FaultKind.MALFORMED_CALL),
        ("function_call_filter: MALFORMED_FUNCTION_CALL", FaultKind.MALFORMED_CALL),
    ],
)
def test_a_reason_of_any_host_that_ends_a_silent_response_is_a_fault(
    reason: str, kind: FaultKind
) -> None:
    found = read(chunk({"role": "assistant", "content": ""}), chunk(finish=reason))
    assert isinstance(found[-1], Fault)
    assert found[-1].kind is kind
    assert reason in found[-1].message


@pytest.mark.parametrize(
    ("deltas", "expected"),
    [
        (["a\ud83d", "\ude00b"], "a\U0001f600b"),
        (["a\ud83d", "b"], "a\ufffdb"),
        (["a\ud83d"], "a\ufffd"),
        (["\ude00a"], "\ufffda"),
        (["\ud83d\ude00"], "\U0001f600"),
    ],
)
@BOTH
def test_halves_are_joined_over_chat(deltas: list[str], expected: str, as_objects: bool) -> None:
    found = read(*map(said, deltas), chunk(finish="stop"), TAIL, as_objects=as_objects)
    assert "".join(e.text for e in found if isinstance(e, TextDelta)) == expected
    assert isinstance(found[-1], ResponseEnded)


def test_halves_in_arguments_are_joined_over_chat() -> None:
    pieces = [piece('{"x":"\ud83d', index=0, id="a", name="f"), piece('\ude00"}', index=0)]
    assert calls(*pieces) == [("a", "f", '{"x":"\U0001f600"}')]


def test_empty_arguments_before_the_real_ones_are_replaced() -> None:
    first = piece("{}", index=0, id="a", name="f")
    assert calls(first, piece('{"x":', index=0), piece("1}", index=0)) == [("a", "f", '{"x":1}')]
    assert calls(first, piece('{"x":1}', index=0, id="a", name="f")) == [("a", "f", '{"x":1}')]


def test_arguments_that_grow_are_taken_whole() -> None:
    pieces = ['{"x"', '{"x":1', '{"x":1}']
    [(_, _, arguments)] = calls(piece(pieces[0], index=0, id="a", name="f"), piece(pieces[2]))
    assert arguments == '{"x":1}'


def test_deep_arguments_raise_nothing_over_chat() -> None:
    deep = '{"x":' + "[" * 2000
    found = calls(
        piece(deep, index=0, id="a", name="f"), piece("]" * 2000 + "}", index=0, name="f")
    )
    assert found == [("a", "f", deep + "]" * 2000 + "}")]


@pytest.mark.parametrize(
    "content",
    [
        ["Hel", "lo"],
        {"type": "text", "text": "Hello"},
        [{"type": "text", "text": {"value": "Hello", "annotations": []}}],
        [{"type": "thinking", "thinking": [{"type": "text", "text": "Hm."}]}, "Hello"],
        [{"type": "reasoning", "text": "Hm."}, {"type": "text", "text": "Hello"}],
    ],
)
def test_content_may_be_parts_and_thoughts_in_them_are_not_spoken(content: Any) -> None:
    assert read(chunk({"content": content}), chunk(finish="stop"))[0] == TextDelta("Hello")


def test_parts_with_thoughts_are_slow() -> None:
    decoder = ChatDecoder()
    decoder.feed(chunk({"content": [{"type": "thinking", "thinking": []}]}))
    assert decoder.hidden_item == "reasoning"


def test_a_choice_counts_whatever_its_index() -> None:
    """As of Anthropic's models through gateways, whose blocks are counted as choices."""
    thought = chunk({"reasoning_content": "Hm."})
    word = chunk() | {"choices": [{"index": 1, "delta": {"content": "Hi"}, "finish_reason": None}]}
    assert read(thought, word, chunk(finish="stop"))[0] == TextDelta("Hi")


@pytest.mark.parametrize("repeats", [False, True])
def test_messages_instead_of_deltas_are_joined(repeats: bool) -> None:
    texts = ["It is ", "It is sunny." if repeats else "sunny."]
    chunks = [
        {"choices": [{"message": {"role": "assistant", "content": text}, "finish_reason": None}]}
        for text in texts
    ]
    found = read(*chunks, chunk(finish="stop"))
    assert "".join(e.text for e in found if isinstance(e, TextDelta)) == "It is sunny."


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ("[DONE]", "[DONE]"),
        (b" [DONE]", "[DONE]"),
        ('{"a":1}', {"a": 1}),
        ('{"a":NaN}', {"a": None}),
        ('{"a":"\\ud83d"}', {"a": "\ud83d"}),
        (b'{"a":"\xff"}', {"a": "\ufffd"}),
        ("[1]", None),
        ("junk", None),
        ("null", None),
    ],
)
def test_a_data_line_is_read_leniently(data: str | bytes, expected: Any) -> None:
    assert read_chunk(data) == expected


@pytest.mark.parametrize(
    ("tokens", "expected"),
    [
        ((-1, 5), None),
        ((5, -1), None),
        ((float("nan"), 1), None),
        ((float("inf"), 1), None),
        ((10**30, 1), None),
        ((10.5, 2.0), Usage(10, 2)),
        ((10.6, 2), Usage(11, 2)),
        (("7", 1), None),
        ((None, 3), Usage(0, 3)),
        ((None, None), None),
    ],
)
def test_counts_that_cannot_be_are_unknown(tokens: tuple[Any, Any], expected: Any) -> None:
    usage = {"prompt_tokens": tokens[0], "completion_tokens": tokens[1]}
    [*_, end] = read(
        said("Hi"), chunk(finish="stop"), TAIL | {"usage": usage, "service_tier": None}
    )
    assert isinstance(end, ResponseEnded)
    assert end.usage == expected


def test_details_that_cannot_be_are_unknown() -> None:
    details = {"prompt_tokens_details": {"cached_tokens": -5, "cache_write_tokens": 1.5}}
    [*_, end] = read(said("Hi"), chunk(finish="stop"), TAIL | {"usage": {**USAGE, **details}})
    assert isinstance(end, ResponseEnded)
    assert end.usage == Usage(20, 7, None, 2, 3, "default")


def test_an_answer_that_goes_on_after_its_reason_is_complete_only_after_the_next_one() -> None:
    decoder = ChatDecoder()
    found: list[tuple[bool, bool]] = []
    for delta, reason in (({"content": "Yes"}, "stop"), ({"content": "."}, None), ({}, "stop")):
        choice = {"index": 0, "delta": delta, "finish_reason": reason}
        decoder.feed({"id": "c", "choices": [choice]})
        found.append((decoder.finished, decoder.is_complete))
    assert found == [(True, True), (False, False), (True, True)]


def test_an_answer_with_calls_that_were_not_emitted_is_not_complete() -> None:
    decoder = ChatDecoder()
    call = {"index": 0, "id": "call_1", "function": {"name": "f", "arguments": "{}"}}
    choice = {"index": 0, "delta": {"content": "Hm.", "tool_calls": [call]}}
    decoder.feed({"id": "c", "choices": [{**choice, "finish_reason": "tool_calls"}]})
    assert not decoder.is_complete
