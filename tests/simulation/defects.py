"""Defects of the engine, as changes of the shipped one: each breaks a law or a rule."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
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
from rtllm.codec.fingerprint import fingerprint
from rtllm.codec.frames import Frame
from rtllm.codec.late_frames import LateFrames
from rtllm.codec.responses_decoder import ResponsesDecoder
from rtllm.content.events import Event, ResponseEnded, TextDelta
from rtllm.content.items import Item, Message, Text
from rtllm.content.request import Request
from rtllm.content.usage import AttemptUsage, Usage
from rtllm.context.belonging import KnownResponses, Proof
from rtllm.context.conversations import Conversations
from rtllm.context.hidden_items import restore_hidden_items
from rtllm.context.outline import HiddenItems, Outline, ResponseAnchor
from rtllm.engine.actions import Action, RecordUsage, StartHttp
from rtllm.engine.attempt import Attempt
from rtllm.engine.attempts import Attempts
from rtllm.engine.connection import Connection, LanelessError
from rtllm.engine.connections import MAX_UNSENT, Connections
from rtllm.engine.engine import Engine
from rtllm.engine.progress import TurnProgress
from rtllm.engine.report import Outcome
from rtllm.engine.reporting import report_of
from rtllm.engine.request_planner import RequestPlanner
from rtllm.engine.sender import Sender
from rtllm.engine.state import EngineState
from rtllm.engine.timers import Timers
from rtllm.engine.tracing import Tracer
from rtllm.engine.turn import TRANSITIONS, ActiveTurn
from rtllm.engine.turns import Turns
from rtllm.errors import ConnectionLost, RequestRejected, TurnError
from rtllm.retry.backoff import SharedWait
from rtllm.retry.faults import CANCELLED, Fault, FaultKind
from rtllm.retry.http_fallback import HttpFallback
from rtllm.retry.policy import TABLE, PolicyRow, Resend
from rtllm.retry.rejected_parameters import RejectedParameters
from rtllm.scheduling.connection_pool import ConnectionPool
from rtllm.scheduling.lanes import LaneChoice

Patch = pytest.MonkeyPatch


# -- law 1: the context ----------------------------------------------------------------------------


def forgets_output(patch: Patch) -> None:
    """What was answered is not known, and sent again."""
    ended = RequestPlanner.complete

    def forgetful(
        self: RequestPlanner,
        attempt: int,
        response_id: str | None,
        recorded: tuple[Item, ...] | None,
        *more: Any,
    ) -> None:
        ended(self, attempt, response_id, None if recorded is None else (), *more)

    patch.setattr(RequestPlanner, "complete", forgetful)


def misplaces_hidden_items(patch: Patch) -> None:
    """Hidden items are put back at the end."""

    def misplaced(
        context: Outline, items: Sequence[Item], hidden: Collection[HiddenItems]
    ) -> tuple[Item, ...]:
        right = restore_hidden_items(context, items, hidden)
        added = [item for item in right if item not in items and not hasattr(item, "parts")]
        return (*(item for item in right if item not in added), *added)

    patch.setattr(rtllm.context.planner, "restore_hidden_items", misplaced)


# -- law 2: what is known is not sent again --------------------------------------------------------


def continues_nothing(patch: Patch) -> None:
    patch.setattr(KnownResponses, "find_proof", lambda *_: None)


def has_two_lanes(patch: Patch) -> None:
    patch.setattr(rtllm.scheduling.connection_pool, "LANES_PER_CONVERSATION", 2)


def takes_the_parents_lane(patch: Patch) -> None:
    free_lane = ConnectionPool._find_free_lane

    def reused(
        self: ConnectionPool, connection: Any, conversation: int, parent: Any, **more: Any
    ) -> Any:
        if parent is not None and not connection.busy(lane := connection.use_lane(parent.lane)):
            return lane
        return free_lane(self, connection, conversation, parent, **more)

    patch.setattr(ConnectionPool, "_find_free_lane", reused)


def evicts_when_asked(patch: Patch) -> None:
    """Looking for a seat evicts those who are idle."""
    lane_choice = ConnectionPool.choose

    def evicting(
        self: ConnectionPool, conversation: int, anchor: Any, *args: Any
    ) -> LaneChoice | None:
        found = lane_choice(self, conversation, anchor, *args)
        if found is not None:
            connection = self._connections[found.connection]
            for tenant in [g for g in connection.tenants if g != conversation]:
                self._evict(connection, tenant)
        return found

    patch.setattr(ConnectionPool, "choose", evicting)


# -- law 3: words once -----------------------------------------------------------------------------


def replays(patch: Patch) -> None:
    patch.setattr(TurnProgress, "has_emitted", property(lambda _: False))


def counts_what_is_pulled(patch: Patch) -> None:
    """Words count as emitted when the next ones come, as if the consumer had pulled them."""
    record_emitted = TurnProgress.record_emitted
    pending: dict[int, tuple[int, int]] = {}

    def late(self: TurnProgress, *, text: int = 0, calls: int = 0) -> None:
        before = pending.pop(id(self), None)
        if before is not None:
            record_emitted(self, text=before[0], calls=before[1])
        pending[id(self)] = (text, calls)

    patch.setattr(TurnProgress, "record_emitted", late)


def speaks_the_final_text_again(patch: Patch) -> None:
    """An item whose id differs between its events is taken for another one."""
    message_done = ResponsesDecoder._complete_message

    def again(self: ResponsesDecoder, entry: Any, item: Any) -> list[Event]:
        said, entry.said = entry.said, ""
        events = list(message_done(self, entry, item))
        entry.said = entry.said or said
        return events

    patch.setattr(ResponsesDecoder, "_complete_message", again)


def takes_late_frames(patch: Patch) -> None:
    patch.setattr(LateFrames, "is_late", lambda *_: False)


def calls_it_complete(patch: Patch) -> None:
    """An answer without its last event counts as complete; what may lack is not reported."""
    complete = Turns._complete

    def completed(
        self: Turns,
        turn: ActiveTurn,
        attempt: Attempt,
        events: list[Event],
        ended: ResponseEnded,
        now: float,
    ) -> None:
        if ended.outcome == "unfinished":
            ended = replace(ended, outcome="completed")
        complete(self, turn, attempt, events, ended, now)

    patch.setattr(Turns, "_complete", completed)


def loses_held_calls(patch: Patch) -> None:
    complete = Turns._complete

    def losing(
        self: Turns,
        turn: ActiveTurn,
        attempt: Attempt,
        events: list[Event],
        ended: ResponseEnded,
        now: float,
    ) -> None:
        kept = [event for event in events if event not in turn.held]
        complete(self, turn, attempt, kept, ended, now)

    patch.setattr(Turns, "_complete", losing)


def loses_a_word(patch: Patch) -> None:
    """What only the end of an item tells is lost."""
    message_done = ResponsesDecoder._complete_message

    def losing(self: ResponsesDecoder, entry: Any, item: Any) -> list[Event]:
        return [e for e in message_done(self, entry, item) if not isinstance(e, TextDelta)]

    patch.setattr(ResponsesDecoder, "_complete_message", losing)


# -- law 4: limits ---------------------------------------------------------------------------------


def lets_callers_wait(patch: Patch) -> None:
    """Only the whole turn has a limit over its attempts, not its silence."""
    last_moment = TurnProgress._last_moment

    def of_the_turn(self: TurnProgress, **_: bool) -> Any:
        return last_moment(self, has_spoken=True)

    patch.setattr(TurnProgress, "_last_moment", of_the_turn)


def never_times_out(patch: Patch) -> None:
    patch.setattr(Turns, "set_deadline", lambda *_: None)


def is_not_woken_again(patch: Patch) -> None:
    """After it was woken once, nothing is armed any more."""
    tick = Engine.tick

    def once(self: Engine, now: float) -> list[Action]:
        actions = tick(self, now)
        return [a for a in actions if type(a).__name__ != "WakeAt"]

    patch.setattr(Engine, "tick", once)


def wakes_again_and_again(patch: Patch) -> None:
    """A deadline that was due is set again."""
    pop_due = Timers.pop_due

    def again(self: Timers[Any], now: float) -> Iterator[Any]:
        due = list(pop_due(self, now))
        for key in due:
            self.set(key, now)
        yield from due

    patch.setattr(Timers, "pop_due", again)


def leaks_deadlines(patch: Patch) -> None:
    patch.setattr(Timers, "clear", lambda *_: None)


# -- law 5: turns are apart ------------------------------------------------------------------------


def cancels_another(patch: Patch) -> None:
    cancel = Engine.cancel

    def wrong(self: Engine, turn: int, now: float) -> list[Action]:
        if turn in self._state.turns:
            turn = next(iter(self._state.turns))
        return cancel(self, turn, now)

    patch.setattr(Engine, "cancel", wrong)


def fails_together(patch: Patch) -> None:
    """What ends one answer ends all on its connection."""
    fail = Turns.fail

    def together(self: Turns, attempt: Attempt, *args: Any, **more: Any) -> None:
        connection = self._state.connections.find(attempt.connection)
        fail(self, attempt, *args, **more)
        for other in connection.attempts() if connection is not None else ():
            fail(self, other, *args, **more)

    patch.setattr(Turns, "fail", together)


# -- law 6: usage ----------------------------------------------------------------------------------


def _with_bookings(patch: Patch, change: Callable[[Attempt, list[Action]], None]) -> None:
    end = Attempts.end

    def ended(self: Attempts, attempt: Attempt, now: float) -> None:
        end(self, attempt, now)
        change(attempt, self._state.actions)

    patch.setattr(Attempts, "end", ended)


def forgets_to_book_the_cancelled(patch: Patch) -> None:
    def forget(attempt: Attempt, actions: list[Action]) -> None:
        if attempt.abandoned is not None:
            booked = [
                a for a in actions if isinstance(a, RecordUsage) and a.attempt == attempt.number
            ]
            for action in booked:
                actions.remove(action)

    _with_bookings(patch, forget)


def books_twice(patch: Patch) -> None:
    def twice(attempt: Attempt, actions: list[Action]) -> None:
        if attempt.fault is not None:
            actions += [
                a for a in actions if isinstance(a, RecordUsage) and a.attempt == attempt.number
            ]

    _with_bookings(patch, twice)


def books_without_usage(patch: Patch) -> None:
    def unknown(self: Attempt) -> Usage | None:
        ended = self.decoder.ended
        return None if self.abandoned or ended is None else ended.usage

    patch.setattr(Attempt, "usage", property(unknown))


def books_early(patch: Patch) -> None:
    """An error without a lane settles all attempts that the service may have begun."""
    route_error = Connection._route_error

    def settled(self: Connection, frame: Frame) -> LanelessError | None:
        error = route_error(self, frame)
        if error is None:
            return None
        return replace(error, failed=(*error.failed, *error.displaced), displaced=())

    patch.setattr(Connection, "_route_error", settled)


# -- law 7: callers are apart ----------------------------------------------------------------------


def recognises_by_words(patch: Patch) -> None:
    patch.setattr(KnownResponses, "find_proof", lambda *_: Proof.KEYS)


def shares_anchors(patch: Patch) -> None:
    """Each response may be continued by all, as a prepared prompt may."""
    record = Conversations.record
    dispatches: list[RequestPlanner] = []
    ended = RequestPlanner.complete

    def noted(self: RequestPlanner, *args: Any) -> None:
        dispatches[:] = [self]
        ended(self, *args)

    def shared(self: Conversations, conversation: Any, anchor: ResponseAnchor, hidden: Any) -> None:
        record(self, conversation, anchor, hidden)
        dispatches[0]._warmed_up.append(anchor)

    patch.setattr(RequestPlanner, "complete", noted)
    patch.setattr(Conversations, "record", shared)


def dies_of_a_frame(patch: Patch) -> None:
    patch.setattr(rtllm.engine.engine, "read", msgspec.json.Decoder(Frame).decode)


def ignores_blocked_writes(patch: Patch) -> None:
    def doubted(self: Connections) -> set[int]:
        return {c.number for c in self if c.is_doubted}

    patch.setattr(Connections, "list_unsuitable", doubted)


def counts_writing_against_the_answer(patch: Patch) -> None:
    """The first output must come within its limit from when its request was sent, not written."""
    patch.setattr(TurnProgress, "record_written", lambda *_: None)


def shares_large_frames(patch: Patch) -> None:
    """A large request is written among others."""
    patch.setattr(rtllm.engine.sender, "LARGE_FRAME", 10**9)


def trusts_records(patch: Patch) -> None:
    patch.setattr(Attempts, "_recorded", lambda _, attempt, output: attempt.record(output))


def trusts_recorded_items(patch: Patch) -> None:
    """What foreign code says is recorded is taken for items."""

    def recorded(self: Attempts, attempt: Attempt, output: tuple[Item, ...]) -> Any:
        del self
        try:
            return attempt.record(output)
        except LookupError:
            return None

    patch.setattr(Attempts, "_recorded", recorded)


def trusts_decoders(patch: Patch) -> None:
    def feed(self: Turns, attempt: Attempt, piece: Any, now: float) -> None:
        was_in_progress = attempt.decoder.in_progress
        events, fault = attempt.decoder.feed(piece)
        self.process(attempt, events, fault, now, was_in_progress=was_in_progress)

    patch.setattr(Turns, "feed", feed)


def speaks_to_the_first(patch: Patch) -> None:
    """A frame goes to the first attempt of a connection, whatever its lane."""
    route = Connection.route

    def first(self: Connection, frame: Frame) -> Attempt | LanelessError | None:
        routed = route(self, frame)
        return self.attempts()[0] if isinstance(routed, Attempt) else routed

    patch.setattr(Connection, "route", first)


def mixes_up_headers(patch: Patch) -> None:
    """The headers of a request over HTTP stay for those after it."""
    kept: dict[str, str] = {}

    def started(*args: Any) -> StartHttp:
        started = StartHttp(*args)
        kept.update(started.headers)
        return replace(started, headers=dict(kept))

    patch.setattr(rtllm.engine.sender, "StartHttp", started)


def takes_other_headers_for_another_call(patch: Patch) -> None:
    """A request over HTTP continues nothing if its headers are new."""
    start_http = Sender._start_http
    seen: dict[tuple[Sender, int], Any] = {}

    def forgetful(self: Sender, turn: ActiveTurn, now: float) -> None:
        call, headers = (self, turn.member.conversation.number), turn.prepared.request.headers
        turn.constraints.full_context |= seen.get(call, headers) != headers
        seen[call] = headers
        start_http(self, turn, now)

    patch.setattr(Sender, "_start_http", forgetful)


def fails_on_deep_arguments(patch: Patch) -> None:
    """Arguments beyond the parser's depth break the decoder."""

    def is_json(text: str) -> bool:
        try:
            msgspec.json.decode(text)
        except msgspec.DecodeError:
            return False
        return True

    for module in ("chat_decoder", "response_items", "responses_decoder"):
        patch.setattr(getattr(rtllm.codec, module), "is_json", is_json)


# -- law 8: refusals -------------------------------------------------------------------------------


def repeats_what_was_refused(patch: Patch) -> None:
    patch.setitem(TABLE, FaultKind.REFUSED, PolicyRow(RequestRejected, free_resends=1))


def resends_without_end(patch: Patch) -> None:
    patch.setitem(
        TABLE, FaultKind.DROPPED, PolicyRow(ConnectionLost, free_resends=99, elsewhere=True)
    )
    patch.setitem(TABLE, FaultKind.SERVER, PolicyRow(ConnectionLost, free_resends=99))
    patch.setitem(TABLE, FaultKind.EMPTY, PolicyRow(ConnectionLost, free_resends=99))


def does_not_wait(patch: Patch) -> None:
    charge = TurnProgress._charge

    def at_once(self: TurnProgress, *args: Any) -> Any:
        action = charge(self, *args)
        return replace(action, wait=0.0) if isinstance(action, Resend) else action

    patch.setattr(TurnProgress, "_charge", at_once)


def waits_alone(patch: Patch) -> None:
    """A rate limit that one turn meets is unknown to the others."""
    patch.setattr(SharedWait, "until", lambda *_: None)


def reads_no_date(patch: Patch) -> None:
    """A wait that the service names as a date is not read."""
    patch.setattr(rtllm.retry.faults, "_until", lambda *_: None)


def forgets_what_was_refused(patch: Patch) -> None:
    patch.setattr(RejectedParameters, "note", lambda *_: None)


# -- the warnings ----------------------------------------------------------------------------------


def leaks_waiting_counts(patch: Patch) -> None:
    def stop(self: Turns, turn: ActiveTurn) -> None:
        del self
        turn.waits_for = None

    patch.setattr(Turns, "stop_waiting", stop)


def launches_in_the_middle(patch: Patch) -> None:
    """A turn is sent again at once, before all that its connection's loss ends has ended."""
    recover = Turns.recover
    senders: dict[int, Sender] = {}
    begin = Sender.__init__

    def noted(self: Sender, state: EngineState, attempts: Attempts, turns: Turns) -> None:
        begin(self, state, attempts, turns)
        senders[id(turns)] = self

    def at_once(self: Turns, turn: ActiveTurn, now: float) -> None:
        turn.progress.record_connecting(now)
        senders[id(self)].send_or_wait(turn, now)

    def without_pause(
        self: Turns,
        turn: ActiveTurn,
        fault: Fault,
        now: float,
        connection: int | None = None,
        **_: bool,
    ) -> None:
        recover(self, turn, fault, now, connection)

    patch.setattr(Sender, "__init__", noted)
    patch.setattr(Turns, "make_due", at_once)
    patch.setattr(Turns, "recover", without_pause)


def leaks_actions(patch: Patch) -> None:
    """The last of many actions is handed out by the next fact."""
    settle = Engine._settle

    def leaking(self: Engine, now: float) -> list[Action]:
        actions = settle(self, now)
        if len(actions) > 2:
            self._state.actions.append(actions.pop())
        return actions

    patch.setattr(Engine, "_settle", leaking)


# -- what the simulation found, put back -----------------------------------------------------------


def recovers_what_is_cancelled(patch: Patch) -> None:
    """A cancelled HTTP exchange is treated as a lost one."""
    finish = Turns.finish

    def finished(self: Turns, turn: ActiveTurn, outcome: Any, error: Any, now: float) -> None:
        attempt = turn.attempt
        if attempt is not None and attempt.connection < 0 and not attempt.finished:
            self.fail(attempt, CANCELLED, now)
        finish(self, turn, outcome, error, now)

    patch.setattr(Turns, "finish", finished)


def never_pauses_before_it_is_sent(patch: Patch) -> None:
    """A turn that waits for a connection can't pause when none could be opened."""
    table = dict(TRANSITIONS)
    table["connecting"] = frozenset({"due", "over"})
    patch.setattr(rtllm.engine.turn, "TRANSITIONS", table)


def crowds_a_prompts_connection(patch: Patch) -> None:
    patch.setattr(rtllm.scheduling.lanes.PooledConnection, "has_room_for", lambda *_: True)


def goes_on_after_an_error_without_lane(patch: Patch) -> None:
    """The lane of a request that such an error may not have ended is used again."""
    route_error = Connection._route_error

    def trusting(self: Connection, frame: Frame) -> LanelessError | None:
        proved, self.lanes_proved = self.lanes_proved, False
        error = route_error(self, frame)
        self.lanes_proved = proved
        return error

    patch.setattr(Connection, "_route_error", trusting)


def leaves_the_queue_asleep(patch: Patch) -> None:
    """A turn that waits at the limit of connections is not tried when one becomes free."""
    patch.setattr(EngineState, "next_queued", lambda _: None)


def leaves_the_queue_asleep_at_a_doubts_end(patch: Patch) -> None:
    """A connection that gives a sign of life is offered to no turn that waits."""
    patch.setattr(Engine, "_hear", lambda _, connection, now: connection.heard(now))


def leaves_the_queue_asleep_after_a_write(patch: Patch) -> None:
    """A connection on which a large request was written is offered to no turn that waits."""
    note_written = Engine._note_written

    def quiet(self: Engine, attempt: Attempt, now: float) -> None:
        changed = self._state.pool.has_changed
        note_written(self, attempt, now)
        self._state.pool.has_changed = changed

    patch.setattr(Engine, "_note_written", quiet)


def leaves_the_queue_asleep_at_an_opening(patch: Patch) -> None:
    """A connection that opens when its turn is over is offered to no turn that waits."""

    def quiet(change: Callable[[ConnectionPool, Any, Any], None]) -> Any:
        def changing(self: ConnectionPool, *what: Any) -> None:
            changed = self.has_changed
            change(self, *what)
            self.has_changed = changed

        return changing

    for name in ("mark_open", "wait_for"):
        patch.setattr(ConnectionPool, name, quiet(getattr(ConnectionPool, name)))


def serves_one_of_the_queue(patch: Patch) -> None:
    """Each change lets only the first of those be tried that wait."""
    next_queued = EngineState.next_queued
    patch.setattr(
        EngineState,
        "next_queued",
        lambda self: next_queued(self) if self.pool.has_changed else None,
    )


def evicts_past_no_full_connection(patch: Patch) -> None:
    """Only the conversation is evicted that costs least, though its connection is full."""
    list_evictable = ConnectionPool._list_evictable

    def first(self: ConnectionPool, *args: Any) -> list[Any]:
        with pytest.MonkeyPatch.context() as full:
            full.setattr(ConnectionPool, "_most_active", 10**9)
            return list(list_evictable(self, *args))[:1]

    patch.setattr(ConnectionPool, "_list_evictable", first)


def shares_no_connection(patch: Patch) -> None:
    """At the limit, no more conversations than usual use a connection."""
    patch.setattr(ConnectionPool, "_share", lambda *_: None)


def trusts_a_doubted_connection(patch: Patch) -> None:
    """A turn is sent on a connection on which another one just timed out in silence."""

    def unwritten(self: Connections) -> set[int]:
        return {c.number for c in self if sum(c.unsent.values()) > MAX_UNSENT}

    patch.setattr(Connections, "list_unsuitable", unwritten)


def never_ends_a_doubt(patch: Patch) -> None:
    """A sign of life ends no doubt."""

    def heard(self: Connection, now: float) -> None:
        self.heard_at, self.pinged_at = now, None

    patch.setattr(Connection, "heard", heard)


def blames_the_host_for_a_queue(patch: Patch) -> None:
    """A wait at the limit of connections counts against the WebSocket."""
    before_resend = Turns._before_resend

    def blaming(self: Turns, *args: Any, **_: Any) -> None:
        before_resend(self, *args, was_queued=False)

    patch.setattr(Turns, "_before_resend", blaming)


def counts_a_queue_against_http(patch: Patch) -> None:
    """A queued turn that is sent over HTTP has only what its wait left of the limit."""
    _counts_earlier_waits(patch, lambda turn: turn.waits_for is None)


def counts_a_queue_against_a_connection(patch: Patch) -> None:
    """A turn has only what an earlier wait left of the limit when a connection is opened for it."""
    _counts_earlier_waits(patch, lambda turn: turn.waits_for is not None)


def _counts_earlier_waits(patch: Patch, against: Callable[[ActiveTurn], bool]) -> None:
    restart_limit = Sender._restart_limit

    def counting(self: Sender, turn: ActiveTurn, now: float) -> None:
        if against(turn):
            self._turns.set_deadline(turn)
        else:
            restart_limit(self, turn, now)

    patch.setattr(Sender, "_restart_limit", counting)


def leaves_open_connections_for_http(patch: Patch) -> None:
    """Where only new connections fail, open ones are not used either."""
    choose = HttpFallback.choose_protocol
    patch.setattr(HttpFallback, "choose_protocol", lambda self, now, **_: choose(self, now))


def asks_again_for_a_websocket(patch: Patch) -> None:
    """One broken request over HTTP sends all to the WebSocket that the host does not have."""
    never = property(lambda _: False, lambda *_: None)
    patch.setattr(HttpFallback, "has_no_websocket", never, raising=False)


def opens_what_must_fail(patch: Patch) -> None:
    """A turn that must not use the open connection opens one, though none can be opened."""
    choose_protocol = Sender._choose_protocol

    def hopeful(self: Sender, turn: ActiveTurn, now: float) -> Any:
        avoid, turn.constraints.avoid = turn.constraints.avoid, set()
        protocol = choose_protocol(self, turn, now)
        turn.constraints.avoid = avoid
        return protocol

    patch.setattr(Sender, "_choose_protocol", hopeful)


def forgets_that_there_is_no_http(patch: Patch) -> None:
    """Each turn finds out for itself that the host does not answer over HTTP."""
    patch.setattr(HttpFallback, "record_no_http", lambda *_: None)


def tells_that_there_is_no_http(patch: Patch) -> None:
    """A turn ends with the failure of HTTP, not with the WebSocket's."""
    nothing = property(lambda _: None, lambda *_: None)
    patch.setattr(TurnProgress, "_socket_fault", nothing, raising=False)


def goes_on_after_a_first_error(patch: Patch) -> None:
    """A connection stays in use whose first frame is an error that may be about itself."""
    patch.setattr(Connection, "_may_be_answered_anyway", lambda *_: False)


def blames_a_connection_at_a_turns_end(patch: Patch) -> None:
    """However late it was sent, a request that is not written proves its connection dead."""
    patch.setattr(TurnProgress, "waited", lambda *_: 60.0)


def keeps_unusable_connections(patch: Patch) -> None:
    """At the limit, no connection is closed that a waiting turn can't use."""
    patch.setattr(ConnectionPool, "find_unusable", lambda *_: None)


def waits_for_silent_drains(patch: Patch) -> None:
    """At the limit, a turn waits for cut answers that have been silent for long."""
    patch.setattr(Connections, "find_silent", lambda *_: None)


def blames_the_host_for_a_mute_connection(patch: Patch) -> None:
    """One connection that never speaks makes turns use HTTP, though others respond."""
    patch.setattr(Connections, "others_respond", lambda *_: False)


def trusts_parents(patch: Patch) -> None:
    """A host that ignores the response to continue is believed to know it."""
    patch.setattr(Turns, "_is_parent_ignored", lambda *_: False)


def asks_for_parents_again(patch: Patch) -> None:
    """A host that ignored the response to continue is asked to continue others."""
    patch.setattr(EngineState, "stop_chaining", lambda *_: None)


def trusts_words_after_a_close(patch: Patch) -> None:
    """An answer is continued on its words alone, though a close forgot who else has them."""
    never = property(lambda _: False, lambda *_: None)
    patch.setattr(Conversations, "_has_forgotten_keys", never, raising=False)


def ends_an_ignored_parent_twice(patch: Patch) -> None:
    """An exchange that was stopped since its parent was ignored ends again with its response."""
    process = Turns.process

    def again(self: Turns, attempt: Attempt, *args: Any, **more: Any) -> None:
        was_finished = attempt.finished
        process(self, attempt, *args, **more)
        was_stopped = not was_finished and attempt.fault is CANCELLED
        if was_stopped and attempt.decoder.ended is not None:
            self._attempts.end(attempt, args[-1])

    patch.setattr(Turns, "process", again)


def waits_for_another_models_limit(patch: Patch) -> None:
    """The rate limit of one model holds up the requests of the others."""
    note, until = SharedWait.note, SharedWait.until
    patch.setattr(SharedWait, "note", lambda self, _, at: note(self, "any", at))
    patch.setattr(SharedWait, "until", lambda self, _, now: until(self, "any", now))


def waits_for_the_limits_of_other_clients(patch: Patch) -> None:
    """All engines share the waits of their rate limits."""
    shared: dict[str, float] = {}
    patch.setattr(SharedWait, "_until", property(lambda _: shared, lambda *_: None), raising=False)


def stops_at_a_librarys_limit(patch: Patch) -> None:
    """No engine opens more than 32 connections, whatever it may have."""
    begin = RequestPlanner.__init__

    def limited(self: RequestPlanner, *, max_connections: int, **more: Any) -> None:
        begin(self, max_connections=min(max_connections, 32), **more)

    patch.setattr(RequestPlanner, "__init__", limited)


# -- what a framework changes in place -------------------------------------------------------------


def _for_each_engine(patch: Patch, known: dict[str, Any]) -> None:
    """Forget what a defect knows when an engine begins."""
    begin = EngineState.__init__

    def begun(self: EngineState, *args: Any) -> None:
        known.clear()
        begin(self, *args)

    patch.setattr(EngineState, "__init__", begun)


def knows_items_by_their_keys(patch: Patch) -> None:
    """What an item with a known key was, it is."""
    known: dict[str, bytes] = {}
    _for_each_engine(patch, known)

    def trusting(item: Item) -> bytes:
        digest = fingerprint(item)
        return digest if item.key is None else known.setdefault(item.key, digest)

    patch.setattr(rtllm.context.outline, "fingerprint", trusting)
    patch.setattr(rtllm.context.belonging, "fingerprint", trusting)


def knows_pictures_by_their_words(patch: Patch) -> None:
    """A picture that is overwritten under the same words is not seen."""

    def blind(item: Item) -> bytes:
        if isinstance(item, Message) and item.has_images:
            item = replace(item, parts=tuple(p for p in item.parts if isinstance(p, Text)))
        return fingerprint(item)

    patch.setattr(rtllm.context.outline, "fingerprint", blind)


def keeps_a_tools_first_description(patch: Patch) -> None:
    """A tool is known by its name, however it is described now."""
    known: dict[str, bytes] = {}
    _for_each_engine(patch, known)
    offered_tools = RejectedParameters.offered_tools

    def first(self: RejectedParameters, request: Request) -> tuple[bytes, ...]:
        tools = offered_tools(self, request)
        return tuple(known.setdefault(msgspec.json.decode(tool)["name"], tool) for tool in tools)

    patch.setattr(RejectedParameters, "offered_tools", first)


# -- the trace ------------------------------------------------------------------------------------


def traces_no_drained_end(patch: Patch) -> None:
    ended = Tracer.ended

    def forgetful(self: Tracer, attempt: Attempt, spent: AttemptUsage | None, now: float) -> None:
        if attempt.abandoned is None:
            ended(self, attempt, spent, now)

    patch.setattr(Tracer, "ended", forgetful)


def traces_each_delta(patch: Patch) -> None:
    output = Tracer.output

    def repeating(
        self: Tracer, turn: ActiveTurn, attempt: Attempt, events: Sequence[Event], now: float
    ) -> None:
        emitted, turn.progress.text_emitted = turn.progress.text_emitted, 0
        output(self, turn, attempt, events, now)
        turn.progress.text_emitted = emitted

    patch.setattr(Tracer, "output", repeating)


def traces_the_end_twice(patch: Patch) -> None:
    finish = Turns.finish
    finished = Tracer.finished

    def early(
        self: Turns, turn: ActiveTurn, outcome: Outcome, error: TurnError | None, now: float
    ) -> None:
        if turn.state != "over":
            report = report_of(self._state.options, turn, outcome, error, now)
            finished(self._state.trace, turn, report, error, now)
        finish(self, turn, outcome, error, now)

    patch.setattr(Turns, "finish", early)
