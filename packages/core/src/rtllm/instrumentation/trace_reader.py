"""Reading trace files."""

import os
import re
from collections import Counter
from pathlib import Path

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
    records: list[TraceRecord] = []
    unread: Counter[Unread] = Counter()
    versions: dict[int, str] = {}
    dropped = 0
    for file in [*(_backups_of(Path(path)) if backups else ()), Path(path)]:
        with file.open("rb") as lines:
            while line := lines.readline(_LONGEST):
                if line.isspace():
                    continue
                match read_line(line):
                    case TraceRecord() as record:
                        records.append(record)
                    case TraceNote(process=process, count=count, rtllm=version):
                        dropped += count
                        if version is not None:
                            versions[process] = version
                    case reason:
                        unread[reason] += 1
    return TraceReading(tuple(records), dict(unread), dropped, versions)


def _backups_of(path: Path) -> list[Path]:
    """Return the renamed files, the oldest first."""
    found = [
        (int(file.name.removeprefix(f"{path.name}.")), file)
        for file in path.parent.iterdir()
        if re.fullmatch(rf"{re.escape(path.name)}\.\d+", file.name)
    ]
    return [file for _, file in sorted(found, reverse=True)]
