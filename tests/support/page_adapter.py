"""The framework and the adapter of docs/adapters.md, as a module."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

PAGE = Path(__file__).parents[2] / "docs" / "adapters.md"

_BLOCK = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)


def blocks() -> list[str]:
    """The page's code: first the framework and its adapter, last the adapter under test."""
    return _BLOCK.findall(PAGE.read_text())


@cache
def adapter_of_the_page() -> Any:
    """Execute the framework and the adapter; returns their names."""
    names: dict[str, Any] = {"__name__": "page"}
    exec("\n".join(blocks()[:2]), names)  # noqa: S102 - the page's own code
    return SimpleNamespace(**names)


def under_test(kind: Any) -> Any:
    """The page's adapter under test, with another class of its model."""
    names = {**vars(adapter_of_the_page()), "RtllmModel": kind}
    exec(blocks()[-1].partition("\nawait ")[0], names)  # noqa: S102
    return names["ModelUnderTest"]
