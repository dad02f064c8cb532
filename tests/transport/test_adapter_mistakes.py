"""A wrong value of an adapter costs its own turn at most, and the error names it."""

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from rtllm import (
    ConfigError,
    FunctionTool,
    Image,
    Message,
    Opaque,
    Reasoning,
    Text,
    ToolCall,
    ToolOutput,
    TurnReport,
)
from rtllm.simulator import Simulator
from transport.caller import Caller, MakeClient, spoken

OBJECT: Any = {"city": "Rome"}
TEXT: Any = "hello"
NUMBER: Any = 7
LIST: Any = [Text("hello")]


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
    "tools is NoneType; expected a tuple of encoded tools": {"tools": None},
    "limits is float; expected Timeouts": {"limits": 10.0},
    "retry is int; expected a RetryPolicy": {"retry": 3},
    "model is NoneType; expected a text": {"model": None},
    "record is tuple; expected a function": {"record": ()},
    "on_late_usage is int; expected a function or None": {"on_late_usage": NUMBER},
    "settings is str; expected a mapping": {"settings": TEXT},
    "headers is NoneType; expected a mapping": {"headers": None},
    "query is str; expected a mapping": {"query": TEXT},
    "guide is int; expected a text": {"guide": NUMBER},
    "hold_calls is NoneType; expected True or False": {"hold_calls": None},
    "strict_parameters is str; expected True or False": {"strict_parameters": TEXT},
    "warm_up is int; expected True or False": {"warm_up": NUMBER},
    "untouched is str; expected a set of names": {"untouched": TEXT},
    "network is NoneType; expected a Network": {"network": None},
    "unsent is str; expected a tuple of ids": {"unsent": TEXT},
    "an id in unsent is int; expected a text": {"unsent": (NUMBER,)},
    "conversation is list; expected a text or None": {"conversation": ["a"]},
    "call is NoneType; expected a CallIdentity": {"call": None},
    "items is NoneType; expected a tuple of Items": {"items": None},
    "items is str; expected a tuple of Items": {"items": TEXT},
}

WRONG_ITEMS: dict[str, Any] = {
    "items[1] is dict; expected an Item": {"role": "user", "content": "hello"},
    "items[1].role is int; expected a text": Message.of(NUMBER, "hello"),
    "items[1].parts is str; expected a tuple": Message("user", TEXT),
    "items[1].parts is list; expected a tuple": Message("user", LIST),
    "items[1].phase is int; expected a text or None": Message.of("assistant", "hello", NUMBER),
    "items[1].key is int; expected a text or None": Message("user", (Text("hello"),), key=NUMBER),
    "items[1].mark is dict; expected a text or None": Message("user", (Text("a"),), mark=OBJECT),
    "a part of items[1] is str; expected a Text": Message("user", (TEXT,)),
    "a part of items[1].text is int; expected a text": Message.of("user", NUMBER),
    "a part of items[1].url is int; expected a text": Message("user", (Image(NUMBER),)),
    "a part of items[1].detail is int": Message("user", (Image("data:", NUMBER),)),
    "items[1].call_id is int; expected a text": ToolCall(NUMBER, "look", "{}"),
    "items[1].name is int; expected a text": ToolCall("call", NUMBER, "{}"),
    "items[1].arguments is dict; expected a text": ToolCall("call", "look", OBJECT),
    "items[1].carried is str; expected bytes or None": ToolCall("c", "look", "{}", carried=TEXT),
    "items[1].output is dict; expected a text": ToolOutput("call", OBJECT),
    "items[1].json is str; expected bytes": Reasoning(TEXT),
    "items[1].type is int; expected a text": Opaque(NUMBER, b"{}"),
}


@pytest.mark.parametrize("label", [None, "hotline"])
@pytest.mark.parametrize("sentence", WRONG_VALUES)
async def test_a_value_of_a_wrong_type_is_named_at_once(
    sentence: str, label: str | None, make_client: MakeClient
) -> None:
    async with Simulator() as simulator:
        caller = Caller(make_client(simulator, label=label))
        with pytest.raises(ConfigError, match=re.escape(sentence)):
            caller.client.ask(replace(caller.request(), **WRONG_VALUES[sentence]))


@pytest.mark.parametrize("sentence", WRONG_ITEMS)
async def test_an_item_of_a_wrong_type_is_named_at_once(
    sentence: str, make_client: MakeClient
) -> None:
    async with Simulator() as simulator:
        caller = Caller(make_client(simulator))
        items = (Message.of("user", "hello"), WRONG_ITEMS[sentence])
        with pytest.raises(ConfigError, match=re.escape(sentence)):
            caller.client.ask(replace(caller.request(), items=items))


async def test_something_else_than_a_request_is_named_at_once(make_client: MakeClient) -> None:
    async with Simulator() as simulator:
        client = make_client(simulator, label="hotline")
        with pytest.raises(ConfigError, match="the request is str; expected a Request"):
            client.ask(TEXT)
