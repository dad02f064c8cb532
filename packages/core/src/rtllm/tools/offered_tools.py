"""The tools of a request, and why a call of the model can't run, in words for the model."""

import json
from collections.abc import Container, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from rtllm.content.items import ToolCall
from rtllm.content.tool_names import ToolNames
from rtllm.errors import ToolArgumentsError
from rtllm.tools.arguments import read
from rtllm.tools.function import FunctionTool


@dataclass(frozen=True, slots=True)
class RunnableTool:
    """A tool that the framework can run.

    Attributes:
        tool: Its schema, and the checks of its arguments.
        defaults: Arguments to add if the model leaves them out, because the function itself has no
            default for them.
    """

    tool: FunctionTool[dict[str, Any]]
    defaults: Mapping[str, Any] = field(default_factory=dict)

    def arguments(self, arguments: str) -> dict[str, Any]:
        """Return the arguments of a call for the framework.

        Raises:
            ToolArgumentsError: If they are not a JSON object.
        """
        return {**self.defaults, **self.tool.as_given(arguments)}


@dataclass(frozen=True, slots=True)
class OfferedTools:
    """The tools of one request.

    Attributes:
        tools: The tools by the names that the service knows.
        names: The framework's names of these tools.
    """

    tools: Mapping[str, RunnableTool] = field(default_factory=dict)
    names: ToolNames = field(default_factory=ToolNames)

    @property
    def encoded(self) -> tuple[bytes, ...]:
        """The encoded tools, for `Request.tools`."""
        return tuple(one.tool.encoded for one in self.tools.values())

    def as_run(self, call: ToolCall) -> ToolCall:
        """Return a call as the framework runs and records it: defaults left out instead of null."""
        known = self.tools.get(call.name)
        if known is None:
            return call
        try:
            given = known.arguments(call.arguments)
            same = given == json.loads(call.arguments.strip() or "{}")
        except (ValueError, RecursionError):  # invalid arguments, which `explain_rejection` reports
            return call
        return call if same else replace(call, arguments=json.dumps(given))

    def explain_rejection(self, call: ToolCall) -> str | None:
        """Return why a call can't run, in words for the model; None if it can."""
        known = self.tools.get(call.name)
        if known is None:
            return _unknown(call)
        tool = known.tool
        try:
            given = known.arguments(call.arguments)
            # The framework drops the other ones.
            taken = {k: v for k, v in given.items() if k in tool.parameters["properties"]}
            tool.arguments(json.dumps(taken))
        except ToolArgumentsError as error:
            return str(error)
        except RecursionError:
            return f"the arguments of {call.name!r} are nested too deeply; nothing was run"
        return None


def explain_unreadable(call: ToolCall, names: Container[str]) -> str | None:
    """Return why no framework can run a call, in words for the model; None if one may.

    Use it for a framework that checks the arguments itself.

    Args:
        call: The call.
        names: The names of the tools that the service knows.
    """
    if call.name not in names:
        return _unknown(call)
    try:
        read(call.name, call.arguments)
    except ToolArgumentsError as error:
        return str(error)
    return None


def _unknown(call: ToolCall) -> str:
    return f"there is no tool named {call.name!r}; nothing was run"
