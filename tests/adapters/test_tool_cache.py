"""Tools are encoded once for each value; what is wrong with one is logged once."""

from __future__ import annotations

from functools import partial

import pytest

from rtllm import FunctionTool, ToolCall, ToolSchemaError
from rtllm.adapters import (
    OfferedTools,
    RunnableTool,
    ToolCache,
    ToolNames,
    ToolSource,
    content_key,
    offer_tools,
)


def test_a_tool_is_built_once_for_each_key() -> None:
    cache, built = ToolCache[str](), list[str]()

    def build() -> str:
        built.append("tool")
        return "tool"

    schema = {"type": "object"}
    for _ in range(3):
        assert cache.encode(content_key(schema), "tool", schema, build) == "tool"
    schema["description"] = "changed in place"
    cache.encode(content_key(schema), "tool", schema, build)
    assert len(built) == 2
    assert repr(cache) == "ToolCache(2 tools)"


@pytest.mark.parametrize("error", [ToolSchemaError("tool", "no"), RecursionError("deep")])
def test_a_tool_that_fails_is_logged_once_and_left_out(
    error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    cache = ToolCache[str]()

    def build() -> str:
        raise error

    for key in ("one", "one", "two"):
        assert cache.encode(key, "tool", object(), build) is None
    assert len(caplog.records) == 1
    assert "'tool' can't be offered" in caplog.text


def test_the_least_recently_used_is_forgotten() -> None:
    cache, built = ToolCache[str](size=2), list[str]()

    def build(key: str) -> str:
        built.append(key)
        return key

    for key in ("a", "b", "a", "c", "a", "b"):
        cache.encode(key, key, None, partial(build, key))
    assert built == ["a", "b", "c", "b"]


def test_the_key_of_what_is_not_json_is_its_repr() -> None:
    schema = {"default": object()}
    assert content_key(schema) == repr(schema)


def test_tools_are_offered_by_legal_names_and_built_once() -> None:
    cache, built = ToolCache[RunnableTool](), list[str]()

    def build(name: str) -> RunnableTool:
        built.append(name)
        return RunnableTool(FunctionTool.of_schema(name, {"type": "object", "properties": {}}))

    tools = [ToolSource(name, 1, None, build) for name in ("calendar.book", "look_up")]
    offer_tools(tools, cache)
    offered = offer_tools(tools, cache)
    legal, other = offered.tools
    assert (built, other) == ([legal, "look_up"], "look_up")
    assert offered.names.to_framework(legal) == "calendar.book"


@pytest.mark.parametrize("differs", [True, False], ids=["another tool", "the same tool"])
def test_of_two_tools_with_the_same_name_the_first_one_counts(
    differs: bool, caplog: pytest.LogCaptureFixture
) -> None:
    def build(name: str, description: str) -> RunnableTool:
        schema = {"type": "object", "properties": {}}
        return RunnableTool(FunctionTool.of_schema(name, schema, description=description))

    texts = ("First.", "Second." if differs else "First.")
    tools = [
        ToolSource("tool", key, None, partial(build, description=text))
        for key, text in enumerate(texts)
    ]
    offered = offer_tools(tools, ToolCache[RunnableTool]())
    assert [one.tool.description for one in offered.tools.values()] == ["First."]
    assert ("has the same name" in caplog.text) is differs


def test_the_gate_explains_calls_that_cannot_run() -> None:
    def weather(city: str, days: int = 1) -> str:
        """Tell the weather."""
        return city * days

    tool = RunnableTool(FunctionTool.of(weather))
    offered = OfferedTools({"weather": tool}, ToolNames())
    assert offered.encoded == (tool.tool.encoded,)
    call = _call("weather", '{"city": "Rome", "days": null}')
    assert offered.explain_rejection(call) is None
    assert offered.as_run(call).arguments == '{"city": "Rome"}'
    for name, arguments, reason in (
        ("forecast", "{}", "no tool named 'forecast'"),
        ("weather", "{", "JSON"),
        ("weather", '{"days": 2}', "city"),
    ):
        assert reason in (offered.explain_rejection(_call(name, arguments)) or "")


def _call(name: str, arguments: str) -> ToolCall:
    return ToolCall("id", name, arguments)
