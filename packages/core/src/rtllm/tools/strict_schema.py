"""Strict form of a JSON schema, if it has one with the same meaning.

A rule that strict schemas can't have is either expressed in another way (a default by null, a
length in the description; both are checked when arguments come back), or it is a reason against the
strict form.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from rtllm.tools.null_defaults import Nulls
from rtllm.tools.schema_nodes import DEFINITIONS, Json, Node, admits_null, target, types_of
from rtllm.tools.strict_check import FORMATS, LOOKS_AROUND, why_not_strict

# Keywords that don't change which values are accepted.
_REMARKS = frozenset(
    {
        "$comment",
        "$id",
        "$schema",
        "contentEncoding",
        "contentMediaType",
        "deprecated",
        "discriminator",
        "examples",
        "readOnly",
        "title",
        "writeOnly",
    }
)
_LONGEST_DEFAULT = 80


class NotStrictError(ValueError):
    """The schema has no strict form; the text gives the reason."""


def closed(schema: Node, nulls: Nulls = "left out") -> Json:
    """Create the strict form of a schema.

    Every object forbids additional properties and requires all of its own; an optional one becomes
    nullable. Every value that the strict form accepts is also accepted by the schema, after the
    nulls that mean left-out properties are removed. The exceptions are lengths, formats, repeated
    items and patterns that strict schemas can't have; they are moved into descriptions.

    Args:
        schema: An object schema, which is not changed.
        nulls: What null may mean.

    Raises:
        NotStrictError: If it has no strict form.
    """
    closer = _Closer(schema, nulls)
    strict = closer.node(schema, "parameters")
    unused = _unused(strict)
    for word in DEFINITIONS:
        if word in strict:
            kept = {k: v for k, v in strict[word].items() if f"#/{word}/{k}" not in unused}
            strict = {**strict, word: kept}
            if not kept:
                del strict[word]
    if (reason := why_not_strict(strict)) is not None:
        raise NotStrictError(reason)
    return strict


class _Closer:
    def __init__(self, root: Node, nulls: Nulls) -> None:
        self._root = root
        self._nulls = nulls
        self._inside: list[str] = []  # references that are being expanded

    def node(self, given: object, at: str) -> Json:
        if not isinstance(given, Mapping) or not given:
            raise NotStrictError(f"{at} has no type")
        node = {k: v for k, v in given.items() if k not in _REMARKS and k != "default"}
        node = _without_all_of(node, at)
        if "$ref" in node:
            return self._reference(node, at)
        if "oneOf" in node:
            node = self._any_of(node, at)
        node = _with_rules_described(node)
        if "object" in types_of(node):
            node = self._object(node, at)
        if "items" in node:
            node["items"] = self.node(node["items"], f"{at}[]")
        if "anyOf" in node:
            node = self._union(node, at)
        for word in DEFINITIONS:
            if word in node:
                node[word] = {k: self.node(v, f"{word}.{k}") for k, v in node[word].items()}
        return node

    def _reference(self, node: Json, at: str) -> Json:
        reference = str(node["$ref"])
        if reference != "#" and not reference.startswith(tuple(f"#/{w}/" for w in DEFINITIONS)):
            raise NotStrictError(f"{at} refers to {reference!r}, which is not a definition")
        others = {k: v for k, v in node.items() if k != "$ref" and k not in DEFINITIONS}
        if not others:
            return node
        if reference in self._inside or reference == "#":
            return {**others, "anyOf": [{"$ref": reference}]}
        # A reference can't have other keywords next to it, so it is expanded.
        self._inside.append(reference)
        try:
            return self.node({**target(node, self._root), **others}, at)
        finally:
            self._inside.pop()

    def _any_of(self, node: Json, at: str) -> Json:
        """Turn a ``oneOf`` whose branches exclude each other into ``anyOf``."""
        if "anyOf" in node or not self._exclusive(node["oneOf"]):
            raise NotStrictError(f"{at} uses 'oneOf'")
        return {("anyOf" if k == "oneOf" else k): v for k, v in node.items()}

    def _exclusive(self, options: Iterable[object]) -> bool:
        nodes = [target(option, self._root) for option in options]
        kinds = [kind for node in nodes for kind in types_of(node) or ("any",)]
        numbers = {"integer", "number"} <= set(kinds)
        if len(set(kinds)) == len(kinds) and "any" not in kinds and not numbers:
            return True
        tags = [_constants(node) for node in nodes]
        shared = [name for name in tags[0] if all(name in tag for tag in tags)] if tags else []
        return any(_all_differ(tag[name] for tag in tags) for name in shared)

    def _union(self, node: Json, at: str) -> Json:
        options = [self.node(one, f"{at}|{i}") for i, one in enumerate(node["anyOf"])]
        rest = {k: v for k, v in node.items() if k != "anyOf"}
        if len(options) == 1 and not options[0].keys() & rest.keys() and "$ref" not in options[0]:
            return {**rest, **options[0]}
        return {**rest, "anyOf": options}

    def _object(self, node: Json, at: str) -> Json:
        extra = node.get("additionalProperties", "properties" not in node)
        if extra is not False:
            raise NotStrictError(f"{at} allows additional properties")
        required = set(node.get("required", ()))
        given = node.get("properties", {})
        if missing := sorted(required - given.keys()):
            raise NotStrictError(f"{at} requires {missing[0]!r} without defining it")
        properties = {
            name: self.node(value, f"{at}.{name}")
            if name in required
            else self._optional(value, f"{at}.{name}")
            for name, value in given.items()
        }
        return {
            **node,
            "properties": properties,
            "required": list(properties),
            "additionalProperties": False,
        }

    def _optional(self, given: object, at: str) -> Json:
        node = self.node(given, at)
        assert isinstance(given, Mapping)  # noqa: S101 - `node` has checked it
        default = given.get("default")
        if admits_null(given, self._root):
            if default is not None:
                raise NotStrictError(f"{at} accepts null, so null can't mean its default")
            return node
        if "const" in given and given["const"] == default:
            return node  # the tag of a union: its default is all that it can be
        if self._nulls == "never" or (self._nulls == "default" and "default" not in given):
            raise NotStrictError(f"{at} is optional, and the receiver does not take null for that")
        if default is not None:
            node = _noted(node, _default_note(default))
        return _nullable(node)


def _constants(node: Node) -> dict[str, Any]:
    properties: Mapping[str, Any] = node.get("properties", {})
    return {k: v["const"] for k, v in properties.items() if isinstance(v, Mapping) and "const" in v}


def _all_differ(values: Iterable[Any]) -> bool:
    encoded = [msgspec.json.encode(value) for value in values]
    return len(set(encoded)) == len(encoded)


def _without_all_of(node: Json, at: str) -> Json:
    parts = node.get("allOf")
    if parts is None:
        return node
    if len(parts) != 1 or not isinstance(parts[0], Mapping):
        raise NotStrictError(f"{at} uses 'allOf'")
    rest = {k: v for k, v in node.items() if k != "allOf"}
    if parts[0].keys() & rest.keys() - {"description"}:
        raise NotStrictError(f"{at} uses 'allOf'")
    part = {k: v for k, v in parts[0].items() if k not in _REMARKS and k != "default"}
    return _without_all_of({**part, **rest}, at)


def _with_rules_described(node: Json) -> Json:
    """Move rules that strict schemas can't have, and that are checked later, to the description."""
    notes: list[str] = []
    shortest, longest = node.pop("minLength", None), node.pop("maxLength", None)
    if shortest:
        notes.append(f"At least {shortest} characters.")
    if longest is not None:
        notes.append(f"At most {longest} characters.")
    if node.pop("uniqueItems", False):
        notes.append("No item twice.")
    if "format" in node and node["format"] not in FORMATS:
        notes.append(f"Format: {node.pop('format')}.")
    if LOOKS_AROUND.search(str(node.get("pattern", ""))):
        del node["pattern"]
    return _noted(node, " ".join(notes))


def _default_note(default: object) -> str:
    text = msgspec.json.encode(default).decode()
    return f"Default: {text}." if len(text) <= _LONGEST_DEFAULT else ""


def _noted(node: Json, note: str) -> Json:
    if not note:
        return node
    said = str(node.get("description") or "").rstrip()
    if said and said[-1] not in ".!?":
        said += "."
    return {**node, "description": f"{said} {note}".strip()}


def _nullable(node: Json) -> Json:
    if "anyOf" in node and len(node.keys() - {"anyOf", "description"}) == 0:
        return {**node, "anyOf": [*node["anyOf"], {"type": "null"}]}
    kinds = types_of(node)
    if kinds and "object" not in kinds and not node.keys() & {"enum", "const", "anyOf"}:
        return {**node, "type": [*kinds, "null"]}
    inner = {k: v for k, v in node.items() if k != "description"}
    said = {"description": node["description"]} if "description" in node else {}
    return {**said, "anyOf": [inner, {"type": "null"}]}


def _unused(schema: Json) -> set[str]:
    """Return the definitions that nothing refers to after others were expanded."""
    used: set[str] = set()
    waiting: list[object] = [{k: v for k, v in schema.items() if k not in DEFINITIONS}]
    while waiting:
        place = waiting.pop()
        if isinstance(place, Mapping):
            reference = place.get("$ref")
            if isinstance(reference, str) and reference not in used:
                used.add(reference)
                waiting.append(target(place, schema))
            waiting.extend(place.values())
        elif isinstance(place, list):
            waiting.extend(place)
    return {f"#/{word}/{k}" for word in DEFINITIONS for k in schema.get(word, {})} - used
