"""Nulls in arguments that mean a left-out property, so that its default applies.

A strict schema requires every property, so an optional one becomes nullable in it. In the arguments
such a null is removed again, and the default applies.
"""

from collections.abc import Mapping
from typing import Any, Literal

from rtllm.tools.schema_nodes import Node, admits_null, branches, may_be, target, types_of

Nulls = Literal["left out", "default", "never"]
"""What null may mean in a strict schema, for a property that doesn't accept null itself.
``"left out"``: any optional property is left out; `FunctionTool.arguments` removes the null.
``"default"``: only a property whose schema has a default is left out. ``"never"``: no property,
because the receiver gets the arguments unchanged.
"""


def without_stand_ins(value: Any, node: object, root: Node) -> Any:
    """Remove each null that means a left-out property from a value.

    Args:
        value: A JSON value.
        node: Its schema, before it was made strict.
        root: The root of the schema, for references.

    Returns:
        The value; the same object if nothing was removed.
    """
    node = target(node, root)
    if isinstance(value, dict):
        return _of_object(value, _branch(value, node, root), root)
    if isinstance(value, list):
        changed = [without_stand_ins(item, _items(value, node, root), root) for item in value]
        return changed if any(a is not b for a, b in zip(changed, value, strict=True)) else value
    return value


def _of_object(value: dict[str, Any], node: Node, root: Node) -> dict[str, Any]:
    properties = node.get("properties", {})
    required = node.get("required", ())
    extra = node.get("additionalProperties")
    kept: dict[str, Any] = {}
    for name, item in value.items():
        schema = properties.get(name, extra)
        left_out = item is None and name in properties and name not in required
        if left_out and not admits_null(schema, root):
            continue
        kept[name] = without_stand_ins(item, schema, root)
    same = len(kept) == len(value) and all(kept[name] is value[name] for name in kept)
    return value if same else kept


def _branch(value: Mapping[str, Any], node: Node, root: Node) -> Node:
    """Return the object schema that fits a value; of a union, the branch that fits best."""
    options = list(_objects(node, root))
    fitting = [option for option in options if _fits(value, option, root)]
    exact = [option for option in fitting if option.get("properties", {}).keys() == value.keys()]
    return next(iter(exact or fitting or options[:1]), {})


def _objects(node: Node, root: Node, deep: int = 0) -> list[Node]:
    if deep > 32:
        return []
    here = [node] if "object" in types_of(node) or "properties" in node else []
    inner = [_objects(target(one, root), root, deep + 1) for one in branches(node)]
    return here + [option for options in inner for option in options]


def _fits(value: Mapping[str, Any], node: Node, root: Node) -> bool:
    properties = node.get("properties", {})
    if not value.keys() >= set(node.get("required", ())):
        return False
    for name, item in value.items():
        if name not in properties:
            if node.get("additionalProperties", False) is False:
                return False
        elif item is None:
            if name in node.get("required", ()) and not admits_null(properties[name], root):
                return False
        elif not may_be(item, properties[name], root):
            return False
    return True


def _items(value: list[Any], node: Node, root: Node) -> object:
    options = [node, *(target(one, root) for one in branches(node))]
    arrays = [one["items"] for one in options if "array" in types_of(one) and "items" in one]
    fitting = (items for items in arrays if all(_looks_like(item, items, root) for item in value))
    return next(fitting, arrays[0] if arrays else {})


def _looks_like(item: object, node: object, root: Node) -> bool:
    node = target(node, root)
    if isinstance(item, dict):
        return any(_fits(item, option, root) for option in _objects(node, root))
    return may_be(item, node, root)
