"""Encoding of VideoSDK's tools for the Responses API, once for each tool, and their arguments back.

The framework runs a tool with the arguments of the call, without those that the tool doesn't have;
it checks and converts nothing. So calls that a tool can't accept are reported to the model here,
and a null that means a default is removed before the framework gets the call.
"""

import inspect
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

from pydantic.fields import FieldInfo
from videosdk.agents import get_tool_info, is_function_tool

from rtllm import FunctionTool, ToolSchemaError
from rtllm.adapters import (
    OfferedTools,
    RunnableTool,
    ToolCache,
    ToolSource,
    content_key,
    offer_tools,
)


class ToolEncoder:
    """Encodes tools, each once.

    A tool whose schema can't be built is logged once and left out; the other tools still work. Of
    two tools with the same name the first one counts, as in the framework.
    """

    def __init__(self) -> None:
        self._cache = ToolCache[RunnableTool]()

    def offer(self, tools: Sequence[Any] | None) -> OfferedTools:
        """Encode the tools of a request, in their order."""
        return offer_tools(self._sources(tools or ()), self._cache)

    def _sources(self, tools: Sequence[Any]) -> Iterator[ToolSource]:
        for tool in tools:
            if not is_function_tool(tool):
                self._cache.warn(ToolSchemaError(_name_of(tool), "it is not a function tool"))
                continue
            # Description and schema are part of the key, because users change them between turns.
            info = get_tool_info(tool)
            description = inspect.cleandoc(info.description or getattr(tool, "__doc__", None) or "")
            key = (id(info), description, content_key(info.parameters_schema))
            build = partial(_make_runnable, description=description, tool=tool)
            yield ToolSource(info.name, key, info, build)


def _name_of(tool: object) -> str:
    return str(getattr(tool, "__name__", None) or type(tool).__name__)


def _make_runnable(name: str, *, description: str, tool: Any) -> RunnableTool:
    schema = get_tool_info(tool).parameters_schema
    if schema is not None:
        return RunnableTool(FunctionTool.of_schema(name, schema, description=description))
    parameters = inspect.signature(tool).parameters
    # The framework passes no argument for a parameter without a type.
    untyped = {
        name
        for name, one in parameters.items()
        if one.annotation is inspect.Parameter.empty and one.default is not inspect.Parameter.empty
    }
    without = {"self", "cls", *untyped}
    plain = FunctionTool.of(tool, name=name, without=without, strict=False).parameters
    filled = {
        name: value["default"]
        for name, value in plain["properties"].items()
        if "default" in value and _has_no_default(parameters.get(name))
    }
    made = FunctionTool.of(tool, name=name, description=description, without=without)
    return RunnableTool(made, filled)


def _has_no_default(parameter: inspect.Parameter | None) -> bool:
    return parameter is not None and (
        parameter.default is inspect.Parameter.empty or isinstance(parameter.default, FieldInfo)
    )
