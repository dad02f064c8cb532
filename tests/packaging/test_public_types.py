"""The public names have no type of a dependency, so a dependency can be replaced."""

from __future__ import annotations

import ast
import inspect
import sys
import typing
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from types import ModuleType
from typing import Any

import pytest

MODULES = (
    "rtllm",
    "rtllm.adapters",
    "rtllm.doctor",
    "rtllm.simulator",
    "rtllm.testing",
    "rtllm.trace",
)
"""The modules for adapters, tools and tests; others are made for a framework, or for pydantic."""

OURS = {"rtllm", *sys.stdlib_module_names}


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


def packages_in(annotation: object, module: str) -> Iterator[str]:
    """Yield the packages of the types in an annotation, which may be text."""
    if isinstance(annotation, typing.ForwardRef):
        annotation = annotation.__forward_arg__
    if isinstance(annotation, str):
        imported = imports_of(sys.modules[module])
        for node in ast.walk(ast.parse(annotation)):
            if isinstance(node, ast.Name):
                yield imported.get(node.id, "rtllm")
        return
    yield str(getattr(annotation, "__module__", "builtins")).partition(".")[0]
    if typing.get_origin(annotation) is typing.Literal:
        return
    for inner in typing.get_args(annotation):
        for one in inner if isinstance(inner, list) else (inner,):
            yield from packages_in(one, module)


@cache
def imports_of(module: ModuleType) -> dict[str, str]:
    """Return the packages of the names that a module imports, also those for its types only."""
    found: dict[str, str] = {}
    for node in ast.walk(ast.parse(inspect.getsource(module))):
        if isinstance(node, ast.Import | ast.ImportFrom):
            for alias in node.names:
                path = alias.name if isinstance(node, ast.Import) else str(node.module)
                found[alias.asname or alias.name.partition(".")[0]] = path.partition(".")[0]
    return found


def packages_of(value: Any) -> set[str]:
    """Return the packages of a public name's types, and of its base classes."""
    module = getattr(value, "__module__", "rtllm")
    found = {one for a in annotations_of(value) for one in packages_in(a, module)}
    if inspect.isclass(value):
        found |= {kind.__module__.partition(".")[0] for kind in value.__mro__}
    return found


@pytest.mark.parametrize("name", MODULES)
def test_no_public_name_has_a_type_of_a_dependency(name: str) -> None:
    module = import_module(name)
    found = {public: packages_of(getattr(module, public)) - OURS for public in module.__all__}
    assert {public: packages for public, packages in found.items() if packages} == {}


class OfADependency(pytest.Item):
    def runtest(self) -> None: ...


def with_a_type(config: pytest.Config) -> None: ...


@pytest.mark.parametrize("value", [OfADependency, with_a_type, pytest.Config, list[pytest.Config]])
def test_the_types_of_dependencies_are_found(value: object) -> None:
    assert packages_of(value) & {"_pytest", "pytest"}
