"""Server-sent events: the pieces of an HTTP body to what the decoders take."""

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
        event: Its name, if it was given one.
        data: Its data lines.
        is_whole_body: Whether it is no event but all of a body that is no stream.
    """

    event: str
    data: str
    is_whole_body: bool = False


class SseDecoder:
    """Cuts a body into events, whatever its pieces are.

    Lines end with LF, CR LF or CR and nowhere else: U+2028 and the like stand in what a model
    says. Some hosts ignore ``stream`` and answer with one JSON object, some proxies with a web
    page.
    """

    def __init__(self) -> None:
        self._rest: list[bytes] = []
        self._is_body: bool | None = None
        self._after_cr = False
        self._event = ""
        self._data: list[str] = []

    def feed(self, piece: bytes) -> list[ServerSentEvent]:
        """Take the next piece of the body."""
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
        """Take the end of the body."""
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
    """What is fed the events of a stream, several at once."""

    _touched_slow: bool

    @property
    def touched_slow_item(self) -> bool:
        """Whether one of the last pieces belonged to an item that may take long."""
        return self._touched_slow

    def _feed_event(self, event: ServerSentEvent) -> tuple[Sequence[Event], Fault | None]:
        raise NotImplementedError

    def _feed_all(
        self, received: Sequence[ServerSentEvent]
    ) -> tuple[Sequence[Event], Fault | None]:
        """Take events up to the first one that brings a fault."""
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
    """Turns a Responses stream over HTTP into what an agent acts on.

    What is not a JSON object is passed over, as on the socket: comments, junk, ``[DONE]``.
    """

    finished = False
    may_end_after_silence = False
    continued_after_finish = False

    def __init__(self, *, drops_thoughts: bool = False, prefilled: bool = False) -> None:
        super().__init__(drops_thoughts=drops_thoughts, prefilled=prefilled)
        self._failure: Frame | None = None
        self._sse = SseDecoder()

    def accepted(self) -> None:
        """Note that the service answered; only its own events say that it took the request."""

    def feed(self, piece: bytes | str | Frame) -> tuple[Sequence[Event], Fault | None]:
        """Take the next piece of the body, or an event that is decoded already.

        Returns:
            What it brought, and the fault that ends the response, if there was one.
        """
        if isinstance(piece, Frame):
            return super().feed(piece)
        if isinstance(piece, str):
            frame = read(piece)
            return ((), None) if frame is None else super().feed(frame)
        return self._feed_all(self._sse.feed(piece))

    def finish(self) -> tuple[Sequence[Event], Fault | None]:
        """Take the end of the body."""
        events, fault = self._feed_all(self._sse.finish())
        if fault is None and self._failure is not None and self.ended is None:
            return super().feed(self._failure)
        return events, fault

    def _feed_after_failure(self, frame: Frame) -> tuple[Sequence[Event], Fault | None]:
        """Take a frame; after a failure without a reason, it may be the reason."""
        if self._failure is None:
            return super().feed(frame)
        if not frame.is_error:
            return (), None
        super().feed(self._failure)  # its usage counts
        error, status, headers = error_of(frame)
        return (), from_error(error, status, headers, begun=True)

    def _feed_event(self, event: ServerSentEvent) -> tuple[Sequence[Event], Fault | None]:
        if event.is_whole_body and is_web_page(event.data):
            return (), no_stream(event.data, "output")
        frame = frame_of(event)
        if frame is None or self.ended is not None:
            return (), None
        if _fails_without_reason(frame):
            self._failure = frame  # seen: Azure gives the reason in an error event after it
            return (), None
        return self._feed_after_failure(frame)


class SseChatAssembler(_FedByEvents, ChatAssembler):
    """Turns a Chat Completions stream into what an agent acts on."""

    def __init__(self, thoughts: ThoughtFilter | None = None) -> None:
        super().__init__(thoughts)
        self._sse = SseDecoder()

    def feed(self, piece: object) -> tuple[Sequence[Event], Fault | None]:
        """Take the next piece of the body, or a chunk that is decoded already.

        Returns:
            What it brought, and the fault that ends the completion, if there was one.
        """
        if not isinstance(piece, bytes):
            return super().feed(piece)
        return self._feed_all(self._sse.feed(piece))

    def finish(self, *, done: bool = False) -> tuple[Sequence[Event], Fault | None]:
        """Take the end of the stream, or the silence that stands for it.

        Args:
            done: Whether the service said ``[DONE]``.
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
    """Name what came instead of a stream; None if it is a whole answer, or an API's own error.

    Args:
        body: All that came.
        wanted: The field that an answer has.
    """
    value = read_body(body)
    if isinstance(value, Mapping) and (value.get(wanted) or value.get("error")):
        return None
    found = error_object(value)
    said = found.get("message") or "something else"
    found["message"] = f"the host answered with no stream: {said}"
    return from_error(found, None)


def _fails_without_reason(frame: Frame) -> bool:
    return frame.type == "response.failed" and not mapping(frame.response).get("error")


def frame_of(event: ServerSentEvent) -> Frame | None:
    """Read an event as the socket would send it; None if it is not a JSON object.

    Seen: some hosts name the event only outside of the object.
    """
    if event.is_whole_body:
        return _answered_at_once(event.data)
    frame = read(event.data)
    if frame is not None and frame.type is None and event.event:
        frame.type = event.event
    return frame


def _answered_at_once(body: str) -> Frame | None:
    """A whole response object as the last event of a stream."""
    raw = msgspec.Raw(body.encode(errors="surrogatepass"))
    response = mapping(raw)
    if response.get("error"):
        return read(raw)
    if "status" not in response and "output" not in response:
        said = response.get("detail") or response.get("message")
        sentence = said if isinstance(said, str) else "the host answered with something else"
        error = {"message": f"{sentence} (no response object)"}
        return Frame(type="error", error=msgspec.Raw(msgspec.json.encode(error)))
    return Frame(type=f"response.{response.get('status', 'completed')}", response=raw)
