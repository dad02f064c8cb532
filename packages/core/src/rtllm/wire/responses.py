"""The Responses API: items to JSON, and events to what an agent acts on."""

from collections.abc import Mapping, Sequence
from typing import Any, assert_never

import msgspec

from rtllm.events import Called, Delta, Ended, Event, Phased
from rtllm.faults import Fault, from_error
from rtllm.items import (
    Image,
    Item,
    Message,
    Opaque,
    Reasoning,
    Text,
    ToolCall,
    ToolOutput,
)
from rtllm.usage import Usage
from rtllm.wire.frames import Frame, error_of, mapping

Json = str | int | float | bool | None | Sequence["Json"] | Mapping[str, "Json"]


# -- out ---------------------------------------------------------------------------------


def item_json(item: Item) -> msgspec.Raw:
    """Encode an item as an entry of ``input``, without ids: unstored ones are refused."""
    match item:
        case Message():
            return _encoded(_message(item))
        case ToolCall(call_id, name, arguments):
            value = {
                "type": "function_call",
                "call_id": call_id,
                "name": name,
                "arguments": arguments,
            }
            return _encoded(value)
        case ToolOutput(call_id, output):
            value = {"type": "function_call_output", "call_id": call_id, "output": output}
            return _encoded(value)
        case Reasoning(json) | Opaque(_, json):
            return msgspec.Raw(json)
        case _:
            assert_never(item)


def _encoded(value: object) -> msgspec.Raw:
    return msgspec.Raw(msgspec.json.encode(value))


def _message(message: Message) -> dict[str, Any]:
    value: dict[str, Any] = {"role": message.role}
    plain = all(isinstance(p, Text) and not p.cache_breakpoint for p in message.parts)
    if plain or message.role == "assistant":
        # The short form; parts of an assistant would have to be output_text.
        value["content"] = message.text
    else:
        value["content"] = [_part(part) for part in message.parts]
    if message.phase is not None:
        value["phase"] = message.phase
    return value


def _part(part: Text | Image) -> dict[str, Any]:
    value: dict[str, Any]
    if isinstance(part, Image):
        value = {"type": "input_image", "image_url": part.url, "detail": part.detail}
    else:
        value = {"type": "input_text", "text": part.text}
    if part.cache_breakpoint:
        value["prompt_cache_breakpoint"] = {"mode": "explicit"}
    return value


def request_frame(
    settings: Mapping[str, object],
    tools: Sequence[msgspec.Raw],
    items: Sequence[Item],
    *,
    instructions: str | None = None,
    previous_response_id: str | None = None,
    lane: str | None = None,
) -> bytes:
    """Encode a ``response.create``, which is flat: no envelope around the body.

    Args:
        settings: The body's other fields, ready for the wire.
        tools: Encoded tools; with none, no tool fields are sent.
        items: What to send as ``input``.
        instructions: The ``instructions`` field.
        previous_response_id: The response to continue.
        lane: The lane's name, None for the default lane.
    """
    body: dict[str, object] = {"type": "response.create", **settings}
    if tools:
        body["tools"] = tools
    else:
        body.pop("tool_choice", None)
        body.pop("parallel_tool_calls", None)
    if instructions:
        body["instructions"] = instructions
    if previous_response_id is not None:
        body["previous_response_id"] = previous_response_id
    if lane is not None:
        body["stream_id"] = lane
    body["input"] = [item_json(item) for item in items]
    return msgspec.json.encode(body)


# -- in ----------------------------------------------------------------------------------

_SLOW = "slow"
_SPOKEN = "message"


class Assembler:
    """Turns the events of one response into what an agent acts on.

    ``output_item.done`` is the truth for an item. Unknown events, missing fields and items of
    unknown types are passed over.

    Attributes:
        response_id: The service's id, once it is known.
        created: Whether the service accepted the request.
        in_progress: Whether it began to work on it.
        ended: How the response ended, once it has.
    """

    def __init__(self) -> None:
        self.response_id: str | None = None
        self.created = False
        self.in_progress = False
        self.ended: Ended | None = None
        self._open: dict[object, str] = {}
        self._texts: dict[object, str] = {}
        self._done: dict[object, Item] = {}
        self._spoke = False
        self._speaking: object = None
        self._touched_slow = False

    @property
    def whole(self) -> bool:
        """Whether a message or a call is done and no item is open."""
        return not self._open and any(
            isinstance(item, Message | ToolCall) for item in self._done.values()
        )

    @property
    def slow_item_open(self) -> bool:
        """Whether an item is open that may take long without a word."""
        return _SLOW in self._open.values()

    @property
    def touched_slow_item(self) -> bool:
        """Whether the last frame belonged to such an item."""
        return self._touched_slow

    def output(self) -> tuple[Item, ...]:
        """The items that are done, in the order of the output."""
        keys = list(self._done)
        if all(isinstance(key, int) for key in keys):
            keys.sort(key=_place)
        return tuple(self._done[key] for key in keys)

    def feed(self, frame: Frame) -> tuple[Sequence[Event], Fault | None]:
        """Take the next frame of this response.

        Returns:
            What it brought, and the fault that ends the response, if it was one.
        """
        self._touched_slow = False
        if frame.type == "response.output_text.delta":
            return self._delta(frame, refusal=False), None
        if frame.is_error:
            return (), from_error(*error_of(frame))
        match frame.type:
            case "response.refusal.delta":
                return self._delta(frame, refusal=True), None
            case "response.output_item.added":
                return self._added(frame), None
            case "response.output_item.done":
                return self._item_done(frame), None
            case "response.created" | "response.in_progress" | "response.queued":
                self._accepted(frame)
                return (), None
            case (
                "response.completed"
                | "response.incomplete"
                | "response.failed"
                | "response.done"
                | "response.cancelled"
            ):
                return self._end(frame)
            case _:
                self._touched_slow = self._open.get(_key(frame)) == _SLOW
                return (), None

    def _accepted(self, frame: Frame) -> None:
        self.created = True
        self.in_progress = self.in_progress or frame.type == "response.in_progress"
        if self.response_id is None:
            self.response_id = _string(mapping(frame.response).get("id"))

    def _delta(self, frame: Frame, *, refusal: bool) -> Sequence[Event]:
        if not isinstance(frame.delta, str) or not frame.delta:
            return ()
        key = _key(frame)
        return self._spoken(self._speaking if key is None else key, frame.delta, refusal=refusal)

    def _spoken(self, key: object, text: str, *, refusal: bool) -> Sequence[Event]:
        if key not in self._texts:
            self._texts[key] = ""
            if self._spoke:  # another message: a blank between, lest words run together
                self._texts[key] = text
                return (Delta(f" {text}", refusal),)
        self._spoke = True
        self._texts[key] += text
        return (Delta(text, refusal),)

    def _added(self, frame: Frame) -> Sequence[Event]:
        is_message = mapping(frame.item).get("type") == "message"
        key = _key(frame)
        self._open[key] = _SPOKEN if is_message else _SLOW
        self._touched_slow = not is_message
        if is_message:
            self._speaking = key
        return ()

    def _item_done(self, frame: Frame) -> Sequence[Event]:
        key = _key(frame)
        self._touched_slow = self._open.pop(key, None) == _SLOW
        return self._finished(key, mapping(frame.item), bytes(frame.item))

    def _finished(self, key: object, item: Mapping[str, Any], raw: bytes) -> Sequence[Event]:
        if key in self._done:
            return ()
        match item.get("type"):
            case "message":
                return self._message_done(key, item)
            case "function_call":
                return self._call_done(key, item)
            case "reasoning":
                self._done[key] = Reasoning(raw)
            case str() as kind:
                self._done[key] = Opaque(kind, raw)
            case _:
                pass
        return ()

    def _message_done(self, key: object, item: Mapping[str, Any]) -> Sequence[Event]:
        text, refused = _text_of(item.get("content"))
        phase = _string(item.get("phase"))
        said = self._texts.get(key, "")
        self._done[key] = Message.of("assistant", text or said, phase)
        events: list[Event] = []
        if len(text) > len(said) and text.startswith(said):
            events += self._spoken(key, text[len(said) :], refusal=refused)
        if phase is not None:
            events.append(Phased(phase))
        return events

    def _call_done(self, key: object, item: Mapping[str, Any]) -> Sequence[Event]:
        call_id, name = _string(item.get("call_id")), _string(item.get("name"))
        arguments = item.get("arguments")
        if item.get("status") not in (None, "completed") or call_id is None or name is None:
            return ()  # cut: must not run
        call = ToolCall(call_id, name, arguments if isinstance(arguments, str) else "")
        self._done[key] = call
        return (Called(call),)

    def _end(self, frame: Frame) -> tuple[Sequence[Event], Fault | None]:
        response = mapping(frame.response)
        self.response_id = _string(response.get("id")) or self.response_id
        usage = usage_of(response)
        status = str(frame.type).removeprefix("response.")
        if status == "done":
            status = _string(response.get("status")) or "completed"
        if status in ("failed", "cancelled"):
            self.ended = Ended("incomplete", status, self.response_id, usage)
            error = response.get("error")
            if not isinstance(error, dict):
                error = {"message": f"the service {status} the response without a reason"}
            return (), from_error(error, None, begun=True)
        events = self._fill(response.get("output"))
        self._open.clear()
        if status == "incomplete":
            details = response.get("incomplete_details")
            reason = _string(details.get("reason")) if isinstance(details, dict) else None
            self.ended = Ended("incomplete", reason, self.response_id, usage)
        else:
            has_output = any(not isinstance(i, Reasoning) for i in self._done.values())
            said_something = self._spoke or has_output
            self.ended = Ended(
                "completed" if said_something else "empty", None, self.response_id, usage
            )
        return (*events, self.ended), None

    def _fill(self, output: object) -> Sequence[Event]:
        """Complete the items from the last event, for hosts that leave out others."""
        events: list[Event] = []
        for index, item in enumerate(output if isinstance(output, list) else ()):
            if not isinstance(item, dict):
                continue
            by_id = _string(item.get("id"))
            key: object = by_id if by_id in self._texts or by_id in self._done else index
            events += self._finished(key, item, msgspec.json.encode(item))
        for key, said in self._texts.items():
            self._done.setdefault(key, Message.of("assistant", said))
        return events


def _place(key: object) -> int:
    return key if isinstance(key, int) else 0


def _key(frame: Frame) -> object:
    """What ties an event to its item: the place in the output, else the item's id."""
    if isinstance(frame.output_index, int):
        return frame.output_index
    if isinstance(frame.item_id, str):
        return frame.item_id
    return _string(mapping(frame.item).get("id")) if frame.item else None


def _text_of(content: object) -> tuple[str, bool]:
    if isinstance(content, str):
        return content, False
    texts: list[str] = []
    refused = False
    for part in content if isinstance(content, list) else ():
        if not isinstance(part, dict):
            continue
        if part.get("type") == "refusal":
            refused = True
            texts.append(_string(part.get("refusal")) or "")
        else:
            texts.append(_string(part.get("text")) or "")
    return "".join(texts), refused


def usage_of(response: Mapping[str, Any]) -> Usage | None:
    """Read ``response.usage``; None where the service didn't say."""
    usage = response.get("usage")
    if not isinstance(usage, dict):
        return None
    sent, made = _number(usage.get("input_tokens")), _number(usage.get("output_tokens"))
    if sent is None and made is None:
        return None
    into, out = usage.get("input_tokens_details"), usage.get("output_tokens_details")
    into = into if isinstance(into, dict) else {}
    out = out if isinstance(out, dict) else {}
    return Usage(
        sent or 0,
        made or 0,
        _number(into.get("cached_tokens")),
        _number(into.get("cache_write_tokens")),
        _number(out.get("reasoning_tokens")),
        _string(response.get("service_tier")),
    )


def _number(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _string(value: object) -> str | None:
    return value if isinstance(value, str) and value else None
