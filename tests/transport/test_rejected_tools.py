"""A tool whose definition the host rejects costs only itself."""

from __future__ import annotations

import logging
from contextlib import aclosing, suppress
from typing import Any, Literal

import pytest

from rtllm import ChatClient, Client, FunctionTool, RequestRejected
from rtllm.simulator import Entry, ErrorFrame, Simulator, echo, only, refusing_tool
from transport.caller import Caller, spoken


def tool(name: str, description: str = "") -> bytes:
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}}
    return FunctionTool.of_schema(name, schema, description=description).encoded


def offered_in(entry: Entry) -> list[str]:
    return [str(t.get("function", t)["name"]) for t in entry.body.get("tools", [])]


GOOD, BAD, OTHER = tool("good"), tool("bad"), tool("other")


@pytest.mark.parametrize("by", ["name", "index"])
@pytest.mark.parametrize("kind", [Client, ChatClient])
async def test_a_rejected_tool_is_left_out_and_the_turn_goes_on(
    kind: type[Client | ChatClient],
    by: Literal["name", "index"],
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with (
        Simulator(echo(), fault=refusing_tool("bad", by=by)) as service,
        aclosing(kind.connect(api_key="key", base_url=service.base_url)) as client,
    ):
        caller = Caller(client, tools=(GOOD, BAD, OTHER))
        for text in ("one", "two"):
            assert spoken(await caller.say(text)) == f"You said: {text}"
        offered = [offered_in(entry) for entry in service.journal.entries]
        assert offered[-2:] == [["good", "other"]] * 2
        # An error about a schema may also mean `strict`, which is left out first.
        before = 4 if by == "name" else 3
        assert len(service.journal.entries) == before
        warnings = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
        assert sum("rejects the tool 'bad'" in warning for warning in warnings) == 1
        caller.tools = (GOOD, tool("bad", "mended"))
        await caller.say("three")  # another definition is another try
        assert len(service.journal.entries) == before + 2


async def test_with_strict_parameters_a_rejected_tool_is_an_error() -> None:
    async with (
        Simulator(echo(), fault=refusing_tool("bad")) as service,
        aclosing(Client.connect(api_key="key", base_url=service.base_url)) as client,
    ):
        caller = Caller(client, tools=(BAD,), strict=True)
        with pytest.raises(RequestRejected, match="Invalid schema for function 'bad'"):
            await caller.say("one")


@pytest.mark.parametrize(
    "rejection",
    [
        {"message": "No tool output found for function call good."},
        {"message": "Tool choice 'good' is not in the definition.", "param": "tool_choice"},
        {"message": "Invalid function name in the schema of the output.", "param": "input[3]"},
        {"message": "The parameters are wrong."},
    ],
)
async def test_a_rejection_of_something_else_costs_no_tool(rejection: dict[str, Any]) -> None:
    fault = ErrorFrame(status=400, code=None, kind="invalid_request_error", **rejection)
    async with (
        Simulator(echo(), fault=only(0, fault)) as service,
        aclosing(
            Client.connect(api_key="key", base_url=service.base_url, profile="openai")
        ) as client,
    ):
        caller = Caller(client, tools=(GOOD,))
        with suppress(RequestRejected):
            await caller.say("one")
        await caller.say("two")
        assert offered_in(service.journal.entries[-1]) == ["good"]
