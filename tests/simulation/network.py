"""The network and the service: connections, lanes, memory, answers and accidents."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from rtllm.engine.actions import Connect, Send, StartHttp
from rtllm.engine.connections import LARGE_FRAME
from rtllm.retry.faults import Fault, FaultKind, from_close, from_error, from_handshake
from simulation.callers import ODD_RECORDERS
from simulation.chat import ChatWriter
from simulation.records import AttemptRecord, Response, Violation
from simulation.scripts import (
    LANELESS_WAIT,
    Script,
    Step,
    Writer,
    asks_to_wait,
    encoded,
    error_step,
)
from simulation.worlds import CONNECT_FAULTS, CONNECTION_FAULTS, HTTP_FAULTS, REQUEST_FAULTS
from support.contexts import canonical

if TYPE_CHECKING:
    from simulation.callers import Call
    from simulation.play import Simulation

ACTIVE = 16
"""How many answers the service makes at a time on one connection."""
NAMES = 32
"""How many lanes a connection may name."""
TOO_LONG = 9.0
"""Seconds until a request is written after which a turn need not wait any longer."""
HELD = 5.0
"""Seconds of an answer that a proxy may hold back until it is whole."""
RESTART = from_close(1012, "service restart")
DROPPED = from_close(1006, "")
_HTTP_FAULTS = {
    "http drop": "drop",
    "http drop at once": "drop at once",
    "http stall": "long stall",
}
JUNK = (
    "not json",
    "[]",
    "null",
    '{"type":5}',
    '{"type":"response.output_text.delta"}',
    '{"type":"response.unheard_of","stream_id":"lane-77"}',
    '{"type":"response.output_item.done","item":' + "[" * 3000,
    '{"type":"response.completed","stream_id":"lane-99","response":{}}',
    '{"type":"response.output_text.delta","stream_id":"lane-98","delta":"never"}',
)


@dataclass(slots=True, eq=False)
class Job:
    """A request that the service got."""

    attempt: AttemptRecord
    lane: str | None
    script: Script | None = None
    at: int = 0
    is_over: bool = False


@dataclass(slots=True, eq=False)
class Pipe:
    """One WebSocket.

    Attributes:
        engine: The number of its engine.
        number: The engine's number of it.
        model: The model that it was opened for.
        state: connecting, open, or gone.
        is_dead: Whether nothing passes any more, without an error.
        frozen: Whether frames wait.
        is_blocked: Whether writes wait.
        has_trouble: What made it unreliable, if anything did.
        inbound: Frames that wait.
        outbound: Requests that wait to be written.
        unsent: Bytes whose writing was not reported to the engine.
        queues: The service's requests, by lane.
        newest: What each lane remembers.
        names: The lanes that were named.
        calls: The call whose request each lane had last.
        running: What the engine waits for, or lets drain.
        active: How many answers the service makes.
        was_doubted: Whether it was pinged and gave no sign since.
        is_over: Whether the service answers nothing more on it.
        was_laned: Whether a frame with a lane was handed to the engine.
        heard_at: When the engine last got a sign of life.
        was_heard: Whether a frame of an answer was handed to the engine.
        is_mute: Whether it answers pings, and no requests.
        was_faulty: Whether something happened to it that is a reason to close it.
        began_at: When the engine wanted it.
        opened_at: When it opened.
        used_at: When a request was last sent on it.
        blocked_at: When requests began to wait to be written; None if none waits.
    """

    engine: int
    number: int
    model: str
    state: str = "connecting"
    is_dead: bool = False
    frozen: bool = False
    is_blocked: bool = False
    has_trouble: str | None = None
    inbound: deque[Callable[[], None]] = field(default_factory=deque)
    outbound: deque[AttemptRecord] = field(default_factory=deque)
    unsent: int = 0
    queues: dict[str | None, deque[Job]] = field(default_factory=dict)
    newest: dict[str | None, Response] = field(default_factory=dict)
    names: set[str] = field(default_factory=set)
    calls: dict[str | None, Call | None] = field(default_factory=dict)
    running: dict[int, AttemptRecord] = field(default_factory=dict)
    was_laned: bool = False
    active: int = 0
    was_doubted: bool = False
    is_over: bool = False
    heard_at: float = 0.0
    was_heard: bool = False
    is_mute: bool = False
    was_faulty: bool = False
    began_at: float = 0.0
    opened_at: float = 0.0
    used_at: float = 0.0
    blocked_at: float | None = None


@dataclass(slots=True, eq=False)
class Exchange:
    """One HTTP exchange.

    Attributes:
        attempt: Its request.
        state: starting, open, or gone.
        script: The answer.
        at: How many of its steps were written.
        body: What was written and not passed on yet.
        passed: How many bytes were passed on.
        marks: The steps that are not passed on yet, and where they end.
        total: How many bytes were written.
        is_held: Whether a proxy passes the answer on when it is whole.
    """

    attempt: AttemptRecord
    state: str = "starting"
    script: Script | None = None
    at: int = 0
    body: bytes = b""
    passed: int = 0
    marks: deque[tuple[int, Step]] = field(default_factory=deque)
    total: int = 0
    is_held: bool = False


class Network:
    """All connections of all engines, and the service at their other end."""

    def __init__(self, simulation: Simulation) -> None:
        self.sim = simulation
        self.world = simulation.world
        self.choose = simulation.choose
        self.pipes: dict[tuple[int, int], Pipe] = {}
        self.exchanges: dict[tuple[int, int], Exchange] = {}
        self._responses: dict[str, list[Response]] = {}
        self.refused: set[tuple[int, str]] = set()
        self.hung: list[tuple[int, float]] = []
        self.misses = [0] * simulation.world.engines
        self.used_http = [False] * simulation.world.engines
        self.has_failed = [False] * simulation.world.engines
        self.ignored = [False] * simulation.world.engines
        self.has_fallen = [False] * simulation.world.engines
        self.has_lost = [False] * simulation.world.engines
        self.no_socket_until = [0.0] * simulation.world.engines
        self.no_http: list[tuple[float, float]] = [(0.0, 0.0)] * simulation.world.engines
        self._answers = 0
        world = self.world
        self.request_faults = world.possible(REQUEST_FAULTS)
        faults = world.possible(CONNECTION_FAULTS)
        self.connection_faults = tuple(
            f for f in faults if world.uses_lanes or f != "stray created"
        )
        self.connect_faults = world.possible(CONNECT_FAULTS)
        self.http_faults = world.possible(HTTP_FAULTS)

    # -- connecting ----------------------------------------------------------------------------

    def connect(self, engine: int, action: Connect) -> None:
        """Open a connection, or don't."""
        pipe = Pipe(engine, action.connection, action.model, began_at=self.sim.now)
        self.pipes[engine, action.connection] = pipe
        fault = ""
        if self.choose.chance(self.world.connect_faults) and self.connect_faults:
            fault = self.choose.pick(self.connect_faults)
        self.has_failed[engine] |= fault not in ("", "mute")
        delay = self.choose.between(0.02, self.world.opening)
        if fault == "connect hangs":
            self.hung.append((engine, self.sim.now))
            self.sim.note(f"  . connection {action.connection} will not open")
        elif fault == "mute":
            pipe.is_mute, pipe.has_trouble, pipe.was_faulty = True, fault, True
            self.sim.note(f"  . connection {action.connection} is mute")
            self.sim.after(delay, lambda: self._open(pipe))
        elif fault:
            self.sim.after(delay, lambda: self._refuse(pipe, fault))
        else:
            self.sim.after(delay, lambda: self._open(pipe))

    def _open(self, pipe: Pipe) -> None:
        if pipe.state == "connecting":
            pipe.state = "open"
            pipe.heard_at = pipe.opened_at = self.sim.now
            self.no_socket_until[pipe.engine] = 0.0
            self.sim.after(self.world.lifetime, lambda: self._expire(pipe))
            self.sim.fact(pipe.engine, "connected", pipe.number)

    def _expire(self, pipe: Pipe) -> None:
        """End a connection whose lifetime is over, with an error and a close."""
        code = "websocket_connection_limit_reached"
        step = error_step(400, code, "the lifetime is over", "")
        self._pass(pipe, lambda: self._hand_error(pipe, step, "connection limit"))
        self.sim.after(0.3, lambda: self.lose(pipe, DROPPED, "connection limit"))

    def _refuse(self, pipe: Pipe, fault: str) -> None:
        if pipe.state != "connecting":
            return
        wait = 0.0
        if fault == "connect refused":
            why = Fault(FaultKind.UNREACHABLE, "no route")
        elif fault == "connect busy":
            wait = 1.0
            why = from_handshake(429, asks_to_wait(wait, self.choose), b"{}")
        else:
            why = from_handshake(404, {}, b"")
        self.sim.oracle.excuse_waiting(pipe, fault, wait)
        pipe.state = "gone"
        self.sim.fact(pipe.engine, "connect_failed", pipe.number, why)

    def close(self, engine: int, number: int) -> None:
        """Close a connection, or stop an exchange, as the engine wants it."""
        if number < 0:
            if (exchange := self.exchanges.pop((engine, number), None)) is not None:
                exchange.state = "gone"
                if not exchange.attempt.is_written:
                    self.sim.oracle.never_went_out(exchange.attempt)
            return
        pipe = self.pipes.get((engine, number))
        if pipe is None or pipe.state == "gone":
            raise Violation("order", f"connection {number} is closed twice, or never was")
        if pipe.has_trouble:
            self.sim.oracle.excuse_all(pipe, pipe.has_trouble)
        if pipe.state == "connecting":
            self.sim.oracle.excuse_waiting(pipe, "connect hangs")
        else:
            self.sim.oracle.check_closed(pipe)
        self._gone(pipe)

    def _gone(self, pipe: Pipe) -> None:
        pipe.state = "gone"
        pipe.newest.clear()
        pipe.queues.clear()
        pipe.inbound.clear()
        pipe.outbound.clear()

    def lose(self, pipe: Pipe, fault: Fault, cause: str) -> None:
        """End a connection from the other side."""
        if pipe.state != "open":
            return
        self.sim.oracle.excuse_all(pipe, cause)
        self._gone(pipe)
        self.sim.fact(pipe.engine, "lost", pipe.number, fault)

    def ping(self, engine: int, number: int) -> None:
        """Answer a ping, if the connection lives."""
        pipe = self.pipes[engine, number]
        if pipe.state == "gone":
            raise Violation("order", f"connection {number} is pinged though it is gone")
        pipe.was_doubted = True
        if not pipe.is_dead:
            self.sim.after(0.05, lambda: self._pass(pipe, lambda: self._pong(pipe)))

    def _pong(self, pipe: Pipe) -> None:
        pipe.was_doubted = False
        pipe.heard_at = self.sim.now
        self.sim.fact(pipe.engine, "heard", pipe.number)

    def _pass(self, pipe: Pipe, deliver: Callable[[], None]) -> None:
        """Hand something to the client, in order."""
        if pipe.state != "open" or pipe.is_dead:
            return
        if pipe.frozen:
            pipe.inbound.append(deliver)
        else:
            deliver()

    # -- requests ------------------------------------------------------------------------------

    def send(self, attempt: AttemptRecord, action: Send) -> None:
        """Take a request."""
        pipe = self.pipes[attempt.engine, action.connection]
        pipe.running[attempt.number] = attempt
        pipe.calls[attempt.lane], pipe.used_at = attempt.call, self.sim.now
        pipe.unsent += attempt.size
        if pipe.has_trouble:
            self.sim.oracle.excuse(attempt, pipe.has_trouble)
        if self.choose.chance(self.world.storms) and self.connection_faults:
            fault = self.choose.pick(self.connection_faults)
            soon = fault == "error without lane" and self.choose.below(2)
            delay = self.choose.between(0.05, 0.4) if soon else self.choose.between(0.0, 3.0)
            if fault.startswith("blocked") and delay < 1.0:
                self._befall(pipe, fault)
            else:
                self.sim.after(delay, lambda: self._befall(pipe, fault))
        if pipe.is_blocked:
            pipe.outbound.append(attempt)
        else:
            self.sim.after(0.01, lambda: self._write(pipe, attempt))

    def _upload(self, pipe: Pipe, attempt: AttemptRecord) -> None:
        """Write a large request for some seconds; others are written after it."""
        self._block(pipe)
        attempt.is_uploaded = True
        pipe.outbound.appendleft(attempt)
        self.sim.note(f"  . attempt {attempt.number} is being written")
        seconds = attempt.size / self.world.link
        if self.sim.now - attempt.sent_at + seconds > TOO_LONG:
            pipe.was_faulty = True
            self.sim.oracle.excuse(attempt, "blocked")
        self.sim.after(seconds, lambda: self._unblock(pipe))

    def _write(self, pipe: Pipe, attempt: AttemptRecord) -> None:
        if pipe.state != "open":
            return
        if pipe.is_blocked:
            pipe.outbound.append(attempt)
            return
        if attempt.size > LARGE_FRAME and not attempt.is_uploaded:
            self._upload(pipe, attempt)
            return
        if self.choose.below(12) == 11:  # the answer may be faster than the news
            self.sim.after(0.6, lambda: self._tell_written(pipe, attempt))
        else:
            self._tell_written(pipe, attempt)
        if not pipe.is_dead:
            self.sim.after(0.03, lambda: self._arrive(pipe, attempt))

    def _tell_written(self, pipe: Pipe, attempt: AttemptRecord) -> None:
        if pipe.state == "open":
            self.written(pipe, attempt)
            self.sim.fact(pipe.engine, "sent", attempt.number)

    def written(self, pipe: Pipe, attempt: AttemptRecord) -> None:
        """Note that the engine knows that a request was written."""
        if not attempt.is_written:
            attempt.is_written = True
            pipe.unsent -= attempt.size
            if attempt.turn is not None and attempt.turn.current is attempt:
                attempt.turn.useful_at = self.sim.now  # the wait for its answer begins

    # -- the service ---------------------------------------------------------------------------

    def _arrive(self, pipe: Pipe, attempt: AttemptRecord) -> None:
        if pipe.state != "open" or pipe.is_dead or pipe.is_over or pipe.is_mute:
            return
        lane = attempt.lane
        if lane is not None and not self.world.lanes:
            if self.world.lane_habit == "refuse":
                step = error_step(400, "unknown_parameter", "no lanes", "lanes", param="stream_id")
                self.sim.oracle.excuse_waiting_attempts(pipe, "lanes")
                self._pass(pipe, lambda: self._hand(pipe, attempt, step, None))
                return
            lane = None
            if any(pipe.queues.values()):
                self.sim.oracle.excuse(attempt, "queued")
                for other in pipe.running.values():
                    self.sim.oracle.excuse(other, "queued")
        if lane is not None:
            pipe.names.add(lane)
            if len(pipe.names) > NAMES:
                raise Violation("2", f"connection {pipe.number} has more than {NAMES} lanes")
        queue = pipe.queues.setdefault(lane, deque())
        queue.append(Job(attempt, lane))
        if len(queue) == 1:
            self._start(pipe, queue[0])

    def _start(self, pipe: Pipe, job: Job) -> None:
        attempt = job.attempt
        self._answers += 1
        fault = "nothing"
        if self.choose.chance(self.world.faults) and self.request_faults:
            fault = self.choose.pick(self.request_faults)
        parent = attempt.parent
        if parent is not None:
            if not (parent.is_stored or pipe.newest.get(parent.lane) is parent):
                self._miss(pipe, job)
                return
            if fault in ("miss", "items"):
                parent.is_forgotten = True
        pipe.newest.pop(job.lane, None)
        pipe.active += 1
        if pipe.active > ACTIVE:
            raise Violation("2", f"more than {ACTIVE} answers at a time on {pipe.number}")
        job.script = Writer(self._answers, attempt, fault, self.choose, self.world).write()
        if self.choose.chance(self.world.junk):
            junk = self.choose.pick(JUNK)
            self.sim.after(
                self.choose.between(0.0, 2.0),
                lambda: self._pass(pipe, lambda: self._hand_stray(pipe, junk)),
            )
        if fault != "nothing":
            self.sim.note(f"  . {fault} for attempt {attempt.number}")
        self.sim.after(job.script.steps[0].delay + 0.05, lambda: self._step(pipe, job))

    def _miss(self, pipe: Pipe, job: Job) -> None:
        """Refuse a parent that is gone, though nothing took it."""
        step = error_step(400, "previous_response_not_found", "gone", "")
        job.script = Script("", [step], "error")
        pipe.active += 1
        self.sim.after(0.05, lambda: self._step(pipe, job))

    def _step(self, pipe: Pipe, job: Job) -> None:
        script = job.script
        if pipe.state != "open" or pipe.is_over or job.is_over or script is None:
            return
        step = script.steps[job.at]
        job.at += 1
        is_last = job.at == len(script.steps)
        lane = job.lane
        if step.kind == "drop":
            self.lose(pipe, DROPPED, "drop")
            return
        if is_last:
            self._complete(pipe, job, script)
        self._pass(pipe, lambda: self._hand(pipe, job.attempt, step, lane))
        if is_last:
            for late in script.late:
                self.sim.after(
                    late.delay,
                    lambda late=late: self._pass(  # type: ignore[misc]
                        pipe, lambda: self._hand(pipe, job.attempt, late, lane)
                    ),
                )
        else:
            self.sim.after(script.steps[job.at].delay, lambda: self._step(pipe, job))

    def _complete(self, pipe: Pipe, job: Job, script: Script) -> None:
        """End a request at the service: its lane remembers what is complete."""
        job.is_over = True
        pipe.active -= 1
        queue = pipe.queues[job.lane]
        queue.popleft()
        attempt = job.attempt
        if script.status == "completed" or (script.status == "empty" and not attempt.generates):
            response = self.remember(attempt, script, (pipe.engine, pipe.number), job.lane)
            pipe.newest[job.lane] = response
        if queue:
            self._start(pipe, queue[0])

    def remember(
        self, attempt: AttemptRecord, script: Script, where: tuple[int, int], lane: str | None
    ) -> Response:
        """Remember a completed response."""
        parent, call, turn = attempt.parent, attempt.call, attempt.turn
        recorded = canonical(attempt.view) if parent is None else None
        if parent is not None and parent.recorded is not None:
            recorded = canonical((*parent.recorded, *self._own(attempt)))
        output = script.recorded
        if turn is not None and turn.request.record in ODD_RECORDERS:
            recorded = None
        response = Response(
            id=script.response_id,
            call=call if attempt.generates or turn is None else None,
            model=attempt.body["model"],
            raw=(*attempt.view, *script.raw),
            recorded=None if recorded is None else canonical((*recorded, *output)),
            output=output,
            texts=script.texts,
            phase=script.phase,
            tokens=script.tokens,
            pipe=where,
            lane=lane,
            is_stored=attempt.is_stored,
            is_in_field=bool(attempt.lead_in_field),
            wanted=turn.wanted if turn is not None else None,
        )
        self._responses.setdefault(response.id, []).append(response)
        attempt.made = response
        return response

    def find_responses(self, response_id: str) -> list[Response]:
        """Find the responses with an id; if there are several, those that the engine knows."""
        found = self._responses.get(response_id, [])
        return [one for one in found if one.is_known] if len(found) > 1 else found

    def _own(self, attempt: AttemptRecord) -> tuple[tuple[str, ...], ...]:
        """What an attempt sent itself."""
        parent = attempt.parent
        return attempt.view[len(parent.raw) :] if parent is not None else attempt.view

    def _hand(self, pipe: Pipe, attempt: AttemptRecord, step: Step, lane: str | None) -> None:
        """Hand a frame to the engine."""
        if step.data is None:
            self.sim.oracle.excuse(attempt, step.excuse or "")
            return
        if lane is not None:
            pipe.was_laned = True
        # An error that comes before all else may be about the connection.
        pipe.was_faulty |= step.kind == "error" and not pipe.was_heard
        pipe.heard_at, pipe.was_heard = self.sim.now, True
        response = self._completed_by(attempt, step)
        self.written(pipe, attempt)
        if step.kind == "error" and lane is None and attempt.lane is not None:
            self.sim.oracle.expect_error(pipe, step.excuse or "")
        data = encoded(step.data, lane)
        self.sim.oracle.feed(attempt, step, response)
        turn = attempt.turn
        if step.excuse in ("miss", "items"):
            self.misses[pipe.engine] += 1
        is_heard = self.sim.oracle.is_current(turn, attempt)
        # Of several laned requests, an error without a lane tells none what was refused.
        is_ambiguous = lane is None and attempt.lane is not None and len(pipe.running) > 1
        if step.excuse == "parameter" and is_heard and not is_ambiguous:
            self.refused.add((pipe.engine, str(attempt.body["model"])))
        self.sim.fact(pipe.engine, "received", pipe.number, data.decode())
        self.sim.oracle.fed(attempt, step)

    def _completed_by(self, attempt: AttemptRecord, step: Step) -> Response | None:
        is_complete = step.kind in ("completed", "empty") and step.data is not None
        return attempt.made if is_complete and not self.world.chat else None

    # -- what befalls connections --------------------------------------------------------------

    def _befall(self, pipe: Pipe, fault: str) -> None:  # noqa: C901, PLR0912
        if pipe.state != "open" or pipe.is_dead:
            return
        self.sim.note(f"  . {fault} on connection {pipe.number}")
        choose = self.choose
        match fault:
            case "restart":
                self.lose(pipe, RESTART, "restart")
            case "death":
                pipe.is_dead = True
                self._trouble(pipe, "death")
            case "frozen":
                pipe.frozen = True
                self.sim.after(choose.between(1.0, 3.0), lambda: self._thaw(pipe))
            case "long frozen":
                pipe.frozen = True
                self._trouble(pipe, "long frozen")
                self.sim.after(choose.between(12.0, 40.0), lambda: self._thaw(pipe))
            case "blocked":
                self._block(pipe)
                self.sim.after(choose.between(1.0, 3.0), lambda: self._unblock(pipe))
            case "blocked for good":
                self._block(pipe)
                self._trouble(pipe, "blocked")
                if choose.below(2):
                    self.sim.after(choose.between(12.0, 40.0), lambda: self._unblock(pipe))
            case "error without lane":
                step = error_step(500, "internal_error", "something broke", "")
                if choose.below(2):
                    headers = {"retry-after": f"{LANELESS_WAIT:g}"}
                    step = error_step(429, "rate_limit_exceeded", "too many", "", headers=headers)
                self._pass(pipe, lambda: self._hand_error(pipe, step, "error without lane"))
            case "connection limit":
                code = "websocket_connection_limit_reached"
                step = error_step(400, code, "sixty minutes", "")
                self._pass(pipe, lambda: self._hand_error(pipe, step, "connection limit"))
                self.sim.after(0.3, lambda: self.lose(pipe, DROPPED, "connection limit"))
            case "stray created" if not pipe.queues.get(None):
                frame = '{"type":"response.created","response":{"id":"resp_stray"}}'
                self._pass(pipe, lambda: self._hand_stray(pipe, frame))
            case "junk":
                junk = choose.pick(JUNK)
                self._pass(pipe, lambda: self._hand_stray(pipe, junk))
            case _:
                pass

    def _block(self, pipe: Pipe) -> None:
        pipe.is_blocked = True
        if pipe.blocked_at is None:
            pipe.blocked_at = self.sim.now

    def _trouble(self, pipe: Pipe, cause: str) -> None:
        pipe.has_trouble, pipe.was_faulty = cause, True
        self.sim.oracle.excuse_all(pipe, cause)

    def _thaw(self, pipe: Pipe) -> None:
        pipe.frozen = False
        if not pipe.is_blocked and not pipe.is_dead and not pipe.is_mute:
            pipe.has_trouble = None
        while pipe.inbound and pipe.state == "open" and not pipe.is_dead:
            pipe.inbound.popleft()()

    def _unblock(self, pipe: Pipe) -> None:
        pipe.is_blocked = False
        if not pipe.frozen and not pipe.is_dead and not pipe.is_mute:
            pipe.has_trouble = None
        while pipe.outbound and not pipe.is_blocked and pipe.state == "open":
            self._write(pipe, pipe.outbound.popleft())
        if not pipe.is_blocked:
            pipe.blocked_at = None

    def _hand_error(self, pipe: Pipe, step: Step, cause: str) -> None:
        if cause == "error without lane" and self.world.uses_lanes and not pipe.was_laned:
            return  # a host that was never heard to name lanes means the request
        if not self.world.uses_lanes and cause == "error without lane":
            if pipe.frozen or not pipe.queues.get(None):
                return  # no request is left that the error could belong to
            if pipe.was_heard or self.choose.below(2):  # else it may be about the connection
                self._end_default(pipe)
        elif not self.world.uses_lanes:
            pipe.is_over = True
        pipe.was_faulty = True
        self.sim.oracle.expect_error(pipe, cause)
        self.sim.fact(pipe.engine, "received", pipe.number, encoded(step.data or {}, None).decode())

    def _end_default(self, pipe: Pipe) -> None:
        """End the request on the default lane: an error without a lane is its error."""
        queue = pipe.queues.get(None)
        if queue:
            job = queue.popleft()
            job.is_over = True
            pipe.active -= 1
            if queue:
                self._start(pipe, queue[0])

    def _hand_stray(self, pipe: Pipe, frame: str) -> None:
        self.sim.fact(pipe.engine, "received", pipe.number, frame)

    # -- HTTP ----------------------------------------------------------------------------------

    def start_http(self, attempt: AttemptRecord, action: StartHttp) -> None:
        """Begin an HTTP exchange."""
        exchange = Exchange(attempt)
        self.used_http[attempt.engine] = True
        self.exchanges[attempt.engine, action.connection] = exchange
        fault = ""
        if self.choose.chance(self.world.http_faults) and self.http_faults:
            fault = self.choose.pick(self.http_faults)
            self.sim.note(f"  . {fault} for attempt {attempt.number}")
        # A new connection may take long to open.
        delay = 0.01 if self.choose.below(6) < 5 else self.choose.between(0.5, 4.5)
        self.sim.after(delay, lambda: self._http_sent(exchange, fault))

    def _http_sent(self, exchange: Exchange, fault: str) -> None:
        if exchange.state != "starting":
            return
        attempt = exchange.attempt
        attempt.is_written = True
        self.sim.fact(attempt.engine, "sent", attempt.number)
        if not self.world.serves_http:
            fault = "no http"
        if fault in ("http refused", "http busy", "http server error", "no http"):
            self.sim.after(0.1, lambda: self._http_refuse(exchange, fault))
            return
        self.sim.after(0.1, lambda: self._http_answer(exchange, fault))

    def _http_refuse(self, exchange: Exchange, fault: str) -> None:
        if exchange.state != "starting":
            return
        attempt = exchange.attempt
        self._answers += 1
        words = f"words {self._answers}"
        error: dict[str, Any] = {"message": words}
        wait = 0.0
        if fault == "no http":
            why, cause = from_error(error, 404), fault
            self.sim.oracle.learn_no_http(attempt)
        elif fault == "http refused":
            why, cause = from_error(error | {"code": "invalid_prompt"}, 400), "refused"
        elif fault == "http busy":
            wait = 1.0
            why, cause = from_error(error, 429, asks_to_wait(wait, self.choose)), "busy"
        else:
            why, cause = from_error(error, 500), "server error"
        step = Step(0.0, "error", {}, words, cause, wait=wait)
        self.sim.oracle.feed(attempt, step, None)
        self._http_over(exchange)
        self.sim.fact(attempt.engine, "connect_failed", attempt.connection, why)

    def _http_over(self, exchange: Exchange) -> None:
        exchange.state = "gone"
        self.exchanges.pop((exchange.attempt.engine, exchange.attempt.connection), None)

    def _http_answer(self, exchange: Exchange, fault: str) -> None:
        if exchange.state != "starting":
            return
        attempt = exchange.attempt
        exchange.state = "open"
        self.sim.fact(attempt.engine, "connected", attempt.connection)
        if exchange.state != "open":
            return
        self._answers += 1
        chosen = _HTTP_FAULTS.get(fault, "nothing")
        if chosen == "nothing" and self.choose.chance(self.world.http_faults):
            possible = ("late frames", "no usage", "incomplete", "empty", "given up", "twice done")
            chosen = self.choose.pick(possible)
        writer = ChatWriter if self.world.chat else Writer
        script = writer(self._answers, attempt, chosen, self.choose, self.world).write()
        exchange.script = script
        is_short = sum(step.delay for step in script.steps) < HELD
        exchange.is_held = is_short and self.choose.chance(self.world.held)
        self._http_step(exchange)

    def _http_step(self, exchange: Exchange) -> None:
        script, attempt = exchange.script, exchange.attempt
        if exchange.state != "open" or script is None:
            return
        step = script.steps[exchange.at]
        exchange.at += 1
        if step.excuse and step.data is None:
            self.sim.oracle.excuse(attempt, step.excuse)
        if step.kind == "drop":
            self._http_over(exchange)
            fault = Fault(FaultKind.DROPPED, "reset by peer")
            self.sim.fact(attempt.engine, "lost", attempt.connection, fault)
            return
        is_last = exchange.at == len(script.steps)
        if step.data is not None:
            if is_last and script.status == "completed" and not self.world.chat:
                self.remember(attempt, script, (attempt.engine, 0), None)
            end = "\r\n" if self.choose.below(4) == 3 else "\n"
            data = step.raw or encoded(step.data, None).decode()
            name = f"event: {step.data['type']}{end}" if "type" in step.data else ""
            piece = f"{name}data: {data}{end}{end}".encode()
            exchange.body += piece
            exchange.total += len(piece)
            # A line ends with its CR; what is after it may come later.
            exchange.marks.append((exchange.total - (len(end) - 1), step))
        if is_last or not exchange.is_held:
            self._http_pass(exchange, everything=is_last)
        if exchange.state != "open":
            return
        if is_last and script.stays_open:
            return
        if is_last:
            self.sim.after(0.05, lambda: self._http_end(exchange))
        else:
            self.sim.after(script.steps[exchange.at].delay, lambda: self._http_step(exchange))

    def _http_pass(self, exchange: Exchange, *, everything: bool) -> None:
        """Hand on what is there of a body, or a part of it."""
        attempt = exchange.attempt
        while exchange.body and exchange.state == "open":
            size = len(exchange.body)
            if not everything or self.choose.below(3) == 2:
                size = 1 + self.choose.below(size)
            piece, exchange.body = exchange.body[:size], exchange.body[size:]
            exchange.passed += size
            steps: list[Step] = []
            while exchange.marks and exchange.marks[0][0] <= exchange.passed:
                steps.append(exchange.marks.popleft()[1])
            for step in steps:
                self.sim.oracle.feed(attempt, step, self._completed_by(attempt, step))
            self.sim.fact(attempt.engine, "received", attempt.connection, piece)
            for step in steps:
                self.sim.oracle.fed(attempt, step)
            if not everything:
                if exchange.body:
                    self.sim.after(0.05, lambda: self._http_pass(exchange, everything=True))
                return

    def _http_end(self, exchange: Exchange) -> None:
        if exchange.state == "open":
            attempt = exchange.attempt
            self._http_over(exchange)
            self.sim.fact(attempt.engine, "lost", attempt.connection, None)

    # -- questions -----------------------------------------------------------------------------

    def is_gone(self, engine: int, number: int) -> bool:
        """Tell whether a connection or an exchange is over."""
        if number < 0:
            return (engine, number) not in self.exchanges
        pipe = self.pipes.get((engine, number))
        return pipe is None or pipe.state == "gone"

    def waits_in_vain(self, engine: int, began: float) -> bool:
        """Tell whether a connection of an engine hung that a turn may have waited for."""
        return any(whose == engine and at >= began - 10.0 for whose, at in self.hung)
