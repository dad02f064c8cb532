"""Frames from the service: the lane and the event; other fields stay undecoded until used."""

from collections.abc import Mapping
from typing import Any

import msgspec

from rtllm.codec import lenient_json


class Frame(msgspec.Struct):
    """The fields of a frame that some code reads.

    Fields are untyped, since hosts vary; their readers check them. Large ones stay undecoded.
    Strings may hold halves of surrogate pairs.
    """

    type: Any = None
    stream_id: Any = None
    sequence_number: Any = None
    item_id: Any = None
    output_index: Any = None
    content_index: Any = None
    delta: Any = None
    text: Any = None
    refusal: Any = None
    arguments: Any = None
    item: msgspec.Raw = msgspec.Raw()
    part: msgspec.Raw = msgspec.Raw()
    response: msgspec.Raw = msgspec.Raw()
    error: msgspec.Raw = msgspec.Raw()
    headers: Any = None
    status: Any = None
    status_code: Any = None
    code: Any = None
    message: Any = None
    detail: Any = None
    param: Any = None

    @property
    def lane(self) -> str | None:
        """The lane that the frame names, None for the default lane."""
        return self.stream_id if isinstance(self.stream_id, str) else None

    @property
    def is_error(self) -> bool:
        """Whether it is an error frame of any form; seen: some have no ``type``."""
        is_named = self.type in ("error", "response.error")
        return is_named or (self.type is None and bool(mapping(self.error)))

    @property
    def is_terminal(self) -> bool:
        """Whether it ends a response."""
        return (isinstance(self.type, str) and self.type in _TERMINALS) or self.is_error


_TERMINALS = frozenset(
    f"response.{status}" for status in ("completed", "incomplete", "failed", "done", "cancelled")
)
_frames = msgspec.json.Decoder(Frame)
_REFUSED = (msgspec.DecodeError, UnicodeError, RecursionError)
_UNDECODED = ("item", "part", "response", "error")


def read(data: str | bytes) -> Frame | None:
    """Parse a frame, leniently if it isn't strict JSON.

    Returns:
        The frame; None if the data isn't a JSON object.
    """
    try:
        return _frames.decode(data)
    except _REFUSED:
        return _read_leniently(data)


def _read_leniently(data: str | bytes) -> Frame | None:
    try:
        value = lenient_json.parse(data)
        if not isinstance(value, dict):
            return None
        known = {name: value[name] for name in Frame.__struct_fields__ if name in value}
        for name in _UNDECODED:
            if name in known:
                known[name] = msgspec.Raw(lenient_json.encode(known[name]))
    except (ValueError, RecursionError):
        return None
    return Frame(**known)


def decode_object(data: bytes) -> Mapping[str, Any]:
    """Decode a JSON object that was parsed before; empty if it is not one."""
    return mapping(msgspec.Raw(data))


def mapping(raw: msgspec.Raw) -> Mapping[str, Any]:
    """Decode a part of a frame that should be an object; empty if it is not one."""
    return strict(raw)[0]


def strict(raw: msgspec.Raw) -> tuple[Mapping[str, Any], bytes]:
    """Decode a part of a frame that should be an object.

    Returns:
        The object, empty if it is not one, and its strict JSON, which can be sent back.
    """
    try:
        value = msgspec.json.decode(raw) if raw else None
        encoded = bytes(raw)
    except _REFUSED:
        try:
            value = lenient_json.parse(bytes(raw))
            encoded = lenient_json.encode(value)
        except (ValueError, RecursionError):
            return {}, b""
    return (value, encoded) if isinstance(value, dict) else ({}, b"")


def error_of(frame: Frame) -> tuple[Mapping[str, Any], int | None, Mapping[str, str]]:
    """Read an error frame of any form.

    Returns:
        The error object, the status if there is one, and the headers.
    """
    error = mapping(frame.error)
    if not error:
        message = next((x for x in (frame.message, _text(frame.error), frame.detail) if x), None)
        error = {"code": frame.code, "message": message, "param": frame.param}
    statuses = (frame.status, frame.status_code, error.get("status"), error.get("status_code"))
    status = next((number for g in statuses if (number := _status(g)) is not None), None)
    headers = frame.headers or error.get("headers")
    if not isinstance(headers, dict):
        headers = {}
    return error, status, {str(k): str(v) for k, v in headers.items() if _is_plain(v)}


def _is_plain(value: object) -> bool:
    """Whether a header's value is a plain one; nested values are dropped, however deep."""
    return isinstance(value, str | int | float)


def _status(value: object) -> int | None:
    """Convert a status to a number; seen: some hosts send it as text."""
    if isinstance(value, str) and len(value) == 3 and value.isdecimal():
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _text(raw: msgspec.Raw) -> str | list[Any] | None:
    """Return an error that is only a text, or a list."""
    try:
        value = msgspec.json.decode(raw) if raw else None
    except _REFUSED:
        return None
    return value if isinstance(value, str | list) else None
