"""Decoder of the Responses API: from the service's events to the agent's events."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Literal

import msgspec

from rtllm.codec.frames import Frame, error_of, mapping, strict
from rtllm.codec.lenient_json import clean, clean_escapes, is_json, unwrapped
from rtllm.codec.lenient_json import encode as encode_leniently
from rtllm.codec.response_items import (
    ItemState,
    ItemTable,
    are_similar,
    is_same_call,
    match_item,
    new_text,
)
from rtllm.codec.sequence import SequenceCheck
from rtllm.codec.thoughts import THOUGHT_PARTS, ThoughtFilter, without_thoughts
from rtllm.codec.token_counts import usage_from
from rtllm.content.events import Event, PhaseChanged, ResponseEnded, TextDelta, ToolCallReady
from rtllm.content.items import Item, Message, Opaque, Reasoning, ToolCall
from rtllm.content.tool_names import clean_tool_name
from rtllm.content.usage import Usage
from rtllm.retry.faults import Fault, cut_before_output, from_error


class ResponsesDecoder:
    """Decodes the events of one response into events for the agent.

    It gets only the frames of its own lane or stream. Unknown events, missing fields and items of
    unknown types are ignored. An item is identified by its index or its id, whichever matches. Text
    that was passed on is never passed on again: a final text adds only what is new. No content of a
    frame makes it raise.

    Attributes:
        response_id: The latest id that the service gave the response; None until then.
        created: Whether the service accepted the request.
        in_progress: Whether the service began to process it.
        ended: How the response ended; None until then.
        announces_items: Whether the service announces items before their other events.
        parent: The id of the continued response, as the service reports it; empty if it reports
            none, and None if it did not report it (yet).
        forgets: Whether the service reported that it does not store the response.
        model: The model that the service names; None until then.

    Args:
        drops_thoughts: Whether thoughts are removed from the text.
        prefilled: Whether a response begins inside a thought.
    """

    def __init__(self, *, drops_thoughts: bool = False, prefilled: bool = False) -> None:
        self.parent: str | None = None
        self.forgets = False
        self.model: str | None = None
        self._drops_thoughts = drops_thoughts
        self._prefilled = prefilled
        self.response_id: str | None = None
        self.created = False
        self.in_progress = False
        self.ended: ResponseEnded | None = None
        self.announces_items = False
        self._response_ids: list[str] = []
        self._items = ItemTable()
        self._latest_message: ItemState | None = None
        self._latest_call: ItemState | None = None
        self._last_delta: tuple[object, object, ItemState] | None = None
        self._sequence = SequenceCheck()
        self._call_ids: set[str] = set()
        self._has_text = False
        self._touched_slow = False

    @property
    def is_complete(self) -> bool:
        """Whether a message or a call is complete, and no item is open or lacks its arguments."""
        return not any(item.awaits_end or _lacks_arguments(item) for item in self._items) and any(
            isinstance(item.done, Message | ToolCall) for item in self._items
        )

    @property
    def slow_item_open(self) -> bool:
        """Whether an item is open that may take long without text, such as reasoning."""
        if self.ended is None and any(
            item.thoughts is not None and item.thoughts.in_thought for item in self._items
        ):
            return True
        return any(item.is_slow for item in self._items)

    @property
    def touched_slow_item(self) -> bool:
        """Whether the last frame belonged to such a slow item."""
        return self._touched_slow

    @property
    def hidden_item(self) -> str | None:
        """The type of the open item that the framework does not record; None if none is open."""
        if self.ended is not None:
            return None
        for item in self._items:
            if item.is_slow and item.kind not in (None, "function_call"):
                return item.kind
            if item.thoughts is not None and item.thoughts.in_thought:
                return "reasoning"
        return None

    @property
    def message_open(self) -> bool:
        """Whether a message has begun and has not ended."""
        return any(item.awaits_end and item.kind == "message" for item in self._items)

    @property
    def response_ids(self) -> Collection[str]:
        """The ids of the response: one, or several if the host is inconsistent."""
        return tuple(self._response_ids)

    @property
    def item_ids(self) -> Collection[str]:
        """The ids of its items."""
        return self._items.ids

    @property
    def ids(self) -> Collection[str]:
        """The ids by which a late event of this response can be recognized."""
        return (*self.item_ids, *self.response_ids)

    def output(self) -> tuple[Item, ...]:
        """Return the complete items, in order of arrival."""
        return tuple(item.done for item in self._items if item.done is not None)

    def received_text(self) -> str:
        """Return all text and arguments so far, for an estimate of the output tokens."""
        return "".join(
            item.emitted or item.final_arguments or item.arguments for item in self._items
        )

    def feed(self, frame: Frame) -> tuple[Sequence[Event], Fault | None]:
        """Decode the next frame of this response.

        Returns:
            The events, and a fault if the frame ends the response with one.
        """
        self._touched_slow = False
        if self.ended is not None or self._sequence.is_repeat(frame):
            return (), None
        if frame.type == "response.output_text.delta":
            return self._take_delta(frame, refusal=False), None
        self._last_delta = None
        if frame.is_error:
            return (), from_error(*error_of(frame))
        if frame.is_terminal:
            return self._end(frame)
        return self._other_event(frame), None

    def _other_event(self, frame: Frame) -> Sequence[Event]:
        match frame.type:
            case "response.refusal.delta":
                return self._take_delta(frame, refusal=True)
            case "response.output_text.done":
                return self._complete_part(frame, frame.text, refusal=False)
            case "response.refusal.done":
                return self._complete_part(frame, frame.refusal, refusal=True)
            case "response.content_part.done":
                text, refused = _text_of([mapping(frame.part)])
                return self._complete_part(frame, text, refusal=refused)
            case "response.output_item.added":
                return self._add_item(frame)
            case "response.output_item.done":
                return self._complete_item(frame)
            case "response.function_call_arguments.delta" | "response.function_call_arguments.done":
                return self._take_arguments(frame)
            case "response.created" | "response.in_progress" | "response.queued":
                return self._note_acceptance(frame)
            case _:
                item = self._items.find(_string(frame.item_id), _number(frame.output_index))
                self._touched_slow = item is not None and item.is_slow
                return ()

    def _note_acceptance(self, frame: Frame) -> Sequence[Event]:
        response = mapping(frame.response)
        if not self.created and response:
            parent = response.get("previous_response_id")
            self.parent = parent if isinstance(parent, str) else None
            if "previous_response_id" in response and not self.parent:
                self.parent = ""
            self.forgets = response.get("store") is False
            self.model = _string(response.get("model"))
        self.created = True
        self.in_progress = self.in_progress or frame.type == "response.in_progress"
        response_id = _string(response.get("id"))
        self._add_response_id(response_id)
        self.response_id = self.response_id or response_id
        return ()

    def _add_response_id(self, response_id: str | None) -> None:
        if response_id is not None and response_id not in self._response_ids:
            self._response_ids.append(response_id)

    # -- which item an event refers to -----------------------------------------------------------

    def _add_item(self, frame: Frame) -> Sequence[Event]:
        fields = mapping(frame.item)
        item_id, index = _identify(frame, fields)
        kind, call_id = _string(fields.get("type")), _string(fields.get("call_id"))
        item = self._items.find(item_id, index, kind, call_id)
        if item is not None and _begins_another(item, item_id, index):
            item = None
        if item is None:
            item = self._find_unannounced(item_id, index, kind)
        if item is None:
            item = self._items.add(item_id, index, kind)
        else:
            self._items.add_ids(item, item_id, index, kind)
        item.is_announced = self.announces_items = True
        item.awaits_end = not item.is_declared_complete
        self._items.add_call(item, call_id, _string(fields.get("name")))
        self._touched_slow = item.is_slow
        if item.kind == "message":
            self._latest_message = item
        elif item.kind == "function_call":
            self._latest_call = item
        return ()

    def _find_unannounced(
        self, item_id: str | None, index: int | None, kind: str | None
    ) -> ItemState | None:
        """Find the item that an announcement refers to, if other events of it came before."""
        item = self._latest_call if kind == "function_call" else self._latest_message
        if item is None or item.is_announced or item.is_declared_complete or not item.can_be(kind):
            return None
        if item.is_elsewhere(index) or (item.ids and item_id is not None):
            return None
        return item

    def _get_message_of_delta(self, frame: Frame) -> ItemState:
        if self._last_delta is not None:
            item_id, index, item = self._last_delta
            if item_id == frame.item_id and index == frame.output_index:
                # Only deltas came since, so the same id and index mean the same item.
                item.id_count += _string(item_id) is not None
                return item
        item = self._find_message_of_delta(frame)
        if not item.is_declared_complete and not item.finals:
            self._last_delta = (frame.item_id, frame.output_index, item)
        return item

    def _find_message_of_delta(self, frame: Frame) -> ItemState:
        item_id, index = _string(frame.item_id), _number(frame.output_index)
        item = self._items.find(item_id, index, "message")
        if item is None:
            item = self._find_current_message(item_id, index, frame.delta)
        elif item.is_declared_complete or item.finals:
            is_repeated = index in item.indexes and frame.delta == item.last_delta
            if item.is_elsewhere(index) or (_is_another(item, item_id) and not is_repeated):
                item = None
        if item is None:
            return self._items.add(item_id, index, "message")
        if not item.is_declared_complete:
            self._items.add_ids(item, item_id, index, "message")
        return item

    def _find_current_message(
        self, item_id: str | None, index: int | None, text: object
    ) -> ItemState | None:
        """Find the only message that a delta without a known id or index can refer to."""
        item = self._latest_message
        if item is None or (item_id is None and index is None):
            is_past = item is not None and item.is_declared_complete and not item.emitted
            return None if is_past else item  # an empty message is over: this is another one's
        if item.is_elsewhere(index):
            return None
        is_over = item.is_declared_complete or (bool(item.finals) and _is_another(item, item_id))
        # A host that announces its messages has announced no other one yet.
        is_repeated = item.is_announced and text == item.last_delta
        return None if is_over and not is_repeated else item

    def _get_message_of_text(
        self, item_id: str | None, index: int | None, text: str, part: int | None = None
    ) -> ItemState:
        """Find the message that a final text belongs to, or add one."""
        item = self._items.find(item_id, index, "message")
        if item is not None and not item.is_declared_complete and part in item.finals:
            is_related = text in item.emitted or text.startswith(item.finals[part])
            has_its_id = item_id in item.ids and not item.is_elsewhere(index)
            if not is_related and not has_its_id:
                item = None  # the index is reused
        if item is not None and item.is_declared_complete:
            emitted = item.final or item.emitted
            is_its_own = (
                item_id is not None and item_id in item.ids and not item.is_elsewhere(index)
            )
            if not (is_its_own or text in emitted or text.startswith(emitted)):
                item = None  # the index, or the id, is reused
            elif _is_another(item, item_id):
                item = None
        elif item is None:
            item = self._find_incomplete_message(index, text)
        if item is None:
            item = self._items.add(item_id, index, "message")
            if self._latest_message is not None and not self._latest_message.is_declared_complete:
                self._latest_message.move_end(text, item)
            self._latest_message = item
            return item
        self._items.add_ids(item, item_id, index, "message")
        return item

    def _find_incomplete_message(self, index: int | None, text: str) -> ItemState | None:
        """Find the only message that a final text without a known id or index can refer to."""
        opened = [i for i in self._items if i.kind == "message" and not i.is_declared_complete]
        here = [i for i in opened if not i.is_elsewhere(index)]
        by_text = (
            i for i in opened if i.emitted and (text == i.emitted or new_text(i.emitted, text))
        )
        alike = (i for i in here if are_similar(i.emitted, text))
        return next(by_text, None) or next(alike, None)

    # -- messages --------------------------------------------------------------------------------

    def _take_delta(self, frame: Frame, *, refusal: bool) -> Sequence[Event]:
        text = frame.delta
        if not isinstance(text, str) or not text:
            return ()
        item = self._get_message_of_delta(frame)
        part = _number(frame.content_index)
        if item.is_declared_complete or item.finals:
            text = item.take_after_final(text, part)
            if not text:
                return ()
            if item.is_declared_complete and item.final:
                item = self._items.add(
                    _string(frame.item_id), _number(frame.output_index), "message"
                )
        self._latest_message = item
        return self._emit_text(item, item.add_text(text, part), refusal=refusal)

    def _emit_text(self, item: ItemState, text: str, *, refusal: bool) -> Sequence[Event]:
        """Pass on text that was just added to an item."""
        begins = len(item.emitted) == len(text)  # it is the item's first text
        if self._drops_thoughts and not refusal:
            if item.thoughts is None:
                item.thoughts = ThoughtFilter(prefilled=self._prefilled)
            begins = not item.thoughts.has_text
            text = item.thoughts.feed(text)
            self._touched_slow = self._touched_slow or item.thoughts.in_thought
        return self._text_event(text, begins=begins, refusal=refusal)

    def _without_thoughts(self, text: str) -> str:
        """Return a message's text as it is recorded: without thoughts, if they are dropped."""
        return without_thoughts(text, prefilled=self._prefilled) if self._drops_thoughts else text

    def _end_thought(self, item: ItemState) -> Sequence[Event]:
        """Return the text that was held because it might have begun a thought."""
        if item.thoughts is None:
            return ()
        begins = not item.thoughts.has_text
        return self._text_event(item.thoughts.finish(), begins=begins, refusal=False)

    def _text_event(self, text: str, *, begins: bool, refusal: bool) -> Sequence[Event]:
        if not text:
            return ()
        if begins and self._has_text:  # another message: a space keeps its words apart
            return (TextDelta(f" {text}", refusal),)
        self._has_text = True
        return (TextDelta(text, refusal),)

    def _complete_part(self, frame: Frame, text: object, *, refusal: bool) -> Sequence[Event]:
        if not isinstance(text, str) or not text:
            return ()
        text = clean(text)
        item_id, index = _string(frame.item_id), _number(frame.output_index)
        part = _number(frame.content_index)
        item = self._get_message_of_text(item_id, index, text, part)
        if item.is_declared_complete:
            return ()
        self._latest_message = item
        rest = item.complete(text, part)
        return self._emit_text(item, rest, refusal=refusal)

    def _complete_message(self, item: ItemState, fields: Mapping[str, Any]) -> Sequence[Event]:
        text, refused = _text_of(fields.get("content"))
        phase = _string(fields.get("phase"))
        events: list[Event] = []
        if not text:
            events += self._emit_text(item, item.flush_half(), refusal=refused)
        events += self._emit_text(item, item.complete_all(text), refusal=refused)
        events += self._end_thought(item)
        if phase is not None and not (isinstance(item.done, Message) and item.done.phase):
            events.append(PhaseChanged(phase))
        # A repeated event may complete the recorded text, but never replace it by another one.
        if item.done is None or text.startswith(item.final):
            item.done = Message.of("assistant", self._without_thoughts(text or item.emitted), phase)
        return events

    # -- items -----------------------------------------------------------------------------------

    def _complete_item(self, frame: Frame) -> Sequence[Event]:
        fields, encoded = strict(frame.item)
        item_id, index = _identify(frame, fields)
        kind, call_id = _string(fields.get("type")), _string(fields.get("call_id"))
        if kind == "message":
            text, _ = _text_of(fields.get("content"))
            item = self._get_message_of_text(item_id, index, text)
        else:
            found = self._items.find(item_id, index, kind, call_id)
            if found is not None and found.is_declared_complete and _is_another(found, item_id):
                found = None
            if found is None and kind == "function_call":
                found = self._find_incomplete_call(index, fields)
            item = found or self._items.add(item_id, index, kind)
            self._items.add_ids(item, item_id, index, kind)
        self._touched_slow = item.is_slow
        item.awaits_end = False
        item.is_declared_complete = kind is not None
        return self._complete_by_kind(item, fields, encoded)

    def _complete_by_kind(
        self, item: ItemState, fields: Mapping[str, Any], encoded: bytes
    ) -> Sequence[Event]:
        kind = fields.get("type")
        if kind == "message":
            return self._complete_message(item, fields)
        if item.done is not None:
            return ()
        match kind:
            case "function_call":
                return self._complete_call(item, fields)
            case "reasoning":
                item.done = Reasoning(encoded)
            case str():
                item.done = Opaque(kind, encoded)
            case _:
                pass
        return ()

    # -- calls -----------------------------------------------------------------------------------

    def _find_incomplete_call(
        self, index: int | None, fields: Mapping[str, Any] | None = None
    ) -> ItemState | None:
        """Find the only call that an event without a known id or index can refer to.

        Args:
            index: The index in the event.
            fields: The complete call, if the event has it.
        """
        item = self._latest_call
        if item is None or item.is_declared_complete or item.is_elsewhere(index):
            return None
        if fields is None or item.call_id is None or _string(fields.get("call_id")) is None:
            return item
        arguments = _arguments_of(fields.get("arguments"))
        return item if is_same_call(item, fields.get("name"), arguments) else None

    def _take_arguments(self, frame: Frame) -> Sequence[Event]:
        is_final = frame.type == "response.function_call_arguments.done"
        text = _arguments_of(frame.arguments if is_final else frame.delta, keep_halves=not is_final)
        item_id, index = _string(frame.item_id), _number(frame.output_index)
        item = self._items.find(item_id, index, "function_call") or self._find_incomplete_call(
            index
        )
        if item is not None and item.has_arguments(is_final=is_final):
            if item.is_elsewhere(index) or _is_another(item, item_id):
                item = None
            elif item.done is not None and text in item.final_arguments:
                return ()  # a repetition
            else:
                item = None
        if item is None:
            item = self._items.add(item_id, index, "function_call")
        self._items.add_ids(item, item_id, index, "function_call")
        self._latest_call = item
        self._touched_slow = item.is_slow
        if not is_final:
            item.arguments += text
            return ()
        item.final_arguments = text or item.final_arguments
        return self._emit_call(item, text) if _lacks_arguments(item) and text else ()

    def _complete_call(self, item: ItemState, fields: Mapping[str, Any]) -> Sequence[Event]:
        call_id = _string(fields.get("call_id")) or item.call_id
        name = _string(fields.get("name")) or item.name
        if fields.get("status") not in (None, "completed") or call_id is None or name is None:
            item.call_id = item.name = None  # cut short: must not run
            return ()
        self._items.add_call(item, call_id, name)
        text = _best_arguments(_arguments_of(fields.get("arguments")), item)
        return self._emit_call(item, text) if text else ()  # else a later event may have them

    def _emit_call(self, item: ItemState, arguments: str) -> Sequence[Event]:
        if item.call_id is None or item.name is None or item.call_id in self._call_ids:
            return ()  # already received under another id or index: must not run twice
        self._call_ids.add(item.call_id)
        item.final_arguments = arguments
        call = ToolCall(item.call_id, clean_tool_name(item.name), arguments)
        item.done = call
        return (ToolCallReady(call),)

    # -- the end ---------------------------------------------------------------------------------

    def _end(self, frame: Frame) -> tuple[Sequence[Event], Fault | None]:
        response = mapping(frame.response)
        response_id = _string(response.get("id"))
        self._add_response_id(response_id)
        self.response_id = response_id or self.response_id
        usage = usage_of(response)
        status = str(frame.type).removeprefix("response.")
        if status == "done":
            status = _string(response.get("status")) or "completed"
        if status in ("failed", "cancelled"):
            # Never emitted, since the fault decides; but the attempt's usage is read from here.
            self.ended = ResponseEnded("incomplete", status, self.response_id, usage)
            error = response.get("error")
            if isinstance(error, str) and error:
                error = {"message": error}
            if not isinstance(error, dict):
                error = {"message": f"the service {status} the response without a reason"}
            return (), from_error(error, None, begun=True)
        reason = None
        if status == "incomplete":
            details = response.get("incomplete_details")
            reason = _string(details.get("reason")) if isinstance(details, dict) else None
        events = self._complete_rest(response.get("output"), runs_calls=status != "incomplete")
        for item in self._items:
            item.awaits_end = False
        is_silent = not self._has_text and not _has_output(self.output())
        return self._conclude(events, status, reason, usage, is_silent=is_silent)

    def _conclude(
        self,
        events: Sequence[Event],
        status: str,
        reason: str | None,
        usage: Usage | None,
        *,
        is_silent: bool,
    ) -> tuple[Sequence[Event], Fault | None]:
        """Set how the response ended; one that was cut short before any output is a fault."""
        if status == "incomplete":
            self.ended = ResponseEnded("incomplete", reason, self.response_id, usage)
            if is_silent:
                message = f"the service ended the response before its first output ({reason})"
                return events, cut_before_output(message, reason or "incomplete")
        elif is_silent and self._has_dropped_thoughts():
            self.ended = ResponseEnded("incomplete", "only thoughts", self.response_id, usage)
            message = "the response contains only the model's thoughts"
            return events, cut_before_output(message, "only_thoughts")
        else:
            outcome: Literal["completed", "empty"] = "empty" if is_silent else "completed"
            self.ended = ResponseEnded(outcome, None, self.response_id, usage)
        return (*events, self.ended), None

    def _has_dropped_thoughts(self) -> bool:
        return any(item.thoughts is not None and item.thoughts.dropped for item in self._items)

    def _complete_rest(self, output: object, *, runs_calls: bool) -> Sequence[Event]:
        """Complete the items from the terminal event, for hosts that omit other events.

        Args:
            output: The terminal event's output.
            runs_calls: Whether calls that weren't emitted yet may be emitted; those of an
                incomplete response may be cut short.
        """
        events: list[Event] = []
        unmatched = dict.fromkeys(self._items)
        unclaimed: dict[ItemState, str] = {}
        listed = output if isinstance(output, list) else []
        named = self._items.find_calls(
            [_string(fields.get("call_id")) for fields in listed if isinstance(fields, dict)]
        )
        for index, fields in enumerate(listed):
            if not isinstance(fields, dict):
                continue
            kind = _string(fields.get("type"))
            if kind == "function_call" and not runs_calls:
                continue
            text, _ = _text_of(fields.get("content")) if kind == "message" else ("", False)
            item = self._items.find(None, None, kind, _string(fields.get("call_id")))
            if item is None or item not in unmatched:
                said = _arguments_of(fields.get("arguments")) if kind == "function_call" else text
                item = match_item(fields, said, index, [i for i in unmatched if i not in named])
            if item is None and text and _claim_text(unclaimed, text):
                continue  # already received as part of another message
            if item is None:
                item = self._items.add(_string(fields.get("id")), None, kind)
            else:
                del unmatched[item]
                self._items.add_ids(item, _string(fields.get("id")), None, kind)
            if kind == "message" and item.emitted.startswith(text):
                unclaimed[item] = item.emitted[len(text) :]
            item.is_declared_complete = True
            events += self._complete_by_kind(item, fields, _encoded(fields))
        for item in self._items:
            if item.kind == "function_call" and item.done is None and runs_calls:
                events += self._finish_call(item)
            elif item.done is None and (item.emitted or item.half):
                events += self._emit_text(item, item.flush_half(), refusal=False)
                events += self._end_thought(item)
                item.done = Message.of("assistant", self._without_thoughts(item.emitted))
        return events

    def _finish_call(self, item: ItemState) -> Sequence[Event]:
        """Emit a call of a completed response whose final arguments never came."""
        text = _best_arguments("", item)
        if text and is_json(text):
            return self._emit_call(item, text)
        return self._emit_call(item, text) if item.is_declared_complete else ()


def _begins_another(item: ItemState, item_id: str | None, index: int | None) -> bool:
    """Whether an announcement is of another item, though its id or index matches this one."""
    if item.is_declared_complete:
        return not (item_id is not None and item_id in item.ids) or item.is_elsewhere(index)
    if not item.is_announced:
        return False
    unknown = item_id is not None and bool(item.ids) and item_id not in item.ids
    return item.is_elsewhere(index) or (unknown and bool(item.emitted))


def _is_another(item: ItemState, item_id: str | None) -> bool:
    """Whether an id shows that an event is about another item than a complete one."""
    return item_id is not None and item_id not in item.ids and item.has_stable_id


def _lacks_arguments(item: ItemState) -> bool:
    """Whether a call is complete except for its arguments."""
    return item.is_declared_complete and item.done is None and item.call_id is not None


def _claim_text(unclaimed: dict[ItemState, str], text: str) -> bool:
    """Whether a message's text was received as part of another one; if so, claim that part."""
    for item, rest in unclaimed.items():
        if rest.startswith(text):
            unclaimed[item] = rest[len(text) :]
            return True
    return False


def _has_output(output: Sequence[Item]) -> bool:
    return any(
        bool(item.text) if isinstance(item, Message) else not isinstance(item, Reasoning)
        for item in output
    )


def _identify(frame: Frame, item: Mapping[str, Any]) -> tuple[str | None, int | None]:
    """Return the id and the index of the item in a frame."""
    return _string(item.get("id")) or _string(frame.item_id), _number(frame.output_index)


def _arguments_of(value: object, *, keep_halves: bool = False) -> str:
    """Return a call's arguments as JSON text; seen: some hosts send the object."""
    if isinstance(value, dict):
        return _encoded(value).decode()
    if not isinstance(value, str):
        return ""
    return value if keep_halves else unwrapped(clean_escapes(value))


def _best_arguments(last_arguments: str, item: ItemState) -> str:
    """Return the most complete arguments of a call from its different events."""
    texts = (last_arguments, item.final_arguments, unwrapped(clean_escapes(item.arguments)))
    candidates = [text for text in texts if text.strip()]
    # Seen: ``{}`` where the arguments are only in another event. So it counts if no event has more.
    full = next((t for t in candidates if "".join(t.split()) != "{}" and is_json(t)), None)
    return full or next(iter(candidates), "")


def _encoded(fields: Mapping[str, Any]) -> bytes:
    try:
        return msgspec.json.encode(fields)
    except (UnicodeError, RecursionError):
        return encode_leniently(fields)


def _text_of(content: object) -> tuple[str, bool]:
    if isinstance(content, str):
        return clean(content), False
    texts: list[str] = []
    refused = False
    for part in content if isinstance(content, list) else ():
        if not isinstance(part, dict) or part.get("type") in THOUGHT_PARTS:
            continue
        if part.get("type") == "refusal":
            refused = True
            texts.append(_string(part.get("refusal")) or "")
        else:
            texts.append(_string(part.get("text")) or "")
    return clean("".join(texts)), refused


def usage_of(response: Mapping[str, Any]) -> Usage | None:
    """Read ``response.usage``; None if the service didn't send it."""
    return usage_from(
        response.get("usage"),
        sent="input_tokens",
        received="output_tokens",
        into="input_tokens_details",
        out="output_tokens_details",
        tier=_string(response.get("service_tier")),
    )


def _number(value: object) -> int | None:
    return value if type(value) is int else None  # a bool is an int, too


def _string(value: object) -> str | None:
    return value if isinstance(value, str) and value else None
