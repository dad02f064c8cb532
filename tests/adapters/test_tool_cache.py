"""Tools are encoded once for each value; what is wrong with one is logged once."""

from __future__ import annotations

from functools import partial

import pytest

from rtllm import FunctionTool, ToolCall, ToolSchemaError
from rtllm.adapters import OfferedTools, RunnableTool, ToolCache, ToolNames, content_key


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
