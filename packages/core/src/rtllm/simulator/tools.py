"""Checks of tools, of the choice among them, and of strict JSON schemas."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from rtllm.simulator import refusal, shapes

_NAME = shapes.string(longest=64, pattern=r"[a-zA-Z0-9_-]+")
_CALLERS = shapes.nullable(shapes.list_of(shapes.one_of("direct", "programmatic")))

_FUNCTION = shapes.struct(
    {"type": shapes.anything, "name": _NAME},
    {
        "description": shapes.nullable(shapes.string()),
        "parameters": shapes.nullable(shapes.mapping),
        "strict": shapes.nullable(shapes.boolean),
        "async": shapes.boolean,
        "defer_loading": shapes.boolean,
        "allowed_callers": _CALLERS,
        "output_schema": shapes.nullable(shapes.mapping),
    },
)
_CUSTOM = shapes.struct(
    {"type": shapes.anything, "name": _NAME},
    {
        "description": shapes.string(),
        "format": shapes.mapping,
        "async": shapes.boolean,
        "defer_loading": shapes.boolean,
        "allowed_callers": _CALLERS,
    },
)
# Hosted tools are passed through by clients, so their settings aren't checked.
_HOSTED = (
    "web_search",
    "web_search_preview",
    "web_search_2025_08_26",
    "web_search_preview_2025_03_11",
    "file_search",
    "code_interpreter",
    "image_generation",
    "mcp",
    "computer",
    "computer_use_preview",
    "shell",
    "local_shell",
    "apply_patch",
    "tool_search",
    "namespace",
    "programmatic_tool_calling",
)
_TOOLS: dict[str, shapes.Check] = {
    "function": _FUNCTION,
    "custom": _CUSTOM,
    **dict.fromkeys(_HOSTED, shapes.mapping),
}


_TOOL = shapes.tagged(_TOOLS)


def check_tools(tools: Any, param: str = "tools") -> None:
    """Check every tool: unique names, and strict schemas in the strict subset."""
    if not isinstance(tools, list):
        raise refusal.invalid_type(param, "an array of tools", tools)
    names: set[str] = set()
    for index, tool in enumerate(tools):
        place = f"{param}[{index}]"
        _TOOL(tool, place)
        if tool["type"] in {"function", "custom"}:
            check_unique(tool["name"], names, param)
        if tool["type"] == "function":
            check_parameters(tool, f"{place}.parameters")


def check_unique(name: str, names: set[str], param: str) -> None:
    """Check that a name is new, and record it."""
    if name in names:
        raise refusal.RequestError(
            f"Duplicate tool name '{name}'. Tool names must be unique.",
            code="invalid_value",
            param=param,
        )
    names.add(name)


def check_parameters(tool: dict[str, Any], param: str) -> None:
    """Check a function's schema; a strict one must be in the strict subset."""
    schema = tool.get("parameters")
    if schema is None:
        if tool.get("strict"):
            schema = {}
        else:
            return
    problem = _root_problem(schema)
    if problem is None and tool.get("strict"):
        problem = strict_problem(schema)
    if problem is not None:
        raise refusal.RequestError(
            f"Invalid schema for function '{tool['name']}': {problem}",
            code="invalid_function_parameters",
            param=param,
        )


def _root_problem(schema: dict[str, Any]) -> str | None:
    kind = schema.get("type")
    if schema and kind != "object" and "$ref" not in schema:
        return f"schema must be a JSON Schema of 'type: \"object\"', got 'type: \"{kind}\"'."
    if any(word in schema for word in ("anyOf", "oneOf", "allOf", "enum", "not")):
        return (
            "schema must have type 'object' and not have "
            "'oneOf'/'anyOf'/'allOf'/'enum'/'not' at the top level."
        )
    for path, node in _nodes(schema, ()):
        kinds = node.get("type") if isinstance(node, dict) else None
        kinds = [kinds] if isinstance(kinds, str) else kinds
        if isinstance(kinds, list) and "array" in kinds and "items" not in node:
            return f"In context={path!r}, array schema missing items."
        if isinstance(node, dict) and (problem := _keyword_problem(node)) is not None:
            return problem
    return None


def _keyword_problem(node: dict[str, Any]) -> str | None:
    """Find a keyword that JSON Schema itself does not allow; seen of any function's schema."""
    for word, kind in _KINDS.items():
        if word in node and node[word] is None:
            return f"None is not of type '{kind}'."
    kinds = node.get("type", [])
    for kind in kinds if isinstance(kinds, list) else [kinds]:
        if kind not in _TYPES:
            return f"{kind!r} is not valid under any of the given schemas."
    properties = node.get("properties")
    if isinstance(properties, dict) and None in properties.values():
        return "None is not of type 'object', 'boolean'."
    return None


# minLength and maxLength are disputed in public sources, so they are not allowed here and clients
# can't rely on them.
_KEYWORDS = frozenset(
    {
        "type",
        "title",
        "description",
        "properties",
        "required",
        "additionalProperties",
        "items",
        "enum",
        "const",
        "anyOf",
        "$defs",
        "definitions",
        "$ref",
        "pattern",
        "format",
        "minimum",
        "maximum",
        "exclusiveMinimum",
        "exclusiveMaximum",
        "multipleOf",
        "minItems",
        "maxItems",
        "$schema",
        "$id",
        "$comment",
    }
)
_KINDS = {
    "required": "array",
    "enum": "array",
    "properties": "object",
    "description": "string",
    "title": "string",
}
_TYPES = {"string", "number", "integer", "boolean", "object", "array", "null"}
_KEYWORD_TYPES: dict[str, type] = {
    "properties": dict,
    "$defs": dict,
    "definitions": dict,
    "required": list,
    "enum": list,
    "anyOf": list,
    "format": str,
    "pattern": str,
}
_FORMATS = {"date-time", "time", "date", "duration", "email", "hostname", "ipv4", "ipv6", "uuid"}
_MAX_PROPERTIES = 5000
_MAX_DEPTH = 10
_MAX_ENUM_VALUES = 1000
_MAX_NAME_CHARACTERS = 120_000
_MAX_LONG_ENUM_CHARACTERS = 15_000


def strict_problem(schema: dict[str, Any]) -> str | None:
    """Find the reason why a schema can't be ``strict: true``; None if it can."""
    if schema.get("type") != "object" or "anyOf" in schema:
        kind = json.dumps(schema.get("type"))
        return f"schema must be a JSON Schema of 'type: \"object\"', got 'type: {kind}'."
    for path, node in _nodes(schema, ()):
        problem = _node_problem(node, schema)
        if problem is not None:
            return f"In context={path!r}, {problem}"
    return _size_problem(schema)


def _nodes(node: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield every schema inside a schema, with the path that the service would print."""
    yield path, node
    if not isinstance(node, dict):
        return
    for word in ("properties", "$defs", "definitions"):
        children = node.get(word)
        for name, child in children.items() if isinstance(children, dict) else ():
            yield from _nodes(child, (*path, word, name))
    if "items" in node:
        yield from _nodes(node["items"], (*path, "items"))
    options = node.get("anyOf")
    for index, child in enumerate(options) if isinstance(options, list) else ():
        yield from _nodes(child, (*path, "anyOf", str(index)))


def _node_problem(node: Any, root: dict[str, Any]) -> str | None:
    if not isinstance(node, dict):
        return f"{json.dumps(node)} is not of type 'object'."
    unknown = [word for word in node if word not in _KEYWORDS]
    if unknown:
        return f"'{unknown[0]}' is not permitted."
    return _ref_problem(node, root) if "$ref" in node else _typed_problem(node)


def _typed_problem(node: dict[str, Any]) -> str | None:
    given = node.get("type", [])
    kinds = given if isinstance(given, list) else [given]
    strange = [kind for kind in kinds if not isinstance(kind, str) or kind not in _TYPES]
    if strange:
        return f"{json.dumps(strange[0])} is not valid under any of the given schemas."
    for word, kind in _KEYWORD_TYPES.items():
        if word in node and not isinstance(node[word], kind):
            return f"{json.dumps(node[word])} is not valid for '{word}'."
    if not kinds and not any(word in node for word in ("anyOf", "enum", "const")):
        return "schema must have a 'type' key."
    if node.get("format", "date") not in _FORMATS:
        return f"'{node['format']}' is not a valid format."
    if "array" in kinds and "items" not in node:
        return "array schema missing items."
    return _object_problem(node) if "object" in kinds else None


def _ref_problem(node: dict[str, Any], root: dict[str, Any]) -> str | None:
    siblings = sorted(node.keys() - {"$ref"})
    if siblings:
        return f"$ref cannot have keywords {set(siblings)}."
    target: Any = root
    for step in str(node["$ref"]).removeprefix("#").strip("/").split("/"):
        if step:
            target = target.get(step) if isinstance(target, Mapping) else None
    if not isinstance(target, dict):
        return f"reference to component '{node['$ref']}' not found."
    return None


def _object_problem(node: dict[str, Any]) -> str | None:
    if node.get("additionalProperties") is not False:
        return "'additionalProperties' is required to be supplied and to be false."
    properties = node.get("properties", {})
    required = node.get("required", [])
    missing = [name for name in properties if name not in required]
    if missing:
        return (
            "'required' is required to be supplied and to be an array including every key in "
            f"properties. Missing '{missing[0]}'."
        )
    extra = [name for name in required if name not in properties]
    return f"Extra required key '{extra[0]}' supplied." if extra else None


def _size_problem(schema: dict[str, Any]) -> str | None:
    names: list[str] = []
    enums: list[list[Any]] = []
    for path, node in _nodes(schema, ()):
        names += node.get("properties", {}).keys()
        names += node.get("$defs", {}).keys()
        enums.append(node.get("enum", []))
        if sum(step in {"properties", "items"} for step in path) > _MAX_DEPTH:
            return f"Exceeded the maximum nesting depth of {_MAX_DEPTH}."
    values = [str(value) for enum in enums for value in enum]
    if len(names) > _MAX_PROPERTIES:
        return f"Exceeded the maximum of {_MAX_PROPERTIES} properties."
    if len(values) > _MAX_ENUM_VALUES:
        return f"Exceeded the maximum of {_MAX_ENUM_VALUES} enum values."
    if sum(map(len, names)) + sum(map(len, values)) > _MAX_NAME_CHARACTERS:
        return f"Exceeded the maximum total string length of {_MAX_NAME_CHARACTERS}."
    for enum in enums:
        if len(enum) > 250 and sum(len(str(value)) for value in enum) > _MAX_LONG_ENUM_CHARACTERS:
            return f"Exceeded the maximum enum length of {_MAX_LONG_ENUM_CHARACTERS}."
    return None


_CHOICE_WORDS = ("none", "auto", "required")
_NAMED_CHOICES: dict[str, shapes.Check] = {
    "function": shapes.struct({"type": shapes.anything, "name": shapes.string()}, {}),
    "custom": shapes.struct({"type": shapes.anything, "name": shapes.string()}, {}),
    "allowed_tools": shapes.struct(
        {
            "type": shapes.anything,
            "mode": shapes.one_of("auto", "required"),
            "tools": shapes.list_of(shapes.mapping),
        },
        {},
    ),
    **dict.fromkeys(_HOSTED, shapes.struct({"type": shapes.anything}, {})),
    "mcp": shapes.struct(
        {"type": shapes.anything, "server_label": shapes.string()},
        {"name": shapes.nullable(shapes.string())},
    ),
}


_CHOICE = shapes.tagged(_NAMED_CHOICES)


def check_choice(choice: Any, tools: list[dict[str, Any]]) -> None:
    """Check ``tool_choice``: its form, and that the tools include what it names."""
    if isinstance(choice, str):
        shapes.one_of(*_CHOICE_WORDS)(choice, "tool_choice")
        return
    if not isinstance(choice, dict):
        raise refusal.invalid_type("tool_choice", "one of a tool choice or string", choice)
    _CHOICE(choice, "tool_choice")
    for wanted in choice["tools"] if choice["type"] == "allowed_tools" else [choice]:
        if not any(_is_meant(wanted, tool) for tool in tools):
            name = wanted.get("name") or wanted.get("server_label") or wanted.get("type")
            raise refusal.RequestError(
                f"Tool choice '{name}' not found in 'tools' parameter.",
                code="invalid_value",
                param="tool_choice",
            )


def _is_meant(wanted: dict[str, Any], tool: dict[str, Any]) -> bool:
    keys = ("type", "server_label") if wanted.get("type") == "mcp" else ("type", "name")
    return all(wanted.get(key) == tool.get(key) for key in keys)
