"""Schemas in the words that every host knows, for hosts that reject the others."""

from collections.abc import Mapping, Sequence
from typing import Any

from rtllm.tools.schema_nodes import UNIONS, Json, Node, admits_null, target, types_of

_KEPT = ("title", "description", "enum", "required")
"""Fields that are kept as they are; the structure is converted, all others are left out."""
_MOST_REFERENCES = 4
"""How many references are resolved inside each other; schemas may contain themselves."""
_DEEPEST = 32
_ANYTHING: Json = {"type": "string"}


def plain_schema(schema: Node) -> Json:
    """Return a schema with types, descriptions, properties, items and enums only.

    References are resolved, of a union the first branch that isn't null is kept, and a property
    that may be null is not required. So a call with valid arguments is still valid.
    """
    plain = _plain(schema, schema, 0, 0)
    plain.pop("title", None)
    return plain


def _plain(node: object, root: Node, deep: int, references: int) -> Json:
    found, references = _merged(node, root, references)
    if deep > _DEEPEST or not found:
        return dict(_ANYTHING)
    plain: Json = {name: found[name] for name in _KEPT if name in found}
    if "const" in found:
        plain["enum"] = [found["const"]]
    required = plain.pop("required", ())
    plain["type"] = _type_of(found)
    if plain["type"] == "object":
        given = found.get("properties")
        properties: Mapping[str, Any] = given if isinstance(given, Mapping) else {}
        plain["properties"] = {
            name: _plain(each, root, deep + 1, references) for name, each in properties.items()
        }
        names = [n for n in required if n in properties and not admits_null(properties[n], root)]
        if names:
            plain["required"] = names
    elif plain["type"] == "array":
        plain["items"] = _plain(found.get("items"), root, deep + 1, references)
    return plain


def _merged(node: object, root: Node, references: int) -> tuple[Json, int]:
    """Return a node with its reference, its parts and the first branch of its unions merged.

    Returns:
        The node, and how many references were resolved so far.
    """
    if not isinstance(node, Mapping) or references > _MOST_REFERENCES:
        return {}, references
    merged: Json = {}
    most = references
    parts = list(node.get("allOf", ()))
    parts += [branch for word in UNIONS if (branch := _first_branch(node.get(word, ()), root))]
    if "$ref" in node:
        parts.append(target(node, root))
        references += 1
    for part in parts:
        found, resolved = _merged(part, root, references)
        merged |= found
        most = max(most, resolved)
    own = {name: value for name, value in node.items() if name not in ("$ref", "allOf", *UNIONS)}
    return {**merged, **own}, max(most, references)


def _first_branch(branches: Sequence[object], root: Node) -> object:
    """Return the first branch of a union that is not just null."""
    return next((b for b in branches if types_of(target(b, root)) != ("null",)), None)


def _type_of(found: Node) -> str:
    kind = next((each for each in types_of(found) if each != "null"), None)
    if kind is None and "properties" in found:
        return "object"
    return kind or ("array" if "items" in found else "string")
