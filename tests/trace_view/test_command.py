"""``rtllm trace`` as a program."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from rtllm import TraceEvent, TraceFile
from rtllm.cli.main import app
from trace_view.events import turn

PROGRAM = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background ignores it
from rtllm.cli import main
main()
"""


def written(path: Path, *events: TraceEvent) -> Path:
    file = TraceFile(path)
    for event in events:
        file(event)
    file.close()
    return path


@pytest.fixture
def calls(tmp_path: Path) -> Path:
    return written(tmp_path / "calls.jsonl", *turn(1), *turn(2, think=3.0), *turn(3, think=1.0))


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, ["trace", *map(str, arguments)])


def listed(result: Result) -> list[str]:
    """The ids of the listed turns."""
    assert result.exit_code == 0, result.output
    lines = [line.split() for line in result.output.splitlines() if "completed" in line]
    return [words[0] for words in lines]


def test_a_page_is_written_next_to_the_file_for_its_owner_only(calls: Path) -> None:
    result = run(calls)
    page = calls.with_name("calls.html")
    assert (result.exit_code, result.output) == (0, f"wrote {page}\n")
    assert page.read_text().startswith("<!doctype html>")
    assert stat.S_IMODE(page.stat().st_mode) == 0o600
    assert sorted(path.name for path in calls.parent.iterdir()) == ["calls.html", "calls.jsonl"]


def test_the_page_may_be_elsewhere(calls: Path, tmp_path: Path) -> None:
    page = tmp_path / "other.html"
    assert run(calls, "--output", page).exit_code == 0
    assert page.exists()


def test_the_page_never_replaces_the_file(calls: Path) -> None:
    before = calls.read_bytes()
    result = run(calls, "--output", calls)
    assert result.exit_code == 2
    assert "would overwrite" in result.output
    assert calls.read_bytes() == before


def test_turns_are_chosen(calls: Path) -> None:
    assert listed(run(calls, "--text")) == ["1", "2", "3"]
    assert listed(run(calls, "--text", "--last", "2")) == ["2", "3"]
    assert listed(run(calls, "--text", "--worst", "2")) == ["2", "3"]
    assert listed(run(calls, "--text", "--last", "2", "--worst", "1")) == ["2"]


def test_what_can_not_be_read_is_counted(calls: Path) -> None:
    with calls.open("ab") as file:
        file.write(b'{"a log": "of something else"}\nnot JSON\n{"v":1,"time":1,"pid":1,"kin')
    result = run(calls, "--text")
    assert listed(result) == ["1", "2", "3"]
    assert "Note: 2 lines could not be read: cut off, or not JSON." in result.output
    assert "Note: 1 line is not of a trace." in result.output


def test_a_file_that_is_not_a_trace_has_no_turns(tmp_path: Path) -> None:
    binary = tmp_path / "picture.png"
    binary.write_bytes(bytes(range(256)) * 20)
    result = run(binary, "--text")
    assert result.exit_code == 0
    assert "The file has no turn" in result.output


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    result = run(tmp_path / "none.jsonl")
    assert result.exit_code == 2
    assert "No such file" in result.output
    assert list(tmp_path.iterdir()) == []


def test_a_growing_file_is_followed_in_the_terminal(calls: Path) -> None:
    program = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, "trace", str(calls), "--text", "--live"],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    assert program.stdout is not None
    lines = iter(program.stdout.readline, "")
    next(line for line in lines if line.startswith("Bars:"))
    written(calls, *turn(4, at=20.0))
    assert next(line for line in lines if "completed" in line).split()[0] == "4"
    program.send_signal(signal.SIGINT)
    out, _ = program.communicate(timeout=30)
    assert out.splitlines()[-1] == "stopped"


def test_a_growing_file_is_followed_on_the_page(calls: Path) -> None:
    program = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, "trace", str(calls), "--live"],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    assert program.stdout is not None
    lines = iter(program.stdout.readline, "")
    next(line for line in lines if line.startswith("following"))
    page = calls.with_name("calls.html")
    assert '"refresh":2.0' in page.read_text()
    written(calls, *turn(4, at=20.0))
    while "resp_4" not in page.read_text():
        assert program.poll() is None
    program.send_signal(signal.SIGINT)
    program.communicate(timeout=30)
    assert '"refresh":null' in page.read_text()
