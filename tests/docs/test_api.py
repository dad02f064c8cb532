"""docs/api.md lists every public name, with the first sentence of its docstring."""

from __future__ import annotations

import ast
import inspect
import sys
from collections.abc import Iterator
from importlib import import_module
from itertools import pairwise
from pathlib import Path
from types import ModuleType

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "api.md"
MODULES = (
    "rtllm_livekit",
    "rtllm_livekit.testing",
    "rtllm_videosdk",
    "rtllm.simulator",
    "rtllm.doctor",
    "rtllm",
    "rtllm.trace",
    "rtllm.adapters",
    "rtllm.testing",
    "rtllm.usage",
    "rtllm.otel",
)


def documented_values(module: ModuleType) -> Iterator[tuple[str, str]]:
    """Yield a module's constants and type aliases with the docstrings below them."""
    body = ast.parse(inspect.getsource(module)).body
    for node, below in pairwise(body):
        match node, below:
            case (
                ast.Assign(targets=[ast.Name(id=name)]) | ast.AnnAssign(target=ast.Name(id=name)),
                ast.Expr(value=ast.Constant(value=str(text))),
            ):
                yield name, text
            case _:
                pass


def docstring_of(name: str, value: object) -> str | None:
    """Return the docstring of a class, a function, a constant or a type alias."""
    if inspect.isclass(value) or inspect.isfunction(inspect.unwrap(value)):  # type: ignore[arg-type]
        return value.__doc__
    for key, module in sorted(sys.modules.items()):
        if key.partition(".")[0].startswith("rtllm") and vars(module).get(name) is value:
            found = dict(documented_values(module)).get(name)
            if found is not None:
                return found
    return None


def first_sentence(text: str) -> str:
    """Return the first line of a docstring, joined if it is broken."""
    return " ".join(text.strip().split("\n\n")[0].split()).partition(". ")[0].rstrip(".")


def rows_of(name: str) -> list[str]:
    module = import_module(name)
    rows = []
    for public in sorted(set(module.__all__) - {"__version__"}, key=lambda n: (n.lower(), n)):
        text = docstring_of(public, getattr(module, public))
        sentence = first_sentence(text or "").replace("|", "\\|")
        rows.append(f"| `{public}` | {sentence} |")
    return rows


def rows_in_page(name: str) -> list[str]:
    sections = PAGE.read_text().split("\n## ")
    section = next(text for text in sections if text.startswith(f"`{name}`"))
    return [line for line in section.splitlines() if line.startswith("| `")]


@pytest.mark.parametrize("name", MODULES)
def test_each_public_name_is_in_the_page(name: str) -> None:
    assert rows_in_page(name) == rows_of(name)


@pytest.mark.parametrize("name", MODULES)
def test_each_public_name_has_a_docstring(name: str) -> None:
    assert [row for row in rows_of(name) if row.endswith("|  |")] == []
