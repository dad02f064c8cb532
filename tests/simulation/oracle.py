"""The judge: the eight laws, and the order of the engine's own records, at each step.

It knows what each caller's context is, what the service saw and said, which frames the engine
was handed, and what went wrong on purpose. A turn may be sent again, or fail, only for a cause:
each fault that is played excuses only the turns it hit.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from rtllm.content.events import ResponseEnded, TextDelta, ToolCallReady
from rtllm.engine.actions import Deliver, Finish, MoveUsage, RecordUsage, Send, StartHttp
from rtllm.engine.connections import LARGE_FRAME, MAX_UNSENT
from rtllm.engine.request_planner import MAX_MISSES
from rtllm.engine.snapshot import ConnectionSnapshot, EngineSnapshot
from rtllm.retry.http_fallback import COOLDOWN, LONGEST_COOLDOWN
from rtllm.scheduling.connection_pool import ACTIVE_PER_CONNECTION, CROWDED
from rtllm.scheduling.lanes import CONVERSATIONS_PER_CONNECTION
from rtllm.trace import FaultHandled, TurnWaiting
from simulation.callers import LIMITS, RETRY, Call
from simulation.chat import signatures_in, units_of
from simulation.records import (
    AttemptRecord,
    Response,
    TurnRecord,
    Violation,
)
from simulation.scripts import LANELESS_WAIT, Step, arguments_of
from support.contexts import (
    Unit,
    begins_with,
    canonical,
    message,
    split_lead,
    unit_of,
    unpaired,
)

if TYPE_CHECKING:
    from simulation.network import Pipe
    from simulation.play import Simulation

FREE = {
    "drop": 1,
    "restart": 1,
    "death": 1,
    "long frozen": 1,
    "blocked": 1,
    "connection limit": 2,
    "error without lane": 1,
    "miss": 1,
    "lane limit": 1,
    "parameter": 4,
    "items": 1,
    "empty": 1,
    "lanes": 1,
    "queued": 1,
    "stall": 1,
    "parent ignored": 1,
    "parent refused": 2,
    "no http": 1,
}
"""How many resends for each cause cost none of the budget, at most."""

TERMINALS = ("completed", "incomplete", "failed", "empty")
RETRIED_LATER = ("busy",)
CUT_LANES = 6
"""So many cut answers in a row may cost the chain."""
NAMES = 32
"""How many lanes a connection may name."""
KNOWN = 24
"""How many responses of a conversation are remembered."""
PATIENCE = 8.0 + 2.0
"""Seconds that a turn may pause before it is sent again, and a little."""
LONGEST_SILENCE = 12.0
"""Seconds for which a turn may wait for a connection that is silent and runs only cut answers."""
TENANT_STAYS = 45.0
"""Seconds for which a conversation keeps its place on a connection, at least."""
MOST_TOKENS = 10**12
"""More tokens than any answer has."""
END_OF_SILENCE = 1.5
"""Seconds after its reason in which an answer over Chat Completions ends."""
UNUSED = 900.0
"""Seconds after which a connection may be closed that was not used."""
IDLE = 30.0
"""Seconds without a request after which it counts as unused if it replaced another one."""
ROTATED = 0.9
"""The part of its lifetime after which a connection may be replaced."""
DRAINED = 60.0
"""Seconds after which a connection may be closed on which a cut answer does not end."""
_SECRET = re.compile(rb"#(\d+)#")
_decode = msgspec.json.Decoder().decode


class Oracle:
    """Judges the actions of all engines."""

    def __init__(self, simulation: Simulation) -> None:
        self.sim = simulation
        self.turns: dict[int, TurnRecord] = {}
        self.by_number: dict[tuple[int, int], TurnRecord] = {}
        self.attempts: dict[tuple[int, int], AttemptRecord] = {}
        self.rate_limits: dict[tuple[int, str], float] = {}
        self.known_waits: dict[tuple[int, str], float] = {}
        self.open_attempts: dict[tuple[int, int], AttemptRecord] = {}
        self.open_turns: dict[tuple[int, int], TurnRecord] = {}
        self.figures: Counter[str] = Counter()
        self.is_calm = simulation.world.kind == "calm"
        self._began = simulation.now
        self._finishes_early: set[int] = (
            set()
        )  # engines whose host was seen going on after a finish
        self._guests: dict[int, dict[tuple[int, int], float]] = {}

    # -- causes --------------------------------------------------------------------------------

    def excuse(self, attempt: AttemptRecord, cause: str) -> None:
        """Note that something happened to an attempt.

        What follows the announcement of the connection's limit changes nothing: the turn goes
        elsewhere because of the limit, which is free.
        """
        is_moving = attempt.excuse == "connection limit"
        self.sim.network.has_lost[attempt.engine] |= attempt.connection > 0
        if not attempt.is_booked and not is_moving:
            attempt.excuse = cause

    def excuse_all(self, pipe: Pipe, cause: str) -> None:
        """Note that something happened to all that runs on a connection, or waits for it."""
        for attempt in pipe.running.values():
            self.excuse(attempt, cause)

    def excuse_waiting(self, pipe: Pipe, cause: str, wait: float = 0.0) -> None:
        """Note that a connection won't open for those who wait for it, or not before a while."""
        held = self.sim.engines[pipe.engine].snapshot().turns
        for (engine, number), turn in self.open_turns.items():
            waits = held.get(number)
            if engine == pipe.engine and waits is not None and waits.waits_for == pipe.number:
                turn.wait_excuse = cause
                self.limit_rate(engine, turn.request.model, wait)
                if wait and not self.sim.world.http_fallback:
                    turn.not_before = self.sim.now + wait

    def excuse_waiting_attempts(self, pipe: Pipe, cause: str) -> None:
        """Note that an error came that may concern any request which is not taken yet."""
        for attempt in pipe.running.values():
            if attempt.response_id is None:
                self.excuse(attempt, cause)
                attempt.is_doomed = True

    def expect_error(self, pipe: Pipe, cause: str) -> None:
        """Note whom an error without a lane may concern.

        With exactly one that waits it is his; with several it is the connection's, and what
        they use is still counted. On the default lane it is the running request's.
        """
        running = list(pipe.running.values())
        for attempt in running:
            self.limit_rate(attempt.engine, str(attempt.body["model"]), LANELESS_WAIT)
        waiting = [attempt for attempt in running if attempt.response_id is None]
        default = [attempt for attempt in running if attempt.lane is None]
        for attempt in waiting:
            self.excuse(attempt, cause)
            attempt.is_unsure = len(waiting) > 1
        meant = waiting if len(waiting) == 1 else running if len(running) == 1 else []
        for attempt in [*meant, *default[:1]]:
            self.excuse(attempt, cause)
            attempt.is_doomed = True
        if not self.sim.world.lanes and self.sim.world.knows_lanes:
            for attempt in running:  # answers come in order, whatever lane was named
                self.excuse(attempt, cause)
                attempt.is_doomed = True

    def limit_rate(self, engine: int, model: str, wait: float) -> None:
        """Note that an engine is about to learn that the requests of a model must wait."""
        until = self.sim.now + wait
        self.known_waits[engine, model] = max(until, self.known_waits.get((engine, model), 0.0))

    def traced(self, engine: int, event: TurnWaiting | FaultHandled) -> None:
        """Judge the waits of a turn, as the engine reports them."""
        turn = self.by_number.get((engine, event.turn or 0))
        turn = turn or self.turns[max(self.turns)]  # what is just asked has no number yet
        if isinstance(event, FaultHandled):
            self._check_patience(turn, event)
        elif event.reason == "rate limit":
            self._check_rate_wait(turn, event)
        elif event.reason == "connection":
            turn.waits_since = self.sim.now

    def _check_rate_wait(self, turn: TurnRecord, event: TurnWaiting) -> None:
        """Law 8: a turn waits for the rate limit of its own model, which its own client met."""
        known = self.known_waits.get((turn.engine, turn.request.model), 0.0)
        if self.sim.now + (event.seconds or 0.0) > known + 0.001:
            raise Violation("8", f"turn {turn.serial} waits without a rate limit")
        self.figures["waits for a rate limit"] += 1

    def _check_patience(self, turn: TurnRecord, event: FaultHandled) -> None:
        """Law 5: what a turn waited for before does not count against a connection's opening."""
        pipe = self.sim.network.pipes.get((turn.engine, event.connection or 0))
        if pipe is None or event.attempt is not None or event.fault != "timeout":
            return
        limit = turn.request.limits.connect - 0.1
        if event.resends and self.sim.now < min(turn.waits_since, pipe.began_at) + limit:
            raise Violation("5", f"turn {turn.serial} gives connection {pipe.number} too little")

    # -- turns ---------------------------------------------------------------------------------

    def asked(self, turn: TurnRecord) -> None:
        """Note a turn that is about to be asked."""
        self.turns[turn.serial] = turn
        self.figures["turns"] += 1
        limited = self.rate_limits.get((turn.engine, turn.request.model), 0.0)
        if limited - self.sim.now <= turn.request.retry.max_wait:
            turn.not_before = limited

    def numbered(self, turn: TurnRecord, number: int) -> None:
        """Note the engine's number of a turn."""
        turn.number = number
        self.by_number[turn.engine, number] = turn
        if not turn.is_over:
            self.open_turns[turn.engine, number] = turn

    def watch(self, turn: TurnRecord) -> None:
        """Law 4: a turn ends within its limits, and waits for no silence."""
        if turn.is_over:
            return
        now, limits = self.sim.now, turn.request.limits
        if now > turn.began + limits.total + 1.5:
            raise Violation("4", f"turn {turn.serial} outlives its limit of {limits.total:g} s")
        quiet_until = turn.began + (limits.silence or limits.total) + 1.5
        is_silent = not (turn.text or turn.calls or turn.was_slow)
        if is_silent and now > quiet_until:
            raise Violation("4", f"turn {turn.serial} is silent for {now - turn.began:.1f} s")
        current = turn.current
        patience = limits.open_item if current is not None and current.is_slow else limits.base
        due = turn.useful_at + max(patience, limits.connect) + PATIENCE
        if now > due and self._waits_anew(turn):
            due = now + patience + PATIENCE
        if now > due:
            raise Violation("4", f"turn {turn.serial} waits without progress")
        next_look = min(due, turn.began + limits.total + 1.5)
        if is_silent:
            next_look = min(next_look, quiet_until)
        self.sim.at(next_look + 0.1, lambda: self.watch(turn))

    def _waits_anew(self, turn: TurnRecord) -> bool:
        """Whether a turn has begun to wait for another connection since it was last looked at.

        At the limit of connections it may wait for any of them. After a fault it may pause, which
        its retries and its total limit bound.
        """
        held = self.sim.engines[turn.engine].snapshot().turns[turn.number]
        is_queued = held.state == "connecting" and held.waits_for is None
        if held.state == "pausing" or is_queued:
            return True
        before, turn.waits_for = turn.waits_for, held.waits_for
        return held.waits_for is not None and held.waits_for != before

    def look_at_queue(self, engine: int) -> None:
        """Law 4: a turn waits for a free connection only while none is free."""
        held = self.sim.engines[engine].snapshot()
        queued = [
            self.open_turns[engine, number]
            for number, turn in held.turns.items()
            if turn.state == "connecting" and turn.waits_for is None and not turn.is_rebuild
        ]
        for turn in queued:
            turn.was_queued = True
        if not queued:
            return
        self.figures["looks at a queue"] += 1
        for connection in held.connections.values():
            number = connection.number
            if connection.state != "open" or number < 0 or held.waiting.get(number, 0):
                continue
            if self._is_free(queued[0], connection):
                raise Violation("4", f"turn {queued[0].serial} waits though {number} is free")
            silent = self.sim.now - self.sim.network.pipes[engine, number].heard_at
            only_drains = 0 < connection.draining == len(connection.attempts)
            if only_drains and silent > LONGEST_SILENCE:
                raise Violation("4", f"turn {queued[0].serial} waits for what drains on {number}")

    def _is_free(self, turn: TurnRecord, connection: ConnectionSnapshot) -> bool:
        """Whether a turn may be sent on a connection, or an idle one may be replaced for it."""
        if connection.is_doubted or connection.unsent:
            return False
        world, pipe = self.sim.world, self.sim.network.pipes[turn.engine, connection.number]
        fits = turn.sends == 0 and (not world.one_model or pipe.model == turn.request.model)
        has_lanes = world.uses_lanes and fits and self._has_lane(pipe)
        return len(connection.attempts) < (ACTIVE_PER_CONNECTION if has_lanes else 1)

    def _has_lane(self, pipe: Pipe) -> bool:
        """Whether a connection has a lane that is new, or that an idle call may lose."""
        if len(pipe.calls) < NAMES:
            return True
        busy = {attempt.call for attempt in pipe.running.values()}
        return any(call is not None and call not in busy for call in pipe.calls.values())

    def check_closed(self, pipe: Pipe) -> None:
        """Law 5: a connection is closed for a cause, not for a turn whose time is over."""
        sim, now = self.sim, self.sim.now
        world, age = sim.world, now - pipe.opened_at
        if sim.is_closing or sim.is_capped or pipe.was_faulty or pipe.is_over:
            return
        if world.lanes != world.knows_lanes or age >= min(UNUSED, ROTATED * world.lifetime):
            return
        if world.lifetime < UNUSED and now - pipe.used_at >= IDLE:
            return  # it may have replaced one that was not used for long
        was_blocked = pipe.blocked_at is not None and now - pipe.blocked_at >= LIMITS.base / 2
        if was_blocked or any(now - a.sent_at >= DRAINED for a in pipe.running.values()):
            return
        raise Violation("5", f"connection {pipe.number} is closed without a cause")

    # -- requests ------------------------------------------------------------------------------

    def sent(self, engine: int, action: Send) -> AttemptRecord:
        """Judge a request over a WebSocket."""
        pipe = self.sim.network.pipes.get((engine, action.connection))
        if pipe is None or pipe.state != "open":
            raise Violation("order", f"attempt {action.attempt} goes to a connection not open")
        if self.sim.closes(pipe):
            raise Violation("order", f"attempt {action.attempt} goes to a connection that closes")
        body = _decode(action.data)
        attempt = self._begun(engine, action.connection, action.attempt, action.data, body)
        lane = attempt.lane
        for other in pipe.running.values():
            if other.lane == lane and not other.is_doomed and other.ended is None:
                raise Violation("2", f"attempt {attempt.number} waits behind {other.number}")
        if pipe.unsent > MAX_UNSENT and attempt.turn is not None:
            raise Violation("7", f"attempt {attempt.number} waits behind a large request")
        if pipe.was_doubted and self._is_doubted(pipe):
            raise Violation("7", f"attempt {attempt.number} goes to a connection that is doubted")
        self._check_alone(attempt, pipe)
        self._check_place(attempt, pipe)
        self._check_chained(attempt)
        return attempt

    def _is_doubted(self, pipe: Pipe) -> bool:
        """Whether the engine doubts a connection, on which a turn timed out in silence."""
        held = self.sim.engines[pipe.engine].connections
        return any(c.is_doubted for c in held if c.number == pipe.number)

    def _check_alone(self, attempt: AttemptRecord, pipe: Pipe) -> None:
        """Law 7: a large request is written apart from other calls, if it may be."""
        held = self.sim.engines[attempt.engine].snapshot().connections
        if not self._is_upload(attempt) or len(held) >= self.sim.world.most:
            return
        self.figures["uploads"] += 1
        others = {other.call for other in pipe.running.values()}
        others |= {r.call for r in pipe.newest.values() if r.call and r.call.responses[-1:] == [r]}
        for call in others - {attempt.call, None}:
            if call is not None and self.sim.now - call.last_ask < TENANT_STAYS:
                raise Violation("7", f"large attempt {attempt.number} holds up call {call.owner}")

    def _check_place(self, attempt: AttemptRecord, pipe: Pipe) -> None:
        """Law 2: without lanes, no call loses its connection while others may be opened."""
        remembered = pipe.newest.get(None)
        call = remembered.call if remembered is not None else None
        if remembered is None or call is None or call is attempt.call or self.sim.is_capped:
            return
        recorded = remembered.recorded
        if remembered.is_stored or remembered.is_forgotten or recorded is None:
            return
        asked = canonical(attempt.view)
        if begins_with(split_lead(asked)[1], split_lead(recorded)[1]):
            return  # perhaps it is the same caller, under other names or with other instructions
        goes_on = self.sim.phones[call.caller].call is call and call.responses[-1:] == [remembered]
        has_keys = call.keys in ("kept", "template")
        if goes_on and has_keys and self.sim.now - call.last_ask < TENANT_STAYS:
            raise Violation("2", f"call {call.owner} loses its connection {pipe.number}")

    def _is_upload(self, attempt: AttemptRecord) -> bool:
        """Whether an attempt is large and need not be written where others speak."""
        is_free = self.sim.world.uses_lanes and not attempt.is_bound
        return is_free and attempt.size > LARGE_FRAME

    def started(self, engine: int, action: StartHttp) -> AttemptRecord:
        """Judge a request over HTTP."""
        body = dict(action.body)
        data = msgspec.json.encode(body)
        turn = self.turns.get(body.get("metadata", {}).get("t"))
        if turn is not None and turn.current is not None and turn.current.excuse == "mute":
            self._check_mute(turn)
        if turn is not None and self.sim.world.websocket:
            self._check_fallback(turn)
        attempt = self._begun(engine, action.connection, action.attempt, data, body)
        self._check_headers(attempt, body.get("extra_headers") or action.headers)
        if not self.sim.world.chat:
            self._check_chained(attempt)
        return attempt

    def _check_fallback(self, turn: TurnRecord) -> None:
        """Laws 5 and 8: a request uses HTTP because the WebSocket failed, and if HTTP works."""
        network, engine, now = self.sim.network, turn.engine, self.sim.now
        learned_at, until = network.no_http[engine]
        if learned_at <= turn.began and now < until:
            raise Violation("8", f"turn {turn.serial} uses HTTP, which the host does not serve")
        if turn.wait_excuse == "no websocket" and turn.sends == 0:
            network.no_socket_until[engine] = now + LONGEST_COOLDOWN
        has_failed = turn.sends > 0 or turn.wait_excuse is not None
        if has_failed or network.waits_in_vain(engine, turn.began) or self._has_cut_turn(engine):
            network.has_fallen[engine] = True
        waited = turn.was_queued and now - turn.began > turn.request.limits.connect - 0.1
        if not network.has_fallen[engine] and not network.has_failed[engine] and not waited:
            raise Violation("5", f"turn {turn.serial} uses HTTP though no WebSocket failed")

    def _has_cut_turn(self, engine: int) -> bool:
        """Whether a WebSocket failed under a turn that is about to be sent again."""
        cut = (turn.current for turn in self.open_turns.values() if turn.engine == engine)
        return any(a is not None and a.connection > 0 and a.excuse is not None for a in cut)

    def learn_no_http(self, attempt: AttemptRecord) -> None:
        """Note that an engine is about to learn that the host does not answer over HTTP."""
        engine, now = attempt.engine, self.sim.now
        if self.is_current(attempt.turn, attempt):
            self.sim.network.no_http[engine] = (now, now + COOLDOWN)

    def check_connect(self, engine: int, fact: str) -> None:
        """Law 8: a host that has no WebSocket is not asked for one by each turn."""
        world, until = self.sim.world, self.sim.network.no_socket_until[engine]
        if self.sim.now >= until or fact == "warm" or world.warm or world.lifetime < UNUSED:
            return
        turns = [turn for (whose, _), turn in self.open_turns.items() if whose == engine]
        if not any(turn.request.warm_up for turn in turns):
            raise Violation("8", "a host is asked again for a WebSocket that it does not have")

    def _check_headers(self, attempt: AttemptRecord, headers: Mapping[str, str]) -> None:
        """Law 7: a request has the headers that its own caller gave it."""
        wanted = attempt.turn.request.headers if attempt.turn is not None else {}
        if dict(headers) != dict(wanted):
            raise Violation("7", f"attempt {attempt.number} has {headers}, not {wanted}")

    def _check_mute(self, turn: TurnRecord) -> None:
        """Law 7: one mute connection says nothing about the host while others respond."""
        network = self.sim.network
        pipes = [pipe for (e, _), pipe in network.pipes.items() if e == turn.engine]
        is_only = turn.sends == 1 and not (turn.was_queued or network.has_failed[turn.engine])
        is_only = is_only and not network.used_http[turn.engine]
        if is_only and any(p.state == "open" and p.was_heard and not p.is_blocked for p in pipes):
            raise Violation("7", f"turn {turn.serial} uses HTTP after one mute connection")

    def _begun(
        self, engine: int, connection: int, number: int, data: bytes, body: dict[str, Any]
    ) -> AttemptRecord:
        turn = self.turns.get(body.get("metadata", {}).get("t"))
        if turn is None:
            raise Violation("1", f"attempt {number} belongs to no turn")
        generates = body.get("generate") is not False
        is_rebuild = not generates and not turn.request.warm_up
        call = turn.call
        parent = None
        if (wanted_id := body.get("previous_response_id")) is not None:
            named = self.sim.network.find_responses(wanted_id)
            if not named:
                raise Violation("1", f"attempt {number} continues {wanted_id}, which never was")
            if any(one.recorded != named[-1].recorded for one in named):
                raise Violation("7", f"attempt {number} continues {wanted_id}, which are several")
            parent = named[-1]
        if self.sim.world.chat:
            view = tuple(units_of(body["messages"]))
        else:
            view = tuple(unit_of(item, phases=False) for item in body["input"])
        if parent is not None:
            view = (*parent.raw, *view)
            self._check_trust(turn)
        if turn.request.warm_up and generates:
            raise Violation("6", f"attempt {number} of a preparation generates an answer")
        attempt = AttemptRecord(
            number=number,
            turn=None if is_rebuild else turn,
            call=call,
            engine=engine,
            connection=connection,
            lane=body.get("stream_id"),
            body=body,
            size=len(data),
            parent=parent,
            view=view,
            generates=generates,
            sent_at=self.sim.now,
        )
        self._check_owner(attempt, data)
        self._check_tools(attempt, turn)
        if is_rebuild:
            self._check_rebuilt(attempt, turn)
            self.figures["rebuilt"] += 1
        else:
            self._check_turn(attempt, turn)
            self._check_context(attempt, turn)
            self._check_remembered(attempt, turn)
            turn.current = attempt
            turn.sends += 1
            turn.useful_at = self.sim.now
        self.attempts[engine, number] = attempt
        self.open_attempts[engine, number] = attempt
        self.figures["attempts"] += 1
        return attempt

    def _check_trust(self, turn: TurnRecord) -> None:
        """Law 8: a host that ignored a parent is asked to continue none again."""
        if self.sim.network.ignored[turn.engine]:
            raise Violation("8", f"turn {turn.serial} continues on a host that ignores parents")

    def _check_turn(self, attempt: AttemptRecord, turn: TurnRecord) -> None:
        """Laws 3, 5 and 8: whether a turn may be sent, or sent again."""
        serial, before = turn.serial, turn.current
        if turn.is_over:
            raise Violation("5", f"turn {serial} is over, and sent")
        if turn.emitted_from is not None:
            raise Violation("3", f"turn {serial} is sent again after words were emitted")
        if turn.must_fail is not None:
            raise Violation("8", f"turn {serial} is sent again after a refusal in substance")
        if self.sim.now < turn.not_before:
            raise Violation("8", f"turn {serial} is sent again before the service wants it")
        if before is None:
            return
        if before.excuse is None:
            raise Violation("5", f"turn {serial} is sent again without a cause")
        turn.causes.append(before.excuse)
        counts = Counter(turn.causes)
        free = sum(min(FREE.get(cause, 0), count) for cause, count in counts.items())
        if turn.sends > 1 + RETRY.budget + free:
            raise Violation("8", f"turn {serial} is sent {turn.sends + 1} times: {turn.causes}")
        if before.excuse == "miss" and attempt.parent is not None and attempt.connection > 0:
            raise Violation("8", f"turn {serial} continues again right after a lost parent")
        if before.excuse == "items" and any(s[0] == "hidden" for s in self._own(attempt)):
            raise Violation("8", f"turn {serial} carries hidden items again that were refused")
        if not before.is_booked:
            before.abandoned = "superseded"

    def _own(self, attempt: AttemptRecord) -> tuple[Unit, ...]:
        parent = attempt.parent
        return attempt.view[len(parent.raw) :] if parent is not None else attempt.view

    def _check_owner(self, attempt: AttemptRecord, data: bytes) -> None:
        """Law 7: nothing of another call is sent."""
        owner = attempt.call.owner if attempt.call is not None else 0
        for found in _SECRET.findall(data):
            if int(found) != owner:
                raise Violation("7", f"a request of call {owner} holds words of call {int(found)}")
        parent = attempt.parent
        if parent is not None and parent.call is not None and parent.call is not attempt.call:
            raise Violation("7", f"call {owner} continues a response of call {parent.call.owner}")

    def _check_tools(self, attempt: AttemptRecord, turn: TurnRecord) -> None:
        """Law 1: the model sees the tools as they are now."""
        seen = [tool.get("function", tool)["description"] for tool in attempt.body["tools"]]
        wanted = [tool["description"] for tool in map(_decode, turn.request.tools)]
        if seen != wanted:
            raise Violation("1", f"turn {turn.serial}: the tools are {seen}, not {wanted}")

    def _check_context(self, attempt: AttemptRecord, turn: TurnRecord) -> None:
        """Law 1: the model sees the context of the caller's framework, normalized."""
        wanted, parent, own = turn.wanted, attempt.parent, self._own(attempt)
        if parent is None:
            seen = canonical(own)
        elif parent.recorded is None:
            raise Violation("1", f"turn {turn.serial} continues what is recorded otherwise")
        else:
            seen = canonical((*parent.recorded, *own))
        texts, body = split_lead(seen)
        chained_lead = tuple(texts)
        said = str(attempt.body.get("instructions", ""))
        in_field = "\n".join((*wanted.lead, wanted.guide) if wanted.guide else wanted.lead)
        as_items = chained_lead == wanted.lead and said == wanted.guide
        if self.sim.world.chat:
            as_items = chained_lead == tuple(filter(None, (*wanted.lead, wanted.guide)))
            self._check_signatures(attempt)
        attempt.lead_in_field = not as_items
        if not as_items and (chained_lead or said != in_field):
            raise Violation("1", f"turn {turn.serial}: instructions {said!r}, {chained_lead}")
        if tuple(body) != wanted.body:
            raise Violation(
                "1", f"turn {turn.serial}: the model sees {body} instead of {wanted.body}"
            )
        if (open_calls := unpaired(attempt.view)) != set():
            raise Violation("1", f"turn {turn.serial}: calls without outputs: {open_calls}")
        self._check_hidden(attempt, own)

    def _check_hidden(self, attempt: AttemptRecord, own: tuple[Unit, ...]) -> None:
        """Law 1: hidden items come from the response that they belong to, right before its item."""
        phases = [item for item in attempt.body.get("input", ()) if item.get("phase")]
        if attempt.call is not None:
            for item in phases:
                if not self._has_phase(attempt.call, item):
                    raise Violation("1", f"attempt {attempt.number}: a phase of no response")
        tokens = [item[2] for item in attempt.view if item[0] == "hidden"]
        if not tokens:
            return
        if len(set(tokens)) != len(tokens):
            raise Violation("1", f"attempt {attempt.number} holds a hidden item twice")
        for at, item in enumerate(own):
            if item[0] != "hidden":
                continue
            follows = next((seen for seen in own[at:] if seen[0] != "hidden"), None)
            source = self._source(attempt.call, item[2])
            if source is None or follows not in source.output:
                raise Violation("1", f"{item[2]} stands before {follows}, not its own item")

    def _check_signatures(self, attempt: AttemptRecord) -> None:
        """Law 1: a host's fields go back with the call that they came with."""
        owner = attempt.call.owner if attempt.call is not None else 0
        for call_id, named, whose in signatures_in(attempt.body["messages"]):
            self.figures["signatures"] += 1
            if (named, whose) != (call_id, owner):
                raise Violation("1", f"{call_id} of call {owner} carries {named}'s of {whose}")

    def _source(self, call: Call | None, token: str) -> Response | None:
        responses = call.responses if call is not None else []
        return next((r for r in responses if token in r.tokens), None)

    def _has_phase(self, call: Call, item: dict[str, Any]) -> bool:
        text = item["content"]
        return any(r.phase == item["phase"] and text in r.texts for r in call.responses)

    def _check_remembered(self, attempt: AttemptRecord, turn: TurnRecord) -> None:
        """Law 8: a parameter that was refused is not sent again."""
        model = str(attempt.body["model"])
        if (turn.engine, model) in self.sim.network.refused and "temperature" in attempt.body:
            raise Violation("8", f"turn {turn.serial} sends a refused parameter again")

    def _check_rebuilt(self, attempt: AttemptRecord, turn: TurnRecord) -> None:
        """Laws 1 and 7: what is prepared on a new connection is a known state of its call."""
        if not self.sim.world.rebuild or turn.call is None:
            raise Violation("6", f"attempt {attempt.number} prepares what nobody asked for")
        seen = canonical(attempt.view)
        for response in turn.call.responses:
            recorded = response.recorded
            if recorded is None:
                continue
            attempt.lead_in_field = response.is_in_field
            if recorded == seen:
                return
        raise Violation("1", f"attempt {attempt.number} prepares {seen}, which nobody knows")

    # -- law 2 ---------------------------------------------------------------------------------

    def _check_chained(self, attempt: AttemptRecord) -> None:
        """Law 2: what the service knows is not sent again."""
        turn, call = attempt.turn, attempt.call
        if turn is None or call is None or not attempt.generates or turn.sends > 1:
            return
        self.figures["first sends"] += 1
        if attempt.parent is not None:
            self.figures["chained"] += 1
        known = len(attempt.parent.recorded or ()) if attempt.parent is not None else 0
        best = self._best(attempt, turn, call)
        if best is None or len(best.recorded or ()) <= known:
            return
        self.figures["missed"] += 1
        raise Violation(
            "2",
            f"turn {turn.serial} of call {call.owner} sends what {best.id} knows: "
            f"{known} items are continued of {len(best.recorded or ())}",
        )

    def _best(self, attempt: AttemptRecord, turn: TurnRecord, call: Call) -> Response | None:
        """The longest response that this request should have continued."""
        has_keys = call.keys in ("kept", "template")
        if not has_keys and call.name is None:
            return None
        if call.cuts > CUT_LANES:
            return None
        wanted = turn.wanted
        lead = tuple(message("system", text) for text in wanted.lead)
        best: Response | None = None
        for response in reversed(call.responses[-KNOWN:]):
            recorded = response.recorded
            if recorded is None or not response.is_known or response.is_forgotten:
                continue
            if response.model != attempt.body["model"]:
                continue
            if response.wanted is None or call.asks.get(response.wanted.keys, 0) > 1:
                continue  # asked twice: it proves nothing
            keys = response.wanted.keys
            if has_keys and wanted.keys[: len(keys)] != keys:
                continue  # the same words, but said another time
            if best is not None and len(recorded) <= len(best.recorded or ()):
                continue
            whole = wanted.body if response.is_in_field else lead + wanted.body
            if not begins_with(whole, recorded) or not self._reachable(response, attempt):
                continue
            best = response
        return best

    def _reachable(self, response: Response, attempt: AttemptRecord) -> bool:
        """Whether nothing stood in the way of continuing a response."""
        world = self.sim.world
        if (
            world.parents in ("ignored", "refused")
            or world.has_one_id
            or world.memory == "none"
            or (world.memory == "stored" and not response.is_stored)
        ):
            return False
        if self.sim.network.misses[attempt.engine] >= MAX_MISSES:
            return False  # it may be believed to remember nothing
        if response.is_stored:
            return True
        if attempt.connection < 0 and not self._may_use_open(attempt):
            return False
        lane_address = self.sim.network.pipes.get(response.pipe)
        if (
            lane_address is None
            or lane_address.state != "open"
            or lane_address.has_trouble
            or lane_address.was_doubted
        ):
            return False
        if (
            lane_address.newest.get(response.lane) is not response
            or response.pipe[0] != attempt.engine
        ):
            return False
        snapshot = self.sim.engines[attempt.engine].snapshot().connections.get(lane_address.number)
        if snapshot is None or snapshot.state != "open":
            return False
        if snapshot.unsent > MAX_UNSENT and not self._is_held_up(attempt, lane_address):
            return False
        running = [a for a in lane_address.running.values() if a is not attempt]
        if self.sim.open_pipes(attempt.engine) >= world.most:
            return False  # idle conversations lose their place
        if not world.uses_lanes:
            return not running
        busy = sum(1 for a in running if a.call is attempt.call)
        return len(running) < 8 and busy < 6 and self.sim.open_pipes(attempt.engine) < CROWDED

    def _may_use_open(self, attempt: AttemptRecord) -> bool:
        """Whether a request over HTTP had better used an open connection: none ever failed."""
        turn, network = attempt.turn, self.sim.network
        has_waited = turn is None or turn.wait_excuse is not None or turn.was_queued
        return self.sim.world.websocket and not has_waited and not network.has_lost[attempt.engine]

    def _is_held_up(self, attempt: AttemptRecord, pipe: Pipe) -> bool:
        """Whether a large request of another call is written, which should be elsewhere."""
        others = [a for a in pipe.running.values() if a.call is not attempt.call]
        return any(self._is_upload(other) and not other.is_written for other in others)

    # -- answers -------------------------------------------------------------------------------

    def feed(  # noqa: C901, PLR0912
        self, attempt: AttemptRecord, step: Step, response: Response | None
    ) -> None:
        """Note a frame that the engine is about to be handed."""
        turn, kind = attempt.turn, step.kind
        if attempt.is_booked or kind == "late":
            return
        if attempt.is_ending and kind in ("delta", "open"):
            attempt.is_ending, attempt.ended, attempt.usage = False, None, None  # it goes on
        is_current = self.is_current(turn, attempt)
        if step.wait:
            self.limit_rate(attempt.engine, str(attempt.body["model"]), step.wait)
        if step.excuse:
            self.excuse(attempt, step.excuse)
        if kind == "created":
            data = step.data or {}
            attempt.response_id = str(data.get("response", data)["id"])
            if attempt.parent is not None and self.sim.world.parents == "ignored":
                self.excuse(attempt, "parent ignored")
                is_told = is_current and turn is not None
                self.sim.network.ignored[attempt.engine] |= is_told
        elif kind in ("delta", "done"):
            attempt.fed += step.payload
        elif kind == "call":
            attempt.fed_calls.append(step.payload)
            attempt.shut()
        elif kind in ("open", "slow"):
            attempt.open_items += kind == "open"
            attempt.is_slow = True
        elif kind == "shut":
            attempt.shut()
        elif kind == "error" and step.excuse != "lanes":
            attempt.ended = "error"
            if is_current and turn is not None and not attempt.is_unsure:
                self._expect_after_error(turn, step)
        elif self.sim.world.chat:
            self._feed_chat_end(attempt, step)
        elif kind in TERMINALS:
            self._feed_end(attempt, step, response)
        if is_current and turn is not None and (step.payload or kind in ("open", "slow", "shut")):
            turn.useful_at = self.sim.now
            turn.was_slow = turn.was_slow or kind in ("open", "slow", "call")

    def is_current(self, turn: TurnRecord | None, attempt: AttemptRecord) -> bool:
        """Whether a turn waits for an attempt."""
        if turn is None or turn.is_over or turn.current is not attempt:
            return False
        if attempt.excuse is None:
            return True
        held = self.sim.engines[turn.engine].snapshot().turns.get(turn.number)
        return held is not None and held.attempt == attempt.number

    def _expect_after_error(self, turn: TurnRecord, step: Step) -> None:
        if step.excuse == "refused":
            turn.must_fail = step.payload
        elif step.wait:
            turn.not_before = self.sim.now + step.wait

    def _feed_end(self, attempt: AttemptRecord, step: Step, response: Response | None) -> None:
        attempt.ended = step.kind
        attempt.fed += step.payload
        attempt.fed_calls += step.calls
        said = (step.data or {})["response"]
        attempt.response_id = said["id"]
        attempt.usage = counted(said.get("usage"))
        if response is not None and not response.is_known:
            response.is_known = True
            if attempt.abandoned is not None and not self.sim.world.uses_lanes:
                response.is_forgotten = True  # a connection has only one
            if response.call is not None:
                response.call.responses.append(response)

    def _feed_chat_end(self, attempt: AttemptRecord, step: Step) -> None:
        """Note a part of an answer's end: its reason, its usage, or its last line."""
        if step.kind not in ("early", "finish", "usage", *TERMINALS):
            return
        attempt.is_slow = attempt.is_slow and step.kind == "usage"
        attempt.is_ending = step.kind in ("early", "finish")
        if step.kind == "early":
            self._finishes_early.add(attempt.engine)
        if step.kind == "finish" and attempt.engine not in self._finishes_early:
            self.sim.after(END_OF_SILENCE, lambda: self._check_ended(attempt))
        attempt.fed_calls += step.calls
        usage = (step.data or {}).get("usage")
        if usage is not None:
            attempt.counted = (usage["prompt_tokens"], usage["completion_tokens"])
        script = self.sim.network.exchanges[attempt.engine, attempt.connection].script
        if step.kind != "usage" and script is not None:
            attempt.ended = script.status
            attempt.usage = None if step.kind == "failed" else attempt.counted

    def _check_ended(self, attempt: AttemptRecord) -> None:
        """Law 4: after its reason an answer ends at once, whatever else the host sends."""
        if attempt.is_ending and not attempt.is_booked:
            raise Violation("4", f"attempt {attempt.number} has finished, and goes on")

    def fed(self, attempt: AttemptRecord, step: Step) -> None:
        """Judge what the engine made of a frame."""
        kind, turn = step.kind, attempt.turn
        if kind == "late" or attempt.is_doomed or (kind == "error" and attempt.is_unsure):
            return
        if step.excuse == "busy" and turn is not None and not turn.is_over:
            limited = (turn.engine, turn.request.model)
            known = self.rate_limits.get(limited, 0.0)
            self.rate_limits[limited] = max(known, turn.not_before)
        if kind in TERMINALS or kind == "error":
            pipe = self.sim.network.pipes.get((attempt.engine, attempt.connection))
            was_told = attempt.connection < 0 or (pipe is not None and pipe.state == "open")
            if not attempt.is_booked and was_told and step.excuse != "lanes":
                raise Violation("6", f"attempt {attempt.number} has ended and is not booked")
        if turn is not None and turn.current is attempt and not turn.is_over:
            self._check_text(turn, attempt)

    def _check_text(self, turn: TurnRecord, attempt: AttemptRecord) -> None:
        if attempt.is_booked or self._was_left(turn, attempt):
            return
        if turn.text != attempt.fed:
            raise Violation("3", f"turn {turn.serial} heard {turn.text!r}, not {attempt.fed!r}")
        if self.sim.world.chat:
            return  # calls are emitted at the end
        if not turn.request.hold_calls and turn.calls != attempt.fed_calls:
            raise Violation("3", f"turn {turn.serial} got {turn.calls}, not {attempt.fed_calls}")

    def _was_left(self, turn: TurnRecord, attempt: AttemptRecord) -> bool:
        """Whether a turn does not wait for an attempt any more, with a cause."""
        if attempt.excuse is None:
            return False
        calls_differ = turn.calls != attempt.fed_calls and not turn.request.hold_calls
        if turn.text == attempt.fed and not calls_differ:
            return False
        held = self.sim.engines[turn.engine].snapshot().turns.get(turn.number)
        return held is not None and held.attempt != attempt.number

    def delivered(self, engine: int, action: Deliver, fact: str, subject: int) -> None:
        """Judge what is emitted."""
        turn, attempt = self._receiver(engine, action, fact, subject)
        for event in action.events:
            if isinstance(event, ResponseEnded):
                turn.has_ended = True
            elif isinstance(event, TextDelta):
                turn.text += event.text
            elif isinstance(event, ToolCallReady):
                if event.call.arguments != arguments_of(event.call.call_id):
                    raise Violation("3", f"turn {turn.serial} got {event.call}")
                turn.calls.append(event.call.call_id)
                turn.called.append(event.call)
            if isinstance(event, TextDelta | ToolCallReady):
                if turn.emitted_from not in (None, attempt):
                    raise Violation("3", f"turn {turn.serial} hears a second answer")
                if attempt.parent is not None and self.sim.world.parents == "ignored":
                    raise Violation("1", f"turn {turn.serial} hears what was said without context")
                turn.emitted_from = attempt
                turn.mark = action.mark
        if not attempt.fed.startswith(turn.text):
            raise Violation("3", f"turn {turn.serial} hears {turn.text!r}, not {attempt.fed!r}")
        if turn.calls != attempt.fed_calls[: len(turn.calls)]:
            raise Violation("3", f"turn {turn.serial} got {turn.calls}, not {attempt.fed_calls}")

    def _receiver(
        self, engine: int, action: Deliver, fact: str, subject: int
    ) -> tuple[TurnRecord, AttemptRecord]:
        """Find whom events are for, and whether they may be his."""
        turn = self.by_number.get((engine, action.turn))
        if turn is None:
            raise Violation("5", f"events for turn {action.turn}, which never was")
        if turn.is_over:
            raise Violation("5", f"events for turn {turn.serial}, which is over")
        attempt = turn.current
        if attempt is None:
            raise Violation("3", f"events for turn {turn.serial}, which was not sent")
        if fact not in ("received", "lost", "tick", "connect_failed", "close"):
            raise Violation("order", f"{fact} emits words")
        if fact == "received" and attempt.connection != subject:
            raise Violation("7", f"a frame of connection {subject} speaks to turn {turn.serial}")
        if action.response_id not in (None, attempt.response_id):
            raise Violation("7", f"turn {turn.serial} hears {action.response_id}, another's answer")
        return turn, attempt

    # -- ends ----------------------------------------------------------------------------------

    def finished(self, engine: int, action: Finish, fact: str, subject: int) -> TurnRecord:
        """Judge the end of a turn."""
        turn = self.by_number.get((engine, action.turn))
        if turn is None:
            raise Violation("5", f"turn {action.turn} ends, which never was")
        if turn.is_over:
            raise Violation("5", f"turn {turn.serial} ends twice")
        if fact == "cancel" and subject != action.turn:
            raise Violation("5", f"turn {turn.serial} ends since another one was cancelled")
        turn.is_over = True
        self.open_turns.pop((engine, action.turn), None)
        outcome = action.report.outcome
        self.figures[f"ended {outcome}"] += 1
        if (outcome == "cancelled") != (fact == "cancel"):
            raise Violation("5", f"turn {turn.serial} ends as {outcome} after {fact}")
        if action.error is not None:
            self._check_failed(turn, action)
        elif outcome != "cancelled":
            self._check_answered(turn, outcome)
        attempt = turn.current
        if attempt is not None:
            if action.report.chained != (attempt.parent is not None):
                raise Violation("2", f"turn {turn.serial} reports chained wrongly")
            if not attempt.is_booked:
                attempt.abandoned = "failed" if action.error is not None else "cancelled"
        return turn

    def _check_failed(self, turn: TurnRecord, action: Finish) -> None:
        """Law 5: no failure without a cause; law 8: a refusal is reported in its own words."""
        attempt = turn.current
        hung = self.sim.network.waits_in_vain(turn.engine, turn.began)
        cause = (attempt.excuse if attempt is not None else None) or turn.wait_excuse
        if cause is None and hung and (attempt is None or attempt.excuse is not None):
            cause = "connect hangs"
        if cause is None and attempt is None and turn.was_queued:
            cause = "queue"
        was_cut = attempt is not None and attempt.ended == "incomplete"
        if cause is None and was_cut and turn.emitted_from is None:
            cause = "cut at once"  # an answer that is cut before its first word is a failure
        error = str(action.error)
        if cause is None and ("first word" in error or "whole turn" in error):
            cause = self._cause_of_silence(turn, attempt)
        if cause is None:
            raise Violation("5", f"turn {turn.serial} fails without a cause: {action.error!r}")
        self.figures[f"failed by {cause}"] += 1
        details = action.error.details if action.error is not None else None
        if not self.sim.world.serves_http and details is not None and details.status == 404:
            raise Violation("8", f"turn {turn.serial} tells that there is no HTTP: {action.error}")
        if turn.must_fail is not None and turn.must_fail not in str(action.error):
            raise Violation("8", f"turn {turn.serial} hides {turn.must_fail!r}: {action.error}")

    def _cause_of_silence(self, turn: TurnRecord, attempt: AttemptRecord | None) -> str | None:
        """Tell what left the last attempt of a turn too little time."""
        if turn.causes:
            return "silence"
        limits, network = turn.request.limits, self.sim.network
        enough = min(limits.connect, (limits.silence or limits.total) / 2)
        is_late = attempt is not None and attempt.sent_at >= turn.began + enough
        if is_late and turn.was_queued:
            return "silence after a queue"
        was_in_vain = is_late and network.waits_in_vain(turn.engine, turn.began)
        return "silence after connecting" if was_in_vain else None

    def _check_answered(self, turn: TurnRecord, outcome: str) -> None:
        """Law 3: what was generated was emitted, all of it and once."""
        attempt = turn.current
        if attempt is None:
            raise Violation("3", f"turn {turn.serial} ends as {outcome} without an answer")
        if not turn.has_ended:
            raise Violation("3", f"turn {turn.serial} ends as {outcome} without a last event")
        if outcome == "unfinished":
            if attempt.excuse is None:
                raise Violation("5", f"turn {turn.serial} is unfinished without a cause")
        elif outcome == "empty":
            if attempt.generates and (attempt.ended != "empty" or "empty" not in turn.causes):
                raise Violation("3", f"turn {turn.serial} is empty at once")
        elif attempt.ended != outcome:
            raise Violation("3", f"turn {turn.serial} ends as {outcome}, not {attempt.ended}")
        if turn.text != attempt.fed or turn.calls != attempt.fed_calls:
            raise Violation(
                "3",
                f"turn {turn.serial} ends with {turn.text!r} and {turn.calls}, "
                f"not {attempt.fed!r} and {attempt.fed_calls}",
            )

    # -- books ---------------------------------------------------------------------------------

    def booked_or_moved(self, engine: int, action: RecordUsage | MoveUsage) -> None:
        """Law 6, at first and once it is known that a response was a draft."""
        if isinstance(action, MoveUsage):
            self.moved(engine, action)
        else:
            self.booked(engine, action)

    def booked(self, engine: int, action: RecordUsage) -> None:
        """Law 6: each attempt is counted once, with what the service counted."""
        attempt = self.attempts.get((engine, action.attempt))
        if attempt is None:
            raise Violation("6", f"attempt {action.attempt} is booked, which never was")
        if attempt.is_booked:
            raise Violation("6", f"attempt {action.attempt} is booked twice")
        attempt.is_booked = True
        attempt.category = action.category
        self.figures[f"booked {action.category}"] += 1
        self._settle(engine, attempt)
        if attempt.is_unsure and not self.sim.world.uses_lanes:
            return  # an error that may have been another's: answers in order tell no more
        usage = (action.usage.input, action.usage.output) if action.usage is not None else None
        was_left = action.category in ("cancelled", "superseded", "draft") or self.sim.is_closing
        if attempt.is_ending and was_left:
            attempt.ended = attempt.usage = None  # its end was not awaited
        if usage != attempt.usage:
            raise Violation("6", f"attempt {attempt.number}: {usage} booked, {attempt.usage} used")
        allowed = self._categories(attempt)
        if {"answered", "cancelled"} & {*allowed}:
            allowed += ("draft",)
        if action.category not in allowed:
            raise Violation("6", f"attempt {attempt.number} is {action.category}, not {allowed}")
        if attempt.ended is None and not self._may_be_lost(attempt):
            raise Violation("6", f"attempt {attempt.number} is booked before it ended")

    def moved(self, engine: int, action: MoveUsage) -> None:
        """A draft that was thrown away is counted as one, instead of as before."""
        attempt = self.attempts.get((engine, action.attempt))
        if attempt is None or not attempt.is_booked or attempt.category != action.was:
            raise Violation("6", f"attempt {action.attempt} is moved from {action.was}")
        attempt.category = action.category
        self.figures[f"moved to {action.category}"] += 1

    def never_went_out(self, attempt: AttemptRecord) -> None:
        """Forget a request over HTTP that was stopped before it went out."""
        self._settle(attempt.engine, attempt)

    def _may_be_lost(self, attempt: AttemptRecord) -> bool:
        """Whether the end of an attempt may never come."""
        if attempt.connection < 0 or attempt.is_doomed or self.sim.is_closing:
            return True
        pipe = self.sim.network.pipes[attempt.engine, attempt.connection]
        return pipe.state == "gone" or pipe.is_dead or self.sim.closes(pipe)

    def _categories(self, attempt: AttemptRecord) -> tuple[str, ...]:
        if not attempt.generates:
            return ("warm-up",)
        if attempt.abandoned is not None:
            allowed: tuple[str, ...] = (attempt.abandoned,)
        elif attempt.ended == "incomplete" and not (attempt.fed or attempt.fed_calls):
            allowed = ("answered", "failed")  # an answer that is cut at once is a failure
        elif attempt.ended in ("completed", "incomplete"):
            allowed = ("answered",)
        elif attempt.ended is not None or attempt.connection > 0:
            allowed = ("failed",)
        else:
            allowed = ("failed", "cancelled")
        # What was lost may have been superseded before its turn could be sent again.
        return allowed if attempt.excuse is None else (*allowed, "superseded")

    def _settle(self, engine: int, attempt: AttemptRecord) -> None:
        self.open_attempts.pop((engine, attempt.number), None)
        pipe = self.sim.network.pipes.get((engine, attempt.connection))
        if pipe is not None:
            pipe.running.pop(attempt.number, None)

    # -- the engine's own books ----------------------------------------------------------------

    def inspect(self, engine: int) -> None:
        """Compare what an engine holds with what it should hold."""
        held = self.sim.engines[engine].snapshot()
        if held.due or held.actions:
            raise Violation("order", f"{held.due} turns and {held.actions} actions are left over")
        ours = {number for whose, number in self.open_turns if whose == engine}
        theirs = {number for number, turn in held.turns.items() if not turn.is_rebuild}
        if ours != theirs:
            raise Violation("order", f"turns {sorted(ours ^ theirs)} are leaked or lost")
        attempts = {number for whose, number in self.open_attempts if whose == engine}
        if attempts != set(held.attempts):
            raise Violation("6", f"attempts {sorted(attempts ^ set(held.attempts))} are leaked")
        if held.placed != len(attempts):
            raise Violation("order", f"{held.placed} attempts are placed of {len(attempts)}")
        if held.wanted + held.draining != len(attempts):
            raise Violation("order", f"conversations wait for {held.wanted} of {len(attempts)}")
        waits = Counter(t.waits_for for t in held.turns.values() if t.waits_for is not None)
        for number, count in held.waiting.items():
            if count != waits[number]:
                raise Violation("order", f"{count} turns wait for {number}, not {waits[number]}")
        for number, count in held.running.items():
            connection = held.connections.get(number)
            if connection is None or len(connection.attempts) != count:
                raise Violation("order", f"{count} attempts are counted on connection {number}")
        alive = {
            number
            for (whose, number), pipe in self.sim.network.pipes.items()
            if whose == engine and pipe.state != "gone"
        }
        if alive != {number for number in held.connections if number > 0}:
            raise Violation("order", f"connections {alive} are open, {list(held.connections)} held")
        self._inspect_guests(engine, held)
        self._inspect_timers(engine, held)

    def _inspect_guests(self, engine: int, held: EngineSnapshot) -> None:
        """Law 2: while no caller pauses for long, none loses its place on a connection."""
        if not self.is_calm:
            return
        seen = self._guests.setdefault(engine, {})
        now = self.sim.now
        for number, tenants in held.tenants.items():
            if len(tenants) > CONVERSATIONS_PER_CONNECTION and now - self._began < TENANT_STAYS:
                raise Violation("2", f"{len(tenants)} conversations share connection {number}")
        there = {(c, tenant) for c, tenants in held.tenants.items() for tenant in tenants}
        for (connection, tenant), since in list(seen.items()):
            if (connection, tenant) not in there:
                may_go = len(held.tenants) >= CROWDED  # if its responses are stored: law 2
                if connection in held.tenants and not may_go and now - since < TENANT_STAYS:
                    raise Violation("2", f"conversation {tenant} lost its place on {connection}")
                del seen[connection, tenant]
        for place in there:
            seen.setdefault(place, now)

    def _inspect_timers(self, engine: int, held: EngineSnapshot) -> None:
        """Law 4: all that waits has a deadline, and the engine will be woken."""
        timers = set(held.timers)
        for number in held.turns:
            if ("turn", number) not in timers:
                raise Violation("4", f"turn {number} of the engine waits without a limit")
        for kind, number in timers:
            is_known = {
                "turn": number in held.turns,
                "drain": number in held.attempts,
                "connect": number in held.connections,
                "ping": number in held.connections,
                "leave": number in held.connections,
            }.get(kind, True)
            if not is_known:
                raise Violation("order", f"a deadline is leaked: {kind} {number}")
        if timers and self.sim.wakes[engine] is None:
            raise Violation("4", f"engine {engine} is never woken, with {len(timers)} deadlines")
        if held.timer_entries > 4 * len(timers) + 300 + 12 * self.sim.world.callers:
            raise Violation("order", f"{held.timer_entries} entries for {len(timers)} deadlines")

    def inspect_end(self) -> None:
        """All turns are over, and the usage of all attempts is counted."""
        if self.open_turns:
            raise Violation("4", f"turns {[t.serial for t in self.open_turns.values()]} never end")
        left = [a.number for a in self.open_attempts.values() if a.connection > 0 or a.is_written]
        if left:
            raise Violation("6", f"attempts {left} are never counted")


def counted(usage: dict[str, Any] | None) -> tuple[int, int] | None:
    """Read what the service counted; None if no count can be meant."""
    if usage is None:
        return None
    counts = (usage["input_tokens"], usage["output_tokens"])
    if any(isinstance(n, str) or not 0 <= n <= MOST_TOKENS for n in counts):
        return None
    return (round(counts[0]), round(counts[1]))
