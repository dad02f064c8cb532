"""JSON schemas of Python types, the same in every process."""

import inspect
from collections.abc import Mapping
from typing import Any

import docstring_parser
import msgspec
from pydantic import TypeAdapter
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaWarningKind

from rtllm.tools.schema_nodes import Json, target


class Generator(GenerateJsonSchema):
    """Pydantic's generator, without generated titles, and with sets in a fixed order."""

    # A default that has no JSON form still is a default.
    ignored_warning_kinds: set[JsonSchemaWarningKind] = {  # noqa: RUF012 - as in the base
        "skipped-choice",
        "non-serializable-default",
    }

    def field_title_should_be_set(self, schema: Any) -> bool:
        """Return False: no title is generated from a name."""
        return False

    def encode_default(self, dft: Any) -> Any:
        """Encode a default, a set in a fixed order."""
        value = super().encode_default(dft)
        return sorted(value, key=msgspec.json.encode) if isinstance(dft, set | frozenset) else value


def schema_of(adapter: TypeAdapter[Any]) -> Json:
    """Return the object schema that an adapter accepts.

    Raises:
        TypeError: If it accepts something other than objects.
        PydanticUserError: If a type has no JSON schema.
    """
    schema = adapter.json_schema(schema_generator=Generator, mode="validation")
    definitions = {k: _untitled(v) for k, v in schema.pop("$defs", {}).items()}
    root = _untitled(schema)
    whole = {**root, "$defs": definitions} if definitions else root
    if "$ref" in root:  # a recursive type: a tool's parameters must be the object itself
        whole = {**target(whole, whole), **{k: v for k, v in whole.items() if k != "$ref"}}
        pointed = f'"{root["$ref"]}"'.encode()
        if pointed not in msgspec.json.encode(whole):
            del definitions[root["$ref"].rpartition("/")[2]]
            if not definitions:
                del whole["$defs"]
    if whole.get("type") != "object":
        raise TypeError("it is not an object type; a tool's parameters must be one")
    whole.setdefault("properties", {})
    _require_tags(whole, whole)
    return whole


def _require_tags(place: object, root: Json) -> None:
    """Require the discriminator of each union: pydantic does, but its schema omits it."""
    if isinstance(place, list):
        for inner in place:
            _require_tags(inner, root)
    if not isinstance(place, dict):
        return
    for inner in place.values():
        _require_tags(inner, root)
    discriminator = place.get("discriminator")
    if not isinstance(discriminator, dict) or not isinstance(place.get("oneOf"), list):
        return
    for option in place["oneOf"]:
        branch = target(option, root)
        required = {*branch.get("required", ()), discriminator.get("propertyName")}
        if isinstance(branch, dict) and isinstance(branch.get("properties"), dict):
            branch["required"] = [name for name in branch["properties"] if name in required]


def _untitled(node: Json) -> Json:
    return {k: v for k, v in node.items() if k != "title"}


def described(schema: Json, texts: Mapping[str, str]) -> Json:
    """Add descriptions to properties that have none."""
    properties = {
        name: value
        if "description" in value or name not in texts
        else {**value, "description": texts[name]}
        for name, value in schema.get("properties", {}).items()
    }
    return {**schema, "properties": properties}


def docstring_texts(documented: object) -> tuple[str, dict[str, str]]:
    """Parse a docstring into its text, and the texts of its arguments or attributes."""
    text = inspect.cleandoc(getattr(documented, "__doc__", None) or "")
    parsed = docstring_parser.parse(text)
    arguments = {p.arg_name.lstrip("*"): p.description for p in parsed.params if p.description}
    return (parsed.description or "").strip(), arguments
