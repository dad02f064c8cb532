"""What holds state shows it in one line, without a caller's words."""

from __future__ import annotations

from rtllm.content.items import Message
from rtllm.content.request import Request
from rtllm.engine.engine import Engine
from rtllm.engine.options import EngineOptions
from rtllm.engine.prepared import prepare
from rtllm.providers.hosts import HostProfile
from rtllm.scheduling.connection_pool import ConnectionPool

HOST = HostProfile("any", lanes=True, memory="connection")


def asked(engine: Engine) -> int:
    context = (Message.of("system", "Be brief."), Message.of("user", "My secret"))
    turn, _ = engine.ask(prepare(Request(items=context, model="m", record=lambda out: out)), 0.0)
    return turn


def test_an_engine_shows_its_turns_connections_and_attempts() -> None:
    engine = Engine(EngineOptions(HOST))
    assert repr(engine) == "<Engine: [], <Connections []>, []>"
    turn = asked(engine)
    waiting = "<Turn 1 of conversation 1: connecting for connection 1>"
    opening = "<Connection 1: connecting, attempts []>"
    assert repr(engine) == f"<Engine: [{waiting}], <Connections [{opening}]>, []>"
    engine.connected(1, 1.0)
    running = "<Turn 1 of conversation 1: running>"
    opened = "<Connection 1: open, attempts [1]>"
    attempt = "<Attempt 1 of turn 1: running, connection 1, lane-1>"
    assert repr(engine) == f"<Engine: [{running}], <Connections [{opened}]>, [{attempt}]>"
    engine.cancel(turn, 2.0)
    drained = "<Attempt 1 of turn 1: draining (cancelled), connection 1, lane-1>"
    assert repr(engine) == f"<Engine: [], <Connections [{opened}]>, [{drained}]>"


def test_a_pool_shows_its_lanes() -> None:
    pool = ConnectionPool(lanes=True)
    assert repr(pool) == "<ConnectionPool with lanes: []>"
    number = pool.add("m")
    pool.mark_open(number, 0.0)
    choice = pool.choose(1, None, "m", 0.0)
    assert choice is not None
    pool.commit(1, choice, 1, None, 0.0)
    shown = repr(pool)
    assert "\n" not in shown
    assert "Lane(name='lane-1', conversation=1" in shown
