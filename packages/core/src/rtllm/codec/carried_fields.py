"""Fields that a host adds to calls and wants back, such as thought signatures and reasoning.

If the framework keeps such fields, it returns them with the call. If it doesn't, they are
remembered here by conversation and call, while the process runs. They are sent only to the host
that issued them.
"""

from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

import msgspec

from rtllm.codec.lenient_json import clean
from rtllm.content.items import ToolCall

CONVERSATIONS = 512
"""How many conversations' fields are remembered."""
BYTES = 2**18
"""How many bytes of fields are remembered of one conversation."""

CALLS = 1024
"""How many calls' fields are remembered of one conversation."""

OF_THE_CALL = ("extra_content", "thought_signature", "provider_specific_fields")
"""Fields of a call that go back with it."""


def pack(call: Mapping[str, Any], message: Mapping[str, Any], host: str = "") -> bytes | None:
    """Encode the fields that came with a call; None if there are none.

    Args:
        call: The call's own fields.
        message: The fields of the message around it.
        host: The name of the host.
    """
    fields = {"call": dict(call), "message": dict(message)}
    fields = {name: value for name, value in fields.items() if value}
    return msgspec.json.encode({**fields, "host": host}) if fields else None


ANY_HOST = "*"
"""In place of the host's name, if a framework does not keep which host issued a field."""


def signature_of(carried: bytes | None) -> str | None:
    """Return the thought signature of a call, None if it has none."""
    if carried is None:
        return None
    try:
        call = msgspec.json.decode(carried).get("call") or {}
        signature = call["extra_content"]["google"]["thought_signature"]
    except (msgspec.DecodeError, UnicodeError, AttributeError, KeyError, TypeError):
        return None
    return signature if isinstance(signature, str) and signature else None


def with_signature(signature: object) -> bytes | None:
    """Pack a thought signature that a framework kept, so that it goes back to its host."""
    if not isinstance(signature, str) or not signature:
        return None
    extra = {"google": {"thought_signature": clean(signature)}}
    return pack({"extra_content": extra}, {}, ANY_HOST)


def unpack(carried: bytes | None, host: str = "") -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """Return the fields of a call and of its message; empty if another host issued them."""
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
    """A bounded memory of call fields, for frameworks that don't keep them."""

    def __init__(self) -> None:
        self._of: OrderedDict[int, OrderedDict[tuple[str, ...], bytes]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._of)

    def note(self, conversation: int, call: ToolCall) -> None:
        """Remember the fields that came with a call of a conversation, or that it has none."""
        carried = call.carried or b""
        if len(carried) > BYTES:
            return
        known = self._of.setdefault(conversation, OrderedDict())
        self._of.move_to_end(conversation)
        for key in _keys(call) if carried else [(call.call_id, call.name)]:
            known[key] = carried
            known.move_to_end(key)
        while len(known) > CALLS or sum(map(len, known.values())) > 2 * BYTES:
            known.popitem(last=False)
        while len(self._of) > CONVERSATIONS:
            self._of.popitem(last=False)

    def of(self, conversation: int, call: ToolCall) -> bytes | None:
        """Return the fields that go back with a call of a conversation."""
        known = self._of.get(conversation) or OrderedDict[tuple[str, ...], bytes]()
        by_id, by_content = _keys(call)
        if by_id in known:
            return known[by_id] or call.carried
        return call.carried or known.get(by_content)

    def clear(self) -> None:
        """Forget all fields."""
        self._of.clear()


def _keys(call: ToolCall) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the keys of a call: its id, which a framework may have replaced; else its content."""
    try:
        arguments = msgspec.json.encode(
            msgspec.json.decode(call.arguments or "{}"), order="sorted"
        ).decode()
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        arguments = call.arguments
    return (call.call_id, call.name), ("", call.name, arguments)
