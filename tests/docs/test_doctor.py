"""docs/doctor.md agrees with the code, and its report with a run."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from typer.main import get_command

from doctor.runs import examine, examined
from rtllm.cli.main import app
from rtllm.doctor import QUESTIONS, SUBJECTS, to_markdown
from rtllm.doctor.judgements.questions import Question
from support.virtual_time import pytest_asyncio_loop_factories

__all__ = ["pytest_asyncio_loop_factories"]

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "doctor.md").read_text()
SHOWN: dict[str, Any] = {"no_websocket": 404, "manners": ["no strict tools"]}
OPEN_QUESTIONS = (DOCS / "protocol.md").read_text().split("## Open questions")[1]


def rows_after(head: str) -> list[str]:
    return PAGE.split(head)[1].split("\n\n")[0].splitlines()[2:]


def rows_of(questions: Iterable[Question]) -> list[str]:
    expected = []
    for question in questions:
        names = [f"`{name}`" for name in question.keyword.split(", ") if name]
        cells = (
            f"`{question.name}`",
            question.text,
            question.assumed,
            ", ".join(names) or "\u2013",
        )
        expected.append(f"| {' | '.join(cells)} |")
    return expected


def test_each_question_is_in_the_page() -> None:
    expected = rows_of(QUESTIONS.values())
    assert rows_after("| name | question | the code assumes | keyword |") == expected


def test_each_subject_is_in_the_page() -> None:
    expected = rows_of(SUBJECTS.values())
    assert rows_after("| name | question | expected | keyword |") == expected


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


async def test_the_reports_of_the_page_are_those_of_runs() -> None:
    diagnosis, verification = (part.split("\n```")[0] for part in PAGE.split("```markdown\n")[1:])
    assert masked(verification) == masked(to_markdown(await examine(lanes="ignore")))
    assert masked(diagnosis) == masked(to_markdown(await examined(None, **SHOWN)))
