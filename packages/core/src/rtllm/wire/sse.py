"""Server-sent events: the pieces of an HTTP body to frames."""

from collections.abc import Sequence

import msgspec

from rtllm.events import Event
from rtllm.faults import Fault
from rtllm.wire.frames import Frame, mapping, read
from rtllm.wire.response_events import Assembler


class SseDecoder:
    """Cuts a body into frames, whatever its pieces are.

    What is not a JSON object is passed over, as on the socket: comments, junk, ``[DONE]``. Some
    hosts ignore ``stream`` and answer with one JSON object, which is then the only frame.
    """

    def __init__(self) -> None:
        self._rest = b""
        self._is_json: bool | None = None
        self._event = ""
        self._data: list[str] = []

    def feed(self, piece: bytes) -> list[Frame]:
        """Take the next piece of the body."""
        self._rest += piece
        if self._is_json is None:
            begin = self._rest.lstrip()
            if not begin:
                return []
            self._is_json = begin.startswith(b"{")
        if self._is_json:
            return []
        # At line feeds only: what cuts texts elsewhere, such as U+2028, stands in what is said.
        *lines, self._rest = self._rest.split(b"\n")
        frames: list[Frame] = []
        for line in lines:
            self._line(line.removesuffix(b"\r").decode(errors="replace"), frames)
        return frames

    def finish(self) -> list[Frame]:
        """Take the end of the body."""
        rest, self._rest = self._rest, b""
        if self._is_json:
            frame = _answered_at_once(rest)
            return [] if frame is None else [frame]
        frames: list[Frame] = []
        if rest:
            self._line(rest.decode(errors="replace"), frames)
        self._line("", frames)
        return frames

    def _line(self, line: str, frames: list[Frame]) -> None:
        if line.startswith("data:"):
            self._data.append(line[5:].removeprefix(" "))
        elif line.startswith("event:"):
            self._event = line[6:].strip()
        elif not line:
            if self._data and (frame := _named(self._event, "\n".join(self._data))) is not None:
                frames.append(frame)
            self._event, self._data = "", []


class SseAssembler(Assembler):
    """Turns a Responses stream over HTTP into what an agent acts on."""

    finished = False

    def __init__(self) -> None:
        super().__init__()
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
        return self._feed_all(self._sse.finish())

    def _feed_all(self, frames: Sequence[Frame]) -> tuple[Sequence[Event], Fault | None]:
        events: list[Event] = []
        touched = False
        for frame in frames:
            if self.ended is not None:
                break
            more, fault = super().feed(frame)
            touched = touched or self._touched_slow
            events += more
            if fault is not None:
                return events, fault
        self._touched_slow = touched
        return events, None


def _named(event: str, data: str) -> Frame | None:
    """A frame; seen: some hosts name the event only outside of the object."""
    frame = read(data)
    if frame is not None and frame.type is None and event:
        frame.type = event
    return frame


def _answered_at_once(body: bytes) -> Frame | None:
    """A whole response object as the last event of a stream."""
    raw = msgspec.Raw(body)
    response = mapping(raw)
    if response.get("error"):
        return read(body)
    if "status" not in response and "output" not in response:
        said = response.get("detail") or response.get("message")
        sentence = said if isinstance(said, str) else "the host answered with something else"
        error = {"message": f"{sentence} (no response object)"}
        return Frame(type="error", error=msgspec.Raw(msgspec.json.encode(error)))
    return Frame(type=f"response.{response.get('status', 'completed')}", response=raw)
