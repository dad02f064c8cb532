"""The gate for tool calls: calls that can't run are explained to the model, not to the framework.

It is for a framework that runs a tool with the arguments of the call and checks nothing.
"""

import json
import logging
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from rtllm.content.items import Item, Message, ToolCall, ToolOutput
from rtllm.content.tool_names import ToolNames
from rtllm.errors import Details, ResponseFailed, ToolArgumentsError
from rtllm.tools.arguments import read
from rtllm.tools.function import FunctionTool

logger = logging.getLogger(__name__)

MAX_INVALID_RESPONSES = 2
"""How many responses with invalid calls get error outputs in one turn, before it fails."""


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


class CallGate:
    """Answers the calls of one turn that can't run, so that the model can correct them.

    Args:
        limit: How many responses with such calls are answered; the next one fails the turn.
    """

    def __init__(self, limit: int = MAX_INVALID_RESPONSES) -> None:
        self._left = limit

    def answer(
        self,
        calls: Sequence[ToolCall],
        explain: Callable[[ToolCall], str | None],
        response_id: str | None = None,
        *,
        text: str = "",
    ) -> tuple[list[ToolCall], list[Item]]:
        """Separate the calls of a response that can't run from the others.

        Args:
            calls: The calls.
            explain: Returns why a call can't run, in words for the model; None if it can.
            response_id: The service's id of the response.
            text: The text of the response.

        Returns:
            The calls for the framework; and what the framework does not have: the others, and an
            error output for each. If there are no calls for the framework, the text comes before
            them, because the framework has not recorded it yet.

        Raises:
            ResponseFailed: If that happened too often in the turn.
        """
        checked = [(call, explain(call)) for call in calls]
        broken = [(call, why) for call, why in checked if why is not None]
        if not broken:
            return list(calls), []
        reasons = "; ".join(why for _, why in broken)
        self._left -= 1
        if self._left < 0:
            details = Details(code="tool_call_invalid", request_id=response_id)
            raise ResponseFailed(f"the model's tool calls can't be run: {reasons}", details)
        logger.warning("a tool call is not valid; the model is asked to correct it: %s", reasons)
        outputs = [ToolOutput(call.call_id, f"error: {why}") for call, why in broken]
        valid = [call for call, why in checked if why is None]
        said = [Message.of("assistant", text)] if text and not valid else []
        return valid, [*said, *(call for call, _ in broken), *outputs]
