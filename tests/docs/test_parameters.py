"""docs/parameters.md agrees with the table in the code."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from rtllm.parameters import FAMILIES, TABLE, Family, Row

PAGE = Path(__file__).parents[2] / "docs" / "parameters.md"
_NONE = "–"  # noqa: RUF001 - as in the other pages


def _code(name: str | None) -> str:
    return _NONE if name is None else f"`{name}`"


def _listed(words: Iterable[str]) -> str:
    return " ".join(words) or _NONE


def _values(row: Row) -> str:
    here, there = row.values.expected("responses"), row.values.expected("chat")
    if here == there or row.chat is None:
        return here
    return there if row.responses is None else f"{here}; Chat: {there}"


def _untaken(row: Row) -> str:
    if row.name == "reasoning_effort":
        return "replaced"
    everywhere = row.takes is None and row.responses is not None and row.chat is not None
    return _NONE if everywhere else row.untaken.replace("left out", "dropped")


def row_of(row: Row) -> str:
    names = ", ".join(map(_code, (row.name, *row.also)))
    refused = {"left out": "dropped", "stepped": "replaced", "error": "the turn's error"}
    cells = (
        names,
        _code(row.responses),
        _code(row.chat),
        _values(row),
        row.refusers or _NONE,
        _untaken(row),
        refused[row.refused],
    )
    return f"| {' | '.join(cells)} |"


def family_row_of(family: Family) -> str:
    cells = (
        family.name,
        _listed(family.efforts),
        family.default_effort or _NONE,
        family.sampling,
        _listed(family.verbosity),
        "yes" if family.cache_options else "no",
        _listed(family.cache_retention),
        family.chat_tools,
    )
    return f"| {' | '.join(cells)} |"


def _tables() -> list[list[str]]:
    """The rows of each table of the page, without its head."""
    tables: list[list[str]] = []
    before = ""
    for line in PAGE.read_text().splitlines():
        if line.startswith("|---"):
            tables.append([])
        elif line.startswith("|") and before.startswith("|") and tables:
            tables[-1].append(line)
        before = line
    return [[row for row in table if not row.startswith("| parameter |")] for table in tables]


def test_each_parameter_is_in_the_page() -> None:
    assert _tables()[0] == [row_of(row) for row in TABLE]


def test_each_family_is_in_the_page() -> None:
    assert _tables()[1] == [family_row_of(family) for family in FAMILIES]
