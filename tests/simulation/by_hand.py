"""Small stories of facts and actions: an engine is asked, connected and answered by hand."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TypeVar

from rtllm.content.items import Message
from rtllm.content.request import Request
from rtllm.content.timeouts import Timeouts
from rtllm.engine.actions import Action, Connect, Send
from rtllm.engine.engine import Engine
from rtllm.engine.prepared import PreparedRequest, prepare
from rtllm.providers.hosts import HostProfile

HOST = HostProfile("found", lanes=True)
LANELESS = HostProfile("found", lanes=False)
Wanted = TypeVar("Wanted", bound=Action)


def only(kind: type[Wanted], actions: Sequence[Action]) -> Wanted:
    """Return the only action of a kind."""
    found = [action for action in actions if isinstance(action, kind)]
    assert len(found) == 1, actions
    return found[0]


def question(
    *texts: str,
    key: str | None = None,
    warm_up: bool = False,
    unsent: tuple[str, ...] = (),
    store: bool = False,
    limits: Timeouts | None = None,
    model: str = "m",
) -> PreparedRequest:
    """Ask after alternating words of a user and an assistant, after one system text."""
    items = [Message.of("system", "You are Ada.")]
    for place, text in enumerate(texts):
        said = Message.of("user" if place % 2 == 0 else "assistant", text)
        named = None if key is None else f"{key}-{place}"
        items.append(Message(said.role, said.parts, key=named))
    return prepare(
        Request(
            tuple(items),
            model,
            lambda output: tuple(item for item in output if isinstance(item, Message)),
            settings={"store": store},
            unsent=unsent,
            warm_up=warm_up,
            limits=limits or Timeouts(),
        )
    )


def answer(
    engine: Engine, sent: Send, response_id: str, text: str, now: float, *, hosted: bool = False
) -> list[Action]:
    """Answer a request whole, perhaps after the use of a hosted tool."""
    body = json.loads(sent.data)
    lane = body.get("stream_id")
    response = {"id": response_id, "previous_response_id": body.get("previous_response_id")}
    item = {
        "type": "message",
        "id": f"item-{response_id}",
        "role": "assistant",
        "content": [{"type": "output_text", "text": text}],
    }
    used = {"type": "mcp_call", "id": f"used-{response_id}", "output": "4"}
    items = [used, item] if hosted else [item]
    done: list[dict[str, object]] = [
        {"type": "response.output_item.done", "output_index": index, "item": one}
        for index, one in enumerate(items)
    ]
    frames: list[dict[str, object]] = [
        {"type": "response.created", "response": response},
        {"type": "response.in_progress", "response": response},
        *(done if text else []),
        {"type": "response.completed", "response": {"id": response_id, "output": []}},
    ]
    named = {"stream_id": lane} if lane is not None else {}
    actions: list[Action] = []
    for frame in frames:
        actions += engine.received(sent.connection, json.dumps(frame | named), now)
    return actions


def opened(engine: Engine, actions: Sequence[Action], now: float) -> list[Action]:
    """Open the only connection that is wanted."""
    return engine.connected(only(Connect, actions).connection, now)
