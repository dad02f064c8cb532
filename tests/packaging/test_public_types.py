"""The public signatures name no type of a dependency, so a dependency can be replaced."""

from __future__ import annotations

import inspect
import re
import typing
from collections.abc import Iterator
from typing import Any

import pytest

import rtllm
import rtllm.adapters
import rtllm.testing

DEPENDENCIES = {
    "aiohttp",
    "httpx",
    "livekit",
    "msgspec",
    "openai",
    "pydantic",
    "pydantic_core",
    "typer",
    "videosdk",
    "websockets",
}


def annotations_of(value: Any) -> Iterator[object]:
    """Yield the annotations of a function, or of a class's fields, methods and properties."""
    if inspect.isclass(value):
        for kind in value.__mro__:
            if kind.__module__.startswith("rtllm"):
                yield from inspect.get_annotations(kind).values()
                for name, member in vars(kind).items():
                    if not name.startswith("_") or name == "__init__":
                        yield from annotations_of(member)
    elif isinstance(value, property):
        yield from annotations_of(value.fget)
    elif isinstance(value, classmethod | staticmethod):
        yield from annotations_of(value.__func__)
    elif inspect.isfunction(value):
        yield from inspect.get_annotations(value).values()
    elif typing.get_args(value):
        yield value


def packages_in(annotation: object) -> Iterator[str]:
    """Yield the packages of the types in an annotation."""
    if isinstance(annotation, str | typing.ForwardRef):
        yield from re.findall(r"(\w+)\.", str(annotation))
        return
    yield str(getattr(annotation, "__module__", "")).partition(".")[0]
    for inner in typing.get_args(annotation):
        for one in inner if isinstance(inner, list) else (inner,):
            yield from packages_in(one)


@pytest.mark.parametrize("module", [rtllm, rtllm.adapters, rtllm.testing], ids=lambda m: m.__name__)
def test_no_public_signature_names_a_type_of_a_dependency(module: Any) -> None:
    found = {
        (name, package)
        for name in module.__all__
        for annotation in annotations_of(getattr(module, name))
        for package in packages_in(annotation)
        if package in DEPENDENCIES
    }
    assert found == set()


def test_the_types_of_dependencies_are_found() -> None:
    class Bad:
        client: openai.AsyncOpenAI  # type: ignore[name-defined] # noqa: F821

    Bad.__module__ = "rtllm.bad"
    assert [p for a in annotations_of(Bad) for p in packages_in(a)] == ["openai"]
