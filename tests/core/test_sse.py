"""Server-sent events, as hosts send them."""

from collections.abc import AsyncIterator

import pytest

from rtllm.transport.sse import frames_of, lines_of


async def lines(text: str) -> AsyncIterator[str]:
    for line in text.split("\n"):
        yield line


async def types_in(text: str, content_type: str = "text/event-stream") -> list[object]:
    frames = frames_of(lines(text), {"content-type": content_type})
    return [frame.type async for frame in frames]


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
async def test_each_object_is_a_frame_and_the_rest_is_passed_over(
    body: str, types: list[object]
) -> None:
    assert await types_in(body) == types


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
async def test_lines_end_at_line_ends_and_nowhere_else(size: int, end: str) -> None:
    body = f"data: one\u2028two\x85{end}{end}data: drei ü{end}{end}last".encode()

    async def chunks() -> AsyncIterator[bytes]:
        for at in range(0, len(body), size):
            yield body[at : at + size]

    lines = [line async for line in lines_of(chunks())]
    assert lines == ["data: one\u2028two\x85", "", "data: drei ü", "", "last"]


@pytest.mark.parametrize(
    ("body", "types"),
    [
        ('{"id":"r","status":"completed","output":[]}', ["response.completed"]),
        ('{"id":"r","status":"incomplete"}', ["response.incomplete"]),
        ('{"error":{"message":"no"}}', [None]),
    ],
)
async def test_one_object_instead_of_a_stream_is_its_last_event(
    body: str, types: list[object]
) -> None:
    assert await types_in(body, "application/json; charset=utf-8") == types
