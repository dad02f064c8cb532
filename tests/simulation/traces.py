"""The judge of the trace: its events are complete, in a legal order, and agree with the actions."""

from __future__ import annotations

from dataclasses import dataclass, field

from rtllm.content.events import TextDelta, ToolCallReady
from rtllm.content.usage import UsageCategory
from rtllm.engine.actions import (
    Action,
    Connect,
    Deliver,
    Finish,
    MoveUsage,
    RecordUsage,
    Send,
    StartHttp,
    Trace,
)
from rtllm.trace import (
    AttemptDiscarded,
    AttemptEnded,
    ConnectionClosed,
    ConnectionOpened,
    ConnectionOpening,
    ConnectionRotated,
    FaultHandled,
    FirstOutput,
    FirstWord,
    HiddenItemReceived,
    RequestSent,
    RequestWritten,
    ResponseCreated,
    ToolCalled,
    TraceEvent,
    TurnCancelled,
    TurnFinished,
    TurnQueued,
    TurnWaiting,
)
from simulation.records import Violation

AFTER_ITS_TURN = (RequestWritten, ResponseCreated, AttemptEnded)
"""What a draining attempt may still do."""


@dataclass
class TracedTurn:
    """What is known of a turn from the trace."""

    purpose: str
    is_over: bool = False
    is_cancelled: bool = False
    attempts: int = 0
    has_word: bool = False
    calls: int = 0


@dataclass
class TracedAttempt:
    """What is known of an attempt from the trace."""

    turn: int
    size: int
    seen: list[type[TraceEvent]] = field(default_factory=list)
    is_over: bool = False


class TraceJudge:
    """Judges the trace events of one engine, and compares them with its other actions."""

    def __init__(self) -> None:
        self.events = 0
        self._now = 0.0
        self._turns: dict[int, TracedTurn] = {}
        self._attempts: dict[int, TracedAttempt] = {}
        self._connections: dict[int, str] = {}
        self._finished: dict[int, TurnFinished] = {}
        self._ended: dict[int, AttemptEnded] = {}
        self._recorded: dict[int, UsageCategory] = {}
        self._discarded: set[int] = set()

    # -- the events ----------------------------------------------------------------------------

    def _hear(self, event: TraceEvent, now: float) -> None:
        self.events += 1
        _demand(event.at == now and now >= self._now, "comes at another time", event)
        self._now = now
        if event.turn is None:
            self._hear_of_connection(event)
        elif isinstance(event, TurnQueued):
            _demand(event.turn not in self._turns, "begins a turn again", event)
            self._turns[event.turn] = TracedTurn(event.purpose)
        else:
            _demand(event.turn in self._turns, "is of a turn that has not begun", event)
            self._hear_of_turn(event, self._turns[event.turn])

    def _hear_of_turn(self, event: TraceEvent, turn: TracedTurn) -> None:
        if isinstance(event, AttemptDiscarded):
            was = self._recorded.pop(event.attempt or 0, None)
            _demand(was == event.was, f"was recorded as {was}", event)
            self._discarded.add(event.attempt or 0)
            return
        late = isinstance(event, AFTER_ITS_TURN)
        _demand(not turn.is_over or late, "comes after the end of its turn", event)
        match event:
            case TurnWaiting() | FaultHandled():
                pass
            case TurnCancelled():
                turn.is_cancelled = True
            case TurnFinished():
                turn.is_over = True
                is_cancelled = event.outcome == "cancelled"
                _demand(turn.is_cancelled == is_cancelled, "was not announced", event)
                if turn.purpose != "rebuild":
                    self._finished[event.turn or 0] = event
            case RequestSent():
                number = event.attempt or 0
                _demand(number not in self._attempts, "begins an attempt again", event)
                self._attempts[number] = TracedAttempt(event.turn or 0, event.bytes)
                is_chained = event.previous_response_id is not None
                _demand(is_chained == (event.full_context_reason is None), "has no reason", event)
            case _:
                _demand(event.attempt in self._attempts, "is of an unknown attempt", event)
                self._hear_of_attempt(event, self._attempts[event.attempt or 0], turn)

    def _hear_of_attempt(self, event: TraceEvent, attempt: TracedAttempt, turn: TracedTurn) -> None:
        _demand(not attempt.is_over, "comes after the end of its attempt", event)
        _demand(attempt.turn == event.turn, "is of another turn", event)
        often = isinstance(event, ToolCalled | HiddenItemReceived)
        again = type(event) in attempt.seen and not often
        _demand(not again, "comes again", event)
        attempt.seen.append(type(event))
        match event:
            case HiddenItemReceived():
                _demand(event.seconds >= 0, "takes no time", event)
            case FirstOutput():
                _demand(ResponseCreated in attempt.seen, "comes before its response", event)
            case FirstWord():
                _demand(not turn.has_word, "is not the first word", event)
                _demand(FirstOutput in attempt.seen, "is not the first output", event)
                turn.has_word = True
            case ToolCalled():
                _demand(FirstOutput in attempt.seen, "is not the first output", event)
                turn.calls += 1
            case AttemptEnded():
                attempt.is_over = True
                if event.counted:
                    self._ended[event.attempt or 0] = event
                    self._recorded[event.attempt or 0] = event.category

    def _hear_of_connection(self, event: TraceEvent) -> None:
        number, state = event.connection or 0, self._connections.get(event.connection or 0)
        match event:
            case ConnectionOpening():
                _demand(state is None, "opens a connection again", event)
                self._connections[number] = "opening"
            case ConnectionOpened():
                _demand(state == "opening", f"comes to a connection that is {state}", event)
                _demand(event.seconds >= 0, "takes no time", event)
                self._connections[number] = "open"
            case ConnectionRotated():
                _demand(state == "open", f"comes to a connection that is {state}", event)
                _demand(event.replaced < number, "replaces no older connection", event)
            case ConnectionClosed():
                _demand(state in ("opening", "open"), f"ends a connection that is {state}", event)
                _demand((event.reason == "not opened") <= (state == "opening"), "lies", event)
                _demand((event.reason == "lost") <= (state == "open"), "lies", event)
                self._connections[number] = "closed"
            case _:
                _demand(False, "is of no turn", event)

    # -- the other actions ---------------------------------------------------------------------

    def judge(self, action: Action, now: float) -> None:
        """Judge an event; compare another action with the events before it.

        Raises:
            Violation: If an event must not come now, or an action has none.
        """
        match action:
            case Trace(event):
                self._hear(event, now)
                return
            case Connect(connection):
                is_reported = self._connections.get(connection) == "opening"
            case Send(_, attempt, data):
                is_reported = self._is_sent(attempt) and self._attempts[attempt].size == len(data)
            case StartHttp(attempt=attempt):
                is_reported = self._is_sent(attempt)
            case Deliver(turn, events):
                calls = sum(isinstance(event, ToolCallReady) for event in events)
                words = any(isinstance(event, TextDelta) for event in events)
                traced = self._turns[turn]
                is_reported = traced.calls >= calls and (traced.has_word or not words)
            case Finish(turn, report):
                finished = self._finished.pop(turn, None)
                is_reported = finished is not None and finished.outcome == report.outcome
            case RecordUsage(_, attempt, category, usage):
                ended = self._ended.pop(attempt, None)
                is_reported = ended is not None and (ended.category, ended.usage) == (
                    category,
                    usage,
                )
            case MoveUsage(attempt):
                is_reported = attempt in self._discarded
                self._discarded.discard(attempt)
            case _:
                is_reported = True
        if not is_reported:
            raise Violation("trace", f"no event reports {action}")

    def _is_sent(self, attempt: int) -> bool:
        return attempt in self._attempts and not self._attempts[attempt].is_over

    def settled(self) -> None:
        """Demand that each turn and attempt that the trace ended was ended.

        Raises:
            Violation: If one was not.
        """
        if self._finished or self._ended or self._discarded:
            raise Violation("trace", f"only events end {self._finished}, {self._ended}")

    def closed(self) -> None:
        """Demand that everything has ended, now that the engine is closed.

        Raises:
            Violation: If something has not.
        """
        running = [number for number, turn in self._turns.items() if not turn.is_over]
        running += [number for number, attempt in self._attempts.items() if not attempt.is_over]
        running += [number for number, state in self._connections.items() if state != "closed"]
        if running:
            raise Violation("trace", f"no event ends {running}")


def _demand(holds: bool, what: str, event: TraceEvent) -> None:
    if not holds:
        raise Violation("trace", f"{event} {what}")
