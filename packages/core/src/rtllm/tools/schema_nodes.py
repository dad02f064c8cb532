"""Looking at a JSON schema: what a node of it admits, and what it points to."""

from collections.abc import Iterator, Mapping
from typing import Any

Json = dict[str, Any]
"""A JSON object, a schema mostly: its values have no narrower type."""

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
    """The types that a node names."""
    given = node.get("type", ())
    return (given,) if isinstance(given, str) else tuple(given)


def target(node: object, root: Node) -> Node:
    """A node, or what its ``$ref`` points to; empty where that is nothing."""
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
    """The branches of a node's unions."""
    for word in UNIONS:
        yield from node.get(word, ())


def admits_null(node: object, root: Node, deep: int = 0) -> bool:
    """Tell whether null is a value of a node."""
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
    """Tell whether a JSON value is of a type."""
    if kind in {"integer", "number"}:
        if isinstance(value, bool) or not isinstance(value, int | float):
            return False
        return kind == "number" or float(value).is_integer()
    return isinstance(value, _PYTHON.get(kind, object))


def may_be(value: object, node: object, root: Node) -> bool:
    """Tell whether a value could be of a node, by types and fixed values only."""
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
