"""LiveKit's tools: strict where the framework takes what the schema admits, else not."""

from __future__ import annotations

import datetime as dt
import json
import logging
import warnings
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st
from livekit.agents import Agent, RunContext, function_tool, llm
from pydantic import BaseModel, Field

from core.tool_types import TYPES, function_of, instances
from livekit_adapter.requests import answer, hello
from livekit_adapter.sessions import session_of
from livekit_adapter.stage import stage
from rtllm.simulator import Call, Reply, Request, echo, fixed
from rtllm.simulator.tools import check_tools
from rtllm_livekit.tools import ToolEncoder
from support.oracle import is_chained


class Guest(BaseModel):
    name: str
    title: str = "Dr"


@function_tool
async def book(
    context: RunContext[Any],
    guest: Guest,
    day: dt.date,
    nights: int = 2,
    quiet: bool | None = None,
) -> str:
    """Book a room.

    Args:
        guest: Who comes.
        nights: How long.
    """
    return f"{guest.title} {guest.name} {day:%d.%m.} {nights} {quiet}"


def encoded(*tools: llm.Tool) -> list[dict[str, Any]]:
    made = [msgspec.json.decode(raw) for raw in ToolEncoder().encode(tools)]
    check_tools(made)
    return made


async def test_a_function_tool_is_strict_and_null_is_its_default(any_host: Any) -> None:
    said = {
        "guest": {"name": "Ada", "title": None},
        "day": "2026-05-01",
        "nights": None,
        "quiet": None,
    }
    script = fixed(Reply.of(Call("book", said)), "Done.", "Bye.")
    async with stage(script, **any_host) as st_:
        async with session_of(st_.llm, Agent(instructions="Be kind.", tools=[book])) as session:
            await session.run(user_input="Book")
            outputs = [i for i in session.history.items if i.type == "function_call_output"]
            assert [o.output for o in outputs] == ["Dr Ada 01.05. 2 None"]
            await session.run(user_input="Thanks")
        await st_.check()
        [tool] = st_.entries[0].body["tools"]
    assert (tool["name"], tool["description"], tool["strict"]) == ("book", "Book a room.", True)
    assert tool["parameters"]["required"] == ["guest", "day", "nights", "quiet"]
    assert tool["parameters"]["properties"]["nights"] == {
        "type": ["integer", "null"],
        "description": "How long. Default: 2.",
    }


@settings(
    max_examples=150,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(
    st.dictionaries(st.sampled_from("abcd"), TYPES, max_size=3).flatmap(
        lambda typed: st.tuples(
            st.just(typed),
            st.fixed_dictionaries({}, optional={name: one.values for name, one in typed.items()}),
        )
    ),
    st.data(),
)
def test_law_the_framework_takes_what_the_schema_admits(
    case: tuple[dict[str, Any], dict[str, Any]], data: st.DataObject
) -> None:
    typed, defaults = case
    # As `function_tool` makes it, of a function that was never written down.
    function: Any = function_of(typed, defaults)
    tool = function_tool(function, name="tool", description="Take it.")
    [made] = encoded(tool)
    note(json.dumps(made))
    schema = made["parameters"]
    said = data.draw(instances(schema, schema), label="said")
    _, taken = llm.utils.prepare_function_arguments(fnc=tool, json_arguments=json.dumps(said))
    for name, value in said.items():
        stands_in = value is None and type(None) not in getattr(typed[name].hint, "__args__", ())
        if made["strict"] and stands_in:
            assert taken[name] == defaults[name]


async def test_a_default_that_the_framework_does_not_see_is_left_out_and_not_null() -> None:
    @function_tool
    async def odd(a: int, b: int = Field(3, ge=1), c: Any = object()) -> str:  # noqa: B008
        """Be odd."""
        return f"{a} {b} {c}"

    @function_tool
    async def handle(a: int, b: int = object()) -> str:  # type: ignore[assignment]
        """Have a default that is not JSON."""
        return f"{a} {b}"

    for tool in encoded(odd, handle):
        assert (tool["strict"], tool["parameters"]["required"]) == (False, ["a"])


async def test_a_tool_that_the_framework_could_not_call_is_not_offered(
    caplog: pytest.LogCaptureFixture,
) -> None:
    @function_tool
    async def hidden(_a: int) -> str:
        """Have a parameter that pydantic won't have."""
        return ""

    assert encoded(hidden) == []
    assert "'hidden'" in caplog.text


def raw(**more: Any) -> llm.RawFunctionTool[..., Any]:
    schema: dict[str, Any] = {
        "name": "raw",
        "description": "Take it.",
        "parameters": {
            "type": "object",
            "properties": {"a": {"type": "string", "title": "A"}},
            "required": ["a"],
        },
        **more,
    }

    @function_tool(raw_schema=schema)
    async def raw_tool(raw_arguments: dict[str, object]) -> str:
        return ""

    return raw_tool


def test_a_raw_schema_that_requires_everything_is_strict() -> None:
    [tool] = encoded(raw())
    assert tool["strict"] is True
    assert tool["parameters"]["additionalProperties"] is False
    assert encoded(raw(strict=False))[0]["strict"] is False


def test_a_raw_tool_gets_no_null_that_its_schema_does_not_admit() -> None:
    parameters = {
        "type": "object",
        "properties": {"a": {"type": "string"}, "b": {"type": "integer", "default": 1}},
        "required": ["a"],
    }
    [tool] = encoded(raw(parameters=parameters))
    assert (tool["strict"], tool["parameters"]) == (False, parameters)


async def test_what_an_mcp_tool_says_next_to_its_schema_is_not_sent() -> None:
    async with stage(echo()) as st_:
        await answer(st_, hello(), tools=[raw(meta={"owner": "somebody"})])
        [tool] = st_.entries[0].body["tools"]
        assert "meta" not in tool
        await st_.check()


def test_a_raw_tool_that_changes_is_encoded_again_and_else_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    encoder, tool = ToolEncoder(), raw(parameters={"type": "object"})
    with caplog.at_level(logging.INFO, "rtllm"):
        first = encoder.encode([tool])
        assert encoder.encode([tool])[0] is first[0]
        tool.info.raw_schema["description"] = "Another."
        assert b"Another." in bytes(encoder.encode([tool])[0])
    assert len([r for r in caplog.records if "isn't strict" in r.getMessage()]) <= 2


def test_no_warning_of_pydantics_reaches_the_user() -> None:
    @function_tool
    async def handle(a: int = object()) -> str:  # type: ignore[assignment]
        """Have a default that is not JSON."""
        return str(a)

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(encoded(handle)) == 1


async def test_a_name_that_services_refuse_is_replaced_and_restored(any_host: Any) -> None:
    got: list[str] = []

    @function_tool(name="calendar.look/up")
    async def look(day: str) -> str:
        """Look a day up."""
        got.append(day)
        return "free"

    def script(request: Request) -> Reply | str:
        if request.last_user_text == "go" and not request.trailing_outputs:
            offered = request.body["tools"][0]
            return Reply.of(Call(offered.get("function", offered)["name"], {"day": "today"}))
        return "Done."

    async with stage(script, **any_host) as st_:
        agent = Agent(instructions="Be kind.", tools=[look])
        async with session_of(st_.llm, agent) as session:
            await session.run(user_input="go")
            await session.run(user_input="thanks")
        assert got == ["today"]
        # The oracle compares names with the framework's; that the chain holds shows the same.
        assert st_.entries[-1].connection < 0 or all(map(is_chained, st_.entries[-2:]))
