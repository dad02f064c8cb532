"""Arguments of tool calls: parsing, and error texts that the model can act on."""

from collections.abc import Sequence
from typing import Any

import msgspec
from pydantic_core import ErrorDetails, ValidationError

from rtllm.errors import ToolArgumentsError
from rtllm.tools.schema_nodes import Json

Problems = tuple[tuple[str, str], ...]

_DEEPEST = 100  # levels; how many a decoder takes by itself depends on the Python version
_MOST_PROBLEMS = 8
_LONGEST_SCHEMA = 200


def read(tool: str, text: str) -> Json:
    """Parse arguments as a JSON object; an empty text is an empty object.

    Raises:
        ToolArgumentsError: If they are not a JSON object.
    """
    if not text.strip():
        return {}
    try:
        value = msgspec.json.decode(text)
    except RecursionError as error:
        raise ToolArgumentsError(tool, (("", "they are nested too deeply"),)) from error
    except (msgspec.DecodeError, UnicodeError) as error:
        raise ToolArgumentsError(tool, (("", f"they are not JSON ({error})"),)) from error
    if _is_deeper_than(_DEEPEST, value):
        raise ToolArgumentsError(tool, (("", "they are nested too deeply"),))
    if not isinstance(value, dict):
        raise ToolArgumentsError(tool, (("", "they are JSON, but not an object"),))
    return value


def _is_deeper_than(limit: int, value: object) -> bool:
    """Tell whether a JSON value has more levels than a limit."""
    level = [value]
    for _ in range(limit):
        level = [
            inner
            for outer in level
            if isinstance(outer, dict | list)
            for inner in (outer.values() if isinstance(outer, dict) else outer)
        ]
        if not level:
            return False
    return True


def problems_of(error: ValidationError, schema: Json) -> Problems:
    """Convert pydantic's errors to words for the model."""
    found = error.errors(include_url=False, include_context=False, include_input=False)
    problems = [(_place(one["loc"]), _what(one, schema)) for one in found[:_MOST_PROBLEMS]]
    if len(found) > _MOST_PROBLEMS:
        problems.append(("", f"and {len(found) - _MOST_PROBLEMS} more"))
    return tuple(problems)


def raw_problems(value: Json, schema: Json) -> Problems:
    """Check arguments against the top level of a raw schema; their values are not checked."""
    properties: Json = schema.get("properties", {})
    missing = [name for name in schema.get("required", ()) if name not in value]
    problems = [(name, _missing(properties.get(name))) for name in missing]
    if schema.get("additionalProperties") is False:
        problems += [(name, _unknown(properties)) for name in value if name not in properties]
    return tuple(problems[:_MOST_PROBLEMS])


def _place(steps: Sequence[int | str]) -> str:
    place = ""
    for step in steps:
        place += f"[{step}]" if isinstance(step, int) else f".{step}"
    return place.removeprefix(".")


def _what(error: ErrorDetails, schema: Json) -> str:
    top = len(error["loc"]) == 1
    if error["type"] == "missing":
        return _missing(schema.get("properties", {}).get(error["loc"][0]) if top else None)
    if error["type"] == "extra_forbidden" and top:
        return _unknown(schema.get("properties", {}))
    return error["msg"]


def _missing(schema: Any) -> str:
    encoded = msgspec.json.encode(schema).decode() if schema else ""
    expected = f"; expected {encoded}" if encoded and len(encoded) <= _LONGEST_SCHEMA else ""
    return f"it is missing and required{expected}"


def _unknown(properties: Json) -> str:
    names = ", ".join(properties) or "none"
    return f"it is not an argument of this tool; its arguments are: {names}"
