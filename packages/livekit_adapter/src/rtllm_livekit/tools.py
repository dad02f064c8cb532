"""LiveKit's tools as the Responses API takes them, encoded once per tool."""

import logging
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from livekit.agents import llm

from rtllm import ToolSchemaError, why_not_strict

logger = logging.getLogger(__name__)

_CACHED = 256


class ToolEncoder:
    """Encodes tools, each once.

    A tool whose schema can't be built is named once in the log and left out: the others still
    work.
    """

    def __init__(self) -> None:
        self._encoded: OrderedDict[int, tuple[object, msgspec.Raw | None]] = OrderedDict()
        self._told: set[str] = set()

    def encode(self, tools: Sequence[llm.Tool | llm.Toolset]) -> tuple[msgspec.Raw, ...]:
        """Encode the tools of a request, in their order.

        Raises:
            ValueError: If two tools have the same name (LiveKit's own check).
        """
        encoded: list[msgspec.Raw] = []
        for tool in llm.ToolContext(list(tools)).flatten():
            try:
                raw = self._encoded_once(tool)
            except Exception as error:  # noqa: BLE001 - whatever pydantic, typing and msgspec raise
                name = getattr(getattr(tool, "info", None), "name", type(tool).__name__)
                self._tell(ToolSchemaError(name, f"{type(error).__name__}: {error}"))
                raw = None
            if raw is not None:
                encoded.append(raw)
        return tuple(encoded)

    def _encoded_once(self, tool: llm.Tool) -> msgspec.Raw | None:
        if isinstance(tool, llm.RawFunctionTool):
            # Its schema is the user's own dict, which may have changed.
            return self._checked(tool.info.name, dict(tool.info.raw_schema))
        if not isinstance(tool, llm.FunctionTool):
            return self._hosted(tool)
        # The info is kept beside the result: so its id can't come to mean another tool.
        known = self._encoded.get(id(tool.info))
        if known is not None:
            return known[1]
        self._encoded[id(tool.info)] = (tool.info, None)  # stays so if it can't be built
        if len(self._encoded) > _CACHED:
            self._encoded.popitem(last=False)
        schema = llm.utils.build_legacy_openai_schema(tool, internally_tagged=True)
        raw = self._checked(tool.info.name, schema)
        self._encoded[id(tool.info)] = (tool.info, raw)
        return raw

    def _checked(self, name: str, schema: dict[str, Any]) -> msgspec.Raw:
        """Encode a function tool; ``strict`` is always said, since silence isn't neutral."""
        parameters = schema.get("parameters") or {"type": "object", "properties": {}}
        strict = schema.get("strict") is True
        if strict and (reason := why_not_strict(parameters)) is not None:
            self._tell(ToolSchemaError(name, f"not strict, since {reason}"))
            strict = False
        tool = {**schema, "type": "function", "parameters": parameters, "strict": strict}
        return msgspec.Raw(msgspec.json.encode({k: v for k, v in tool.items() if v is not None}))

    def _hosted(self, tool: llm.Tool) -> msgspec.Raw | None:
        to_dict = getattr(tool, "to_dict", None)
        value = to_dict() if callable(to_dict) else None
        if not isinstance(value, Mapping):
            name = type(tool).__name__
            self._tell(ToolSchemaError(name, "it is no function, and no tool of OpenAI's"))
            return None
        return msgspec.Raw(msgspec.json.encode({k: v for k, v in value.items() if v is not None}))

    def _tell(self, error: ToolSchemaError) -> None:
        if str(error) not in self._told:
            self._told.add(str(error))
            logger.warning("%s", error)
