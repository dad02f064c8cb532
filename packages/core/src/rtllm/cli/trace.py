"""``rtllm trace``: shows a trace file as an HTML page, or in the terminal."""

import os
import time
import webbrowser
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from rtllm.instrumentation.trace_reader import TraceFollower, read_trace
from rtllm.trace_view import lines_of, page_of, read_calls, summarize, text_of
from rtllm.trace_view.model import Calls, TurnView
from rtllm.trace_view.summary import worst_of

NOT_READ = 2
"""Exit status if the file can't be read, or the page can't be written."""
INTERVAL = 1.0
"""Seconds between two looks at a growing file."""


@dataclass(frozen=True, slots=True)
class _Choice:
    """Which turns are listed."""

    last: int | None
    worst: int | None

    def turns_of(self, calls: Calls) -> list[TurnView]:
        turns = list(calls.turns)
        if self.last is not None:
            turns = turns[-self.last :]
        return worst_of(turns, self.worst) if self.worst is not None else turns

    def __str__(self) -> str:
        worst = f"the {self.worst} slowest" if self.worst is not None else ""
        last = f"the last {self.last}" if self.last is not None else ""
        return f"only {' of '.join(one for one in (worst, last) if one)}" if worst or last else ""


def trace(
    file: Annotated[Path, typer.Argument(help="The file that TraceFile wrote.")],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="The page; else it is next to the file, as .html."),
    ] = None,
    *,
    text: Annotated[bool, typer.Option("--text", help="Print it instead of a page.")] = False,
    last: Annotated[int | None, typer.Option(min=1, help="Only the last turns; this many.")] = None,
    worst: Annotated[
        int | None, typer.Option(min=1, help="Only the slowest turns; this many.")
    ] = None,
    live: Annotated[
        bool,
        typer.Option("--live", help="Follow the file while it grows, until interrupted."),
    ] = False,
    open_page: Annotated[bool, typer.Option("--open", help="Open the page in a browser.")] = False,
) -> None:
    """Show what a trace file tells: the slowest turn and why, faults, tokens and costs."""
    choice = _Choice(last, worst)
    page = output or file.with_name(f"{file.name.removesuffix('.jsonl')}.html")
    if not text and page.exists() and file.exists() and page.samefile(file):
        _fail(f"the page would overwrite {file}; name another file with --output")
    try:
        if text:
            _print(file, choice, live=live)
        else:
            _write_pages(file, page, choice, live=live, opens=open_page)
    except OSError as error:
        _fail(f"{error.filename or file}: {error.strerror or error}")
    except KeyboardInterrupt:
        typer.echo("stopped")


def _fail(text: str) -> None:
    typer.echo(text, err=True)
    raise typer.Exit(NOT_READ)


def _print(file: Path, choice: _Choice, *, live: bool) -> None:
    with closing(TraceFollower(file)) as follower:
        calls = read_calls(follower.reading if live else read_trace(file))
        typer.echo(text_of(calls, summarize(calls), choice.turns_of(calls)))
        printed = {_key(turn) for turn in calls.turns if turn.outcome != "open"}
        for grown in _growing(follower) if live else ():
            for turn in grown.turns:
                if turn.outcome != "open" and _key(turn) not in printed:
                    printed.add(_key(turn))
                    longest = max(one.wait for one in grown.turns)
                    typer.echo("\n".join(lines_of(turn, longest)))


def _key(turn: TurnView) -> tuple[int, str, int]:
    return turn.process, turn.client, turn.number


def _write_pages(file: Path, page: Path, choice: _Choice, *, live: bool, opens: bool) -> None:
    _write_page(page, read_calls(read_trace(file)), file.name, choice, live=live)
    typer.echo(f"wrote {page}")
    if opens:
        webbrowser.open(page.resolve().as_uri())
    if live:
        typer.echo("following the file; Ctrl+C ends it")
        try:
            with closing(TraceFollower(file)) as follower:
                _write_page(page, read_calls(follower.reading), file.name, choice, live=True)
                for calls in _growing(follower):
                    _write_page(page, calls, file.name, choice, live=True)
        finally:  # so that the page no longer loads itself again
            _write_page(page, read_calls(read_trace(file)), file.name, choice, live=False)


def _write_page(page: Path, calls: Calls, title: str, choice: _Choice, *, live: bool) -> None:
    """Write the page for its owner only, as the file is, and never half of it."""
    content = page_of(
        calls,
        summarize(calls),
        choice.turns_of(calls),
        title=title,
        shown=str(choice),
        live=live,
    )
    part = page.with_name(f".{page.name}.{os.getpid()}")
    try:
        part.touch(mode=0o600)
        part.write_text(content, "utf-8")
        part.replace(page)
    finally:
        part.unlink(missing_ok=True)


def _growing(follower: TraceFollower) -> Iterator[Calls]:
    """Yield what a file tells each time that it has grown, until interrupted."""
    while True:
        time.sleep(INTERVAL)
        if not follower.update():
            continue
        began = time.monotonic()
        yield read_calls(follower.reading)
        time.sleep(5 * (time.monotonic() - began))  # a large file takes a while
