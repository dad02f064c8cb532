"""What the callable accepts and what its schema admits agree.

Types are drawn together with their values; `jsonschema` says what a schema admits, and the
simulator, which shares nothing with the library, what the service would take.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import enum
import inspect
import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Optional, Union

import jsonschema
import msgspec
import pytest
from hypothesis import given, note
from hypothesis import strategies as st
from pydantic import BaseModel, Field, TypeAdapter, create_model
from typing_extensions import TypedDict

from rtllm import FunctionTool, ToolArgumentsError, why_not_strict
from rtllm.simulator.refusal import RequestError
from rtllm.simulator.tools import check_tools

Json = Any


class Color(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Cat(BaseModel):
    kind: Literal["cat"] = "cat"
    lives: int = 9


class Dog(BaseModel):
    kind: Literal["dog"]
    name: str = "Rex"
    age: int | None = None


class Tree(BaseModel):
    label: str
    left: Optional[Tree] = None  # noqa: UP045 - as users write it
    more: list[Tree] = []


@dataclasses.dataclass
class Point:
    x: int
    y: float = 0.5


class Options(TypedDict, total=False):
    deep: bool
    words: list[str]


@dataclass(frozen=True)
class Typed:
    """A type with some of its values."""

    hint: Any
    values: st.SearchStrategy[Any]


_TEXT = st.text(st.characters(codec="utf-8"), max_size=6)
_INT = st.integers(-(2**31), 2**31)
_TREES: st.SearchStrategy[Tree] = st.deferred(
    lambda: st.builds(Tree, label=_TEXT, left=st.none() | _TREES, more=st.lists(_TREES, max_size=2))
)
_CATS = st.builds(Cat, lives=_INT)
_DOGS = st.builds(Dog, kind=st.just("dog"), name=_TEXT, age=st.none() | _INT)

_LEAVES = [
    Typed(str, _TEXT),
    Typed(int, _INT),
    Typed(bool, st.booleans()),
    Typed(float, st.floats(allow_nan=False, allow_infinity=False, width=32)),
    Typed(dt.date, st.dates()),
    Typed(uuid.UUID, st.uuids()),
    Typed(Literal["C", "F"], st.sampled_from(["C", "F"])),
    Typed(Literal[1, 2, "x"], st.sampled_from([1, 2, "x"])),
    Typed(Color, st.sampled_from(Color)),
    Typed(Annotated[int, Field(ge=1, le=9, description="How many")], st.integers(1, 9)),
    Typed(Annotated[str, Field(pattern="^a+$")], st.sampled_from(["a", "aa"])),
    Typed(Cat, _CATS),
    Typed(Dog, _DOGS),
    Typed(Point, st.builds(Point, _INT, st.just(1.5))),
    Typed(Annotated[Point, Field(description="Where")], st.builds(Point, _INT, st.just(1.5))),
    Typed(Options, st.fixed_dictionaries({"deep": st.booleans(), "words": st.lists(_TEXT)})),
    Typed(Annotated[Cat | Dog, Field(discriminator="kind")], _CATS | _DOGS),
    Typed(Dog | Cat, _CATS | _DOGS),
    Typed(int | str, _INT | _TEXT),
    Typed(Tree, _TREES),
    Typed(Annotated[Tree, Field(description="A tree")], _TREES),
]


def _extended(inner: st.SearchStrategy[Typed]) -> st.SearchStrategy[Typed]:
    def model(one: Typed, other: Typed, default: Any) -> Typed:
        fields: dict[str, Any] = {"first": (one.hint, ...), "second": (other.hint, default)}
        made = create_model("Made", **fields)
        return Typed(made, st.builds(made, first=one.values, second=other.values))

    return st.one_of(
        inner.map(lambda t: Typed(Union[t.hint, None], st.none() | t.values)),  # noqa: UP007
        inner.map(lambda t: Typed(list[t.hint], st.lists(t.values, max_size=2))),  # type: ignore[name-defined]
        inner.map(
            lambda t: Typed(dict[str, t.hint], st.dictionaries(_TEXT, t.values, max_size=2))  # type: ignore[name-defined]
        ),
        st.tuples(inner, inner).map(
            lambda two: Typed(
                tuple.__class_getitem__((two[0].hint, two[1].hint)),
                st.tuples(two[0].values, two[1].values),
            )
        ),
        st.tuples(inner, inner).flatmap(
            lambda two: st.builds(model, st.just(two[0]), st.just(two[1]), two[1].values)
        ),
    )


TYPES = st.recursive(st.sampled_from(_LEAVES), _extended, max_leaves=3)


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

    def tool(**_: Any) -> None: ...

    tool.__annotations__ = {name: one.hint for name, one in typed.items()}
    tool.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [
            inspect.Parameter(
                name,
                inspect.Parameter.KEYWORD_ONLY,
                default=defaults.get(name, inspect.Parameter.empty),
                annotation=one.hint,
            )
            for name, one in typed.items()
        ]
    )
    made = FunctionTool.of(tool)
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


def instances(node: Mapping[str, Any], root: Mapping[str, Any]) -> st.SearchStrategy[Json]:
    """What a schema admits, as far as our schemas go."""
    if "$ref" in node:
        target: Any = root
        for step in node["$ref"].removeprefix("#").split("/")[1:]:
            target = target[step]
        return st.deferred(lambda: instances(target, root))
    if "const" in node:
        return st.just(node["const"])
    if "enum" in node:
        return st.sampled_from(node["enum"])
    for word in ("anyOf", "oneOf"):
        if word in node:
            # The shallow ones first, so that trees end.
            options = sorted(node[word], key=lambda one: "$ref" in one)
            return st.one_of([instances(one, root) for one in options])
    kinds = node["type"]
    return st.one_of(
        [_of_kind(kind, node, root) for kind in ([kinds] if isinstance(kinds, str) else kinds)]
    )


def _of_kind(
    kind: str, node: Mapping[str, Any], root: Mapping[str, Any]
) -> st.SearchStrategy[Json]:
    match kind:
        case "null":
            return st.none()
        case "boolean":
            return st.booleans()
        case "integer":
            return st.integers(node.get("minimum", -(2**31)), node.get("maximum", 2**31))
        case "number":
            return st.floats(allow_nan=False, allow_infinity=False, width=32)
        case "string" if "pattern" in node:
            return st.sampled_from(["a", "aa"])
        case "string":
            formats = {"date": st.dates().map(str), "uuid": st.uuids().map(str)}
            return formats.get(node.get("format", ""), _TEXT)
        case "array" if "prefixItems" in node:
            return st.tuples(*(instances(one, root) for one in node["prefixItems"])).map(list)
        case "array":
            return st.lists(instances(node["items"], root), max_size=2)
        case _:
            return _objects(node, root)


def _objects(node: Mapping[str, Any], root: Mapping[str, Any]) -> st.SearchStrategy[Json]:
    each = {name: instances(one, root) for name, one in node.get("properties", {}).items()}
    required = {name: one for name, one in each.items() if name in node.get("required", ())}
    optional = {name: one for name, one in each.items() if name not in required}
    known = st.fixed_dictionaries(required, optional=optional)
    if not isinstance(extra := node.get("additionalProperties"), dict):
        return known
    more = st.dictionaries(_TEXT, instances(extra, root), max_size=2)
    return st.builds(lambda a, b: {**b, **a}, known, more)


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
        told in reason
        for told in ("open to additional", "prefixItems", "its default when it is null", "items")
    ), reason


@given(cases(), st.sampled_from(["[]", "7", '"x"', "null", "{", '{"nobody": 1}']))
def test_law_a_misfit_is_told_and_never_taken(case: Case, text: str) -> None:
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
    if not tool.strict:
        assert tool.parameters == raw
