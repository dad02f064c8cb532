"""Server-sent events as frames."""

import re
from collections.abc import AsyncGenerator, AsyncIterator, Mapping

import msgspec

from rtllm.wire.frames import Frame, mapping, read
from rtllm.wire.lenient_json import decode

_LINE_END = re.compile(rb"\r\n|\n|\r")


async def lines_of(chunks: AsyncIterator[bytes]) -> AsyncGenerator[str]:
    """Cut a body into lines, which end with LF, CR LF or CR.

    Nowhere else: HTTP clients that cut texts also do so at U+2028 and the like, which stand in
    the midst of what a model says. A line in many chunks is joined once, at its end.
    """
    rest: list[bytes] = []
    after_cr = False
    async for chunk in chunks:
        data = chunk.removeprefix(b"\n") if after_cr else chunk
        after_cr = data.endswith(b"\r") or (after_cr and not data)
        *lines, last = _LINE_END.split(data)
        for line in lines:
            yield decode(b"".join((*rest, line)))
            rest.clear()
        if last:
            rest.append(last)
    if rest:
        yield decode(b"".join(rest))


async def frames_of(lines: AsyncIterator[str], headers: Mapping[str, str]) -> AsyncGenerator[Frame]:
    """Read a Responses stream.

    What isn't a JSON object is passed over, as on the socket: comments, junk, ``[DONE]``.

    Args:
        lines: The lines of the body, without their ends.
        headers: The response's headers; some hosts ignore ``stream`` and answer with one object.
    """
    if headers.get("content-type", "").startswith("application/json"):
        whole = "\n".join([line async for line in lines])
        if (frame := _answered_at_once(whole)) is not None:
            yield frame
        return
    event, data = "", list[str]()
    async for line in lines:
        if line.startswith("data:"):
            data.append(line[5:].removeprefix(" "))
        elif line.startswith("event:"):
            event = line[6:].strip()
        elif not line:
            if data and (frame := _named(event, "\n".join(data))) is not None:
                yield frame
            event, data = "", []
    if data and (frame := _named(event, "\n".join(data))) is not None:
        yield frame


def _named(event: str, data: str) -> Frame | None:
    """A frame; seen: some hosts name the event only outside of the object."""
    frame = read(data)
    if frame is not None and frame.type is None and event:
        frame.type = event
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
