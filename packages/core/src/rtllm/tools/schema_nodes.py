"""Nodes of a JSON schema: the values that they accept, and their references."""

from collections.abc import Iterator, Mapping
from typing import Any

Json = dict[str, Any]
"""A JSON object, usually a schema."""

Node = Mapping[str, Any]

UNIONS = ("anyOf", "oneOf")
DEFINITIONS = ("$defs", "definitions")

_PYTHON: dict[str, type | tuple[type, ...]] = {
    "string": str,
    "boolean": bool,
    "object": dict,
    "array": list,
    "null": type(None),
}


def types_of(node: Node) -> tuple[str, ...]:
    """Return the types that a node names."""
    given = node.get("type", ())
    return (given,) if isinstance(given, str) else tuple(given)


def target(node: object, root: Node) -> Node:
    """Resolve the ``$ref`` of a node, if it has one; empty if it refers to nothing."""
    seen = 0
    while isinstance(node, Mapping) and "$ref" in node and seen < 32:
        node = _at(str(node["$ref"]), root)
        seen += 1
    return node if isinstance(node, Mapping) else {}


def _at(reference: str, root: Node) -> object:
    place: object = root
    for step in reference.removeprefix("#").split("/"):
        if step:
            key = step.replace("~1", "/").replace("~0", "~")
            place = place.get(key) if isinstance(place, Mapping) else None
    return place


def branches(node: Node) -> Iterator[Any]:
    """Yield the branches of a node's unions."""
    for word in UNIONS:
        yield from node.get(word, ())


def admits_null(node: object, root: Node, deep: int = 0) -> bool:
    """Whether a node accepts null."""
    if node is True:
        return True
    if not isinstance(node, Mapping) or deep > 32:
        return False
    if "$ref" in node and not admits_null(target(node, root), root, deep + 1):
        return False
    if "type" in node and "null" not in types_of(node):
        return False
    if ("const" in node and node["const"] is not None) or None not in node.get("enum", (None,)):
        return False
    if not all(admits_null(part, root, deep + 1) for part in node.get("allOf", ())):
        return False
    unions = [node[word] for word in UNIONS if word in node]
    return all(any(admits_null(one, root, deep + 1) for one in union) for union in unions)


def is_of(value: object, kind: str) -> bool:
    """Whether a JSON value is of a type."""
    if kind in {"integer", "number"}:
        if isinstance(value, bool) or not isinstance(value, int | float):
            return False
        return kind == "number" or float(value).is_integer()
    return isinstance(value, _PYTHON.get(kind, object))


def may_be(value: object, node: object, root: Node) -> bool:
    """Whether a node may accept a value, judged by types and fixed values only."""
    node = target(node, root)
    if "const" in node and node["const"] != value:
        return False
    if value not in node.get("enum", (value,)):
        return False
    kinds = types_of(node)
    if kinds and not any(is_of(value, kind) for kind in kinds):
        return False
    unions = [node[word] for word in UNIONS if word in node]
    return all(any(may_be(value, one, root) for one in union) for union in unions)
