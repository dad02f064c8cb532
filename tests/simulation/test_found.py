"""What the simulation found in the engine, each as a small story of facts and actions."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from rtllm.content.events import ToolCallReady
from rtllm.content.timeouts import Timeouts
from rtllm.engine.actions import (
    Action,
    Close,
    Connect,
    Deliver,
    Finish,
    Ping,
    RecordUsage,
    Send,
    StartHttp,
)
from rtllm.engine.engine import Engine
from rtllm.engine.options import EngineOptions
from rtllm.providers.hosts import HostProfile
from rtllm.retry.backoff import SharedWait
from rtllm.retry.faults import Fault, FaultKind, from_handshake
from rtllm.scheduling.connection_pool import ConnectionPool
from simulation.by_hand import HOST, LANELESS, answer, only, opened, question
from simulation.play import play
from simulation.worlds import CONNECT_FAULTS, World


def test_cancelling_a_turn_over_http_ends_it_once() -> None:
    engine = Engine(EngineOptions(HOST, websocket=False))
    turn, actions = engine.ask(question("hello"), 0.0)
    engine.sent(only(StartHttp, actions).attempt, 0.1)
    actions = engine.cancel(turn, 0.2)
    assert only(Finish, actions).report.outcome == "cancelled"
    assert only(RecordUsage, actions).category == "cancelled"
    assert not engine.snapshot().turns


def test_a_turn_pauses_when_a_connection_is_refused_for_now() -> None:
    engine = Engine(EngineOptions(HOST))
    _, actions = engine.ask(question("hello"), 0.0)
    busy = from_handshake(429, {"retry-after": "1"}, b"{}")
    engine.connect_failed(only(Connect, actions).connection, busy, 0.1)
    assert [turn.state for turn in engine.snapshot().turns.values()] == ["pausing"]
    only(Connect, engine.tick(1.2))


def test_no_more_than_four_conversations_share_the_connection_of_a_prepared_prompt() -> None:
    engine = Engine(EngineOptions(HOST))
    _, actions = engine.ask(question(warm_up=True), 0.0)
    answer(engine, only(Send, opened(engine, actions, 0.1)), "prompt", "", 0.2)
    for caller in range(6):
        engine.ask(question("hello", key=f"caller-{caller}"), 1.0)
    assert max(len(tenants) for tenants in engine.snapshot().tenants.values()) == 4


def test_the_lane_of_a_request_that_an_error_may_not_have_ended_is_not_used_again() -> None:
    engine = Engine(EngineOptions(HOST))
    _, actions = engine.ask(question("hello", key="a"), 0.0)
    answer(engine, only(Send, opened(engine, actions, 0.1)), "first", "Hi.", 0.2)
    _, actions = engine.ask(question("hello", "Hi.", "book it", key="a"), 1.0)
    first = only(Send, actions)
    error = {"type": "error", "status": 500, "error": {"code": "internal_error", "message": "x"}}
    engine.received(first.connection, json.dumps(error), 1.1)
    _, actions = engine.ask(question("hello", "Hi.", "no", key="a"), 1.2)
    assert not [a for a in actions if isinstance(a, Send) and a.connection == first.connection]


def test_after_a_close_no_answer_is_continued_on_its_words_alone() -> None:
    engine = Engine(EngineOptions(HOST))
    _, actions = engine.ask(question("yes", key="a"), 0.0)
    answer(engine, only(Send, opened(engine, actions, 0.1)), "before", "Yes.", 0.2)
    engine.close(1.0)
    _, actions = engine.ask(question("yes", key="b"), 2.0)
    answer(engine, only(Send, opened(engine, actions, 2.1)), "after", "Yes.", 2.2)
    _, actions = engine.ask(question("yes", "Yes.", "book it", key="a"), 3.0)
    assert "previous_response_id" not in json.loads(only(Send, actions).data)


def test_a_lane_that_ran_while_its_conversation_was_evicted_is_free_afterwards() -> None:
    pool = ConnectionPool(lanes=True)
    pool.mark_open(pool.add("m"), 0.0)
    lane_choice = pool.choose(1, None, "m", 0.0)
    assert lane_choice is not None
    pool.commit(1, lane_choice, 1, None, 0.0)
    pool.abandon(1)
    pool.release(1)
    pool.end(1, None, 1.0)
    assert pool.choose(2, None, "m", 2.0) == lane_choice


def test_the_answer_to_another_call_with_the_same_words_is_not_continued() -> None:
    engine = Engine(EngineOptions(HOST))
    _, actions = engine.ask(question("hello", "", "", key="x", unsent=("call-1",)), 0.0)
    opened(engine, actions, 0.1)
    _, actions = engine.ask(question("yes", key="y", unsent=("call-2",)), 0.2)
    answer(engine, only(Send, actions), "other", "Yes.", 0.3)
    _, actions = engine.ask(question("yes", "Yes.", "book it", key="z", unsent=("call-1",)), 1.0)
    assert "previous_response_id" not in json.loads(only(Send, actions).data)


def test_turns_share_the_wait_of_a_rate_limit() -> None:
    engine = Engine(EngineOptions(HOST))
    _, actions = engine.ask(question("hello", key="a"), 0.0)
    first = only(Send, opened(engine, actions, 0.1))
    lane = json.loads(first.data)["stream_id"]
    error = {"code": "rate_limit_exceeded", "message": "slow down"}
    limited = {
        "type": "error",
        "status": 429,
        "error": error,
        "headers": {"retry-after": "2"},
        "stream_id": lane,
    }
    engine.received(first.connection, json.dumps(limited), 1.0)
    _, actions = engine.ask(question("yes", key="b"), 1.5)
    assert not [a for a in actions if isinstance(a, Send | Connect)]
    actions = engine.tick(3.1)
    assert len([a for a in actions if isinstance(a, Send)]) == 2


def test_a_rate_limit_of_one_model_is_not_anothers() -> None:
    wait = SharedWait()
    wait.note("large", 5.0)
    wait.note("large", 3.0)
    assert wait.until("large", 4.0) == 5.0
    assert wait.until("small", 4.0) is None
    assert wait.until("large", 5.0) is None


def test_calls_of_a_host_that_finishes_early_are_emitted_when_nothing_follows() -> None:
    engine = Engine(EngineOptions(HOST, api="chat"))
    _, actions = engine.ask(question("hello"), 0.0)
    started = only(StartHttp, actions)
    engine.sent(started.attempt, 0.1)
    engine.connected(started.connection, 0.2)
    call = {"index": 0, "id": "call_1", "function": {"name": "look_up", "arguments": "{}"}}
    deltas = ({"content": "Hm"}, "stop"), ({"content": "."}, None), ({"tool_calls": [call]}, "stop")
    for delta, reason in deltas:
        choice = {"index": 0, "delta": delta, "finish_reason": reason}
        piece = json.dumps({"id": "chat_1", "choices": [choice]})
        engine.received(started.connection, f"data: {piece}\n\n".encode(), 0.3)
    actions = engine.tick(60.0)
    emitted = [event for event in only(Deliver, actions).events if isinstance(event, ToolCallReady)]
    assert [event.call.call_id for event in emitted] == ["call_1"]
    assert only(Finish, actions).report.outcome == "completed"


def test_calls_of_an_answer_that_breaks_off_after_an_early_finish_are_not_emitted() -> None:
    engine = Engine(EngineOptions(HOST, api="chat"))
    _, actions = engine.ask(question("hello"), 0.0)
    started = only(StartHttp, actions)
    engine.sent(started.attempt, 0.1)
    engine.connected(started.connection, 0.2)
    call = {"index": 0, "id": "call_1", "function": {"name": "look_up", "arguments": '{"n"'}}
    for delta, reason in (({"content": "Hm"}, "stop"), ({"tool_calls": [call]}, None)):
        choice = {"index": 0, "delta": delta, "finish_reason": reason}
        piece = json.dumps({"id": "chat_1", "choices": [choice]})
        engine.received(started.connection, f"data: {piece}\n\n".encode(), 0.3)
    reset = Fault(FaultKind.DROPPED, "reset by peer")
    actions = engine.lost(started.connection, reset, 0.4)
    assert not [action for action in actions if isinstance(action, Deliver)]
    assert only(Finish, actions).report.outcome == "failed"


def test_a_queued_turn_takes_the_connection_that_a_cancelled_one_waited_for() -> None:
    engine = Engine(EngineOptions(LANELESS, max_connections=1))
    first, actions = engine.ask(question("hello", key="a"), 0.0)
    connection = only(Connect, actions).connection
    engine.ask(question("hello", key="b"), 0.1)
    engine.cancel(first, 0.2)
    only(Send, engine.connected(connection, 0.3))


def test_at_the_limit_a_connection_that_only_drains_in_silence_makes_room() -> None:
    engine = Engine(EngineOptions(LANELESS, max_connections=1))
    _, actions = engine.ask(question("hello", key="a"), 0.0)
    sent = only(Send, opened(engine, actions, 0.1))
    engine.sent(sent.attempt, 0.2)
    actions = engine.tick(12.0)
    assert only(Close, actions).connection == sent.connection
    assert only(RecordUsage, actions).category == "superseded"
    assert only(Connect, actions).connection == 2


def test_at_the_limit_an_idle_connection_that_a_turn_cannot_use_makes_room() -> None:
    host = HostProfile("found", lanes=False, one_model=True)
    engine = Engine(EngineOptions(host, max_connections=1))
    _, actions = engine.ask(question("hello", key="a"), 0.0)
    sent = only(Send, opened(engine, actions, 0.1))
    _, actions = engine.ask(question("hello", key="b", model="other"), 0.2)
    assert not [action for action in actions if isinstance(action, Connect | Close)]
    actions = answer(engine, sent, "first", "Hi.", 0.3)
    assert only(Close, actions).connection == sent.connection
    assert only(Connect, actions).model == "other"


def test_at_the_limit_all_that_a_connection_has_room_for_are_sent_at_once() -> None:
    engine = Engine(EngineOptions(HOST, max_connections=1))
    _, actions = engine.ask(question("hello", key="a"), 0.0)
    for caller in range(9):
        engine.ask(question("hello", key=f"caller-{caller}"), 0.1)
    sent = [a for a in opened(engine, actions, 0.2) if isinstance(a, Send)]
    assert len(sent) == 8
    assert len([a for a in answer(engine, sent[0], "r", "Hi.", 0.3) if isinstance(a, Send)]) == 1


def test_a_queued_turn_takes_a_connection_that_is_no_longer_doubted() -> None:
    engine = Engine(EngineOptions(HOST, max_connections=2))
    first, second = _two_connections(engine)
    _, actions = engine.ask(question("hello", "Hi.", "yes", key="caller-0"), 2.0)
    stalled = only(Send, actions)
    assert stalled.connection == first
    engine.sent(stalled.attempt, 2.1)
    engine.ask(question("hello", "Hi.", "yes", key="caller-1"), 8.0)
    engine.heard(first, 9.0)
    actions = engine.tick(12.1)
    assert only(Ping, actions).connection == second
    assert not [action for action in actions if isinstance(action, Send | Connect)]
    assert only(Send, engine.heard(second, 12.2)).connection == second


def _two_connections(engine: Engine) -> tuple[int, int]:
    """Let five callers, who don't fit on one connection, hear an answer."""
    asked = [engine.ask(question("hello", key=f"caller-{n}"), 0.0)[1] for n in range(5)]
    numbers = [a.connection for actions in asked for a in actions if isinstance(a, Connect)]
    sent = [a for n in numbers for a in engine.connected(n, 0.1) if isinstance(a, Send)]
    for place, one in enumerate(sent):
        answer(engine, one, f"answer-{place}", "Hi.", 0.2)
    first, second = numbers
    return first, second


def test_a_turn_at_its_end_does_not_take_a_connection_from_others() -> None:
    engine = Engine(EngineOptions(HOST))
    limits = Timeouts(connect=5.0, silence=5.5)
    _, actions = engine.ask(question("hello", limits=limits), 0.0)
    only(Connect, actions)
    sent = only(Send, opened(engine, engine.tick(5.0), 5.4))
    only(Finish, engine.tick(5.5))
    assert engine.snapshot().connections[sent.connection].state == "open"


@pytest.mark.parametrize("seed", [1, 4, 10, 27])
def test_a_turn_may_fail_if_its_waits_for_connections_left_it_no_time(seed: int) -> None:
    without = frozenset(CONNECT_FAULTS) - {"connect hangs"}
    world = World(
        "hanging",
        callers=6,
        lanes=False,
        knows_lanes=False,
        connect_faults=0.7,
        start=6.0,
        without=without,
    )
    outcome = play(seed, world=world, turns=60)
    assert outcome.violation is None, str(outcome.violation)


def test_a_parent_that_a_host_ignores_in_a_response_of_one_piece_is_counted_once() -> None:
    engine = Engine(EngineOptions(HostProfile("found", memory="stored"), websocket=False))
    _, actions = engine.ask(question("hello", key="a", store=True), 0.0)
    _answer_over_http(engine, only(StartHttp, actions), "first", 0.1)
    _, actions = engine.ask(question("hello", "Hi.", "more", key="a", store=True), 1.0)
    chained = only(StartHttp, actions)
    assert chained.body["previous_response_id"] == "first"
    actions = _answer_over_http(engine, chained, "second", 1.1)
    assert only(RecordUsage, actions).category == "superseded"
    resent = only(StartHttp, actions)
    assert "previous_response_id" not in resent.body
    actions = _answer_over_http(engine, resent, "third", 1.2)
    assert only(Finish, actions).report.outcome == "completed"


def _answer_over_http(
    engine: Engine, exchange: StartHttp, response_id: str, now: float
) -> list[Action]:
    """Answer a request whole, in one piece, as a host that names no parent."""
    content = [{"type": "output_text", "text": "Hi."}]
    item = {"type": "message", "id": "item", "role": "assistant", "content": content}
    events: list[dict[str, object]] = [
        {"type": "response.created", "response": {"id": response_id}},
        {"type": "response.output_item.done", "item": item},
        {"type": "response.completed", "response": {"id": response_id, "output": []}},
    ]
    body = b"".join(b"data: " + json.dumps(event).encode() + b"\n\n" for event in events)
    engine.sent(exchange.attempt, now)
    engine.connected(exchange.connection, now)
    actions = engine.received(exchange.connection, body, now)
    return actions + engine.lost(exchange.connection, None, now)


def test_a_wait_at_the_limit_of_connections_does_not_count_against_the_websocket() -> None:
    engine = Engine(EngineOptions(LANELESS, max_connections=1, http_fallback=True))
    limits = Timeouts(base=30.0, connect=5.0)
    _, actions = engine.ask(question("hello", key="a", limits=limits), 0.0)
    sent = only(Send, opened(engine, actions, 0.1))
    answer(engine, sent, "first", "Hi.", 0.2)
    engine.ask(question("hello", "Hi.", "yes", key="a", limits=limits), 1.0)
    engine.ask(question("hello", key="b", limits=limits), 1.0)
    only(StartHttp, engine.tick(6.0))
    _, actions = engine.ask(question("hello", key="c", limits=limits), 6.1)
    assert not [action for action in actions if isinstance(action, StartHttp)]


def test_an_exchange_over_http_has_its_whole_limit_after_a_wait() -> None:
    engine = Engine(EngineOptions(LANELESS, max_connections=1, http_fallback=True))
    limits = Timeouts(base=30.0, connect=5.0)
    _, actions = engine.ask(question("hello", key="a", limits=limits), 0.0)
    connection = only(Connect, actions).connection
    engine.ask(question("hello", key="b", limits=limits), 0.1)
    busy = from_handshake(404, {}, b"")
    started = [a for a in engine.connect_failed(connection, busy, 5.0) if isinstance(a, StartHttp)]
    assert len(started) == 2
    assert not [action for action in engine.tick(5.2) if isinstance(action, Close)]


def test_a_connection_is_given_its_whole_limit_after_a_wait_for_another_one() -> None:
    engine = Engine(EngineOptions(HOST, http_fallback=True))
    limits = Timeouts(base=30.0, connect=5.0)
    _, actions = engine.ask(question("hello" * 100_000, key="a", limits=limits), 0.0)
    engine.ask(question("hello", key="b", limits=limits), 0.0)
    actions = engine.connected(only(Connect, actions).connection, 4.0)
    only(Send, actions)  # b can't be sent while that is being written
    other = only(Connect, actions).connection
    assert not [action for action in engine.tick(5.0) if isinstance(action, StartHttp)]
    assert only(Send, engine.connected(other, 8.0)).connection == other


@pytest.mark.parametrize("host", [HOST, LANELESS], ids=["lanes", "no lanes"])
def test_an_answer_in_spite_of_an_error_about_the_connection_is_not_the_next_turns(
    host: HostProfile,
) -> None:
    engine = Engine(EngineOptions(host))
    _, actions = engine.ask(question("hello", key="a"), 0.0)
    sent = only(Send, opened(engine, actions, 0.1))
    busy = {"code": "rate_limit_exceeded", "message": "try again in 0.2 s"}
    error = json.dumps({"type": "error", "status": 429, "error": busy})
    engine.received(sent.connection, error, 0.2)
    assert sent.connection not in engine.snapshot().connections
    actions = engine.tick(0.5)
    assert only(Connect, actions).connection != sent.connection


def test_a_turn_that_must_leave_an_open_connection_opens_none_that_the_host_refuses() -> None:
    engine = Engine(EngineOptions(LANELESS, http_fallback=True))
    _, actions = engine.ask(question("hello", key="a"), 0.0)
    answer(engine, only(Send, opened(engine, actions, 0.1)), "first", "Hi.", 0.2)
    _, actions = engine.ask(question("hello", "Hi.", "yes", key="a"), 1.0)
    sent = only(Send, actions)
    _, actions = engine.ask(question("hello", key="b"), 1.0)
    no_websocket = from_handshake(404, {}, b"")
    only(StartHttp, engine.connect_failed(only(Connect, actions).connection, no_websocket, 1.1))
    broken = {"code": "server_error", "message": "something broke"}
    error = json.dumps({"type": "error", "status": 500, "error": broken})
    engine.received(sent.connection, error, 1.2)
    only(StartHttp, engine.tick(2.0))


def test_the_wait_for_the_first_output_begins_when_a_large_request_was_written() -> None:
    engine = Engine(EngineOptions(HOST))
    _, actions = engine.ask(question("hello", key="a", limits=Timeouts(base=10.0)), 0.0)
    sent = only(Send, opened(engine, actions, 0.1))
    assert engine.sent(sent.attempt, 8.0) == []
    created = {"type": "response.created", "response": {"id": "first"}}
    lane = json.loads(sent.data)["stream_id"]
    engine.received(sent.connection, json.dumps(created | {"stream_id": lane}), 8.2)
    resent = (Send, Connect, Close)
    assert not [action for action in engine.tick(17.9) if isinstance(action, resent)]
    only(Connect, engine.tick(18.1))


def test_a_created_without_a_lane_belongs_to_no_response_if_the_next_frame_has_its_lane() -> None:
    engine = Engine(EngineOptions(HOST))
    _, actions = engine.ask(question("hello", key="a"), 0.0)
    sent = only(Send, opened(engine, actions, 0.1))
    stray = {"type": "response.created", "response": {"id": "stray", "previous_response_id": None}}
    assert engine.received(sent.connection, json.dumps(stray), 0.2) == []
    actions = answer(engine, sent, "first", "Hi.", 0.3)
    delivered = [action.response_id for action in actions if isinstance(action, Deliver)]
    assert set(delivered) == {"first"}
    _, actions = engine.ask(question("hello", "Hi.", "yes", key="a"), 1.0)
    assert json.loads(only(Send, actions).data)["previous_response_id"] == "first"


def test_a_caller_who_may_be_known_takes_no_connection_from_one_who_went_on() -> None:
    engine = Engine(EngineOptions(LANELESS))
    _, actions = engine.ask(question("hello", key="a"), 0.0)
    first = only(Send, opened(engine, actions, 0.1))
    answer(engine, first, "first", "Hi.", 0.2, hosted=True)
    _, actions = engine.ask(question("hello", "Hi.", "yes", key="a"), 1.0)
    answer(engine, only(Send, actions), "second", "Good.", 1.2)
    _, actions = engine.ask(question("hello", "Hi.", "no", key="b"), 2.0)
    only(Connect, actions)
    _, actions = engine.ask(question("hello", "Hi.", "yes", "Good.", "bye", key="a"), 3.0)
    assert json.loads(only(Send, actions).data)["previous_response_id"] == "second"


def test_a_host_that_no_longer_names_lanes_is_heard_on_its_next_connection() -> None:
    engine = Engine(EngineOptions(HOST))
    _, actions = engine.ask(question("hello", key="a"), 0.0)
    first = only(Send, opened(engine, actions, 0.1))
    answer(engine, first, "first", "Hi.", 0.2)
    engine.lost(first.connection, Fault(FaultKind.DROPPED, "rolled back"), 1.0)
    _, actions = engine.ask(question("hello", "Hi.", "yes", key="a"), 2.0)
    sent = only(Send, opened(engine, actions, 2.1))
    body = json.loads(sent.data)
    del body["stream_id"]
    unnamed = replace(sent, data=json.dumps(body).encode())
    actions = answer(engine, unnamed, "second", "Good.", 2.2)
    assert only(Finish, actions).report.outcome == "completed"
