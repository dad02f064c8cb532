"""The trace of an engine by hand: only if there is a listener, and the model that answered."""

from __future__ import annotations

import json

from rtllm.content.prices import Pricing
from rtllm.content.usage import UsageLine
from rtllm.engine.actions import Action, Finish, Send, Trace
from rtllm.engine.engine import Engine
from rtllm.engine.options import EngineOptions
from rtllm.trace import AttemptEnded, ResponseCreated
from simulation.by_hand import HOST, only, opened, question

SERVED = "gpt-4.1-2025-04-14"


def turn_of(engine: Engine) -> list[Action]:
    """Play a turn; return all its actions."""
    _, actions = engine.ask(question("hello"), 0.0)
    actions += opened(engine, actions, 0.1)
    sent = only(Send, actions)
    lane = json.loads(sent.data).get("stream_id")
    response = {"id": "resp_1", "model": SERVED, "usage": {"input_tokens": 5, "output_tokens": 7}}
    part = {"type": "output_text", "text": "Hi."}
    item = {"type": "message", "id": "msg_1", "role": "assistant", "content": [part]}
    frames: list[dict[str, object]] = [
        {"type": "response.created", "response": response},
        {"type": "response.output_item.done", "item": item},
        {"type": "response.completed", "response": {**response, "output": [item]}},
    ]
    for frame in frames:
        actions += engine.received(sent.connection, json.dumps(frame | {"stream_id": lane}), 0.2)
    return actions


def test_without_a_listener_nothing_is_traced() -> None:
    actions = turn_of(Engine(EngineOptions(HOST)))
    assert only(Finish, actions).report.outcome == "completed"
    assert [action for action in actions if isinstance(action, Trace)] == []


def test_the_report_and_the_trace_name_the_model_that_answered() -> None:
    actions = turn_of(Engine(EngineOptions(HOST, tracing=True)))
    assert only(Finish, actions).report.served_model == SERVED
    events = [action.event for action in actions if isinstance(action, Trace)]
    assert [e.model for e in events if isinstance(e, ResponseCreated | AttemptEnded)] == [
        SERVED,
        SERVED,
    ]


def test_no_price_library_is_loaded_on_the_event_loop() -> None:
    def load(_: UsageLine) -> None:
        raise AssertionError("this takes a second")

    actions = turn_of(Engine(EngineOptions(HOST, tracing=True, pricing=Pricing(None, load))))
    (ended,) = [
        action.event
        for action in actions
        if isinstance(action, Trace) and isinstance(action.event, AttemptEnded)
    ]
    assert ended.usage is not None
    assert ended.cost is None
