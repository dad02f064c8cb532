"""A wrong value of an adapter costs its own turn at most, and the error names it."""

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from rtllm import ConfigError, FunctionTool, Message, Text, ToolCall, ToolOutput, TurnReport
from rtllm.simulator import Simulator
from transport.caller import Caller, MakeClient, spoken

OBJECT: Any = {"city": "Rome"}
TEXT: Any = "hello"
NUMBER: Any = 7


def raising(_: Any) -> Any:
    raise LookupError("nothing is recorded")


WRONG_RECORDS: dict[str, Callable[[Any], Any]] = {
    "raises": raising,
    "no items": lambda _: 42,
    "texts": lambda _: ("Yes.",),
    "arguments as an object": lambda _: (ToolCall("call", "look", OBJECT),),
}


@pytest.mark.parametrize("how", WRONG_RECORDS)
async def test_a_wrong_record_only_ends_the_chain(
    how: str, make_client: MakeClient, reports: list[TurnReport]
) -> None:
    async with Simulator("yes") as simulator:
        client = make_client(simulator)
        other = Caller(client, [Message.of("system", "You serve another caller.")])
        assert spoken(await other.say("one")) == "yes"
        caller = Caller(client)
        caller.items.append(Message.of("user", "one"))
        with client.ask(replace(caller.request(), record=WRONG_RECORDS[how])) as stream:
            assert await stream.text() == "yes"
        assert reports[-1].outcome == "completed"
        assert spoken(await other.say("two")) == "yes"
        assert spoken(await caller.say("two")) == "yes"
        assert [report.chained for report in reports[-2:]] == [True, False]
        assert len(simulator.journal.connections) == 1


WRONG_VALUES: dict[str, dict[str, Any]] = {
    "a tool is dict; expected its encoded form": {"tools": ({"type": "function"},)},
    "a tool is FunctionTool; expected its encoded form": {"tools": (FunctionTool.of(raising),)},
    "limits is float; expected Timeouts": {"limits": 10.0},
    "retry is int; expected a RetryPolicy": {"retry": 3},
    "items[0] is dict; expected an Item": {"items": ({"role": "user", "content": "hello"},)},
    "items[0].parts is str; expected a tuple": {"items": (Message("user", TEXT),)},
    "a part of items[0] is str; expected a Text": {"items": (Message("user", (TEXT,)),)},
    "items[0].key is int": {"items": (Message("user", (Text("hello"),), key=NUMBER),)},
    "items[0].arguments is dict": {
        "items": (ToolCall("call", "look", OBJECT), ToolOutput("call", "nothing"))
    },
}


@pytest.mark.parametrize("sentence", WRONG_VALUES)
async def test_a_value_of_a_wrong_type_is_named_at_once(
    sentence: str, make_client: MakeClient
) -> None:
    async with Simulator() as simulator:
        caller = Caller(make_client(simulator))
        with pytest.raises(ConfigError, match=re.escape(sentence)):
            caller.client.ask(replace(caller.request(), **WRONG_VALUES[sentence]))
