"""Encoding of VideoSDK's tools for the Responses API, once for each tool, and their arguments back.

The framework runs a tool with the arguments of the call, without those that the tool doesn't have;
it checks and converts nothing. So calls that a tool can't accept are reported to the model here,
and a null that means a default is removed before the framework gets the call.
"""

import inspect
import json
import logging
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec
from pydantic.fields import FieldInfo
from videosdk.agents import get_tool_info, is_function_tool

from rtllm import FunctionTool, ToolArgumentsError, ToolCall, ToolNames, ToolSchemaError

logger = logging.getLogger(__name__)

_CACHED = 4096


@dataclass(frozen=True, slots=True)
class Runnable:
    """A tool that the framework can run.

    Attributes:
        tool: Its schema, and the checks of its arguments.
        filled: Defaults that only pydantic knows, for arguments that the model leaves out.
    """

    tool: FunctionTool[dict[str, Any]]
    filled: Mapping[str, Any]

    def given(self, arguments: str) -> dict[str, Any]:
        """Return the arguments of a call for the framework.

        Raises:
            ToolArgumentsError: If they are not a JSON object.
        """
        return {**self.filled, **self.tool.as_given(arguments)}


@dataclass(frozen=True, slots=True)
class OfferedTools:
    """The tools of one request.

    Attributes:
        encoded: The encoded tools.
        tools: The tools by the names that the service knows.
        names: The framework's names of these tools.
    """

    encoded: tuple[msgspec.Raw, ...] = ()
    tools: Mapping[str, Runnable] = field(default_factory=dict)
    names: ToolNames = field(default_factory=ToolNames)

    def as_run(self, call: ToolCall) -> ToolCall:
        """Return a call as the framework runs and records it: defaults left out instead of null."""
        known = self.tools.get(call.name)
        if known is None:
            return call
        try:
            given = known.given(call.arguments)
            same = given == json.loads(call.arguments.strip() or "{}")
        except (ValueError, RecursionError):  # invalid arguments, which `explain_rejection` reports
            return call
        return call if same else replace(call, arguments=json.dumps(given))

    def explain_rejection(self, call: ToolCall) -> str | None:
        """Return why a call can't run, in words for the model; None if it can."""
        known = self.tools.get(call.name)
        if known is None:
            return f"there is no tool named {call.name!r}; nothing was run"
        tool = known.tool
        try:
            given = known.given(call.arguments)
            # The framework drops the other ones.
            taken = {k: v for k, v in given.items() if k in tool.parameters["properties"]}
            tool.arguments(json.dumps(taken))
        except ToolArgumentsError as error:
            return str(error)
        except RecursionError:
            return f"the arguments of {call.name!r} are nested too deeply; nothing was run"
        return None


class ToolEncoder:
    """Encodes tools, each once.

    A tool whose schema can't be built is logged once and left out; the other tools still work. Of
    two tools with the same name the first one counts, as in the framework.
    """

    def __init__(self) -> None:
        self._encoded: OrderedDict[tuple[int, str, bytes], tuple[object, Runnable | None]] = (
            OrderedDict()
        )
        self._logged: set[str] = set()

    def offer(self, tools: Sequence[Any] | None) -> OfferedTools:
        """Encode the tools of a request, in their order."""
        offered: dict[str, Runnable] = {}
        names = ToolNames()
        for tool in tools or ():
            if not is_function_tool(tool):
                self._log_once(ToolSchemaError(_name_of(tool), "it is not a function tool"))
                continue
            name = names.to_service(get_tool_info(tool).name)
            made = self._encode_once(name, tool)
            if made is None:
                continue
            known = offered.get(name)
            if known is not None and known.tool.encoded == made.tool.encoded:
                continue  # the framework registered it again, but it is one tool
            if known is not None:
                self._log_once(ToolSchemaError(name, "another tool before it has the same name"))
                continue
            offered[name] = made
        return OfferedTools(tuple(one.tool.encoded for one in offered.values()), offered, names)

    def _encode_once(self, name: str, tool: Any) -> Runnable | None:
        # The tool's info is kept with the result, so that its id is not reused. Its description and
        # schema are part of the key, because users change them between turns.
        info = get_tool_info(tool)
        description = inspect.cleandoc(info.description or getattr(tool, "__doc__", None) or "")
        schema = info.parameters_schema
        try:
            encoded = b"" if schema is None else msgspec.json.encode(schema)
        except (TypeError, ValueError, RecursionError) as error:
            self._log_once(ToolSchemaError(name, f"its schema is not valid JSON: {error}"))
            return None
        key = (id(info), f"{name} {description}", encoded)
        if (known := self._encoded.get(key)) is not None:
            self._encoded.move_to_end(key)
            return known[1]
        made: Runnable | None = None
        try:
            made = _make_runnable(name, description, tool)
        except ToolSchemaError as error:
            self._log_once(error)
        except Exception as error:  # noqa: BLE001 - whatever pydantic and typing raise
            self._log_once(ToolSchemaError(name, f"{type(error).__name__}: {error}"))
        self._encoded[key] = (info, made)
        if len(self._encoded) > _CACHED:
            self._encoded.popitem(last=False)
        return made

    def _log_once(self, error: ToolSchemaError) -> None:
        if str(error) not in self._logged:
            self._logged.add(str(error))
            logger.warning("%s", error)


def _name_of(tool: object) -> str:
    return str(getattr(tool, "__name__", None) or type(tool).__name__)


def _make_runnable(name: str, description: str, tool: Any) -> Runnable:
    schema = get_tool_info(tool).parameters_schema
    if schema is not None:
        return Runnable(FunctionTool.of_schema(name, schema, description=description), {})
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
    return Runnable(made, filled)


def _has_no_default(parameter: inspect.Parameter | None) -> bool:
    return parameter is not None and (
        parameter.default is inspect.Parameter.empty or isinstance(parameter.default, FieldInfo)
    )
