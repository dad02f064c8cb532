"""Server-sent events: from the pieces of an HTTP body to frames and chunks."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import msgspec

from rtllm.codec.chat_decoder import DONE, ChatDecoder, from_body, read_chunk
from rtllm.codec.frames import Frame, error_of, mapping, read
from rtllm.codec.lenient_json import decode, is_json
from rtllm.codec.responses_decoder import ResponsesDecoder
from rtllm.codec.thoughts import ThoughtFilter
from rtllm.content.events import Event
from rtllm.retry.error_bodies import error_object, is_web_page, read_body
from rtllm.retry.faults import ANSWER_BROKEN_OFF, STREAM_BROKEN_OFF, Fault, from_error

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_LINE_END = re.compile(rb"\r\n|\n|\r")
_FIELDS = (":", "data", "event", "id", "retry")
_LONGEST_TEXT = 300


class ServerSentEvent(NamedTuple):
    """One event of a stream.

    Attributes:
        event: Its name, if it has one.
        data: Its data lines.
        is_whole_body: Whether it is not an event but the full body of a response without a stream.
    """

    event: str
    data: str
    is_whole_body: bool = False


class SseDecoder:
    """Splits a body into events, however it is cut into pieces.

    Lines end only with LF, CR LF or CR: U+2028 and the like may occur in a model's text. Some hosts
    ignore ``stream`` and answer with one JSON object, some proxies with a web page or a text.

    Attributes:
        text: Lines that are not fields of an event stream, up to some hundred characters.
    """

    def __init__(self) -> None:
        self.text = ""
        self._start = b""
        self._rest: list[bytes] = []
        self._is_body: bool | None = None
        self._after_cr = False
        self._event = ""
        self._data: list[str] = []

    def feed(self, piece: bytes) -> list[ServerSentEvent]:
        """Decode the next piece of the body."""
        if self._is_body is None:
            piece = self._start + piece
            if _BYTE_ORDER_MARK.startswith(piece):
                self._start = piece
                return []
            self._start = b""
            piece = piece.removeprefix(_BYTE_ORDER_MARK).lstrip()
            if not piece:
                return []
            self._is_body = piece.startswith((b"{", b"[", b"<"))
        if self._is_body:
            self._rest.append(piece)
            return []
        data = piece.removeprefix(b"\n") if self._after_cr else piece
        self._after_cr = data.endswith(b"\r") or (self._after_cr and not data)
        *lines, last = _LINE_END.split(data)
        events: list[ServerSentEvent] = []
        for line in lines:
            self._line(decode(b"".join((*self._rest, line))), events)
            self._rest.clear()
        if last:
            self._rest.append(last)
        return events

    def finish(self) -> list[ServerSentEvent]:
        """Decode the end of the body."""
        rest = decode(b"".join(self._rest))
        self._rest.clear()
        if self._is_body:
            return _events_of_body(rest)
        events: list[ServerSentEvent] = []
        if rest:
            self._line(rest, events)
        self._line("", events)
        return events

    def _line(self, line: str, events: list[ServerSentEvent]) -> None:
        if line.startswith("data:"):
            while line.startswith("data:"):  # seen: a proxy that wraps complete lines again
                line = line[5:].removeprefix(" ")
            if self._data and line.startswith(("{", DONE)) and is_json("\n".join(self._data)):
                self._line("", events)  # seen: no empty line between events
            self._data.append(line)
        elif line.startswith("event:"):
            self._event = line[6:].strip()
        elif not line:
            if self._data:
                events.append(ServerSentEvent(self._event, "\n".join(self._data)))
            self._event, self._data = "", []
        elif not line.startswith(_FIELDS):
            self.text = f"{self.text} {line}".strip()[:_LONGEST_TEXT]


def _events_of_body(body: str) -> list[ServerSentEvent]:
    """Split a body into its objects if it has one in each line, or a list of chunks.

    Seen: hosts that stream objects in lines (NDJSON), and Gemini's list instead of a stream.
    """
    lines = [line for line in body.split("\n") if line.strip()]
    if len(lines) > 1 and all(line.lstrip().startswith("{") and is_json(line) for line in lines):
        return [ServerSentEvent("", line) for line in lines]
    value = read_body(body) if body.lstrip().startswith("[") else None
    if isinstance(value, list) and all(isinstance(v, dict) and "choices" in v for v in value):
        return [ServerSentEvent("", msgspec.json.encode(one).decode()) for one in value]
    return [ServerSentEvent("", body, is_whole_body=True)] if body else []


def error_in(event: ServerSentEvent) -> Mapping[str, Any] | None:
    """Read the error that an event holds instead of a part of the response, in any form.

    Seen: an object, a list or a text under ``error``; vLLM's object named ``error``; FastAPI's
    ``detail``; a list of errors (Gemini); a text in an event named ``error``.
    """
    value = read_body(event.data)
    if isinstance(value, Mapping):
        is_error = bool(value.get("error") or value.get("errors") or value.get("detail"))
        is_error = is_error or value.get("object") == "error"
        is_error = is_error or _has_code(value)
    elif isinstance(value, list):
        is_error = any(isinstance(entry, Mapping) for entry in value)
    else:
        is_error = False
    if not is_error and event.event != "error":
        return None
    found = error_object(value)
    return found if found.get("message") else None


def _has_code(value: Mapping[str, Any]) -> bool:
    """Whether an object has a code other than that of a success, next to a sentence.

    Seen: ``code`` and ``msg`` of Zhipu's gateways, ``base_resp`` of MiniMax.
    """
    status = value.get("base_resp")
    if isinstance(status, Mapping):
        return status.get("status_code") not in (None, 0)
    is_code = value.get("code") not in (None, 0, 200, "0", "200")
    return is_code and ("message" in value or "msg" in value)


class _FedByEvents:
    """Base class of decoders that get several events of a stream at once."""

    _touched_slow: bool
    _sse: SseDecoder
    _stray = ""
    """The data of an event that is not JSON."""

    def _with_text(self, fault: Fault) -> Fault:
        """Add what the host wrote instead of a response to the fault of a lost stream."""
        quoted = _sentence_of((self._stray or self._sse.text)[:_LONGEST_TEXT])
        return (
            replace(fault, message=f"{fault.message}; the host wrote: {quoted}")
            if quoted
            else fault
        )

    @property
    def touched_slow_item(self) -> bool:
        """Whether one of the last events belonged to an item that may take long without text."""
        return self._touched_slow

    def _feed_event(self, event: ServerSentEvent) -> tuple[Sequence[Event], Fault | None]:
        raise NotImplementedError

    def _feed_all(
        self, received: Sequence[ServerSentEvent]
    ) -> tuple[Sequence[Event], Fault | None]:
        """Decode events up to the first one with a fault."""
        events: list[Event] = []
        self._touched_slow = touched = False
        for one in received:
            more, fault = self._feed_event(one)
            touched = touched or self._touched_slow
            events += more
            if fault is not None:
                return events, fault
        self._touched_slow = touched
        return events, None


class SseResponsesDecoder(_FedByEvents, ResponsesDecoder):
    """Decodes a Responses stream over HTTP into events for the agent.

    Anything but a JSON object is ignored, as on the WebSocket: comments, junk, ``[DONE]``.
    """

    finished = False
    may_end_after_silence = False
    continued_after_finish = False

    def __init__(self, *, drops_thoughts: bool = False, prefilled: bool = False) -> None:
        super().__init__(drops_thoughts=drops_thoughts, prefilled=prefilled)
        self._failure: Frame | None = None
        self._sse = SseDecoder()

    def accepted(self) -> None:
        """Do nothing: only the service's own events tell that it accepted the request."""

    def feed(self, piece: bytes | str | Frame) -> tuple[Sequence[Event], Fault | None]:
        """Decode the next piece of the body, or an event that is already decoded.

        Returns:
            The events, and a fault if the response ends with one.
        """
        if isinstance(piece, Frame):
            return super().feed(piece)
        if isinstance(piece, str):
            frame = read(piece)
            return ((), None) if frame is None else super().feed(frame)
        return self._feed_all(self._sse.feed(piece))

    def finish(self) -> tuple[Sequence[Event], Fault | None]:
        """Decode the end of the body."""
        events, fault = self._feed_all(self._sse.finish())
        if fault is not None or self.ended is not None:
            return events, fault
        if self._failure is not None:
            return super().feed(self._failure)
        quoted = self._with_text(STREAM_BROKEN_OFF)
        return events, None if quoted is STREAM_BROKEN_OFF else quoted

    def _feed_after_failure(self, frame: Frame) -> tuple[Sequence[Event], Fault | None]:
        """Decode a frame; after a failure without a reason, it may be the reason."""
        if self._failure is None:
            return super().feed(frame)
        if not frame.is_error:
            return (), None
        super().feed(self._failure)  # so that its usage is counted
        error, status, headers = error_of(frame)
        return (), from_error(error, status, headers, begun=True)

    def _feed_event(self, event: ServerSentEvent) -> tuple[Sequence[Event], Fault | None]:
        if event.is_whole_body and is_web_page(event.data):
            return (), no_stream(event.data, "output")
        frame = frame_of(event)
        if self.ended is not None:
            return (), None
        if event.data.strip() == DONE and self.received_text() and self._failure is None:
            # Seen: LiteLLM's end of a stream; without the last event it still is one.
            frame = Frame(type="response.completed", response=msgspec.Raw(b"{}"))
        if not event.is_whole_body and (frame is None or not _is_known(frame)):
            if (error := error_in(event)) is not None:
                frame = Frame(type="error", error=msgspec.Raw(msgspec.json.encode(error)))
            elif frame is None and event.data.strip() != DONE:
                self._stray = event.data
        if frame is None:
            return (), None
        if _fails_without_reason(frame):
            self._failure = frame  # seen: Azure sends the reason in an error event after it
            return (), None
        return self._feed_after_failure(frame)


class SseChatDecoder(_FedByEvents, ChatDecoder):
    """Decodes a Chat Completions stream into events for the agent."""

    def __init__(self, thoughts: ThoughtFilter | None = None) -> None:
        super().__init__(thoughts)
        self._sse = SseDecoder()

    def feed(self, piece: object) -> tuple[Sequence[Event], Fault | None]:
        """Decode the next piece of the body, or a chunk that is already decoded.

        Returns:
            The events, and a fault if the completion ends with one.
        """
        if not isinstance(piece, bytes):
            return super().feed(piece)
        return self._feed_all(self._sse.feed(piece))

    def finish(self, *, done: bool = False) -> tuple[Sequence[Event], Fault | None]:
        """Decode the end of the stream, or a silence that counts as the end.

        Args:
            done: Whether the service sent ``[DONE]``.
        """
        events, fault = self._feed_all(self._sse.finish())
        if fault is not None or self.ended is not None:
            return events, fault
        more, fault = super().finish(done=done)
        return (*events, *more), self._with_text(fault) if fault is ANSWER_BROKEN_OFF else fault

    def _feed_event(self, event: ServerSentEvent) -> tuple[Sequence[Event], Fault | None]:
        chunk = read_chunk(event.data)
        if event.is_whole_body and (fault := no_stream(event.data, "choices")) is not None:
            return (), fault
        if chunk == DONE:
            return super().finish(done=True)
        if not isinstance(chunk, Mapping) or not chunk.get("choices"):
            if (error := error_in(event)) is not None:
                return (), from_body(error, None, begun=True)
            if chunk is None:
                self._stray = event.data
                return (), None
        return super().feed(chunk)


def no_stream(body: str, wanted: str) -> Fault | None:
    """Classify a body that is not a stream; None if it is a full response, or an API's error.

    Args:
        body: The full body.
        wanted: The field that a response has.
    """
    value = read_body(body)
    if isinstance(value, Mapping) and (value.get(wanted) or value.get("error")):
        return None
    is_broken = isinstance(value, str) and body.lstrip().startswith(("{", "["))
    found = {} if is_broken else error_object(value)
    quoted = found.get("message") or "an unknown format"
    found["message"] = f"the host did not answer with an event stream: {quoted}"
    return from_error(found, None)


def _sentence_of(text: str) -> str:
    """Return a sentence of a text; empty if it is data, which may hold a caller's words."""
    if text.lstrip().lower().startswith(("{", "[", "data", "event")):
        return ""
    sentence: str = error_object(read_body(text)).get("message", "")
    return sentence


def _fails_without_reason(frame: Frame) -> bool:
    return frame.type == "response.failed" and not mapping(frame.response).get("error")


def frame_of(event: ServerSentEvent) -> Frame | None:
    """Read an event as a WebSocket frame; None if it is not a JSON object.

    Seen: some hosts put the event's name only outside of the object.
    """
    if event.is_whole_body:
        return _answered_at_once(event.data)
    frame = read(event.data)
    if frame is not None and frame.type is None:
        if mapping(msgspec.Raw(event.data.encode())).get("object") == "response":
            return _answered_at_once(event.data)  # a full response as the only event
        frame.type = event.event or None
    return frame


def _is_known(frame: Frame) -> bool:
    """Whether a frame is an event of a response, or an error frame."""
    return frame.is_error or (isinstance(frame.type, str) and frame.type.startswith("response."))


def _answered_at_once(body: str) -> Frame | None:
    """Convert a full response object to the last event of a stream."""
    raw = msgspec.Raw(body.encode(errors="surrogatepass"))
    response = mapping(raw)
    if isinstance(response.get("error"), Mapping):
        return read(raw)
    if "status" not in response and "output" not in response:
        found = error_object(read_body(body)) if response or body.startswith("[") else {}
        sentence = found.get("message") or "the host answered with an unknown object"
        error = {**found, "message": f"{sentence} (no response object)"}
        return Frame(type="error", error=msgspec.Raw(msgspec.json.encode(error)))
    return Frame(type=f"response.{response.get('status', 'completed')}", response=raw)
