"""Tools, case by case: the schema of a Python function, and the arguments of a call."""

from __future__ import annotations

import datetime as dt
import decimal
import enum
import functools
import json
import logging
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Literal, NotRequired
from uuid import UUID

import msgspec
import pytest
from pydantic import BaseModel, Field, field_validator
from typing_extensions import TypedDict

from rtllm import FunctionTool, ToolArgumentsError, ToolSchemaError, why_not_strict
from rtllm.adapters import legal_tool_name
from rtllm.parameters import tool_choice_of


class Unit(enum.StrEnum):
    C = "C"
    F = "F"


def google(city: str, unit: Unit = Unit.C, days: Annotated[int, Field(ge=1, le=9)] = 3) -> None:
    """Tell the weather.

    Of one city only.

    Args:
        city: Where.
        unit: Of which
            scale.
        days: How many.

    Returns:
        Nothing.
    """


def numpy(city: str, unit: Unit = Unit.C, days: Annotated[int, Field(ge=1, le=9)] = 3) -> None:
    """Tell the weather.

    Of one city only.

    Parameters
    ----------
    city : str
        Where.
    unit : Unit
        Of which
        scale.
    days : int
        How many.

    Returns
    -------
    None
        Nothing.
    """


def sphinx(city: str, unit: Unit = Unit.C, days: Annotated[int, Field(ge=1, le=9)] = 3) -> None:
    """Tell the weather.

    Of one city only.

    :param city: Where.
    :param unit: Of which
        scale.
    :param days: How many.
    :returns: Nothing.
    """


def properties(tool: FunctionTool[Any]) -> dict[str, Any]:
    made: dict[str, Any] = tool.parameters["properties"]
    return made


# -- from callables -------------------------------------------------------------------------------


@pytest.mark.parametrize("function", [google, numpy, sphinx])
def test_docstrings_of_every_style_say_the_same(function: Callable[..., None]) -> None:
    tool = FunctionTool.of(function)
    assert tool.name == function.__name__
    assert tool.description == "Tell the weather.\n\nOf one city only."
    assert tool.strict
    assert properties(tool) == {
        "city": {"type": "string", "description": "Where."},
        "unit": {
            "description": 'Of which\nscale. Default: "C".',
            "anyOf": [{"enum": ["C", "F"], "type": "string"}, {"type": "null"}],
        },
        "days": {
            "description": "How many. Default: 3.",
            "type": ["integer", "null"],
            "minimum": 1,
            "maximum": 9,
        },
    }
    assert tool.parameters["required"] == ["city", "unit", "days"]


def test_both_apis_get_the_same_function() -> None:
    tool = FunctionTool.of(google)
    flat, nested = tool.for_responses(), tool.for_chat()
    assert flat["type"] == nested["type"] == "function"
    assert {k: v for k, v in flat.items() if k != "type"} == nested["function"]
    assert flat["strict"] is nested["function"]["strict"] is True
    assert msgspec.json.decode(tool.encoded) == flat
    flat["parameters"].clear()
    assert tool.for_responses()["parameters"]


def test_a_required_parameter_stays_required_and_a_default_survives() -> None:
    for tool in (FunctionTool.of(google), plain := FunctionTool.of(google, strict=False)):
        assert tool.arguments('{"city": "Oslo", "unit": null, "days": null}') == {"city": "Oslo"}
        assert tool.arguments('{"city": "Oslo", "unit": "F"}') == {"city": "Oslo", "unit": Unit.F}
        with pytest.raises(ToolArgumentsError, match="city: Input should be a valid string"):
            tool.arguments('{"city": null, "unit": null, "days": null}')
    assert properties(plain)["days"]["default"] == 3
    assert plain.parameters["required"] == ["city"]


def test_a_default_that_json_cant_say_is_the_functions_own() -> None:
    nothing: Any = object()

    def find(a: int = nothing, b: list[int] = nothing) -> tuple[Any, Any]:
        return a, b

    tool = FunctionTool.of(find)
    assert tool.strict
    assert find(**tool.arguments('{"a": null, "b": [1]}')) == (nothing, [1])
    assert find(**tool.arguments("")) == (nothing, nothing)


def test_a_fields_default_is_filled_in_for_the_function_would_not_know_it() -> None:
    def find(
        a: int = Field(3, ge=1, description="First"),
        b: Annotated[list[int], Field(default_factory=lambda: [1])] = ...,
    ) -> None: ...

    tool = FunctionTool.of(find)
    assert properties(tool)["a"] == {
        "type": ["integer", "null"],
        "minimum": 1,
        "description": "First. Default: 3.",
    }
    assert tool.arguments('{"a": null, "b": [2]}') == {"a": 3, "b": [2]}


def test_null_that_the_type_admits_is_null() -> None:
    def find(a: int | None = None, b: int | None = 5) -> None: ...

    tool = FunctionTool.of(find)
    assert not tool.strict
    assert tool.why_not_strict == "parameters.b accepts null, so null can't mean its default"
    assert tool.arguments('{"a": null, "b": null}') == {"a": None, "b": None}
    assert tool.arguments("{}") == {}


def test_text_in_annotated_describes_and_a_field_wins_over_the_docstring() -> None:
    def find(a: Annotated[int, "First"], b: Annotated[int, Field(description="Second")]) -> None:
        """Find.

        Args:
            a: One.
            b: Two.
        """

    made = properties(FunctionTool.of(find))
    assert (made["a"]["description"], made["b"]["description"]) == ("First", "Second")


def test_names_that_pydantic_would_not_have() -> None:
    def find(schema: int, _x: int, model_config: int, json: int = 1) -> None: ...

    tool = FunctionTool.of(find)
    given = {"schema": 1, "_x": 2, "model_config": 3, "json": 4}
    assert tool.arguments(json.dumps(given)) == given
    assert list(properties(tool)) == list(given)


class _Desk:
    def book(self, nights: int) -> int:
        """Book."""
        return nights

    def __call__(self, nights: int) -> int:
        return nights


@pytest.mark.parametrize(
    ("function", "name"),
    [
        (_Desk().book, "book"),
        (_Desk(), "_Desk"),
        (functools.partial(google, days=3), "google"),
    ],
    ids=["method", "object", "partial"],
)
def test_other_callables(function: Callable[..., Any], name: str) -> None:
    tool = FunctionTool.of(function, name=None if name != "google" else name)
    assert tool.name == name
    assert "self" not in properties(tool)
    assert properties(tool)


def test_what_the_framework_passes_is_not_a_parameter() -> None:
    def find(context, a: int, *more: int, **rest: int) -> None: ...  # type: ignore[no-untyped-def]

    tool = FunctionTool.of(find, without={"context"})
    assert list(properties(tool)) == ["a"]
    assert tool.arguments('{"a": 1}') == {"a": 1}


class _Unknown: ...


def _untyped(a) -> None: ...  # type: ignore[no-untyped-def]


def _positional(a: int, /) -> None: ...


def _callback(a: int, b: Callable[[int], int]) -> None: ...


def _arbitrary(a: int, b: _Unknown) -> None: ...


def _unreadable(a: NoSuchName) -> None: ...  # type: ignore[name-defined]  # noqa: F821


@pytest.mark.parametrize(
    ("function", "told"),
    [
        (_untyped, "the parameter 'a' has no type annotation; add one"),
        (_positional, "the parameter 'a' is positional-only"),
        (_callback, "the parameter 'b'"),
        (_arbitrary, "the parameter 'b'"),
        (_unreadable, "NoSuchName"),
        (Unit, "of_model"),
    ],
)
def test_what_cant_be_a_tool_is_refused_by_name(function: Any, told: str) -> None:
    with pytest.raises(ToolSchemaError, match=told) as caught:
        FunctionTool.of(function)
    assert caught.value.tool == function.__name__


@pytest.mark.parametrize("name", ["", "a b", "ä", "x" * 65])
def test_a_name_that_the_service_refuses_is_refused_here(name: str) -> None:
    with pytest.raises(ToolSchemaError, match="1 to 64"):
        FunctionTool.of_schema(name, None)


# -- from types -----------------------------------------------------------------------------------


class Node(BaseModel):
    """A node of a tree.

    Attributes:
        label: What it says.
    """

    label: str
    kids: list[Node] = []
    parent: Annotated[Node | None, Field(description="Above it.")] = None


@dataclass
class Stay:
    """A stay.

    Args:
        nights: How long.
    """

    nights: int
    since: dt.date = dt.date(2026, 1, 1)


class Wish(TypedDict):
    what: str
    why: NotRequired[str]


def test_a_recursive_model_is_strict_and_comes_back_whole() -> None:
    tool = FunctionTool.of_model(Node)
    assert (tool.name, tool.description, tool.strict) == ("Node", "A node of a tree.", True)
    assert properties(tool)["label"] == {"type": "string", "description": "What it says."}
    said = {"label": "a", "parent": None, "kids": [{"label": "b", "kids": None, "parent": None}]}
    assert tool.arguments(json.dumps(said)) == Node(label="a", kids=[Node(label="b")])


def test_dataclasses_and_typed_dicts() -> None:
    stay, wish = FunctionTool.of_model(Stay), FunctionTool.of_model(Wish)
    assert stay.description == "A stay."
    assert properties(stay)["nights"]["description"] == "How long."
    assert stay.arguments('{"nights": 2, "since": null}') == Stay(2)
    assert stay.arguments('{"nights": 2, "since": "2026-02-03"}') == Stay(2, dt.date(2026, 2, 3))
    assert wish.strict
    assert wish.arguments('{"what": "tea", "why": null}') == {"what": "tea"}


def test_a_docstring_that_was_generated_is_not_sent() -> None:
    class Bare(BaseModel):
        a: int

    @dataclass
    class Plain:
        a: int

    made = [FunctionTool.of_model(model).for_responses() for model in (Bare, Plain)]
    assert all("description" not in tool for tool in made)


def test_a_type_that_is_not_an_object_is_refused() -> None:
    with pytest.raises(ToolSchemaError, match="object"):
        FunctionTool.of_model(int)


def test_types_of_every_day_are_converted() -> None:
    def find(
        day: dt.date,
        at: dt.datetime,
        takes: dt.timedelta,
        ident: UUID,
        price: decimal.Decimal,
        tags: set[str],
        either: Literal["a", 1],
    ) -> None: ...

    tool = FunctionTool.of(find)
    assert tool.strict
    said = {
        "day": "2026-01-02",
        "at": "2026-01-02T03:04:05Z",
        "takes": "PT90S",
        "ident": "6f1ed002-ab55-4d5c-a2a1-1e7b6f0c7b6e",
        "price": "1.50",
        "tags": ["x", "x"],
        "either": 1,
    }
    assert tool.arguments(json.dumps(said)) == {
        "day": dt.date(2026, 1, 2),
        "at": dt.datetime(2026, 1, 2, 3, 4, 5, tzinfo=dt.UTC),
        "takes": dt.timedelta(seconds=90),
        "ident": UUID("6f1ed002-ab55-4d5c-a2a1-1e7b6f0c7b6e"),
        "price": decimal.Decimal("1.50"),
        "tags": {"x"},
        "either": 1,
    }


def test_a_null_inside_a_union_is_taken_out_of_the_branch_it_belongs_to() -> None:
    class A(BaseModel):
        x: int = 1
        y: str

    class B(BaseModel):
        x: int | None
        y: int

    def find(one: A | B, many: list[A | B] = []) -> None: ...  # noqa: B006

    find.__annotations__ = {"one": A | B, "many": list[A | B]}
    tool = FunctionTool.of(find)
    assert tool.strict
    assert tool.arguments('{"one": {"x": null, "y": "s"}, "many": [{"x": null, "y": 2}]}') == {
        "one": A(y="s"),
        "many": [B(x=None, y=2)],
    }


# -- strict, or not -------------------------------------------------------------------------------


def test_what_strict_cant_say_is_in_the_description_and_checked() -> None:
    def find(
        code: Annotated[str, Field(min_length=2, max_length=3, description="A code")],
    ) -> None: ...

    tool = FunctionTool.of(find)
    assert properties(tool)["code"] == {
        "type": "string",
        "description": "A code. At least 2 characters. At most 3 characters.",
    }
    with pytest.raises(ToolArgumentsError, match="code: String should have at least 2"):
        tool.arguments('{"code": "x"}')


@pytest.mark.parametrize(
    ("hint", "told"),
    [
        (dict[str, int], "parameters.a allows additional properties"),
        (Any, "parameters.a has no type"),
        (tuple[int, str], "parameters.a uses 'prefixItems'"),
        (list[Any], "parameters.a[] has no type"),
    ],
)
def test_what_cant_be_strict_says_why_once(
    hint: Any, told: str, caplog: pytest.LogCaptureFixture
) -> None:
    def find(a: int) -> None: ...

    find.__annotations__ = {"a": hint}
    with caplog.at_level(logging.INFO, "rtllm"):
        tool = FunctionTool.of(find)
        tool.for_responses()
        tool.for_chat()
    assert (tool.strict, tool.why_not_strict) == (False, told)
    assert [r.getMessage() for r in caplog.records] == [f"the tool 'find' isn't strict: {told}"]
    assert tool.for_responses()["strict"] is False
    with pytest.raises(ToolSchemaError, match="can't be strict"):
        FunctionTool.of(find, strict=True)


@pytest.mark.parametrize(
    ("schema", "told"),
    [
        ({"type": "array", "items": {"type": "string"}}, "expected 'object'"),
        ({"type": "object", "properties": []}, "must be an object"),
        ({"type": "object", "properties": {"a": {"const": object()}}}, "not JSON"),
    ],
)
def test_a_raw_schema_that_is_none_is_refused(schema: dict[str, Any], told: str) -> None:
    with pytest.raises(ToolSchemaError, match=told):
        FunctionTool.of_schema("raw", schema)


@pytest.mark.parametrize(
    ("node", "strict"),
    [
        ({"oneOf": [{"type": "string"}, {"type": "null"}]}, True),
        ({"oneOf": [{"type": "number"}, {"type": "integer"}]}, False),
        ({"allOf": [{"type": "string"}], "description": "x"}, True),
        ({"allOf": [{"type": "string"}, {"maxLength": 2}]}, False),
        ({"type": "string", "format": "uri"}, True),
        ({"type": "string", "pattern": "^(?!x)"}, True),
        ({"$ref": "#/properties/b"}, False),
        ({"$ref": "#/$defs/x"}, False),
        ({"$ref": "#"}, True),
        ({"properties": {"x": {"type": "string"}}}, False),
        ({"type": "object"}, False),
        ({"type": "string", "not": {"const": "x"}}, False),
        ({"enum": [str(n) for n in range(1001)]}, False),
        ({"enum": [str(n) * 50 for n in range(300)]}, False),
    ],
)
def test_raw_schemas_are_repaired_or_not_strict(node: dict[str, Any], strict: bool) -> None:
    schema = {
        "type": "object",
        "properties": {"a": node, "b": {"type": "string"}},
        "required": ["a", "b"],
    }
    tool = FunctionTool.of_schema("raw", schema)
    assert tool.strict is strict, tool.why_not_strict
    assert (why_not_strict(tool.parameters) is None) is strict


def test_depth_is_a_limit_of_strict_schemas() -> None:
    def nested(deep: int) -> dict[str, Any]:
        inner = nested(deep - 1) if deep else {"type": "string"}
        return {"type": "object", "properties": {"a": inner}, "required": ["a"]}

    assert FunctionTool.of_schema("raw", nested(9)).strict
    assert "deeper" in (FunctionTool.of_schema("raw", nested(11)).why_not_strict or "")


def test_a_receiver_that_takes_no_null_for_what_is_left_out() -> None:
    schema = {
        "type": "object",
        "properties": {"a": {"type": "string"}, "b": {"type": "integer", "default": 1}},
        "required": ["a"],
    }
    assert FunctionTool.of_schema("raw", schema).strict
    assert FunctionTool.of_schema("raw", schema, nulls="default").strict
    never = FunctionTool.of_schema("raw", schema, nulls="never")
    assert (never.strict, never.parameters) == (False, schema)
    tool = FunctionTool.of_schema("raw", schema)
    assert tool.as_given('{"a": "x", "b": null}') == {"a": "x"}


# -- what comes back ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "they are not JSON"),
        ('{"x":' + "[" * 2000, "they are "),
        ('{"x":' + "[" * 200 + "]" * 200 + "}", "nested too deeply"),
        ('{"x":' + "[" * 2000 + "]" * 2000 + "}", "nested too deeply"),
        ("[]", "they are JSON, but not an object"),
        ("{}", r'city: it is missing and required; expected {"description":"Where."'),
        ('{"city": "x", "town": 1}', "town: it is not an argument of this tool; its arguments are"),
        ('{"city": "x", "days": 12}', "days: Input should be less than or equal to 9"),
        ('{"city": "x", "unit": "K"}', "unit: Input should be 'C' or 'F'"),
    ],
)
def test_the_model_learns_what_was_wrong_and_what_to_do(text: str, message: str) -> None:
    with pytest.raises(ToolArgumentsError) as caught:
        FunctionTool.of(google).arguments(text)
    assert message in str(caught.value)
    assert "Nothing was run; correct them and call 'google' again" in str(caught.value)


def test_no_value_of_the_callers_is_in_the_error() -> None:
    with pytest.raises(ToolArgumentsError) as caught:
        FunctionTool.of(google).arguments('{"city": "x", "days": "the 4th of May"}')
    assert "May" not in str(caught.value)


def test_places_inside_are_named() -> None:
    with pytest.raises(ToolArgumentsError) as caught:
        FunctionTool.of_model(Node).arguments('{"label": "a", "kids": [{"label": 3}]}')
    assert caught.value.problems == (("kids[0].label", "Input should be a valid string"),)


def test_a_raw_tools_arguments_are_checked_at_the_top() -> None:
    schema = {
        "type": "object",
        "properties": {"a": {"type": "string"}},
        "required": ["a"],
        "additionalProperties": False,
    }
    tool = FunctionTool.of_schema("raw", schema)
    assert tool.arguments('{"a": "x"}') == {"a": "x"}
    with pytest.raises(ToolArgumentsError, match=r"a: it is missing.*b: it is not an argument"):
        tool.arguments('{"b": 1}')


# -- the same bytes -------------------------------------------------------------------------------

_MAKE = """
import enum
from typing import Literal
from rtllm import FunctionTool

def find(a: set[str] = {"x", "y", "z", "long", "words"}, b: Literal["q", "r"] = "r",
         c: frozenset[int] = frozenset({9, 100, 3})) -> None:
    "Find."

print(bytes(FunctionTool.of(find).encoded).decode())
print(bytes(FunctionTool.of(find, strict=False).encoded).decode())
"""


def test_the_bytes_are_the_same_in_every_process() -> None:
    said = {
        subprocess.run(
            [sys.executable, "-c", _MAKE],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            check=True,
            text=True,
        ).stdout
        for seed in ("1", "2", "3")
    }
    assert len(said) == 1
    assert '["long","words","x","y","z"]' in said.pop()


class Fussy(BaseModel):
    """A model whose own check breaks."""

    city: str

    @field_validator("city")
    @classmethod
    def _known(cls, city: str) -> str:
        return {"Ulm": "Ulm"}[city]


def test_a_check_of_the_users_that_breaks_is_reported_to_the_model() -> None:
    tool = FunctionTool.of_model(Fussy)
    assert tool.arguments('{"city":"Ulm"}') == Fussy(city="Ulm")
    with pytest.raises(ToolArgumentsError, match="KeyError"):
        tool.arguments('{"city":"Atlantis"}')


# -- names ----------------------------------------------------------------------------------------


def test_a_legal_name_stays_and_others_become_legal_and_stay_apart() -> None:
    assert legal_tool_name("look_up-2") == "look_up-2"
    given = ["calendar.look", "calendar/look", "", "ä", "x" * 65, "y" * 200, "\ud83d"]
    made = [legal_tool_name(name) for name in given]
    assert len(set(made)) == len(given)
    for name in made:
        FunctionTool.of_schema(name, None)
    assert made[0].startswith("calendar_look_")
    assert tool_choice_of({"type": "function", "function": {"name": "calendar.look"}}) == {
        "type": "function",
        "name": made[0],
    }
