"""A large request is written on a connection that no other conversation uses."""

from __future__ import annotations

import json

from rtllm.engine.actions import Action, Connect, Send
from rtllm.engine.engine import Engine
from rtllm.engine.options import EngineOptions
from simulation.by_hand import HOST, answer, only, opened, question

LARGE = "x" * 6_000_000


def engine_with_a_caller(max_connections: int = 8) -> Engine:
    """Let one caller be answered on the first connection."""
    engine = Engine(EngineOptions(HOST, max_connections=max_connections))
    _, actions = engine.ask(question("hello", key="small"), 0.0)
    answer(engine, only(Send, opened(engine, actions, 0.1)), "first", "Hi.", 0.2)
    return engine


def sends(actions: list[Action]) -> list[tuple[int, bool]]:
    """List the connections of requests, and whether each continues a response."""
    sent = [action for action in actions if isinstance(action, Send)]
    return [(a.connection, "previous_response_id" in json.loads(a.data)) for a in sent]


def test_a_large_request_waits_for_a_connection_of_its_own() -> None:
    engine = engine_with_a_caller()
    _, actions = engine.ask(question(LARGE, key="large"), 1.0)
    assert sends(actions) == []
    assert sends(opened(engine, actions, 1.1)) == [(2, False)]
    _, actions = engine.ask(question("hello", "Hi.", "book it", key="small"), 1.2)
    assert sends(actions) == [(1, True)]


def test_a_large_request_takes_an_open_connection_without_callers_at_once() -> None:
    engine = engine_with_a_caller()
    turn, _ = engine.ask(question(LARGE, key="large"), 1.0)
    engine.cancel(turn, 1.1)
    engine.connected(2, 1.2)
    _, actions = engine.ask(question(LARGE, key="next"), 1.3)
    assert sends(actions) == [(2, False)]


def test_no_other_turn_waits_for_the_connection_of_a_large_request() -> None:
    engine = engine_with_a_caller()
    for caller in range(3):
        engine.ask(question("hello", key=f"caller-{caller}"), 0.5)
    engine.ask(question(LARGE, key="large"), 1.0)
    _, actions = engine.ask(question("hello", key="next"), 1.1)
    assert only(Connect, actions).connection == 3
    assert engine.snapshot().waiting == {1: 0, 2: 1, 3: 1}


def test_others_may_wait_for_it_when_the_large_request_is_cancelled() -> None:
    engine = engine_with_a_caller()
    for caller in range(3):
        engine.ask(question("hello", key=f"caller-{caller}"), 0.5)
    turn, _ = engine.ask(question(LARGE, key="large"), 1.0)
    engine.cancel(turn, 1.05)
    _, actions = engine.ask(question("hello", key="next"), 1.1)
    assert not [action for action in actions if isinstance(action, Connect)]
    assert engine.snapshot().waiting == {1: 0, 2: 1}


def test_a_large_request_continues_a_response_that_only_a_shared_connection_remembers() -> None:
    engine = engine_with_a_caller()
    engine.ask(question("hello", key="other"), 0.5)
    _, actions = engine.ask(question("hello", "Hi.", LARGE, key="small"), 1.0)
    assert sends(actions) == [(1, True)]


def test_a_large_request_continues_a_stored_response_on_a_connection_of_its_own() -> None:
    engine = Engine(EngineOptions(HOST))
    _, actions = engine.ask(question("hello", key="small", store=True), 0.0)
    answer(engine, only(Send, opened(engine, actions, 0.1)), "first", "Hi.", 0.2)
    engine.ask(question("hello", key="other"), 0.5)
    _, actions = engine.ask(question("hello", "Hi.", LARGE, key="small", store=True), 1.0)
    assert sends(opened(engine, actions, 1.1)) == [(2, True)]


def test_a_large_request_stays_on_a_connection_that_only_its_conversation_uses() -> None:
    engine = engine_with_a_caller()
    _, actions = engine.ask(question("hello", "Hello?", LARGE, key="small"), 1.0)
    assert sends(actions) == [(1, False)]


def test_at_the_limit_of_connections_a_large_request_shares_one() -> None:
    engine = engine_with_a_caller(max_connections=1)
    _, actions = engine.ask(question(LARGE, key="large"), 1.0)
    assert sends(actions) == [(1, False)]
