"""Repair of foreign schemas to what OpenAI accepts of any function, strict or not.

The service rejects the full request for one schema that it does not accept. *Seen* of MCP servers
(docs/tools.md): unions at the root, arrays without the type of their items, a root that may be
null.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from rtllm.tools.schema_nodes import DEFINITIONS, Json, target, types_of

_AT_THE_ROOT = ("anyOf", "oneOf", "allOf", "enum", "not", "const")
_MAPS = ("properties", "patternProperties", "dependentSchemas", *DEFINITIONS)
_LISTS = ("anyOf", "oneOf", "allOf", "prefixItems")
_NODES = ("items", "additionalProperties", "not", "if", "then", "else", "contains")


def repaired(schema: Json) -> Json:
    """Convert an object schema to one that OpenAI accepts; return it unchanged if it is accepted.

    It accepts everything that it accepted before. If it can no longer express which properties go
    together, the description does.
    """
    root = dict(schema)
    kinds = types_of(root)
    if len(kinds) > 1 and "object" in kinds:
        root["type"] = "object"
    if any(word in root for word in _AT_THE_ROOT):
        root = _with_flat_root(root)
    fixed: Json = _with_items(root)
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
            told = [", ".join(sorted(names)) for names in wanted if names]
            if len(set(told)) > 1:
                notes.append(f"Give one of these: {'; or '.join(dict.fromkeys(told))}.")
    flat["type"] = "object"
    flat["properties"] = {name: _either(values) for name, values in properties.items()}
    if required:
        flat["required"] = [name for name in flat["properties"] if name in required]
    if notes:
        flat["description"] = " ".join([str(root.get("description") or ""), *notes]).strip()
    return flat


def _either(values: Sequence[Any]) -> Any:
    return values[0] if len(values) == 1 else {"anyOf": list(values)}


def _with_items(node: Any) -> Any:
    """Return a schema in which each array has the type of its items: any type if not given."""
    if not isinstance(node, Mapping):
        return node
    fixed = dict(node)
    for word in _MAPS:
        if isinstance(fixed.get(word), Mapping):
            fixed[word] = {name: _with_items(value) for name, value in fixed[word].items()}
    for word in _LISTS:
        if isinstance(fixed.get(word), list):
            fixed[word] = [_with_items(value) for value in fixed[word]]
    for word in _NODES:
        if isinstance(fixed.get(word), Mapping):
            fixed[word] = _with_items(fixed[word])
    if "array" in types_of(fixed) and "items" not in fixed:
        told = [one for one in _list(fixed.get("prefixItems")) if isinstance(one, Mapping)]
        fixed["items"] = _either([one for i, one in enumerate(told) if one not in told[:i]] or [{}])
    return fixed


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _list(value: object) -> Sequence[Any]:
    return value if isinstance(value, list) else ()


def _names(value: object) -> Sequence[str]:
    return [name for name in _list(value) if isinstance(name, str)]
