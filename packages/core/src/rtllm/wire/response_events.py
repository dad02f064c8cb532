"""The Responses API: events to what an agent acts on."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from rtllm.events import Called, Delta, Ended, Event, Phased
from rtllm.faults import Fault, from_error
from rtllm.items import Item, Message, Opaque, Reasoning, ToolCall
from rtllm.usage import Usage
from rtllm.wire.frames import Frame, error_of, mapping


@dataclass(slots=True, eq=False)
class _Entry:
    """An item of the response as it comes.

    Attributes:
        id: The service's id of it, if it said one.
        kind: Its type, if it was announced.
        said: What of its text was passed on.
        done: The item, once it is whole.
        is_open: Whether it was announced and isn't done.
    """

    id: str | None = None
    kind: str | None = None
    said: str = ""
    done: Item | None = None
    is_open: bool = False

    @property
    def is_slow(self) -> bool:
        """Whether it may take long without a word."""
        return self.is_open and self.kind != "message"


class Assembler:
    """Turns the events of one response into what an agent acts on.

    ``output_item.done`` is the truth for an item. Unknown events, missing fields and items of
    unknown types are passed over. An item is known by its id; by its place only where a host
    leaves ids out, since some use a place twice.

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
        self._entries: list[_Entry] = []
        self._by_id: dict[str, _Entry] = {}
        self._by_place: dict[int, _Entry] = {}
        self._speaking: _Entry | None = None
        self._call_ids: set[str] = set()
        self._spoke = False
        self._touched_slow = False

    @property
    def whole(self) -> bool:
        """Whether a message or a call is done and no item is open."""
        return not any(entry.is_open for entry in self._entries) and any(
            isinstance(entry.done, Message | ToolCall) for entry in self._entries
        )

    @property
    def slow_item_open(self) -> bool:
        """Whether an item is open that may take long without a word."""
        return any(entry.is_slow for entry in self._entries)

    @property
    def touched_slow_item(self) -> bool:
        """Whether the last frame belonged to such an item."""
        return self._touched_slow

    @property
    def message_open(self) -> bool:
        """Whether the service is in the middle of a message."""
        return any(entry.is_open and entry.kind == "message" for entry in self._entries)

    @property
    def ids(self) -> Collection[str]:
        """The ids by which a late event of this response can be told."""
        return (*self._by_id, *((self.response_id,) if self.response_id else ()))

    def output(self) -> tuple[Item, ...]:
        """The items that are done, in the order in which they came."""
        return tuple(entry.done for entry in self._entries if entry.done is not None)

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
                entry = self._known(_string(frame.item_id), _place(frame))
                self._touched_slow = entry is not None and entry.is_slow
                return (), None

    def _accepted(self, frame: Frame) -> None:
        self.created = True
        self.in_progress = self.in_progress or frame.type == "response.in_progress"
        if self.response_id is None:
            self.response_id = _string(mapping(frame.response).get("id"))

    # -- items ---------------------------------------------------------------------------------

    def _known(self, item_id: str | None, place: int | None) -> _Entry | None:
        """Find an item by its id, or by its place if that isn't another item's by its id."""
        if item_id is not None and item_id in self._by_id:
            return self._by_id[item_id]
        entry = self._by_place.get(place) if place is not None else None
        if entry is not None and item_id is not None and entry.id not in (None, item_id):
            return None
        return entry

    def _entry(self, item_id: str | None, place: int | None) -> _Entry:
        """Find an item, or note a new one."""
        entry = self._known(item_id, place)
        if entry is None:
            entry = _Entry()
            self._entries.append(entry)
        if item_id is not None and entry.id is None:
            entry.id = item_id
        if entry.id is not None:
            self._by_id[entry.id] = entry
        if place is not None:
            self._by_place[place] = entry
        return entry

    def _added(self, frame: Frame) -> Sequence[Event]:
        item = mapping(frame.item)
        item_id, place = _string(item.get("id")) or _string(frame.item_id), _place(frame)
        known = self._known(item_id, place)
        if known is not None and known.done is not None and place is not None:
            self._by_place.pop(place, None)  # the place is used again
        entry = self._entry(item_id, place)
        entry.kind = _string(item.get("type"))
        entry.is_open = entry.done is None
        self._touched_slow = entry.is_slow
        if entry.kind == "message":
            self._speaking = entry
        return ()

    def _delta(self, frame: Frame, *, refusal: bool) -> Sequence[Event]:
        if not isinstance(frame.delta, str) or not frame.delta:
            return ()
        item_id, place = _string(frame.item_id), _place(frame)
        if item_id is None and place is None and self._speaking is not None:
            entry = self._speaking
        else:
            entry = self._entry(item_id, place)
        self._speaking = entry
        return self._spoken(entry, frame.delta, refusal=refusal)

    def _spoken(self, entry: _Entry, text: str, *, refusal: bool) -> Sequence[Event]:
        begins = not entry.said
        entry.said += text
        if begins and self._spoke:  # another message: a blank between, lest words run together
            return (Delta(f" {text}", refusal),)
        self._spoke = True
        return (Delta(text, refusal),)

    def _item_done(self, frame: Frame) -> Sequence[Event]:
        item = mapping(frame.item)
        item_id, place = _string(item.get("id")) or _string(frame.item_id), _place(frame)
        entry = self._known(item_id, place)
        if entry is not None and item_id is None and not _can_be(entry.done, item):
            entry = None  # the place is used again
            self._by_place.pop(place or 0, None)
        if entry is None:
            entry = self._placeless(item, item_id, place) or self._entry(item_id, place)
        self._touched_slow = entry.is_slow
        entry.is_open = False
        return self._finished(entry, item, bytes(frame.item))

    def _placeless(
        self, item: Mapping[str, Any], item_id: str | None, place: int | None
    ) -> _Entry | None:
        """The item that an event without a known id or place can only mean: the open one."""
        speaking = self._speaking
        if item.get("type") != "message" or speaking is None or speaking.done is not None:
            return None
        if speaking.id is not None and item_id is not None:
            return None
        text, _ = _text_of(item.get("content"))
        if not text.startswith(speaking.said):
            return None
        if item_id is not None:
            speaking.id, self._by_id[item_id] = item_id, speaking
        if place is not None:
            self._by_place[place] = speaking
        return speaking

    def _finished(self, entry: _Entry, item: Mapping[str, Any], raw: bytes) -> Sequence[Event]:
        if entry.done is not None:
            return ()
        match item.get("type"):
            case "message":
                return self._message_done(entry, item)
            case "function_call":
                return self._call_done(entry, item)
            case "reasoning":
                entry.done = Reasoning(raw)
            case str() as kind:
                entry.done = Opaque(kind, raw)
            case _:
                pass
        return ()

    def _message_done(self, entry: _Entry, item: Mapping[str, Any]) -> Sequence[Event]:
        text, refused = _text_of(item.get("content"))
        phase = _string(item.get("phase"))
        said = entry.said
        entry.done = Message.of("assistant", text or said, phase)
        events: list[Event] = []
        if len(text) > len(said) and text.startswith(said):
            events += self._spoken(entry, text[len(said) :], refusal=refused)
        if phase is not None:
            events.append(Phased(phase))
        return events

    def _call_done(self, entry: _Entry, item: Mapping[str, Any]) -> Sequence[Event]:
        call_id, name = _string(item.get("call_id")), _string(item.get("name"))
        arguments = item.get("arguments")
        if item.get("status") not in (None, "completed") or call_id is None or name is None:
            return ()  # cut: must not run
        if call_id in self._call_ids:
            return ()  # came already under another id or place: must not run twice
        self._call_ids.add(call_id)
        call = ToolCall(call_id, name, arguments if isinstance(arguments, str) else "")
        entry.done = call
        return (Called(call),)

    # -- the end -------------------------------------------------------------------------------

    def _end(self, frame: Frame) -> tuple[Sequence[Event], Fault | None]:
        response = mapping(frame.response)
        said_id = _string(response.get("id"))
        if said_id is not None and self.response_id not in (None, said_id):
            return (), None  # another response's
        self.response_id = said_id or self.response_id
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
        for entry in self._entries:
            entry.is_open = False
        if status == "incomplete":
            details = response.get("incomplete_details")
            reason = _string(details.get("reason")) if isinstance(details, dict) else None
            self.ended = Ended("incomplete", reason, self.response_id, usage)
        else:
            output = self.output()
            said_something = self._spoke or any(not isinstance(i, Reasoning) for i in output)
            self.ended = Ended(
                "completed" if said_something else "empty", None, self.response_id, usage
            )
        return (*events, self.ended), None

    def _fill(self, output: object) -> Sequence[Event]:
        """Complete the items from the last event, for hosts that leave out others."""
        events: list[Event] = []
        left = list(self._entries)
        for item in output if isinstance(output, list) else ():
            if not isinstance(item, dict):
                continue
            entry = _meant_by(item, left)
            if entry is None:
                entry = _Entry(id=_string(item.get("id")))
                self._entries.append(entry)
            else:
                left.remove(entry)
            events += self._finished(entry, item, msgspec.json.encode(item))
        for entry in self._entries:
            if entry.done is None and entry.said:
                entry.done = Message.of("assistant", entry.said)
        return events


def _meant_by(item: Mapping[str, Any], entries: Sequence[_Entry]) -> _Entry | None:
    """Find what came already of an item: by its id, its call id, its text.

    Its place isn't asked: some hosts leave items out of the last event, so that places shift.
    """
    item_id = _string(item.get("id"))
    if item_id is not None:
        for entry in entries:
            if entry.id == item_id:
                return entry
    kind = item.get("type")
    if kind == "message":
        text, _ = _text_of(item.get("content"))
        return next((e for e in entries if _holds(e, text)), None)
    if kind == "function_call":
        call_id = item.get("call_id")
        done = (e for e in entries if isinstance(e.done, ToolCall) and e.done.call_id == call_id)
        return next(done, None)
    wanted = Reasoning if kind == "reasoning" else Opaque
    return next((e for e in entries if isinstance(e.done, wanted) or e.kind == kind), None)


def _can_be(done: Item | None, item: Mapping[str, Any]) -> bool:
    """Whether an event may mean an item that is done, told once more."""
    if isinstance(done, Message):
        return item.get("type") == "message" and _text_of(item.get("content"))[0] == done.text
    if isinstance(done, ToolCall):
        return item.get("call_id") == done.call_id
    return done is None or item.get("type") not in ("message", "function_call")


def _holds(entry: _Entry, text: str) -> bool:
    if isinstance(entry.done, Message):
        return entry.done.text == text
    return entry.done is None and bool(entry.said) and text.startswith(entry.said)


def _place(frame: Frame) -> int | None:
    place = frame.output_index
    return place if isinstance(place, int) and not isinstance(place, bool) else None


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
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _string(value: object) -> str | None:
    return value if isinstance(value, str) and value else None
