"""Fields that a host adds to its calls and wants back: thought signatures, reasoning.

A framework that keeps it gives it back with the call. For one that doesn't, it is remembered
here, by conversation and call, for as long as the process lives. It goes back to the host that
made it alone.
"""

from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

import msgspec

from rtllm.content.items import ToolCall

CONVERSATIONS = 512
"""How many conversations' fields are remembered."""
BYTES = 2**18
"""How many bytes of fields are remembered of one conversation."""

OF_THE_CALL = ("extra_content", "thought_signature", "provider_specific_fields")
"""Fields of a call that go back with it."""


def pack(call: Mapping[str, Any], message: Mapping[str, Any], host: str = "") -> bytes | None:
    """Encode the fields that came with a call; None if there are none.

    Args:
        call: The call's own fields.
        message: Those of the message around it.
        host: Who gave it.
    """
    given = {"call": dict(call), "message": dict(message)}
    given = {name: value for name, value in given.items() if value}
    return msgspec.json.encode({**given, "host": host}) if given else None


ANY_HOST = "*"
"""Stands for the host where a framework does not keep who gave a field."""


def signature_of(carried: bytes | None) -> str | None:
    """The thought signature of a call, None if it has none."""
    if carried is None:
        return None
    try:
        call = msgspec.json.decode(carried).get("call") or {}
        signature = call["extra_content"]["google"]["thought_signature"]
    except (msgspec.DecodeError, UnicodeError, AttributeError, KeyError, TypeError):
        return None
    return signature if isinstance(signature, str) and signature else None


def with_signature(signature: object) -> bytes | None:
    """A thought signature that a framework kept, as its host wants it back."""
    if not isinstance(signature, str) or not signature:
        return None
    extra = {"google": {"thought_signature": signature}}
    return pack({"extra_content": extra}, {}, ANY_HOST)


def unpack(carried: bytes | None, host: str = "") -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """The fields of a call, and those of the message around it; none that another host gave."""
    if carried is None:
        return {}, {}
    try:
        value = msgspec.json.decode(carried)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return {}, {}
    if not isinstance(value, dict) or value.get("host") not in (host, ANY_HOST):
        return {}, {}
    call, message = value.get("call"), value.get("message")
    return call if isinstance(call, dict) else {}, message if isinstance(message, dict) else {}


class CarriedFields:
    """What is carried for calls whose framework doesn't keep it, bounded."""

    def __init__(self) -> None:
        self._of: OrderedDict[int, OrderedDict[tuple[str, ...], bytes]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._of)

    def note(self, conversation: int, call: ToolCall) -> None:
        """Remember the fields that came with a call of a conversation."""
        if call.carried is None or len(call.carried) > BYTES:
            return
        known = self._of.setdefault(conversation, OrderedDict())
        self._of.move_to_end(conversation)
        for key in _keys(call):
            known[key] = call.carried
            known.move_to_end(key)
        while sum(map(len, known.values())) > 2 * BYTES:
            known.popitem(last=False)
        while len(self._of) > CONVERSATIONS:
            self._of.popitem(last=False)

    def of(self, conversation: int, call: ToolCall) -> bytes | None:
        """The fields that go back with a call of a conversation."""
        known = self._of.get(conversation) or OrderedDict[tuple[str, ...], bytes]()
        return next((known[key] for key in _keys(call) if key in known), call.carried)

    def clear(self) -> None:
        """Forget all."""
        self._of.clear()


def _keys(call: ToolCall) -> tuple[tuple[str, ...], ...]:
    """By what a call is found: its id, which may have been made unique; else what it says."""
    try:
        arguments = msgspec.json.encode(
            msgspec.json.decode(call.arguments or "{}"), order="sorted"
        ).decode()
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        arguments = call.arguments
    return (call.call_id, call.name), ("", call.name, arguments)
