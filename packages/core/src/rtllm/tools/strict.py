"""Whether a JSON schema can honestly be strict.

The service refuses a strict tool whose schema is outside its subset, with every request of
the call. Source of the subset: OpenAI's guide to structured outputs (documented).
"""

from collections.abc import Iterator, Mapping
from typing import Any

_UNSUPPORTED = frozenset(
    {
        "allOf",
        "oneOf",
        "not",
        "if",
        "then",
        "else",
        "dependentRequired",
        "dependentSchemas",
        "patternProperties",
        "propertyNames",
        "minProperties",
        "maxProperties",
        "unevaluatedProperties",
        "unevaluatedItems",
        "contains",
        "uniqueItems",
        "prefixItems",
        "default",
        "minLength",
        "maxLength",
    }
)
_TELLS_A_TYPE = ("type", "enum", "const", "anyOf", "$ref")


def why_not_strict(schema: Mapping[str, Any]) -> str | None:
    """Say what keeps a schema from being strict.

    Returns:
        The first reason, with the place; None if it can be strict.
    """
    if schema.get("type") != "object" or "anyOf" in schema:
        return "the root is not a plain object"
    return next(_reasons(schema, "parameters"), None)


def _reasons(schema: object, at: str) -> Iterator[str]:
    if not isinstance(schema, Mapping):
        yield f"{at} is no schema"
        return
    for key in schema:
        if key in _UNSUPPORTED:
            yield f"{at} uses {key!r}"
    if not any(key in schema for key in _TELLS_A_TYPE):
        yield f"{at} has no type"
    if schema.get("type") == "object":
        yield from _object_reasons(schema, at)
    if isinstance(schema.get("items"), Mapping):
        yield from _reasons(schema["items"], f"{at}[]")
    elif schema.get("type") == "array":
        yield f"{at} doesn't say what its items are"
    for index, branch in enumerate(schema.get("anyOf", ())):
        yield from _reasons(branch, f"{at}|{index}")
    for name, definition in schema.get("$defs", {}).items():
        yield from _reasons(definition, f"$defs.{name}")


def _object_reasons(schema: Mapping[str, Any], at: str) -> Iterator[str]:
    properties = schema.get("properties", {})
    if schema.get("additionalProperties") is not False:
        yield f"{at} is open to additional properties"
    if set(schema.get("required", ())) != set(properties):
        yield f"{at} doesn't require all its properties"
    for name, value in properties.items():
        yield from _reasons(value, f"{at}.{name}")
