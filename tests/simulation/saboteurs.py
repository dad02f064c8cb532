"""Broken engines: each defect that the oracle must catch, as a change of the shipped engine."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import msgspec
import pytest

import rtllm.codec.chat_decoder
import rtllm.codec.response_items
import rtllm.codec.responses_decoder
import rtllm.codec.sse
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
from rtllm.codec.lenient_json import clean
from rtllm.codec.response_items import ItemState
from rtllm.codec.responses_decoder import ResponsesDecoder
from rtllm.codec.sequence import SequenceCheck
from rtllm.content.events import Event, ResponseEnded, TextDelta
from rtllm.content.items import Item, ToolCall
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
from simulation.play import play
from simulation.worlds import world_of
from support.saboteurs import items_counted

Patch = pytest.MonkeyPatch
Breaking = Callable[[Patch], None]


@dataclass(frozen=True)
class Saboteur:
    """One defect.

    Attributes:
        name: What it does.
        law: The law that it breaks first of all, or the number of the warning, as ``w1``.
        breaks: Breaks the engine.
        worlds: The kinds of worlds that are played; all kinds if it is empty.
        turns: Within how many turns it must be caught.
    """

    name: str
    law: str
    breaks: Breaking
    worlds: tuple[str, ...] = ()
    turns: int = 2000

    @contextmanager
    def broken(self) -> Iterator[None]:
        """Break all engines for a while."""
        with pytest.MonkeyPatch.context() as patch:
            self.breaks(patch)
            yield


@dataclass(frozen=True)
class Caught:
    """How a defect was caught.

    Attributes:
        name: The defect.
        turns: How many turns had been played.
        seed: The seed of the round.
        what: The law that was found broken.
    """

    name: str
    turns: int
    seed: int
    what: str


def catch(saboteur: Saboteur, turns: int, first: int = 0) -> Caught | None:
    """Play rounds with a defect until it is caught; None if it survives.

    Args:
        saboteur: The defect.
        turns: After how many turns to stop searching.
        first: The seed of the first round.
    """
    played, seed = 0, first
    with saboteur.broken():
        while played < turns:
            world, _ = world_of(seed)
            if saboteur.worlds and world.kind not in saboteur.worlds:
                seed += 1
                continue
            outcome = play(seed)
            played += outcome.turns
            if outcome.violation is not None:
                return Caught(saboteur.name, played, seed, str(outcome.violation))
            seed += 1
    return None


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


def shares_large_frames(patch: Patch) -> None:
    """A large request is written among others."""
    patch.setattr(rtllm.engine.sender, "LARGE_FRAME", 10**9)


def trusts_records(patch: Patch) -> None:
    patch.setattr(Attempts, "_recorded", lambda _, attempt, output: attempt.record(output))


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
        proved, self._lanes_proved = self._lanes_proved, False
        error = route_error(self, frame)
        self._lanes_proved = proved
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

    def served(self: Sender, turn: ActiveTurn, now: float) -> None:
        turn.become("due")
        self.send_or_wait(turn, now)
        if turn.waits_for is not None:
            turn.progress.record_connecting(now)
            self._turns.set_deadline(turn)

    patch.setattr(Sender, "serve_queued", served)


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
    patch.setattr(Connection, "_lanes_proved", never, raising=False)


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


_ALL: tuple[tuple[str, str, Breaking], ...] = (
    ("counts items instead of comparing them", "1", items_counted),
    ("sends answers again that were continued", "1", forgets_output),
    ("puts hidden items back in the wrong place", "1", misplaces_hidden_items),
    ("continues nothing", "2", continues_nothing),
    ("has two lanes for each conversation", "2", has_two_lanes),
    ("continues on the parent's own lane", "2", takes_the_parents_lane),
    ("evicts when it is only asked", "2, w10", evicts_when_asked),
    ("replays after words were emitted", "3", replays),
    ("counts words as emitted when they are pulled", "3, w3", counts_what_is_pulled),
    ("speaks the final text again", "3, w11", speaks_the_final_text_again),
    ("loses what only an item's end tells", "3", loses_a_word),
    ("takes late frames for the next answer", "3, w11", takes_late_frames),
    ("calls an answer complete that lacks its end", "3, w2", calls_it_complete),
    ("loses calls that are held", "3, w2", loses_held_calls),
    ("never times out", "4", never_times_out),
    ("lets callers wait for their first word", "4", lets_callers_wait),
    ("is not woken again", "4, w9", is_not_woken_again),
    ("wakes again and again", "4, w9", wakes_again_and_again),
    ("leaks deadlines", "4, w9", leaks_deadlines),
    ("cancels another turn", "5", cancels_another),
    ("fails all together", "5", fails_together),
    ("forgets to book the cancelled", "6", forgets_to_book_the_cancelled),
    ("books twice", "6", books_twice),
    ("books the cancelled without usage", "6", books_without_usage),
    ("books early on an error without a lane", "6, w1", books_early),
    ("recognises by words", "7", recognises_by_words),
    ("shares anchors", "7", shares_anchors),
    ("dies of one frame", "7", dies_of_a_frame),
    ("ignores blocked writes", "7, w6", ignores_blocked_writes),
    ("trusts records", "7, w7", trusts_records),
    ("trusts decoders", "7, w7", trusts_decoders),
    ("speaks to the first of a connection", "7", speaks_to_the_first),
    ("repeats what was refused", "8", repeats_what_was_refused),
    ("resends without end", "8", resends_without_end),
    ("does not wait as asked", "8", does_not_wait),
    ("leaks waiting counts", "w5", leaks_waiting_counts),
    ("launches in the middle of a fact", "w4", launches_in_the_middle),
    ("recovers what is cancelled", "5", recovers_what_is_cancelled),
    ("never pauses before it is sent", "4", never_pauses_before_it_is_sent),
    ("crowds a prompt's connection", "2", crowds_a_prompts_connection),
    ("leaks actions into the next fact", "w8", leaks_actions),
    ("forgets what was refused", "8", forgets_what_was_refused),
    ("does not share a rate limit's wait", "8", waits_alone),
    ("goes on after an error without a lane", "7", goes_on_after_an_error_without_lane),
    ("writes large requests among others", "7", shares_large_frames),
    ("leaves the queue asleep", "4", leaves_the_queue_asleep),
    ("keeps connections that nobody can use", "4", keeps_unusable_connections),
    ("waits for cut answers that are silent", "4", waits_for_silent_drains),
    ("blames the host for a mute connection", "7", blames_the_host_for_a_mute_connection),
    ("trusts a host with parents", "1", trusts_parents),
    ("asks for ignored parents again", "8", asks_for_parents_again),
    ("runs the calls of a cut answer", "3", runs_the_calls_of_a_cut_answer),
    ("ends only with its own id", "3", ends_only_with_its_own_id),
    ("ignores text that only the last event has", "3", ignores_text_at_the_end),
    ("ignores calls that only the last event has", "3", ignores_calls_at_the_end),
    ("ignores final arguments", "3", ignores_final_arguments),
    ("ends all on an error without a lane", "7", ends_all_on_an_error_without_lane),
    ("believes a stray answer without a lane", "7", believes_a_stray_created),
    ("gives up frames that are not strict JSON", "7", gives_up_odd_frames),
    ("breaks characters that come in halves", "3", breaks_characters),
    ("hears repeated frames", "3", hears_repeated_frames),
    ("speaks text after its item", "3", speaks_text_after_its_item),
    ("takes reused ids for late ones", "3", takes_reused_ids_for_late_ones),
    ("books impossible counts", "6", books_impossible_counts),
    ("runs the calls of a cut completion", "3", runs_the_calls_of_a_cut_completion),
    ("believes an early finish", "3", believes_an_early_finish),
    ("ends at an early finish", "3", ends_at_an_early_finish),
    ("waits for a finish reason", "3", waits_for_a_finish_reason),
    ("waits for the last line", "4", waits_for_the_last_line),
    ("gives a call's pieces to the latest call", "3", splits_calls_in_turns),
    ("carries what an equal call had", "1", carries_what_an_equal_call_had),
    ("carries a host's fields for all", "7", carries_for_all),
    ("wakes no queue at a doubt's end", "4", leaves_the_queue_asleep_at_a_doubts_end),
    ("wakes no queue after a large write", "4", leaves_the_queue_asleep_after_a_write),
    ("wakes no queue when a connection opens", "4", leaves_the_queue_asleep_at_an_opening),
    ("serves one of the queue at a time", "4", serves_one_of_the_queue),
    ("evicts past no full connection", "4", evicts_past_no_full_connection),
    ("shares no connection at the limit", "4", shares_no_connection),
    ("sends on a doubted connection", "7", trusts_a_doubted_connection),
    ("never ends a doubt", "2", never_ends_a_doubt),
    ("blames a connection at a turn's end", "5", blames_a_connection_at_a_turns_end),
    ("blames the host for a queue", "5", blames_the_host_for_a_queue),
    ("counts a queue against HTTP", "5", counts_a_queue_against_http),
    ("leaves open connections for HTTP", "2", leaves_open_connections_for_http),
    ("asks again for a missing WebSocket", "8", asks_again_for_a_websocket),
    ("opens a connection that must fail", "8", opens_what_must_fail),
    ("forgets that there is no HTTP", "8", forgets_that_there_is_no_http),
    ("tells that there is no HTTP", "8", tells_that_there_is_no_http),
    ("goes on after a first error", "7", goes_on_after_a_first_error),
    ("mixes up headers of callers", "7", mixes_up_headers),
    ("takes other headers for another call", "2", takes_other_headers_for_another_call),
    ("fails on deeply nested arguments", "7", fails_on_deep_arguments),
    ("reads no wait that is a date", "8", reads_no_date),
    ("traces no end of what drained", "trace", traces_no_drained_end),
    ("traces each delta as the first word", "trace", traces_each_delta),
    ("traces the end of a turn twice", "trace", traces_the_end_twice),
)

_SEEN_IN: dict[str, tuple[str, ...]] = {
    "takes late frames for the next answer": ("laneless",),
    "takes reused ids for late ones": ("storm", "shared", "slow line"),
    "runs the calls of a cut answer": ("failing", "http"),
    "runs the calls of a cut completion": ("chat",),
    "believes an early finish": ("chat",),
    "waits for a finish reason": ("chat",),
    "waits for the last line": ("chat",),
    "gives a call's pieces to the latest call": ("chat",),
    "carries what an equal call had": ("chat",),
    "carries a host's fields for all": ("chat",),
    "wakes no queue at a doubt's end": ("doubting",),
    "sends on a doubted connection": ("doubting",),
    "never ends a doubt": ("doubting",),
    "wakes no queue after a large write": ("slow line",),
    "wakes no queue when a connection opens": ("capped",),
    "serves one of the queue at a time": ("capped",),
    "evicts past no full connection": ("full",),
    "shares no connection at the limit": ("capped",),
    "blames a connection at a turn's end": ("hurried",),
    "blames the host for a queue": ("capped", "doubting"),
    "counts a queue against HTTP": ("falling",),
    "leaves open connections for HTTP": ("partly open",),
    "asks again for a missing WebSocket": ("partly open",),
    "opens a connection that must fail": ("partly open",),
    "forgets that there is no HTTP": ("falling",),
    "tells that there is no HTTP": ("falling",),
    "goes on after a first error": ("shared", "laneless"),
    "mixes up headers of callers": ("http", "falling"),
    "takes other headers for another call": ("http",),
    "shares anchors": ("twins", "storm"),
    "forgets what was refused": ("failing",),
    "books early on an error without a lane": ("shared",),
    "goes on after an error without a lane": ("shared",),
    "believes a stray answer without a lane": ("shared", "crowd"),
    "blames the host for a mute connection": ("falling",),
    "trusts a host with parents": ("http", "pretending"),
    "asks for ignored parents again": ("http", "pretending"),
    "writes large requests among others": ("uploads",),
    "leaves the queue asleep": ("capped",),
    "keeps connections that nobody can use": ("capped",),
    "waits for cut answers that are silent": ("capped",),
}
"""The worlds in which a rare defect can do harm, where most worlds do not play what it breaks."""

_RARE = frozenset({"wakes no queue at a doubt's end", "wakes no queue when a connection opens"})
"""The defects that do harm so rarely that they may take longer to be caught."""

SABOTEURS = {
    name: Saboteur(name, law, breaks, _SEEN_IN.get(name, ()), 5000 if name in _RARE else 2000)
    for name, law, breaks in _ALL
}
"""All defects by name."""
