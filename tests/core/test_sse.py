"""Server-sent events, as hosts send them."""

import pytest

from rtllm.codec.frames import Frame
from rtllm.codec.sse import SseChatDecoder, SseDecoder, SseResponsesDecoder, frame_of
from rtllm.content.events import ResponseEnded, TextDelta
from rtllm.retry.faults import Fault, FaultKind


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
        # seen of proxies and small servers: no empty lines, lines wrapped twice, NDJSON
        ('data: {"type":"a"}\ndata: {"type":"b"}\ndata: [DONE]\n', ["a", "b"]),
        ('data: data: {"type":"a"}\n\ndata: data: [DONE]\n\n', ["a"]),
        ('{"type":"a"}\n{"type":"b\u2028"}\n', ["a", "b\u2028"]),
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


@SIZES
@pytest.mark.parametrize("line", ["", "\n", ": hi\n\n"])
def test_a_byte_order_mark_is_skipped_however_it_is_cut(size: int, line: str) -> None:
    body = f'\ufeff{line}data: {{"type":"a"}}\n\ndata: {{"type":"b"}}\n\n'
    assert types_in(body, size) == ["a", "b"]


def fault_of(body: str, api: str) -> Fault | None:
    decoder = SseResponsesDecoder() if api == "responses" else SseChatDecoder()
    _, fault = decoder.feed(body.encode())
    return fault or decoder.finish()[1]


BOTH_APIS = pytest.mark.parametrize("api", ["responses", "chat"])


@BOTH_APIS
@pytest.mark.parametrize(
    "event",
    [
        'data: {"error":{"message":"Too busy.","code":503}}',
        'data: {"error":"Too busy."}',
        'data: [{"error":{"message":"Too busy.","code":503}}]',  # Gemini
        'data: {"object":"error","message":"Too busy.","type":"ServerError","code":503}',  # vLLM
        'data: {"detail":"Too busy."}',  # FastAPI
        'data: {"code":503,"message":"Too busy.","success":false}',
        'event: error\ndata: {"message":"Too busy."}',
        "event: error\ndata: Too busy.",
        'data: {"code":"1113","msg":"Too busy."}',  # Zhipu
        'data: {"choices":null,"base_resp":{"status_code":8,"status_msg":"Too busy."}}',  # MiniMax
        'data: {"choices":[],"error":{"message":"Too busy.","code":502}}',  # OpenRouter
    ],
)
def test_an_error_event_of_any_form_ends_the_response_with_its_words(event: str, api: str) -> None:
    fault = fault_of(f"{event}\n\ndata: [DONE]\n\n", api)
    assert fault is not None
    assert fault.message == "Too busy."
    assert fault.kind is not FaultKind.DROPPED


@BOTH_APIS
@pytest.mark.parametrize("body", ["data: Too busy.\n\n", "Too busy.\n", '"Too busy."'])
def test_a_text_instead_of_a_stream_is_quoted(body: str, api: str) -> None:
    fault = fault_of(body, api)
    assert fault is not None
    assert fault.kind is FaultKind.DROPPED
    assert fault.message.endswith("; the host wrote: Too busy.")


@BOTH_APIS
@pytest.mark.parametrize(
    "body", ['[{"error":{"message":"Too busy."}}]', '{"errors":["Too busy."]}']
)
def test_an_error_body_of_any_form_is_quoted(body: str, api: str) -> None:
    fault = fault_of(body, api)
    assert fault is not None
    assert "Too busy." in fault.message


@BOTH_APIS
@pytest.mark.parametrize(
    "body",
    [
        '{"delta":"my secret"}\n{"delta":"number"}\n',
        'Data: {"delta":"my secret"}\n\n',
        'data: {"delta":"my secret"}\ndata: {"delta":"number"}\n',
    ],
)
def test_what_a_model_said_is_not_quoted(body: str, api: str) -> None:
    fault = fault_of(body, api)
    assert "secret" not in str(fault)


@pytest.mark.parametrize(
    "event",
    [
        '{"type":"response.error","error":{"message":"Too busy."}}',
        '{"type":"response.failed","response":{"status":"failed","error":"Too busy."}}',
    ],
)
def test_an_error_of_a_response_in_any_form_has_its_words(event: str) -> None:
    fault = fault_of(f"data: {event}\n\n", "responses")
    assert fault is not None
    assert fault.message == "Too busy."


CHUNK = '{"choices":[{"index":0,"delta":{"content":"Hi"},"finish_reason":"stop"}]}'


@SIZES
@pytest.mark.parametrize(
    "body",
    [
        f"data: {CHUNK}\n\ndata: [DONE]}}\n\n",
        f"data: {CHUNK}\ndata: [DONE]\n",
        f"data: data: {CHUNK}\n\n",
        f"{CHUNK}\n" + '{"choices":[],"usage":null}\n',
        f'[{CHUNK},{{"choices":[]}}]',
        f'data: {{"choices":[],"base_resp":{{"status_code":0,"status_msg":""}}}}\n\ndata: {CHUNK}',
    ],
)
def test_chunks_are_read_however_a_host_packs_them(body: str, size: int) -> None:
    decoder = SseChatDecoder()
    data = body.encode()
    pieces = [data[at : at + size] for at in range(0, len(data), size)]
    fed = [decoder.feed(piece) for piece in pieces]
    events = [event for found, _ in [*fed, decoder.finish()] for event in found]
    assert events[0] == TextDelta("Hi")
    assert isinstance(events[-1], ResponseEnded)


def test_done_ends_a_response_without_its_last_event() -> None:
    decoder = SseResponsesDecoder()
    delta = '{"type":"response.output_text.delta","output_index":0,"delta":"Hi"}'
    decoder.feed(f"data: {delta}\n\n".encode())
    events, fault = decoder.feed(b"data: [DONE]\n\n")
    assert fault is None
    assert isinstance(events[-1], ResponseEnded)
    assert events[-1].outcome == "completed"


def test_a_full_response_may_be_the_only_event() -> None:
    body = 'data: {"id":"r","object":"response","status":"completed","output":[]}\n\n'
    assert types_in(body) == ["response.completed"]
