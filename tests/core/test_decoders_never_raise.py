"""Whatever a frame holds, the decoders take it: bytes, mangled frames and random values."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtllm.codec import lenient_json
from rtllm.codec.chat_decoder import DONE, ChatDecoder, read_chunk
from rtllm.codec.frames import error_of, read
from rtllm.codec.responses_decoder import ResponsesDecoder
from rtllm.content.events import ResponseEnded, TextDelta, ToolCallReady
from rtllm.simulator.faults import GARBAGE

_TYPES = [
    "created", "output_item.added", "output_item.done", "output_text.delta", "output_text.done",
    "content_part.done", "refusal.delta", "refusal.done", "function_call_arguments.delta",
    "function_call_arguments.done", "completed", "incomplete", "failed", "done", "x",
]  # fmt: skip
_text = st.text(st.characters(exclude_categories=()), max_size=4)
_leaves = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | _text
    | st.sampled_from(["message", "function_call", "a", "completed", "{}", '{"a":', "\ud83d"])
)
_names = st.sampled_from(
    [
        "id", "type", "content", "text", "refusal", "status", "call_id", "name", "arguments",
        "output", "usage", "error", "code", "message", "incomplete_details", "input_tokens",
        "output_tokens", "choices", "delta", "index", "tool_calls", "function", "finish_reason",
        "prompt_tokens", "phase", "encrypted_content", "headers", "retry-after",
    ]
)  # fmt: skip
_values = st.recursive(
    _leaves,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_names, inner, max_size=6),
    max_leaves=12,
)
_FIELDS = [
    "item", "part", "response", "error", "delta", "text", "arguments", "refusal", "item_id",
    "output_index", "content_index", "sequence_number", "stream_id", "headers", "status",
    "choices", "usage",
]  # fmt: skip
_frames = st.fixed_dictionaries(
    {"type": st.sampled_from([f"response.{name}" for name in _TYPES] + ["error"]) | _leaves},
    optional=dict.fromkeys(_FIELDS, _values),
)


def _whatever(data: str | bytes, decoder: ResponsesDecoder) -> None:
    frame = read(data)
    if frame is None:
        return
    _ = (frame.is_error, frame.lane, error_of(frame))
    for event in decoder.feed(frame)[0]:
        if isinstance(event, TextDelta):
            assert event.text
            event.text.encode()
        elif isinstance(event, ToolCallReady):
            event.call.arguments.encode()
    _ = (decoder.is_complete, decoder.output(), decoder.ids, decoder.slow_item_open)


@given(st.lists(_frames, max_size=8), st.data())
def test_law_no_values_raise_in_the_responses_decoder(
    frames: list[dict[str, Any]], data: st.DataObject
) -> None:
    decoder = ResponsesDecoder()
    for frame in frames:
        text = json.dumps(frame)
        cut = data.draw(st.integers(0, len(text)) | st.just(len(text)))
        _whatever(text[:cut], decoder)
        _whatever(json.dumps(frame, ensure_ascii=False).encode(errors="surrogatepass"), decoder)


@given(st.lists(st.binary(max_size=40) | _text, max_size=5))
def test_law_no_bytes_raise(pieces: list[bytes | str]) -> None:
    for piece in pieces:
        _whatever(piece, ResponsesDecoder())
        chunk = read_chunk(piece)
        assert chunk is None or ChatDecoder().feed(chunk)


@given(st.lists(_frames | _values | st.just(DONE), max_size=8))
def test_law_no_values_raise_in_the_chat_decoder(chunks: list[Any]) -> None:
    decoder = ChatDecoder()
    for chunk in chunks:
        for one in (chunk, read_chunk(json.dumps(chunk))):
            events, _ = decoder.feed(one)
            for event in events:
                if isinstance(event, TextDelta):
                    event.text.encode()
    events, _ = decoder.finish()
    assert sum(isinstance(e, ResponseEnded) for e in events) <= 1


@pytest.mark.parametrize("name", sorted(GARBAGE))
def test_what_no_host_should_send_is_passed_over(name: str) -> None:
    _whatever(GARBAGE[name], ResponsesDecoder())


@pytest.mark.parametrize("depth", [99, 100, 101, 500, 990, 1000, 2000, 50_000])
@pytest.mark.parametrize("is_closed", [True, False])
@pytest.mark.parametrize("name", ["item", "error", "headers", "delta", "arguments", "response"])
def test_no_depth_raises(depth: int, name: str, *, is_closed: bool) -> None:
    nested = '{"message":' * depth + "1" + "}" * (depth if is_closed else 0)
    for kind in ("error", "response.output_item.done", "response.failed", "response.completed"):
        frame = f'{{"type":"{kind}","{name}":{nested}}}'
        _whatever(frame, ResponsesDecoder())
        assert (read(frame) is not None) is is_closed
    read_chunk(f'{{"choices":[{{"delta":{nested}}}]}}')


@given(_values)
def test_law_lenient_parsing_agrees_with_a_strict_parser_on_strict_json(value: Any) -> None:
    try:
        text = json.dumps(value, allow_nan=False)
    except ValueError:
        return
    if value == json.loads(text):
        assert lenient_json.parse(text) == json.loads(text)


def test_values_beyond_the_depth_limit_are_their_json_text() -> None:
    value = lenient_json.parse('{"a":' + "[" * 150 + '"]"' + "]" * 150 + "}")["a"]
    depth = 1
    while isinstance(value, list):
        value, depth = value[0], depth + 1
    assert depth == lenient_json.DEPTH_LIMIT
    assert value == "[" * 51 + '"]"' + "]" * 51
