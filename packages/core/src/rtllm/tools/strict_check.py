"""Check whether a JSON schema can be strict.

The service rejects a strict tool whose schema is outside its subset, with every request of the
call. Source of the subset and its limits: OpenAI's guide to structured outputs (documented). That
``minLength`` and ``maxLength`` are outside is disputed. Look-arounds in patterns were seen
rejected.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from rtllm.tools.schema_nodes import DEFINITIONS, target, types_of

UNSUPPORTED = frozenset(
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
        "minContains",
        "maxContains",
        "uniqueItems",
        "prefixItems",
        "default",
        "minLength",
        "maxLength",
    }
)
FORMATS = frozenset(
    {"date-time", "time", "date", "duration", "email", "hostname", "ipv4", "ipv6", "uuid"}
)
LOOKS_AROUND = re.compile(r"\(\?(?:[=!]|<[=!])")

_TELLS_A_TYPE = ("type", "enum", "const", "anyOf", "$ref")
_WITH_REFERENCE = {"$ref", *DEFINITIONS}
_MOST_PROPERTIES = 5000
_MOST_DEEP = 10
_MOST_VALUES = 1000
_MOST_CHARACTERS = 120_000
_LONG_ENUM = 250
_MOST_IN_LONG_ENUM = 15_000


def why_not_strict(schema: Mapping[str, Any]) -> str | None:
    """Find the reason why a schema can't be strict.

    Returns:
        The first reason, with its place; None if it can be strict.
    """
    if schema.get("type") != "object" or "anyOf" in schema:
        return "the root is not a plain object"
    return next(_Judge(schema).reasons(schema, "parameters", 0), None)


class _Judge:
    def __init__(self, root: Mapping[str, Any]) -> None:
        self._root = root
        self._properties = 0
        self._values = 0
        self._characters = 0

    def reasons(self, schema: object, at: str, deep: int) -> Iterator[str]:
        if not isinstance(schema, Mapping):
            yield f"{at} is not a schema"
            return
        yield from _unsupported(schema, at)
        if "$ref" in schema:
            yield from self._of_reference(schema, at)
        elif not any(key in schema for key in _TELLS_A_TYPE):
            yield f"{at} has no type"
        yield from self._of_values(schema, at)
        if "object" in types_of(schema):
            yield from self._of_object(schema, at, deep)
        if isinstance(schema.get("items"), Mapping):
            yield from self.reasons(schema["items"], f"{at}[]", deep + 1)
        elif "array" in types_of(schema):
            yield f"{at} has no type for its items"
        for index, branch in enumerate(schema.get("anyOf", ())):
            yield from self.reasons(branch, f"{at}|{index}", deep)
        for word in DEFINITIONS:
            for name, definition in schema.get(word, {}).items():
                self._characters += len(name)
                yield from self.reasons(definition, f"{word}.{name}", 0)
        yield from self._of_size(at, deep)

    def _of_reference(self, schema: Mapping[str, Any], at: str) -> Iterator[str]:
        if forbidden := sorted(schema.keys() - _WITH_REFERENCE):
            yield f"{at} has {forbidden[0]!r} next to a reference"
        if not target(schema, self._root):
            yield f"{at} refers to {schema['$ref']!r}, which does not exist"

    def _of_object(self, schema: Mapping[str, Any], at: str, deep: int) -> Iterator[str]:
        properties = schema.get("properties", {})
        if schema.get("additionalProperties") is not False:
            yield f"{at} allows additional properties"
        if set(schema.get("required", ())) != set(properties):
            yield f"{at} doesn't require all its properties"
        self._properties += len(properties)
        for name, value in properties.items():
            self._characters += len(name)
            yield from self.reasons(value, f"{at}.{name}", deep + 1)

    def _of_values(self, schema: Mapping[str, Any], at: str) -> Iterator[str]:
        values = [str(value) for value in schema.get("enum", ())]
        self._values += len(values)
        characters = sum(map(len, values)) + len(str(schema.get("const", "")))
        self._characters += characters
        if len(values) > _LONG_ENUM and characters > _MOST_IN_LONG_ENUM:
            yield f"{at} has more than {_MOST_IN_LONG_ENUM} characters in one enum"

    def _of_size(self, at: str, deep: int) -> Iterator[str]:
        if deep > _MOST_DEEP:
            yield f"{at} is nested deeper than {_MOST_DEEP}"
        if self._properties > _MOST_PROPERTIES:
            yield f"it has more than {_MOST_PROPERTIES} properties"
        if self._values > _MOST_VALUES:
            yield f"it has more than {_MOST_VALUES} enum values"
        if self._characters > _MOST_CHARACTERS:
            yield f"its names and enum values have more than {_MOST_CHARACTERS} characters"


def _unsupported(schema: Mapping[str, Any], at: str) -> Iterator[str]:
    for key in schema:
        if key in UNSUPPORTED:
            yield f"{at} uses {key!r}"
    if schema.get("format", "date") not in FORMATS:
        yield f"{at} has the format {schema['format']!r}"
    if LOOKS_AROUND.search(str(schema.get("pattern", ""))):
        yield f"{at} has a pattern with a look-around"
