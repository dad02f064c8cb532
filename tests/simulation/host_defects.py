"""Defects that show when a host writes otherwise, as changes of the shipped engine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import msgspec
import pytest

import rtllm.codec.chat_decoder
import rtllm.codec.lenient_json
import rtllm.codec.response_items
import rtllm.codec.responses_decoder
import rtllm.codec.sse
import rtllm.context.belonging
import rtllm.context.outline
import rtllm.context.planner
import rtllm.engine.engine
import rtllm.engine.sender
import rtllm.engine.turn
import rtllm.retry.faults
import rtllm.scheduling.connection_pool
import rtllm.scheduling.lanes
from rtllm.codec.carried_fields import CarriedFields
from rtllm.codec.chat_decoder import ChatDecoder
from rtllm.codec.frames import Frame, mapping
from rtllm.codec.late_frames import LateFrames
from rtllm.codec.lenient_json import REPLACEMENT, clean
from rtllm.codec.response_items import ItemState, ItemTable
from rtllm.codec.responses_decoder import ResponsesDecoder
from rtllm.codec.sequence import SequenceCheck
from rtllm.codec.sse import ServerSentEvent, SseDecoder
from rtllm.content.events import Event
from rtllm.content.items import ToolCall
from rtllm.content.usage import Usage
from rtllm.engine.attempt import Attempt
from rtllm.engine.connection import Connection, LanelessError
from rtllm.engine.request_planner import RequestPlanner
from rtllm.engine.turn import ActiveTurn
from rtllm.engine.turns import Turns

Patch = pytest.MonkeyPatch


# -- what a host may write otherwise ---------------------------------------------------------------


def runs_the_calls_of_a_cut_answer(patch: Patch) -> None:
    complete_rest = ResponsesDecoder._complete_rest

    def running(self: ResponsesDecoder, output: object, **_: bool) -> Sequence[Event]:
        return complete_rest(self, output, runs_calls=True)

    patch.setattr(ResponsesDecoder, "_complete_rest", running)


def ends_only_with_its_own_id(patch: Patch) -> None:
    end = ResponsesDecoder._end

    def strict(self: ResponsesDecoder, frame: Frame) -> Any:
        if mapping(frame.response).get("id") not in self.response_ids:
            return (), None
        return end(self, frame)

    patch.setattr(ResponsesDecoder, "_end", strict)


def _ignores_at_the_end(patch: Patch, kind: str) -> None:
    """Items of a kind in the output of the last event are not read."""
    complete_rest = ResponsesDecoder._complete_rest

    def ignoring(self: ResponsesDecoder, output: object, **more: bool) -> Sequence[Event]:
        items = output if isinstance(output, list) else []
        return complete_rest(self, [item for item in items if item["type"] != kind], **more)

    patch.setattr(ResponsesDecoder, "_complete_rest", ignoring)


def ignores_text_at_the_end(patch: Patch) -> None:
    _ignores_at_the_end(patch, "message")


def ignores_calls_at_the_end(patch: Patch) -> None:
    _ignores_at_the_end(patch, "function_call")


def ignores_final_arguments(patch: Patch) -> None:
    take_arguments = ResponsesDecoder._take_arguments

    def ignoring(self: ResponsesDecoder, frame: Frame) -> Sequence[Event]:
        is_final = frame.type == "response.function_call_arguments.done"
        return () if is_final else take_arguments(self, frame)

    patch.setattr(ResponsesDecoder, "_take_arguments", ignoring)


def ends_all_on_an_error_without_lane(patch: Patch) -> None:
    """An error without a lane ends also those who are heard already."""
    route_error = Connection._route_error

    def all_of_them(self: Connection, frame: Frame) -> LanelessError | None:
        error = route_error(self, frame)
        if error is None:
            return None
        return replace(error, failed=tuple(self.attempts()), displaced=())

    patch.setattr(Connection, "_route_error", all_of_them)


def believes_a_stray_created(patch: Patch) -> None:
    """An answer without a lane proves that the host ignores them, whatever it proved before."""
    never = property(lambda _: False, lambda *_: None)
    patch.setattr(Connection, "lanes_proved", never, raising=False)


def gives_up_odd_frames(patch: Patch) -> None:
    """A frame that isn't strict JSON is lost."""

    def strict(data: str | bytes) -> Frame | None:
        try:
            return msgspec.json.decode(data, type=Frame)
        except (msgspec.DecodeError, UnicodeError, RecursionError):
            return None

    patch.setattr(rtllm.engine.engine, "read", strict)
    patch.setattr(rtllm.codec.sse, "read", strict)


def breaks_characters(patch: Patch) -> None:
    """The halves of a character in two deltas are replaced one by one."""

    def apart(held: str, text: str) -> tuple[str, str]:
        return clean(held + clean(text)), ""

    patch.setattr(rtllm.codec.response_items, "join", apart)


def hears_repeated_frames(patch: Patch) -> None:
    patch.setattr(SequenceCheck, "is_repeat", lambda *_: False)


def speaks_text_after_its_item(patch: Patch) -> None:
    """A delta that is repeated after its item is spoken again."""
    patch.setattr(ItemState, "take_after_final", lambda _, text, __: text)


def takes_reused_ids_for_late_ones(patch: Patch) -> None:
    never = property(lambda _: False, lambda *_: None)
    patch.setattr(LateFrames, "_restarts", never, raising=False)


def books_impossible_counts(patch: Patch) -> None:
    def trusting(usage: Any, *, sent: str, received: str, **_: Any) -> Usage | None:
        counts = (usage[sent], usage[received]) if usage else ()
        if not counts or any(isinstance(count, str) for count in counts):
            return None
        return Usage(*map(round, counts))

    patch.setattr(rtllm.codec.responses_decoder, "usage_from", trusting)


def takes_a_renamed_parent_for_an_ignored_one(patch: Patch) -> None:
    is_parent_ignored = Turns._is_parent_ignored

    def strict(self: Turns, attempt: Attempt) -> bool:
        anchor, parent = attempt.placement.plan.anchor, getattr(attempt.decoder, "parent", None)
        is_ignored = is_parent_ignored(self, attempt)
        is_renamed = anchor is not None and parent != anchor.response_id
        return is_ignored or (attempt.decoder.created and is_renamed)

    patch.setattr(Turns, "_is_parent_ignored", strict)


def trusts_ids_of_several_responses(patch: Patch) -> None:
    """Responses are continued though another one has the same id."""
    patch.setattr(RequestPlanner, "shares_id", lambda *_: False)


def keeps_the_first_id(patch: Patch) -> None:
    """A response whose last event names it otherwise is continued by its first name."""
    end = ResponsesDecoder._end

    def first(self: ResponsesDecoder, frame: Frame) -> Any:
        begun = self.response_id
        ended = end(self, frame)
        self.response_id = begun or self.response_id
        return ended

    patch.setattr(ResponsesDecoder, "_end", first)


def knows_items_by_id_alone(patch: Patch) -> None:
    """An item whose id differs between its events is not known by its place."""
    find = ItemTable.find

    def by_id(self: ItemTable, item_id: str | None, index: int | None, *more: Any) -> Any:
        return find(self, item_id, index if item_id is None else None, *more)

    patch.setattr(ItemTable, "find", by_id)
    for name in ("_find_current_message", "_find_incomplete_message"):
        patch.setattr(ResponsesDecoder, name, lambda *_: None)


def breaks_characters_in_arguments(patch: Patch) -> None:
    """The halves of a character in two pieces of arguments are replaced one by one."""
    arguments_of = rtllm.codec.responses_decoder._arguments_of

    def apart(value: object, **_: bool) -> str:
        return arguments_of(value)

    patch.setattr(rtllm.codec.responses_decoder, "_arguments_of", apart)


def loses_half_a_character_at_an_end(patch: Patch) -> None:
    """Half a character that nothing completes is not replaced."""
    new_text = rtllm.codec.response_items.new_text

    def without(emitted: str, final: str) -> str:
        return new_text(emitted, final).rstrip(REPLACEMENT)

    patch.setattr(rtllm.codec.response_items, "new_text", without)


def believes_an_empty_output(patch: Patch) -> None:
    """An answer is empty if its last event has no items."""
    complete_rest, conclude = ResponsesDecoder._complete_rest, ResponsesDecoder._conclude
    last: list[object] = []

    def noted(self: ResponsesDecoder, output: object, **more: bool) -> Sequence[Event]:
        last[:] = [output]
        return complete_rest(self, output, **more)

    def emptied(self: ResponsesDecoder, *args: Any, is_silent: bool) -> Any:
        return conclude(self, *args, is_silent=is_silent or last == [[]])

    patch.setattr(ResponsesDecoder, "_complete_rest", noted)
    patch.setattr(ResponsesDecoder, "_conclude", emptied)


def runs_messages_together(patch: Patch) -> None:
    """The words of two messages in one answer have no blank between them."""
    text_event = ResponsesDecoder._text_event

    def together(self: ResponsesDecoder, text: str, *, begins: bool, refusal: bool) -> Any:
        del begins
        return text_event(self, text, begins=False, refusal=refusal)

    patch.setattr(ResponsesDecoder, "_text_event", together)


def reads_pieces_as_lines(patch: Patch) -> None:
    """What a piece of a body begins, the next one does not end."""
    feed = SseDecoder.feed

    def forgetful(self: SseDecoder, piece: bytes) -> list[ServerSentEvent]:
        self._rest.clear()
        return feed(self, piece)

    patch.setattr(SseDecoder, "feed", forgetful)


def takes_a_refused_preparation_for_refused_lanes(patch: Patch) -> None:
    recover = Turns.recover

    def hasty(self: Turns, turn: ActiveTurn, *args: Any, **more: Any) -> None:
        if turn.prepared.request.warm_up and turn.attempt is not None:
            self._state.stop_using_lanes()
        recover(self, turn, *args, **more)

    patch.setattr(Turns, "recover", hasty)


# -- Chat Completions ------------------------------------------------------------------------------


def runs_the_calls_of_a_cut_completion(patch: Patch) -> None:
    called = ChatDecoder._called

    def running(self: ChatDecoder) -> list[Event]:
        reason, self._finish = self._finish, "stop"
        events = called(self)
        self._finish = reason
        return events

    patch.setattr(ChatDecoder, "_called", running)


def believes_an_early_finish(patch: Patch) -> None:
    """Whatever comes after a ``finish_reason``, the answer is complete."""
    believed = property(lambda self: self._finish is not None)
    patch.setattr(ChatDecoder, "finished", believed)


def ends_at_an_early_finish(patch: Patch) -> None:
    choice = ChatDecoder._choice

    def deaf(self: ChatDecoder, given: object) -> list[Event]:
        return [] if self._finish is not None else choice(self, given)

    patch.setattr(ChatDecoder, "_choice", deaf)


def waits_for_a_finish_reason(patch: Patch) -> None:
    """The last line of a stream is not an end."""
    finish = ChatDecoder.finish
    patch.setattr(ChatDecoder, "finish", lambda self, **_: finish(self))


def waits_for_the_last_line(patch: Patch) -> None:
    """A silence after a ``finish_reason`` is not an end."""
    patch.setattr(Turns, "end_after_silence", lambda *_: None)


def breaks_characters_in_chunks(patch: Patch) -> None:
    """The halves of a character in two chunks are replaced one by one."""

    def apart(held: str, text: str) -> tuple[str, str]:
        return clean(held + clean(text)), ""

    patch.setattr(rtllm.codec.lenient_json, "join", apart)


def breaks_characters_in_pieces_of_calls(patch: Patch) -> None:
    """The halves of a character in two pieces of a call are replaced one by one."""
    piece = ChatDecoder._piece

    def apart(self: ChatDecoder, given: Any) -> None:
        function = given["function"]
        if "arguments" in function:
            function = {**function, "arguments": clean(function["arguments"])}
        piece(self, {**given, "function": function})

    patch.setattr(ChatDecoder, "_piece", apart)


def splits_calls_in_turns(patch: Patch) -> None:
    """A piece belongs to the latest call, whichever it names."""

    def latest(self: ChatDecoder, *_: Any) -> Any:
        return self._calls[-1] if self._calls else None

    patch.setattr(ChatDecoder, "_call_of", latest)


def carries_what_an_equal_call_had(patch: Patch) -> None:
    note = CarriedFields.note

    def forgetful(self: CarriedFields, conversation: int, call: ToolCall) -> None:
        if call.carried is not None:
            note(self, conversation, call)

    patch.setattr(CarriedFields, "note", forgetful)


def carries_for_all(patch: Patch) -> None:
    """A host's fields are remembered by the call alone, not by conversation."""
    note, of = CarriedFields.note, CarriedFields.of
    patch.setattr(CarriedFields, "note", lambda self, _, call: note(self, 0, call))
    patch.setattr(CarriedFields, "of", lambda self, _, call: of(self, 0, call))
