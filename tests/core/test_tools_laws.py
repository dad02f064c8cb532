"""What the callable accepts and what its schema admits agree.

Types are drawn together with their values; `jsonschema` says what a schema admits, and the
simulator, which shares nothing with the library, what the service would take.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jsonschema
import msgspec
import pytest
from hypothesis import given, note
from hypothesis import strategies as st
from pydantic import TypeAdapter

from core.tool_types import TYPES, Json, Typed, function_of, instances
from rtllm import FunctionTool, ToolArgumentsError, why_not_strict
from rtllm.simulator.refusal import RequestError
from rtllm.simulator.tools import check_tools


@dataclass(frozen=True)
class Case:
    """A tool, its parameters, and what each may be."""

    tool: FunctionTool[dict[str, Any]]
    typed: Mapping[str, Typed]
    defaults: Mapping[str, Any]


@st.composite
def cases(draw: st.DrawFn) -> Case:
    typed = draw(st.dictionaries(st.sampled_from("abcd"), TYPES, max_size=3))
    defaults = {
        name: draw(one.values) for name, one in typed.items() if draw(st.booleans(), label=name)
    }
    if draw(st.booleans(), label="one is None by default") and typed:
        defaults[next(iter(typed))] = None

    made = FunctionTool.of(function_of(typed, defaults))
    note(f"{made!r} {json.dumps(made.parameters)} {made.why_not_strict}")
    return Case(made, typed, defaults)


def as_json(hint: Any, value: Any) -> Json:
    return TypeAdapter[Any](hint).dump_python(value, mode="json")


def admits(schema: Mapping[str, Any], value: Json) -> None:
    jsonschema.Draft202012Validator(schema).validate(value)


@given(cases(), st.data())
def test_law_what_the_callable_accepts_the_schema_admits(case: Case, data: st.DataObject) -> None:
    left_out = {name for name in case.defaults if data.draw(st.booleans(), label=f"no {name}")}
    values = {
        name: data.draw(one.values, label=name)
        for name, one in case.typed.items()
        if name not in left_out
    }
    said = {name: as_json(case.typed[name].hint, value) for name, value in values.items()}
    # A null that the parameter admits is said; else it is the default.
    nulls = dict.fromkeys(left_out) if case.tool.strict else {}
    admits(case.tool.parameters, {**said, **nulls})
    meant = {
        name: None for name in nulls if type(None) in getattr(case.typed[name].hint, "__args__", ())
    }
    assert case.tool.arguments(json.dumps({**said, **nulls})) == {**values, **meant}


@given(cases(), st.data())
def test_law_what_the_schema_admits_the_callable_accepts(case: Case, data: st.DataObject) -> None:
    schema = case.tool.parameters
    value = data.draw(instances(schema, schema), label="said")
    admits(schema, value)  # else the test's own generator is wrong
    arguments = case.tool.arguments(json.dumps(value))
    for name, got in arguments.items():
        TypeAdapter[Any](case.typed[name].hint).validate_python(got)
    assert arguments.keys() | case.defaults.keys() == case.typed.keys()


@given(cases())
def test_law_the_service_takes_every_tool(case: Case) -> None:
    check_tools([case.tool.for_responses()])
    if case.tool.strict:
        assert why_not_strict(case.tool.parameters) is None
    assert msgspec.json.encode(case.tool.for_responses()) == bytes(case.tool.encoded)


@given(cases())
def test_law_a_tool_that_is_not_strict_could_not_be(case: Case) -> None:
    """Closing it by force is refused by the service, or would lose a default."""
    if case.tool.strict:
        return
    reason = case.tool.why_not_strict or ""
    assert any(
        cause in reason
        for cause in (
            "additional properties",
            "prefixItems",
            "null can't mean its default",
            "items",
        )
    ), reason


@given(cases(), st.sampled_from(["[]", "7", '"x"', "null", "{", '{"nobody": 1}']))
def test_law_a_misfit_is_reported_and_never_taken(case: Case, text: str) -> None:
    with pytest.raises(ToolArgumentsError) as caught:
        case.tool.arguments(text)
    assert caught.value.tool == case.tool.name
    assert caught.value.problems


_SCHEMAS = st.recursive(
    st.sampled_from(
        [
            {"type": "string"},
            {"type": ["integer", "null"], "default": 3},
            {"type": "number", "minimum": 0, "default": 1},
            {"enum": ["a", "b", None]},
            {"const": 1},
            {},
            True,
            {"type": "string", "format": "uri", "minLength": 2},
            {"$ref": "#/$defs/thing"},
            {"$ref": "#/$defs/thing", "description": "A thing", "default": None},
            {"$ref": "#"},
            {"$ref": "#/$defs/nothing"},
            {"oneOf": [{"type": "string"}, {"type": "integer"}]},
            {"oneOf": [{"type": "number"}, {"type": "integer"}]},
            {"allOf": [{"$ref": "#/$defs/thing"}]},
            {"allOf": [{"type": "string"}, {"minLength": 1}]},
            {"not": {"type": "string"}},
            {"type": "object"},
            {"type": "object", "additionalProperties": True, "properties": {}},
            {"type": "array"},
            {"type": "array", "items": {"type": "string"}, "uniqueItems": True},
            {"title": "T", "type": "boolean", "examples": [True], "deprecated": True},
        ]
    ),
    lambda inner: st.one_of(
        st.builds(
            lambda properties, required, more: {
                "type": "object",
                "properties": properties,
                "required": sorted(required & properties.keys()),
                **more,
            },
            st.dictionaries(st.sampled_from(["x", "y", "title", "default"]), inner, max_size=3),
            st.frozensets(st.sampled_from(["x", "y", "title"])),
            st.sampled_from([{}, {"additionalProperties": False}, {"title": "Made"}]),
        ),
        inner.map(lambda one: {"type": "array", "items": one}),
        st.lists(inner, min_size=1, max_size=3).map(lambda many: {"anyOf": many}),
    ),
    max_leaves=5,
)


def without_open_items(node: Any) -> Any:
    """A schema without ``items`` that admit everything."""
    if isinstance(node, list):
        return [without_open_items(one) for one in node]
    if not isinstance(node, dict):
        return node
    return {k: without_open_items(v) for k, v in node.items() if (k, v) != ("items", {})}


@given(st.dictionaries(st.sampled_from(["a", "b", "c"]), _SCHEMAS, max_size=3), st.data())
def test_law_a_raw_schema_is_taken_by_the_service_strict_or_not(
    properties: dict[str, Json], data: st.DataObject
) -> None:
    thing = data.draw(_SCHEMAS, label="thing")
    raw = {
        "type": "object",
        "properties": properties,
        "required": sorted(data.draw(st.frozensets(st.sampled_from(["a", "b", "c"])))),
        "$defs": {"thing": thing},
    }
    before = json.dumps(raw)
    tool = FunctionTool.of_schema("raw", raw)
    note(f"{tool.why_not_strict} {json.dumps(tool.parameters)}")
    assert json.dumps(raw) == before
    try:
        check_tools([tool.for_responses()])
    except RequestError as error:
        raise AssertionError(str(error)) from error
    if not tool.strict:  # but for arrays that say nothing of their items, which are refused
        assert without_open_items(tool.parameters) == without_open_items(raw)
