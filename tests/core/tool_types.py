"""Types with their values, functions that take them, and what a schema admits."""

from __future__ import annotations

import dataclasses
import datetime as dt
import enum
import inspect
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Optional, Union

from hypothesis import strategies as st
from pydantic import BaseModel, Field, create_model
from typing_extensions import TypedDict

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
        st.tuples(inner, inner).flatmap(
            lambda two: st.builds(model, st.just(two[0]), st.just(two[1]), two[1].values)
        ),
    )


def _open(inner: st.SearchStrategy[Typed]) -> st.SearchStrategy[Typed]:
    """Types that no strict schema can say."""
    return st.one_of(
        inner.map(
            lambda t: Typed(dict[str, t.hint], st.dictionaries(_TEXT, t.values, max_size=2))  # type: ignore[name-defined]
        ),
        st.tuples(inner, inner).map(
            lambda two: Typed(
                tuple.__class_getitem__((two[0].hint, two[1].hint)),
                st.tuples(two[0].values, two[1].values),
            )
        ),
    )


_ONE = st.sampled_from(_LEAVES)
_CLOSED = st.recursive(_ONE, _extended, max_leaves=3)
_ANY = st.recursive(_ONE, lambda inner: _extended(inner) | _open(inner), max_leaves=3)
# Most types can be strict, else little would be tried of what is done for that.
TYPES = st.one_of(_ONE, _ONE, _CLOSED, _CLOSED, _ANY)


def function_of(
    typed: Mapping[str, Typed], defaults: Mapping[str, Any]
) -> Callable[..., dict[str, Any]]:
    """A function with parameters of these types, which gives back what it got."""

    def tool(**given: Any) -> dict[str, Any]:
        return given

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
    return tool


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
