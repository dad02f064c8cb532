"""Encoding of LiveKit's tools for the Responses API, once for each tool.

The framework runs the tools and parses their arguments. So a schema may accept only what the
framework does. Null may mean a default only if the framework's own model of the arguments has that
default, because it replaces null by the default. For raw tools null must not mean a default,
because they get the arguments unchanged.
"""

import typing
import warnings
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import msgspec
from livekit.agents import llm

from rtllm import FunctionTool, ToolSchemaError
from rtllm.adapters import ToolCache, ToolNames, content_key, legal_tool_name

_MORE_FIELDS = ("async", "defer_loading", "allowed_callers", "output_schema")
"""The keys that a raw tool may have next to its schema; an MCP tool's ``meta`` is not sent."""


class ToolEncoder:
    """Encodes tools, each once.

    A tool whose schema can't be built is logged once and left out; the other tools still work.
    """

    def __init__(self) -> None:
        self._cache = ToolCache[bytes]()
        self.names = ToolNames()

    def encode(self, tools: Sequence[llm.Tool | llm.Toolset]) -> tuple[bytes, ...]:
        """Encode the tools of a request, in their order.

        Raises:
            ValueError: If two tools have the same name (LiveKit's own check).
        """
        if not tools:
            return ()  # LiveKit's `ToolContext` takes long to create
        encoded = (self._encode(tool) for tool in llm.ToolContext(list(tools)).flatten())
        return tuple(tool for tool in encoded if tool is not None)

    def _encode(self, tool: llm.Tool) -> bytes | None:
        if isinstance(tool, llm.RawFunctionTool):
            # Its schema is the user's own dict, which may have changed, so its content is compared.
            key: Hashable = content_key(tool.info.raw_schema)
            return self._cache.encode(key, tool.info.name, tool.info, lambda: self._raw(tool))
        if isinstance(tool, llm.FunctionTool):
            # Users change descriptions between turns.
            key = (id(tool.info), tool.info.name, tool.info.description)
            return self._cache.encode(key, tool.info.name, tool.info, lambda: self._function(tool))
        try:
            return self._hosted(tool)
        except Exception as error:  # noqa: BLE001 - whatever the tool's own code raises
            name = type(tool).__name__
            self._cache.warn(ToolSchemaError(name, f"{type(error).__name__}: {error}"))
            return None

    def _function(self, tool: llm.FunctionTool[..., Any]) -> bytes:
        self.names.to_service(tool.info.name)
        return _function(tool).encoded

    def _raw(self, tool: llm.RawFunctionTool[..., Any]) -> bytes:
        self.names.to_service(tool.info.name)
        given = tool.info.raw_schema
        wanted = given.get("strict")
        made = FunctionTool.of_schema(
            legal_tool_name(tool.info.name),
            given.get("parameters"),
            description=given.get("description"),
            strict=False if wanted is False else None,
            nulls="never",
        )
        if wanted is True and made.why_not_strict is not None:
            reason = f"not strict, because {made.why_not_strict}"
            self._cache.warn(ToolSchemaError(made.name, reason))
        more = {name: given[name] for name in _MORE_FIELDS if given.get(name) is not None}
        if not more:
            return made.encoded
        return msgspec.json.encode({**made.for_responses(), **more})

    def _hosted(self, tool: llm.Tool) -> bytes | None:
        to_dict = getattr(tool, "to_dict", None)
        value = to_dict() if callable(to_dict) else None
        if not isinstance(value, Mapping):
            name = type(tool).__name__
            self._cache.warn(ToolSchemaError(name, "it is not a function tool or an OpenAI tool"))
            return None
        return msgspec.json.encode({k: v for k, v in value.items() if v is not None})


def _function(tool: llm.FunctionTool[..., Any]) -> FunctionTool[dict[str, Any]]:
    hints = typing.get_type_hints(tool, include_extras=True)
    context = {k for k, v in hints.items() if llm.utils.is_context_type(v, allow_subclasses=True)}

    def made(strict: bool | None) -> FunctionTool[dict[str, Any]]:
        return FunctionTool.of(
            tool,
            name=legal_tool_name(tool.info.name),
            description=(tool.info.description or "").strip(),
            without=context,
            strict=strict,
            nulls="default",
        )

    ours = made(None)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about defaults that are not JSON
        # A tool without the framework's model of its arguments can't be called.
        theirs = llm.utils.function_arguments_to_pydantic_model(tool).model_json_schema()
    if not ours.strict:
        return ours
    stand_in = _defaults(made(strict=False).parameters) - _defaults(theirs)
    return made(strict=False) if stand_in else ours


def _defaults(schema: Mapping[str, Any]) -> set[str]:
    """Return the parameters that have a default in a schema."""
    return {name for name, value in schema.get("properties", {}).items() if "default" in value}
