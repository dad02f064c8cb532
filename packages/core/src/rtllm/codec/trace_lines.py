"""The lines of a trace file: one JSON object for each event.

An object has the event's fields without those that have their default, the names of the call
(``label``, ``job``, ``room``, ``session``), and ``v`` (the version of this format), ``time``,
``pid`` and ``kind``. Fields may be added without a new version; a reader ignores unknown ones.
"""

from dataclasses import MISSING, fields
from typing import Any

import msgspec

from rtllm.content.call_identity import CallIdentity
from rtllm.content.usage import Usage
from rtllm.trace.events import EVENTS, TraceEvent
from rtllm.trace.records import TraceNote, TraceRecord, Unread

VERSION = 1
"""The version of the format."""

_CALL = tuple(field.name for field in fields(CallIdentity))
_DEFAULTS: dict[type[TraceEvent], tuple[tuple[str, Any], ...]] = {
    event: tuple((f.name, f.default) for f in fields(event) if f.name != "call")
    for event in EVENTS.values()
}
_USAGE = tuple(field.name for field in fields(Usage))
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode


def event_line(event: TraceEvent, time: float, process: int) -> bytes:
    """Encode an event.

    Args:
        event: The event.
        time: When it happened, in seconds since 1970 (UTC).
        process: The id of this process.

    Returns:
        The line, with its end.
    """
    line: dict[str, Any] = {"v": VERSION, "time": time, "pid": process, "kind": event.kind}
    for name, default in _DEFAULTS[type(event)]:
        value = getattr(event, name)
        if default is MISSING or value != default:
            line[name] = value if not isinstance(value, Usage) else _without_none(value, _USAGE)
    if event.call is not None:
        line |= _without_none(event.call, _CALL)
    return _encoded(line)


def note_line(note: TraceNote) -> bytes:
    """Encode a note."""
    line = {"v": VERSION, "time": note.time, "pid": note.process, "kind": note.note}
    return _encoded(line | _without_none(note, ("count", "rtllm")))


def read_line(line: bytes) -> TraceRecord | TraceNote | Unread:
    """Decode a line; return why it can't be read if it can't."""
    try:
        data = _decode(line)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return "cut"
    if not isinstance(data, dict) or not {"v", "time", "pid", "kind"} <= data.keys():
        return "foreign"
    kind = data["kind"]
    event = EVENTS.get(kind) if isinstance(kind, str) else None
    try:
        if event is not None:
            call = {name: data[name] for name in _CALL if name in data}
            decoded = msgspec.convert(data | {"call": call}, event)
            return TraceRecord(float(data["time"]), int(data["pid"]), decoded)
        if kind in ("started", "dropped"):
            return msgspec.convert(data | {"note": kind, "process": data["pid"]}, TraceNote)
    except (msgspec.ValidationError, TypeError, ValueError, OverflowError):
        is_newer = isinstance(data["v"], int) and data["v"] > VERSION
        return "newer" if is_newer else "invalid"
    return "newer" if isinstance(kind, str) and isinstance(data["v"], int) else "foreign"


def _without_none(value: object, names: tuple[str, ...]) -> dict[str, Any]:
    return {name: one for name in names if (one := getattr(value, name)) is not None}


def _encoded(line: dict[str, Any]) -> bytes:
    try:
        return _encode(line) + b"\n"
    except UnicodeEncodeError:  # a host's id or name with half of a character
        return _encode(_replaced(line)) + b"\n"


def _replaced(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _replaced(one) for key, one in value.items()}
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else value
