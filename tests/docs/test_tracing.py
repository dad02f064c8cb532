"""docs/tracing.md and docs/debugging.md have each event, part and reason."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

import pytest

from rtllm.context.outline import FullContextReason
from rtllm.trace import EVENTS
from rtllm.trace_view.words import REASONS

DOCS = Path(__file__).parents[2] / "docs"


def rows_of(page: str) -> dict[str, str]:
    """The rows of a page's tables, by their first cell."""
    rows = re.findall(r"^\| `?([^|`]+?)`? \|(.*)\|$", (DOCS / page).read_text(), re.MULTILINE)
    return dict(rows)


@pytest.mark.parametrize("kind", EVENTS)
def test_each_event_is_a_row(kind: str) -> None:
    assert f"`{EVENTS[kind].__name__}`" in rows_of("tracing.md")[kind]


def test_each_reason_for_a_full_context_is_a_row() -> None:
    assert set(REASONS) == set(get_args(FullContextReason))
    assert set(REASONS) <= set(rows_of("debugging.md"))
