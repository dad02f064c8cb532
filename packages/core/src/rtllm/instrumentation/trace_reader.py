"""Reading trace files."""

import os
import re
from collections import Counter
from pathlib import Path
from typing import BinaryIO

from rtllm.codec.trace_lines import read_line
from rtllm.trace.records import TraceNote, TraceReading, TraceRecord, Unread

_LONGEST = 1_000_000
"""Bytes of the longest line that is read."""


def read_trace(path: str | os.PathLike[str], *, backups: bool = True) -> TraceReading:
    """Read a file that a `TraceFile` wrote: whatever can be read of it.

    Args:
        path: The file.
        backups: Whether the renamed older files (``path.1`` and so on) are read too, before it.

    Returns:
        Its events, and what could not be read.

    Raises:
        OSError: If there is no such file, or it can't be opened.
    """
    lines = _Lines()
    for file in [*(_backups_of(Path(path)) if backups else ()), Path(path)]:
        lines.read_file(file)
    return lines.reading()


class TraceFollower:
    """Reads a trace file while it grows: each time only what is new.

    A line that another process still writes to the file after it was renamed may be missing;
    `read_trace` finds it.

    Args:
        path: The file. The renamed older files are read too.

    Raises:
        OSError: If there is no such file, or it can't be opened.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = Path(path)
        self._lines = _Lines()
        self._file = self._path.open("rb")
        for older in _backups_of(self._path):
            self._lines.read_file(older)
        self._lines.read(self._file)

    @property
    def reading(self) -> TraceReading:
        """What was read so far, without a last line that is not complete yet."""
        return self._lines.reading()

    def update(self) -> bool:
        """Read what was added, also if the file was renamed meanwhile.

        Returns:
            Whether anything was added.

        Raises:
            OSError: If the file can't be read any more.
        """
        before, state = self._lines.count, os.fstat(self._file.fileno())
        if state.st_size < self._file.tell():  # it was emptied
            self._lines.end()
            self._file.seek(0)
        self._lines.read(self._file)
        if not _is_at(self._path, state):
            self._go_on(state)
        return self._lines.count > before

    def _go_on(self, state: os.stat_result) -> None:
        """Read the files that were begun since this one was renamed."""
        try:
            latest = self._path.open("rb")
        except FileNotFoundError:  # it is created with the next line
            return
        self._lines.end()
        older = _backups_of(self._path)
        place = next((n for n, file in enumerate(older) if _is_at(file, state)), len(older))
        for file in older[place + 1 :]:
            self._lines.read_file(file)
        self._file.close()
        self._file = latest
        self._lines.read(latest)

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class _Lines:
    """What was read of the lines of one or several files.

    Attributes:
        count: How many lines were read.
    """

    def __init__(self) -> None:
        self.count = 0
        self._records: list[TraceRecord] = []
        self._unread: Counter[Unread] = Counter()
        self._versions: dict[int, str] = {}
        self._dropped = 0
        self._rest = b""

    def reading(self) -> TraceReading:
        """Return what was read so far."""
        versions = dict(self._versions)
        return TraceReading(tuple(self._records), dict(self._unread), self._dropped, versions)

    def read_file(self, path: Path) -> None:
        """Read a file to its end."""
        with path.open("rb") as file:
            self.read(file)
        self.end()

    def read(self, file: BinaryIO) -> None:
        """Read the lines of a file from its position on; one that is not complete waits."""
        while piece := file.readline(_LONGEST):
            self._rest += piece
            if piece.endswith(b"\n") or len(self._rest) >= _LONGEST:
                self.end()

    def end(self) -> None:
        """Take the last line as it is."""
        line, self._rest = self._rest, b""
        if not line or line.isspace():
            return
        self.count += 1
        match read_line(line):
            case TraceRecord() as record:
                self._records.append(record)
            case TraceNote(process=process, count=count, rtllm=version):
                self._dropped += count
                if version is not None:
                    self._versions[process] = version
            case reason:
                self._unread[reason] += 1


def _is_at(path: Path, state: os.stat_result) -> bool:
    """Whether a path leads to the file with this state."""
    try:
        return os.path.samestat(path.stat(), state)
    except FileNotFoundError:
        return False


def _backups_of(path: Path) -> list[Path]:
    """Return the renamed files, the oldest first."""
    found = [
        (int(file.name.removeprefix(f"{path.name}.")), file)
        for file in path.parent.iterdir()
        if re.fullmatch(rf"{re.escape(path.name)}\.\d+", file.name)
    ]
    return [file for _, file in sorted(found, reverse=True)]
