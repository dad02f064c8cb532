"""The play: engines, callers, network and time, all driven by one seed."""

from __future__ import annotations

import gc
import heapq
import logging
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any

import rtllm.engine.sender
from rtllm.codec.frames import Frame
from rtllm.codec.responses_decoder import ResponsesDecoder
from rtllm.engine.actions import (
    Action,
    Close,
    Connect,
    Deliver,
    Finish,
    MoveUsage,
    Ping,
    RecordUsage,
    Send,
    StartHttp,
    Trace,
    WakeAt,
)
from rtllm.engine.engine import Engine
from rtllm.engine.options import EngineOptions
from rtllm.engine.prepared import PreparedRequest
from rtllm.providers.hosts import HostProfile
from rtllm.scheduling.connection_pool import MAX_CONNECTIONS
from rtllm.trace import FaultHandled, TurnWaiting
from simulation.decisions import Decisions
from simulation.network import Network, Pipe
from simulation.oracle import Oracle
from simulation.phones import Phone
from simulation.records import TurnRecord, Violation
from simulation.story import told_action, told_fact
from simulation.traces import TraceJudge
from simulation.worlds import World, world_of

LOOKED_EVERY = 8
"""Frames between two looks at the turns that wait at the limit of connections."""
INSPECTED_EVERY = 50
"""Facts between two inspections of an engine's books."""
DRAINED_FOR = 130.0
"""Seconds that a round goes on after its last turn, if it is not closed at once."""
AT_ONE_MOMENT = 400
"""So many ticks without time going on are a loop."""

SENDER: Any = rtllm.engine.sender
"""The module whose decoder is replaced."""

EngineFactory = Callable[[EngineOptions], Engine]


class FragileAssembler(ResponsesDecoder):
    """A decoder with a bug: it fails on one kind of frame."""

    def feed(self, frame: Frame) -> Any:
        """Take the next frame."""
        if frame.type == "response.poison":
            raise LookupError("a bug in the decoder")
        return super().feed(frame)


@contextmanager
def fragile_decoder() -> Iterator[None]:
    """Give engines a decoder with a bug, and keep their complaints out of the logs.

    A round is short, so its cyclic garbage is collected after it: this saves a quarter of the time.
    """
    log, module = logging.getLogger("rtllm"), SENDER
    level = log.level
    log.setLevel(logging.CRITICAL + 1)
    collects = gc.isenabled()
    gc.disable()
    usual = module.ResponsesDecoder
    module.ResponsesDecoder = FragileAssembler
    try:
        yield
    finally:
        if collects:
            gc.enable()
        module.ResponsesDecoder = usual
        log.setLevel(level)


@dataclass
class Outcome:
    """The outcome of a round.

    Attributes:
        seed: What it was played from.
        world: What was played.
        turns: How many turns were asked.
        facts: How many facts were passed to the engines.
        violation: The law that was broken; None if none was.
        figures: What was counted.
        story: One line for each fact and action, if that was wanted.
        made: The choices, where they were recorded.
        digest: A digest of the story, if that was wanted.
    """

    seed: int
    world: World
    turns: int
    facts: int
    violation: Violation | None
    figures: Counter[str] = field(default_factory=Counter)
    story: list[str] = field(default_factory=list)
    made: list[int] = field(default_factory=list)
    digest: str = ""


class Simulation:
    """One round.

    Args:
        world: What is played.
        turns: How many turns.
        choose: Makes all choices.
        factory: Makes the engines.
        telling: Whether to keep the story.
    """

    def __init__(
        self,
        world: World,
        turns: int,
        choose: Decisions,
        factory: EngineFactory = Engine,
        *,
        telling: bool = False,
    ) -> None:
        self.world = world
        self.is_capped = world.most < MAX_CONNECTIONS
        self.choose = choose
        self.now = 1000.0
        self.facts = 0
        self.hung_up = 0
        self.is_closing = False
        self.story: list[str] | None = [] if telling else None
        self.wakes: list[float | None] = [None] * world.engines
        self.closing: set[tuple[int, int]] = set()
        self.engines = [factory(_options(world, number)) for number in range(world.engines)]
        self.turns_left = turns
        self._heap: list[tuple[float, int, Callable[[], None]]] = []
        self._order = 0
        self._owners = 0
        self._serials = 0
        self._ticks_now = 0
        self._ticked_at = 0.0
        self.oracle = Oracle(self)
        self.traces = [TraceJudge() for _ in range(world.engines)]
        self.network = Network(self)
        self.phones = [Phone(self, number) for number in range(world.callers)]

    # -- time ----------------------------------------------------------------------------------

    def at(self, when: float, what: Callable[[], None]) -> None:
        """Do something at a moment."""
        self._order += 1
        heapq.heappush(self._heap, (when, self._order, what))

    def after(self, delay: float, what: Callable[[], None]) -> None:
        """Do something after a while."""
        self._order += 1
        heapq.heappush(self._heap, (self.now + delay, self._order, what))

    def play(self) -> None:
        """Play the round.

        Raises:
            Violation: If a law is broken.
        """
        for phone in self.phones:
            self.after(self.choose.between(0.0, 3.0), phone.begin)
        self._run(lambda: self.hung_up == len(self.phones) and not self.oracle.open_turns)
        if self.choose.below(2):
            until = self.now + DRAINED_FOR
            self._run(lambda: self.now >= until)
        for engine in range(len(self.engines)):
            self.close(engine)
            self.oracle.inspect(engine)
        self.oracle.inspect_end()

    def _run(self, is_over: Callable[[], bool]) -> None:
        heap = self._heap
        while heap and not is_over():
            when, _, what = heapq.heappop(heap)
            self.now = max(self.now, when)
            what()

    def goes_on(self) -> bool:
        """Tell whether there are turns left."""
        return self.turns_left > 0

    # -- facts ---------------------------------------------------------------------------------

    def next_owner(self) -> int:
        """Number a call."""
        self._owners += 1
        return self._owners

    def next_serial(self) -> int:
        """Number a turn."""
        self._serials += 1
        self.turns_left -= 1
        return self._serials

    def ask(self, turn: TurnRecord, prepared: PreparedRequest) -> None:
        """Tell an engine that a turn is asked for."""
        self.oracle.asked(turn)
        self.note(told_fact(self.now, turn.engine, "ask", (turn.serial, prepared)))
        self.facts += 1
        try:
            number, actions = self.engines[turn.engine].ask(prepared, self.now)
        except Exception as error:
            raise Violation("7", f"ask raised {error!r}") from error
        self.oracle.numbered(turn, number)
        self.at(self.now + 5.0, lambda: self.oracle.watch(turn))
        self._carry_out(turn.engine, actions, "ask", number)
        if self.is_capped:
            self.oracle.look_at_queue(turn.engine)
        if self.choose.chance(self.world.odd):
            self._be_odd(turn.engine)
        if self.choose.chance(self.world.closes):
            self.close(turn.engine)

    def fact(self, engine: int, name: str, *what: Any) -> list[Action]:
        """Tell an engine a fact, and carry out what it wants."""
        if self.story is not None:
            self.note(told_fact(self.now, engine, name, what))
        self.facts += 1
        try:
            actions: list[Action] = getattr(self.engines[engine], name)(*what, self.now)
        except Exception as error:
            raise Violation("7", f"{name} raised {error!r}") from error
        if actions:
            subject = what[0] if what and isinstance(what[0], int) else 0
            self._carry_out(engine, actions, name, subject)
        if self.is_capped and (name != "received" or self.facts % LOOKED_EVERY == 0):
            self.oracle.look_at_queue(engine)
        if self.facts % INSPECTED_EVERY == 0:
            self.oracle.inspect(engine)
        return actions

    def close(self, engine: int) -> None:
        """Close an engine, which may be used again."""
        self.is_closing = True
        for (whose, _), attempt in self.oracle.open_attempts.items():
            if whose == engine:
                self.oracle.excuse(attempt, "close")
        for (whose, _), turn in self.oracle.open_turns.items():
            if whose == engine:
                turn.wait_excuse = "close"
        for phone in self.phones:
            if phone.number % len(self.engines) == engine and hasattr(phone, "call"):
                phone.forgotten()
        self.fact(engine, "close")
        self.is_closing = False
        self.traces[engine].closed()
        held = self.engines[engine].snapshot()
        if held.turns or held.attempts or held.connections or held.timers:
            raise Violation("4", f"an engine is closed, and {held} is left")

    def _be_odd(self, engine: int) -> None:
        """Tell an engine what it should not care for."""
        match self.choose.below(8):
            case 0 | 1 | 2:
                self.fact(engine, "tick")
            case 3 | 4 | 5 | 6:
                self._tell_late(engine)
            case _:
                self.close(engine)

    def _tell_late(self, engine: int) -> None:
        """Tell facts about what is over, or never was."""
        pipes = self.network.pipes
        gone = [n for (e, n), pipe in pipes.items() if e == engine and pipe.state == "gone"]
        number = gone[-1] if gone else 999_999
        frame = '{"type":"response.output_text.delta","delta":"late"}'
        tellings: tuple[tuple[str, tuple[Any, ...]], ...] = (
            ("received", (number, frame)),
            ("lost", (number, None)),
            ("connected", (number,)),
            ("heard", (number,)),
            ("sent", (999_999,)),
            ("cancel", (999_999,)),
        )
        for name, what in tellings:
            actions = self.fact(engine, name, *what)
            if [action for action in actions if not isinstance(action, WakeAt)]:
                raise Violation("order", f"{name} of what is over leads to {actions}")

    def _tick(self, engine: int, at: float) -> None:
        if self.wakes[engine] != at:
            return  # replaced meanwhile
        self._ticks_now = self._ticks_now + 1 if self.now == self._ticked_at else 0
        self._ticked_at = self.now
        if self._ticks_now > AT_ONE_MOMENT:
            raise Violation("4", f"engine {engine} wants to be woken again and again")
        self.wakes[engine] = None
        self.fact(engine, "tick")

    # -- actions -------------------------------------------------------------------------------

    def _carry_out(self, engine: int, actions: Sequence[Action], fact: str, subject: int) -> None:
        self.closing = {(engine, a.connection) for a in actions if isinstance(a, Close)}
        self._check_order(actions, fact)
        judge = self.traces[engine]
        for action in actions:
            if self.story is not None:
                self.note(told_action(action))
            judge.judge(action, self.now)
            match action:
                case Trace(TurnWaiting() | FaultHandled() as event):
                    self.oracle.traced(engine, event)
                case Deliver():
                    self.oracle.delivered(engine, action, fact, subject)
                case WakeAt(at):
                    self._wake(engine, at)
                case RecordUsage() | MoveUsage():
                    self.oracle.booked_or_moved(engine, action)
                case Finish():
                    self._finish(engine, action, fact, subject)
                case _:
                    self._carry_out_on_network(engine, action, fact)
        judge.settled()

    def _carry_out_on_network(self, engine: int, action: Action, fact: str) -> None:
        match action:
            case Send():
                self.network.send(self.oracle.sent(engine, action), action)
            case Connect():
                self.oracle.check_connect(engine, fact)
                self.network.connect(engine, action)
            case Close(connection):
                self.network.close(engine, connection)
            case Ping(connection):
                self.network.ping(engine, connection)
            case StartHttp():
                self.network.start_http(self.oracle.started(engine, action), action)
            case _:
                pass

    def _check_order(self, actions: Sequence[Action], fact: str) -> None:
        """Launch only when a fact has settled: what it ended comes before what it sends."""
        launches: tuple[type[Action], ...] = (Connect, Send, StartHttp)
        if self.is_capped:
            launches = (Send, StartHttp)  # one connection may be closed to open another
        is_launched = False
        for action in actions:
            if isinstance(action, launches):
                is_launched = True
            elif is_launched and isinstance(action, RecordUsage | Finish | Deliver):
                raise Violation("order", f"{fact} launches a turn before it has settled")

    def _wake(self, engine: int, at: float) -> None:
        self.wakes[engine] = at
        late = self.choose.between(0.0, self.world.lag) if self.world.lag else 0.0
        self.at(at + late, lambda: self._tick(engine, at))

    def _finish(self, engine: int, action: Finish, fact: str, subject: int) -> None:
        turn = self.oracle.finished(engine, action, fact, subject)
        if turn.call is not None and not turn.is_cancelled:
            phone = self.phones[turn.call.caller]
            self.after(self.choose.between(0.0, 0.2), lambda: phone.finished(turn, action))

    # -- questions -----------------------------------------------------------------------------

    def closes(self, pipe: Pipe) -> bool:
        """Tell whether the engine just wants a connection to be closed."""
        return (pipe.engine, pipe.number) in self.closing

    def open_pipes(self, engine: int) -> int:
        """Count the connections of an engine."""
        pipes = self.network.pipes
        return sum(1 for (e, _), pipe in pipes.items() if e == engine and pipe.state != "gone")

    def note(self, line: str) -> None:
        """Add a line to the story, if one is kept."""
        if self.story is not None:
            self.story.append(line)


def _options(world: World, number: int) -> EngineOptions:
    return EngineOptions(
        profile=HostProfile(
            "simulated",
            lanes=world.knows_lanes,
            memory=world.memory,
            lifetime=world.lifetime,
            one_model=world.one_model,
        ),
        websocket=world.websocket,
        api="chat" if world.chat else "responses",
        http_fallback=world.http_fallback,
        warm_connections=world.warm,
        max_connections=world.most,
        rebuild=world.rebuild,
        tracing=True,
        marks=f"engine-{number}",
        seed=str(number),
    )


def play(
    seed: int,
    *,
    world: World | None = None,
    turns: int | None = None,
    factory: EngineFactory = Engine,
    replayed: Sequence[int] | None = None,
    recording: bool = False,
    telling: bool = False,
) -> Outcome:
    """Play a round.

    Args:
        seed: What it is played from.
        world: What to play; None for the world of the seed.
        turns: How many turns; None for as many as the seed says.
        factory: Makes the engines.
        replayed: Choices to make again.
        recording: Whether to keep the choices.
        telling: Whether to keep the story.
    """
    chosen, length = world_of(seed)
    world, turns = world or chosen, turns or length
    choose = Decisions(seed, replayed, recording=recording)
    violation: Violation | None = None
    with fragile_decoder():
        simulation = Simulation(world, turns, choose, factory, telling=telling)
        try:
            simulation.play()
        except Violation as broken:
            violation = broken
    story = simulation.story or []
    if violation is not None and telling:
        story.append(f"*** {violation}")
    return Outcome(
        seed,
        world,
        turns - max(0, simulation.turns_left),
        simulation.facts,
        violation,
        simulation.oracle.figures,
        story,
        choose.made,
        blake2b("\n".join(story).encode(), digest_size=16).hexdigest() if story else "",
    )
