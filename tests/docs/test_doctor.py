"""docs/doctor.md agrees with the code, and its report with a run."""

from __future__ import annotations

import re
from pathlib import Path

from typer.main import get_command

from doctor.runs import examine
from rtllm.cli.main import app
from rtllm.doctor import QUESTIONS, to_markdown
from support.virtual_time import pytest_asyncio_loop_factories

__all__ = ["pytest_asyncio_loop_factories"]

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "doctor.md").read_text()
OPEN_QUESTIONS = (DOCS / "protocol.md").read_text().split("## Open questions")[1]


def rows_after(head: str) -> list[str]:
    return PAGE.split(head)[1].split("\n\n")[0].splitlines()[2:]


def test_each_question_is_in_the_page() -> None:
    expected = []
    for question in QUESTIONS.values():
        names = [f"`{name}`" for name in question.keyword.split(", ") if name]
        cells = (
            f"`{question.name}`",
            question.text,
            question.assumed,
            ", ".join(names) or "\u2013",
        )
        expected.append(f"| {' | '.join(cells)} |")
    assert rows_after("| name | question | the code assumes | keyword |") == expected


def test_each_option_of_the_page_is_one() -> None:
    known = {
        option
        for parameter in get_command(app).commands["doctor"].params  # type: ignore[attr-defined]
        for option in parameter.opts
    }
    named = set(re.findall(r"(--[a-z][a-z-]+)", PAGE))
    assert named - known == set()
    assert known - named == set()


def test_the_open_questions_name_those_of_the_doctor() -> None:
    named = set(re.findall(r"\[`([\w-]+)`\]\(doctor\.md#questions\)", OPEN_QUESTIONS))
    assert len(named) > 5
    assert named - set(QUESTIONS) == set()


def masked(report: str) -> str:
    """A report without numbers, which depend on words, versions and the time."""
    return re.sub(r"\d+", "N", report)


async def test_the_report_of_the_page_is_that_of_a_run() -> None:
    shown = PAGE.split("```markdown\n")[1].split("\n```")[0]
    assert masked(shown) == masked(to_markdown(await examine(lanes="ignore")))
