"""Fields of this library that a framework keeps with the items that it records.

They are for a framework whose messages and calls have a dictionary for such fields, and that
returns it in later contexts: the mark of the response (`ResponseStream.mark`), and what a host
added to a call and wants back (`ToolCall.carried`).
"""

from typing import Any

_OURS, _MARK, _CARRIED = "rtllm", "mark", "carried"


def fields_to_keep(mark: str | None, carried: bytes | None = None) -> dict[str, Any] | None:
    """Return the fields that a framework keeps with an item of a response, None for none.

    Args:
        mark: The mark of the response.
        carried: The host's own fields of a call.
    """
    ours = {_MARK: mark, _CARRIED: carried.decode() if carried is not None else None}
    kept = {name: value for name, value in ours.items() if value is not None}
    return {_OURS: kept} if kept else None


def mark_in(fields: object) -> str | None:
    """Return the mark in the fields of an item, None if there is none."""
    return _text_in(fields, _MARK)


def carried_in(fields: object) -> bytes | None:
    """Return the host's own fields in those of a call, None if there are none."""
    carried = _text_in(fields, _CARRIED)
    return carried.encode(errors="replace") if carried is not None else None


def _text_in(fields: object, name: str) -> str | None:
    ours = fields.get(_OURS) if isinstance(fields, dict) else None
    value = ours.get(name) if isinstance(ours, dict) else None
    return value if isinstance(value, str) else None
