"""docs/tools.md agrees with what each builder makes of each case."""

from __future__ import annotations

import datetime as dt
import decimal
import enum
import inspect
import typing
import uuid
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import openai
from livekit.agents import function_tool, llm
from pydantic import BaseModel, Field, create_model
from pydantic.fields import FieldInfo
from typing_extensions import TypedDict
from videosdk.agents import build_openai_schema
from videosdk.agents import function_tool as videosdk_tool

from rtllm import FunctionTool
from rtllm.simulator.refusal import RequestError
from rtllm.simulator.tools import check_tools

PAGE = Path(__file__).parents[2] / "docs" / "tools.md"

Schema = Mapping[str, Any]
Function = Callable[..., Any]


class Unit(enum.Enum):
    C = "C"
    F = "F"


class Place(BaseModel):
    city: str
    country: str = "France"


class Node(BaseModel):
    label: str
    kids: list[Node] = []


class Chain(BaseModel):
    label: str
    rest: Annotated[Chain | None, Field(description="What follows.")] = None


class Cat(BaseModel):
    kind: Literal["cat"]
    lives: int


class Dog(BaseModel):
    kind: Literal["dog"]
    name: str


@dataclass
class Point:
    x: int
    y: int


class Wish(TypedDict, total=False):
    what: str


# -- the cases ------------------------------------------------------------------------------------


async def plain(a: str, b: int, c: bool, d: float) -> None: ...
async def default(a: int = 3) -> None: ...
async def default_text(a: Annotated[str, Field(description="Where.")] = "here") -> None: ...
async def optional(a: int | None = None) -> None: ...
async def nullable_default(a: int | None = 5) -> None: ...
async def enumerated(a: Unit, b: Literal["x", 1]) -> None: ...
async def enum_default(a: Unit = Unit.C) -> None: ...
async def model_default(a: Place = Place(city="Lyon")) -> None: ...  # noqa: B008
async def field_default(a: int = Field(3, ge=1)) -> None: ...
async def odd_default(a: int = object()) -> None: ...  # type: ignore[assignment]
async def dates(a: dt.date, b: dt.datetime, c: uuid.UUID) -> None: ...
async def money(a: decimal.Decimal) -> None: ...
async def bounds(a: Annotated[int, Field(ge=1, le=9)]) -> None: ...
async def lengths(a: Annotated[str, Field(min_length=2)]) -> None: ...
async def sets(a: set[str]) -> None: ...
async def maps(a: dict[str, int]) -> None: ...
async def anything(a: Any) -> None: ...
async def pairs(a: tuple[int, str]) -> None: ...
async def nested(a: Place, b: list[Place]) -> None: ...
async def described(a: Annotated[Place, Field(description="Where.")]) -> None: ...
async def recursive(a: Node) -> None: ...
async def described_recursive(a: Chain) -> None: ...
async def unions(a: Place | int) -> None: ...
async def tagged(a: Annotated[Cat | Dog, Field(discriminator="kind")]) -> None: ...
async def classes(a: Point) -> None: ...
async def dicts(a: Wish) -> None: ...
async def names(schema: int, model_config: int) -> None: ...
async def hidden(_a: int) -> None: ...
async def untyped(a) -> None: ...  # type: ignore[no-untyped-def]


CASES: Mapping[str, Function] = {
    "`str`, `int`, `bool`, `float`": plain,
    "`int = 3`": default,
    "text with a description and a default": default_text,
    "`int | None = None`": optional,
    "`int | None = 5`": nullable_default,
    "enum, `Literal`": enumerated,
    "enum with a default": enum_default,
    "model with a default": model_default,
    "`int = Field(3, ge=1)`": field_default,
    "a default that is not JSON": odd_default,
    "`date`, `datetime`, `UUID`": dates,
    "`Decimal`": money,
    "`Field(ge=1, le=9)`": bounds,
    "`Field(min_length=2)`": lengths,
    "`set[str]`": sets,
    "`dict[str, int]`": maps,
    "`Any`": anything,
    "`tuple[int, str]`": pairs,
    "nested models, one field with a default": nested,
    "a model with a description": described,
    "a recursive model": recursive,
    "a recursive model with a description inside": described_recursive,
    "`Model | int`": unions,
    "a discriminated union": tagged,
    "a dataclass": classes,
    "a `TypedDict` with optional keys": dicts,
    "parameters named `schema`, `model_config`": names,
    "a parameter named `_a`": hidden,
    "a parameter without a type": untyped,
}


# -- the builders ---------------------------------------------------------------------------------


def _rtllm(function: Function) -> Schema:
    return FunctionTool.of(function).for_responses()


def _openai(function: Function) -> Schema:
    """The SDK takes models only: one with the function's parameters as fields."""
    hints = typing.get_type_hints(function, include_extras=True)
    fields: dict[str, Any] = {
        name: (hints[name], ... if one.default is inspect.Parameter.empty else one.default)
        for name, one in inspect.signature(function).parameters.items()
    }
    return openai.pydantic_function_tool(create_model(function.__name__, **fields))["function"]


def _livekit(function: Function) -> Schema:
    tool = function_tool(function)
    return llm.utils.build_legacy_openai_schema(tool, internally_tagged=True)


def _livekit_strict(function: Function) -> Schema:
    made: Schema = llm.utils.build_strict_openai_schema(function_tool(function))["function"]
    return made


def _videosdk(function: Function) -> Schema:
    made: Schema = build_openai_schema(videosdk_tool(function))
    return made


BUILDERS = (_rtllm, _openai, _livekit, _livekit_strict, _videosdk)


def cell(build: Callable[[Function], Schema], function: Function) -> str:
    """What a builder makes of a function, in the table's words."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            made = build(function)
    except Exception:  # noqa: BLE001 - whatever the builders raise
        return "error"
    try:
        check_tools([{"type": "function", **made}])
    except RequestError:
        return "rejected"
    form = {True: "strict", False: "open", None: "unset"}[made.get("strict")]
    lost = [name for name in inspect.signature(function).parameters if _lost(name, function, made)]
    return f"{form}, default lost" if lost else form


def _lost(name: str, function: Function, made: Schema) -> bool:
    """Whether a parameter is missing, or has a default that no call can ask for."""
    node = made["parameters"].get("properties", {}).get(name)
    default = inspect.signature(function).parameters[name].default
    if node is None:
        return True
    if default is inspect.Parameter.empty or name not in made["parameters"].get("required", ()):
        return False
    admits_null = "null" in str(node.get("type")) or {"type": "null"} in node.get("anyOf", ())
    meant = default.default if isinstance(default, FieldInfo) else default
    by_itself = "None" in str(typing.get_type_hints(function)[name])
    return not admits_null or (by_itself and meant is not None)


def row_of(case: str) -> str:
    cells = (cell(build, CASES[case]) for build in BUILDERS)
    return f"| {case} | {' | '.join(cells)} |".replace("int | None", "int \\| None").replace(
        "Model | int", "Model \\| int"
    )


def test_the_table_agrees_with_the_builders() -> None:
    page = PAGE.read_text()
    missing = [row for case in CASES if (row := row_of(case)) not in page]
    assert not missing, "\n".join(missing)
    table = page.split("## Comparison by case")[1].split("\n\n")
    rows = [line for line in "\n".join(table).splitlines() if line.startswith("| ")]
    assert len(rows) == len(CASES) + 1  # and the head


def test_ours_is_never_rejected_and_loses_no_default() -> None:
    words = {case: cell(_rtllm, function) for case, function in CASES.items()}
    assert set(words.values()) <= {"strict", "open", "error"}
    assert [case for case, word in words.items() if word == "error"] == [
        "a parameter without a type"
    ]


def test_the_example_runs() -> None:
    code = PAGE.read_text().split("```python\n")[1].split("```")[0]
    names: dict[str, Any] = {"__name__": "example"}
    exec(compile(code, str(PAGE), "exec"), names)  # noqa: S102 - our own page
    assert "nights: Input should be less than or equal to 30" in names["output"]
    assert names["tool"].strict
