"""Repair of foreign schemas to what OpenAI accepts of any function, strict or not.

The service rejects the full request for one schema that it does not accept. *Seen* of MCP servers
(docs/tools.md): unions at the root, arrays without the type of their items, a root that may be
null. Assumed: keywords that are null (servers in Go), types with other names (Gemini's in
upper case, Python's).
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rtllm.tools.schema_nodes import DEFINITIONS, Json, target, types_of

_AT_THE_ROOT = ("anyOf", "oneOf", "allOf", "enum", "not", "const")
_MAPS = ("properties", "patternProperties", "dependentSchemas", *DEFINITIONS)
_LISTS = ("anyOf", "oneOf", "allOf", "prefixItems")
_NODES = ("items", "additionalProperties", "not", "if", "then", "else", "contains")
_VALUES = ("const", "default", "example")
"""Keywords whose value may be null."""
_NAMES_OF_TYPES: Mapping[str, tuple[str, ...]] = {
    "string": ("string", "str"),
    "number": ("number", "float", "double"),
    "integer": ("integer", "int"),
    "boolean": ("boolean", "bool"),
    "object": ("object", "dict"),
    "array": ("array", "list"),
    "null": ("null", "none"),
}
_TYPES = {name: kind for kind, names in _NAMES_OF_TYPES.items() for name in names}


def repaired(schema: Json) -> Json:
    """Convert an object schema to one that OpenAI accepts; return it unchanged if it is accepted.

    It accepts everything that it accepted before. If it can no longer express which properties go
    together, the description does.
    """
    root = _changed(schema, _with_legal_keywords)
    kinds = types_of(root)
    if len(kinds) > 1 and "object" in kinds:
        root["type"] = "object"
    if any(word in root for word in _AT_THE_ROOT):
        root = _with_flat_root(root)
    fixed: Json = _changed(root, _with_items)
    return fixed


def _with_flat_root(root: Json) -> Json:
    """Merge the branches of a root into the root itself."""
    flat = {word: value for word, value in root.items() if word not in _AT_THE_ROOT}
    properties: dict[str, list[Any]] = {
        name: [value] for name, value in _mapping(root.get("properties")).items()
    }
    required = set(_names(root.get("required")))
    notes: list[str] = []
    for word in ("allOf", "anyOf", "oneOf"):
        branches = [target(branch, root) for branch in _list(root.get(word))]
        branches = [b for b in branches if "properties" in b or "required" in b]
        for branch in branches:
            for name, value in _mapping(branch.get("properties")).items():
                known = properties.setdefault(name, [])
                if value not in known:
                    known.append(value)
        wanted = [set(_names(branch.get("required"))) for branch in branches]
        if word == "allOf":
            required |= set().union(*wanted)
        elif wanted:
            required |= set.intersection(*wanted)
            alternatives = [", ".join(sorted(names)) for names in wanted if names]
            if len(set(alternatives)) > 1:
                notes.append(f"Give one of these: {'; or '.join(dict.fromkeys(alternatives))}.")
    flat["type"] = "object"
    flat["properties"] = {name: _either(values) for name, values in properties.items()}
    if required:
        flat["required"] = [name for name in flat["properties"] if name in required]
    if notes:
        flat["description"] = " ".join([str(root.get("description") or ""), *notes]).strip()
    return flat


def _either(values: Sequence[Any]) -> Any:
    return values[0] if len(values) == 1 else {"anyOf": list(values)}


def _changed(node: Any, change: Callable[[Json], Json]) -> Any:
    """Return a copy of a schema with a change of each node, inner nodes first."""
    if not isinstance(node, Mapping):
        return node
    copied = dict(node)
    for word in _MAPS:
        if isinstance(copied.get(word), Mapping):
            copied[word] = {n: _changed(value, change) for n, value in copied[word].items()}
    for word in _LISTS:
        if isinstance(copied.get(word), list):
            copied[word] = [_changed(value, change) for value in copied[word]]
    for word in _NODES:
        if isinstance(copied.get(word), Mapping):
            copied[word] = _changed(copied[word], change)
    return change(copied)


def _with_legal_keywords(node: Json) -> Json:
    """Leave out keywords that are null, and name types as JSON Schema does."""
    fixed = {word: v for word, v in node.items() if v is not None or word in _VALUES}
    for word in _MAPS:
        if isinstance(fixed.get(word), Mapping):
            fixed[word] = {n: {} if v is None else v for n, v in fixed[word].items()}
    kinds = [_TYPES.get(str(kind).lower()) for kind in types_of(fixed)]
    if None in kinds:  # a type that JSON does not have, such as "any": everything is accepted
        del fixed["type"]
    elif kinds:
        fixed["type"] = kinds[0] if isinstance(fixed["type"], str) else kinds
    return fixed


def _with_items(node: Json) -> Json:
    """Give each array the type of its items: any type if it is not given."""
    if "array" in types_of(node) and "items" not in node:
        schemas = [item for item in _list(node.get("prefixItems")) if isinstance(item, Mapping)]
        node["items"] = _either([s for i, s in enumerate(schemas) if s not in schemas[:i]] or [{}])
    return node


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _list(value: object) -> Sequence[Any]:
    return value if isinstance(value, list) else ()


def _names(value: object) -> Sequence[str]:
    return [name for name in _list(value) if isinstance(name, str)]
