"""Server-sent events, as hosts send them."""

import pytest

from rtllm.codec.frames import Frame
from rtllm.codec.sse import SseDecoder, frame_of


def frames_in(body: bytes, size: int = 1000) -> list[Frame]:
    decoder = SseDecoder()
    pieces = [body[at : at + size] for at in range(0, len(body), size)]
    events = [event for piece in pieces for event in decoder.feed(piece)]
    frames = [frame_of(event) for event in (*events, *decoder.finish())]
    return [frame for frame in frames if frame is not None]


def types_in(body: str, size: int = 1000) -> list[object]:
    return [frame.type for frame in frames_in(body.encode(), size)]


SIZES = pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])


@SIZES
@pytest.mark.parametrize(
    ("body", "types"),
    [
        ('event: a\ndata: {"type":"a"}\n\ndata:{"type":"b"}\n\n', ["a", "b"]),
        ('data: {"type":\ndata: "a"}\n\n', ["a"]),
        (': ping\n\nid: 7\nretry: 3\ndata: {"type":"a"}\n\n', ["a"]),
        ("data: [DONE]\n\n", []),
        ('data: junk\n\ndata: [1]\n\ndata: {"type":"a"}\n\n', ["a"]),
        ('event: error\ndata: {"error":{"message":"no"}}\n\n', ["error"]),
        ('data: {"type":"a"}', ["a"]),  # no blank line at the end
        ("\n\n\n", []),
    ],
)
def test_each_object_is_a_frame_and_the_rest_is_passed_over(
    body: str, types: list[object], size: int
) -> None:
    assert types_in(body, size) == types


@SIZES
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_lines_end_at_line_ends_and_nowhere_else(size: int, end: str) -> None:
    body = f'data: {{"delta":"one\u2028two\x85ü"}}{end}{end}data: {{"delta":"drei"}}'
    deltas = [frame.delta for frame in frames_in(body.encode(), size)]
    assert deltas == ["one\u2028two\x85ü", "drei"]


@SIZES
@pytest.mark.parametrize(
    ("body", "types"),
    [
        ('{"id":"r","status":"completed","output":[]}', ["response.completed"]),
        ('{"id":"r","status":"incomplete"}', ["response.incomplete"]),
        ('{"error":{"message":"no"}}', [None]),
    ],
)
def test_one_object_instead_of_a_stream_is_its_last_event(
    body: str, types: list[object], size: int
) -> None:
    assert types_in(f"\n {body}", size) == types
