"""VideoSDK's tools: what the model is offered, and what of its arguments reaches a tool."""

from __future__ import annotations

import datetime as dt
import json
import logging
from typing import Annotated, Any

import msgspec
import pytest
from pydantic import BaseModel, Field
from videosdk.agents.utils import FunctionToolInfo

from rtllm import ToolCall
from rtllm.simulator import Call, Reply, Request
from rtllm.simulator.tools import check_tools
from rtllm_videosdk.tools import ToolEncoder
from support.oracle import is_chained
from videosdk_adapter.stage import Host, stage
from videosdk_adapter.talks import Plain, talk, tool


class Guest(BaseModel):
    name: str
    title: str = "Dr"


class Desk:
    """A tool that notes what it got."""

    def __init__(self) -> None:
        self.got: list[dict[str, Any]] = []

        @tool
        async def book(
            guest: Guest, day: dt.date, nights: int = 2, quiet: bool | None = None
        ) -> str:
            """Book a room.

            Args:
                guest: Who comes.
                nights: How long.
            """
            self.got.append({"guest": guest, "day": day, "nights": nights, "quiet": quiet})
            return "booked"

        self.book = book


SAID = {
    "guest": {"name": "Ada", "title": None},
    "day": "2026-05-01",
    "nights": None,
    "quiet": None,
}
GOT = {"guest": {"name": "Ada"}, "day": "2026-05-01", "nights": 2, "quiet": None}


async def test_null_is_the_default_and_the_chain_holds(host: Host) -> None:
    desk = Desk()

    def script(request: Request) -> Reply | str:
        if request.last_user_text == "go" and not request.trailing_outputs:
            return Reply.of(Call("book", SAID))
        return "Done."

    async with stage(script, **host) as st, talk(st.llm, Plain(tools=[desk.book])) as c:
        await c.say("go")
        await c.say("thanks")
    assert desk.got == [GOT]
    await st.check()
    assert len(st.entries) == 3
    if st.entries[0].connection >= 0:
        assert is_chained(st.entries[1])  # though its arguments are recorded in another form
    offered = st.entries[0].body["tools"][0]
    assert offered.get("function", offered)["strict"] is True


async def test_a_call_that_does_not_fit_is_reported_to_the_model_and_not_run(
    host: Host, caplog: pytest.LogCaptureFixture
) -> None:
    desk = Desk()
    heard: list[str] = []

    def script(request: Request) -> Reply | str:
        if request.last_user_text != "go":
            return "Bye."
        told = [str(o) for o in request.trailing_outputs]
        heard.extend(told)
        if not told:
            return Reply.of(Call("book", {**SAID, "nights": "the secret number"}))
        return Reply.of(Call("book", SAID)) if "error" in told[-1] else "Done."

    with caplog.at_level(logging.INFO, "rtllm"):
        async with stage(script, **host) as st, talk(st.llm, Plain(tools=[desk.book])) as c:
            await c.say("go")
            assert c.last == ("assistant", "Done.")
            await c.say("bye")
    assert desk.got == [GOT]
    assert "nights: Input should be a valid integer" in heard[0]
    ours = [r.getMessage() for r in caplog.records if r.name.startswith("rtllm")]
    assert any("'book' are not valid" in told for told in ours)
    assert not any("secret" in told for told in ours)
    st.unseen = True
    await st.check()


# -- what is made of tools -------------------------------------------------------------------------


def offered(made: Any) -> tuple[dict[str, Any], Any]:
    """A tool as it is offered, and how a call's arguments are read."""
    offer = ToolEncoder().offer([made])
    [encoded] = [msgspec.json.decode(raw) for raw in offer.encoded]
    check_tools([encoded])

    def run(arguments: str) -> Any:
        call = ToolCall("c", encoded["name"], arguments)
        why = offer.explain_rejection(call)
        return why or json.loads(offer.as_run(call).arguments)

    return encoded, run


def remote(schema: dict[str, Any]) -> Any:
    async def call(**given: Any) -> str:
        """Do it far away."""
        return str(given)

    call._tool_info = FunctionToolInfo("far", None, schema)  # type: ignore[attr-defined]
    return call


def test_an_mcp_tools_optional_arguments_are_left_out_and_not_null() -> None:
    schema = {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "type": "object",
        "properties": {
            "a": {"type": "string"},
            "b": {"type": "integer"},
            "c": {
                "type": "object",
                "properties": {"d": {"type": "string"}, "e": {"type": "string"}},
                "required": ["d"],
            },
        },
        "required": ["a"],
    }
    encoded, run = offered(remote(schema))
    assert encoded["strict"] is True
    assert run('{"a": "x", "b": null, "c": {"d": "y", "e": null}}') == {"a": "x", "c": {"d": "y"}}
    assert "a: it is missing" in run('{"b": 1}')
    assert schema["properties"]["b"] == {"type": "integer"}  # type: ignore[index]


def test_an_open_schema_of_an_mcp_server_is_offered_as_it_is() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "object"}}}
    encoded, run = offered(remote(schema))
    assert (encoded["strict"], encoded["parameters"]) == (False, schema)
    assert run('{"a": {"x": null}}') == {"a": {"x": None}}


def test_a_default_that_only_a_field_tells_reaches_the_tool() -> None:
    @tool
    async def find(
        a: int = Field(3, ge=1),
        b: Annotated[int, Field(default=4)] = ...,  # type: ignore[assignment]
        c: int = 5,
    ) -> str:
        """Find."""
        return f"{a} {b} {c}"

    _, run = offered(find)
    assert run('{"a": null, "b": 7, "c": null}') == {"a": 3, "b": 7}


def test_what_the_framework_drops_is_no_reason_against_a_call() -> None:
    _, run = offered(Desk().book)
    said = {"guest": {"name": "Ada"}, "day": "2026-05-01", "": 1, "nobody": 2}
    assert run(json.dumps(said)) == said
    assert "they are not JSON" in run("{")
    assert "day: it is missing" in run('{"guest": {"name": "Ada"}}')


def test_a_parameter_without_a_type_is_left_to_its_default(
    caplog: pytest.LogCaptureFixture,
) -> None:
    @tool
    async def fine(a: int, b=2) -> str:  # type: ignore[no-untyped-def]
        """Be fine."""
        return f"{a} {b}"

    @tool
    async def lost(a: int, b) -> str:  # type: ignore[no-untyped-def]
        """Be lost."""
        return f"{a} {b}"

    encoded, _ = offered(fine)
    assert list(encoded["parameters"]["properties"]) == ["a"]
    assert ToolEncoder().offer([lost]).encoded == ()
    assert "'lost' can't be offered to the model: the parameter 'b' has no type" in caplog.text


def mcp_tool(description: str = "Look up the time.") -> Any:
    """A tool of an MCP server, created again at each registration, as by the framework."""

    async def run(**_: Any) -> str:
        return "noon"

    schema = {"type": "object", "properties": {"zone": {"type": "string"}}, "required": ["zone"]}
    run._tool_info = FunctionToolInfo("clock", description, schema)  # type: ignore[attr-defined]
    return run


@pytest.mark.parametrize("kind", ["the same object", "a class's tool", "an MCP server's tool"])
def test_a_tool_that_is_registered_twice_is_one_tool(
    kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    desk = Desk()
    twice = {
        "the same object": [desk.book, desk.book],
        "a class's tool": [desk.book, Desk().book],
        "an MCP server's tool": [mcp_tool(), mcp_tool()],
    }[kind]
    offered = ToolEncoder().offer(twice)
    assert len(offered.encoded) == 1
    assert caplog.records == []


@pytest.mark.parametrize("bad", ["\ud800", object()])
def test_a_schema_that_is_not_json_costs_only_its_tool(
    bad: Any, caplog: pytest.LogCaptureFixture
) -> None:
    broken = mcp_tool()
    schema = {"type": "object", "properties": {}, "description": bad}
    broken._tool_info = FunctionToolInfo("broken", "", schema)
    offered = ToolEncoder().offer([broken, mcp_tool()])
    assert list(offered.tools) == ["clock"]
    assert "'broken' can't be offered to the model: its schema is not JSON" in caplog.text


def test_another_tool_of_the_same_name_is_left_out_with_a_warning(
    caplog: pytest.LogCaptureFixture,
) -> None:
    offered = ToolEncoder().offer([mcp_tool(), mcp_tool("Look up the clock.")])
    assert len(offered.encoded) == 1
    assert b"the time" in bytes(offered.encoded[0])
    assert "another tool before it has the same name" in caplog.text


async def test_an_agents_tools_that_are_updated_stay_one_each(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The framework appends a class's tools again at each update."""

    class Clerk(Plain):
        @tool
        async def look_up(self, word: str) -> str:
            """Look up a word."""
            return word

    agent = Clerk()
    agent.update_tools(list(agent.tools))
    assert len(agent.tools) > 1
    offered = ToolEncoder().offer(agent.tools)
    assert len(offered.encoded) == 1
    assert caplog.records == []


async def test_a_name_that_services_refuse_is_replaced_and_restored(host: Host) -> None:
    got: list[str] = []

    @tool
    async def look(day: str) -> str:
        """Look a day up."""
        got.append(day)
        return "free"

    look._tool_info = FunctionToolInfo("calendar.look/up", "Look a day up.", None)  # type: ignore[attr-defined]

    def script(request: Request) -> Reply | str:
        if request.last_user_text == "go" and not request.trailing_outputs:
            offered = request.body["tools"][0]
            return Reply.of(Call(offered.get("function", offered)["name"], {"day": "today"}))
        return "Done."

    async with stage(script, **host) as st, talk(st.llm, Plain(tools=[look])) as c:
        await c.say("go")
        await c.say("thanks")
    assert got == ["today"]
    assert len(st.entries) == 3
    if st.entries[0].connection >= 0:
        assert is_chained(st.entries[1])
        assert is_chained(st.entries[2])
