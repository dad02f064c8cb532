"""VideoSDK's tools as the Responses API takes them, encoded once per tool."""

import copy
import inspect
import json
import logging
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from videosdk.agents import build_openai_schema, get_tool_info, is_function_tool

from rtllm import ToolSchemaError

logger = logging.getLogger(__name__)

_CACHED = 256


@dataclass(frozen=True, slots=True)
class Offered:
    """The tools of one request.

    Attributes:
        encoded: As they go over the wire.
        names: What the model may call.
    """

    encoded: tuple[msgspec.Raw, ...] = ()
    names: frozenset[str] = frozenset()


class ToolEncoder:
    """Encodes tools, each once.

    A tool whose schema can't be built is named once in the log and left out: the others still
    work. Of two tools with one name the first counts, as in the framework.
    """

    def __init__(self) -> None:
        self._encoded: OrderedDict[int, tuple[object, str, msgspec.Raw | None]] = OrderedDict()
        self._told: set[str] = set()

    def offer(self, tools: Sequence[Any] | None) -> Offered:
        """Encode the tools of a request, in their order."""
        encoded: dict[str, msgspec.Raw] = {}
        for tool in tools or ():
            if not is_function_tool(tool):
                self._tell(ToolSchemaError(_name_of(tool), "it is no function tool"))
                continue
            name = get_tool_info(tool).name
            raw = self._encode(name, tool)
            if raw is None:
                continue
            if name in encoded:
                self._tell(ToolSchemaError(name, "another tool before it has the same name"))
                continue
            encoded[name] = raw
        return Offered(tuple(encoded.values()), frozenset(encoded))

    def _encode(self, name: str, tool: Any) -> msgspec.Raw | None:
        # The info is kept beside the result: so its id can't come to mean another tool.
        info = get_tool_info(tool)
        said = info.description or getattr(tool, "__doc__", None) or ""
        known = self._encoded.get(id(info))
        if known is not None and known[1] == said:
            return known[2]
        try:
            raw = _function(name, said, tool)
        except Exception as error:  # noqa: BLE001 - whatever pydantic and typing raise
            self._tell(ToolSchemaError(name, f"{type(error).__name__}: {error}"))
            raw = None
        self._encoded[id(info)] = (info, said, raw)
        if len(self._encoded) > _CACHED:
            self._encoded.popitem(last=False)
        return raw

    def _tell(self, error: ToolSchemaError) -> None:
        if str(error) not in self._told:
            self._told.add(str(error))
            logger.warning("%s", error)


def _name_of(tool: object) -> str:
    return str(getattr(tool, "__name__", None) or type(tool).__name__)


def _function(name: str, description: str, tool: Any) -> msgspec.Raw:
    """Encode a function tool; ``strict`` is always said, since silence isn't neutral."""
    given = build_openai_schema(tool).get("parameters")
    parameters = copy.deepcopy(given) if given else {"type": "object", "properties": {}}
    if get_tool_info(tool).parameters_schema is None:
        _let_defaults_stand(parameters, tool)
    said = {"description": description} if description else {}
    return msgspec.Raw(
        msgspec.json.encode(
            {"type": "function", "name": name, **said, "parameters": parameters, "strict": False}
        )
    )


def _let_defaults_stand(parameters: dict[str, Any], tool: Any) -> None:
    """Make what has a default optional: the framework's schemas call it required."""
    properties = parameters.get("properties")
    if not isinstance(properties, Mapping):
        return
    required = list(parameters.get("required", ()))
    for name, parameter in inspect.signature(tool).parameters.items():
        if parameter.default is inspect.Parameter.empty or name not in properties:
            continue
        if name in required:
            required.remove(name)
        if _is_json(parameter.default) and isinstance(properties[name], dict):
            properties[name].setdefault("default", parameter.default)
    if required:
        parameters["required"] = required
    else:
        parameters.pop("required", None)


def _is_json(value: object) -> bool:
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError):
        return False
    return True
