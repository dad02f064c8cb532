"""Server-sent events: from the pieces of an HTTP body to frames and chunks."""

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import msgspec

from rtllm.codec.chat_decoder import DONE, ChatAssembler, read_chunk
from rtllm.codec.frames import Frame, error_of, mapping, read
from rtllm.codec.lenient_json import decode
from rtllm.codec.responses_decoder import Assembler
from rtllm.codec.thoughts import ThoughtFilter
from rtllm.content.events import Event
from rtllm.retry.error_bodies import error_object, is_web_page, read_body
from rtllm.retry.faults import Fault, from_error

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_LINE_END = re.compile(rb"\r\n|\n|\r")


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
    ignore ``stream`` and answer with one JSON object, some proxies with a web page.
    """

    def __init__(self) -> None:
        self._rest: list[bytes] = []
        self._is_body: bool | None = None
        self._after_cr = False
        self._event = ""
        self._data: list[str] = []

    def feed(self, piece: bytes) -> list[ServerSentEvent]:
        """Decode the next piece of the body."""
        if self._is_body is None:
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
            return [ServerSentEvent("", rest, is_whole_body=True)] if rest else []
        events: list[ServerSentEvent] = []
        if rest:
            self._line(rest, events)
        self._line("", events)
        return events

    def _line(self, line: str, events: list[ServerSentEvent]) -> None:
        if line.startswith("data:"):
            self._data.append(line[5:].removeprefix(" "))
        elif line.startswith("event:"):
            self._event = line[6:].strip()
        elif not line:
            if self._data:
                events.append(ServerSentEvent(self._event, "\n".join(self._data)))
            self._event, self._data = "", []


class _FedByEvents:
    """Base class of decoders that get several events of a stream at once."""

    _touched_slow: bool

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


class SseAssembler(_FedByEvents, Assembler):
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
        if fault is None and self._failure is not None and self.ended is None:
            return super().feed(self._failure)
        return events, fault

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
        if frame is None or self.ended is not None:
            return (), None
        if _fails_without_reason(frame):
            self._failure = frame  # seen: Azure sends the reason in an error event after it
            return (), None
        return self._feed_after_failure(frame)


class SseChatAssembler(_FedByEvents, ChatAssembler):
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
        return (*events, *more), fault

    def _feed_event(self, event: ServerSentEvent) -> tuple[Sequence[Event], Fault | None]:
        chunk = read_chunk(event.data)
        if event.is_whole_body and (fault := no_stream(event.data, "choices")) is not None:
            return (), fault
        if chunk is None:
            return (), None
        return super().finish(done=True) if chunk == DONE else super().feed(chunk)


def no_stream(body: str, wanted: str) -> Fault | None:
    """Classify a body that is not a stream; None if it is a full response, or an API's error.

    Args:
        body: The full body.
        wanted: The field that a response has.
    """
    value = read_body(body)
    if isinstance(value, Mapping) and (value.get(wanted) or value.get("error")):
        return None
    found = error_object(value)
    said = found.get("message") or "an unknown format"
    found["message"] = f"the host did not answer with an event stream: {said}"
    return from_error(found, None)


def _fails_without_reason(frame: Frame) -> bool:
    return frame.type == "response.failed" and not mapping(frame.response).get("error")


def frame_of(event: ServerSentEvent) -> Frame | None:
    """Read an event as a WebSocket frame; None if it is not a JSON object.

    Seen: some hosts put the event's name only outside of the object.
    """
    if event.is_whole_body:
        return _answered_at_once(event.data)
    frame = read(event.data)
    if frame is not None and frame.type is None and event.event:
        frame.type = event.event
    return frame


def _answered_at_once(body: str) -> Frame | None:
    """Convert a full response object to the last event of a stream."""
    raw = msgspec.Raw(body.encode(errors="surrogatepass"))
    response = mapping(raw)
    if response.get("error"):
        return read(raw)
    if "status" not in response and "output" not in response:
        said = response.get("detail") or response.get("message")
        sentence = said if isinstance(said, str) else "the host answered with an unknown object"
        error = {"message": f"{sentence} (no response object)"}
        return Frame(type="error", error=msgspec.Raw(msgspec.json.encode(error)))
    return Frame(type=f"response.{response.get('status', 'completed')}", response=raw)
