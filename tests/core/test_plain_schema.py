"""Schemas in the words that every host knows."""

from typing import Any

import pytest

from rtllm.tools.plain_schema import plain_schema

TEXT = {"type": "string"}


@pytest.mark.parametrize(
    ("node", "plain"),
    [
        (
            {"type": "string", "title": "City", "default": "Rome", "minLength": 1},
            TEXT | {"title": "City"},
        ),
        ({"type": ["null", "integer"]}, {"type": "integer"}),
        (
            {"anyOf": [{"type": "null"}, {"type": "number"}], "description": "d"},
            {"type": "number", "description": "d"},
        ),
        ({"oneOf": [{"type": "integer"}, TEXT]}, {"type": "integer"}),
        ({"const": "a"}, {"type": "string", "enum": ["a"]}),
        ({"type": "array"}, {"type": "array", "items": TEXT}),
        (
            {"items": {"$ref": "#/$defs/Day"}},
            {"type": "array", "items": {"type": "string", "enum": ["mo"]}},
        ),
        (
            {"allOf": [{"type": "object", "properties": {"a": TEXT}, "required": ["a"]}]},
            {"type": "object", "properties": {"a": TEXT}, "required": ["a"]},
        ),
        ({"properties": {}, "additionalProperties": TEXT}, {"type": "object", "properties": {}}),
        (True, TEXT),
    ],
)
def test_a_property_keeps_what_every_host_knows(node: Any, plain: Any) -> None:
    schema = {"$defs": {"Day": {"enum": ["mo"]}}, "type": "object", "properties": {"a": node}}
    assert plain_schema(schema) == {"type": "object", "properties": {"a": plain}}


def test_a_property_that_may_be_null_is_not_required() -> None:
    properties = {"a": TEXT, "b": {"type": ["string", "null"]}}
    schema = {"type": "object", "properties": properties, "required": ["a", "b"], "title": "Args"}
    assert plain_schema(schema) == {
        "type": "object",
        "properties": {"a": TEXT, "b": TEXT},
        "required": ["a"],
    }


def test_a_schema_that_contains_itself_ends() -> None:
    own = {"$ref": "#"}
    schema = {"type": "object", "properties": {key: {"anyOf": [own]} for key in ("a", "b", "c")}}
    plain = plain_schema(schema)
    assert plain["properties"]["a"]["properties"]["b"]["type"] == "object"
    assert len(str(plain)) < 20_000
