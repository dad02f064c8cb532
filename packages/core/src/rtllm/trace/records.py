"""What was read of a trace file."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from rtllm.trace.events import TraceEvent

Unread = Literal["cut", "foreign", "newer", "invalid"]
"""Why a line could not be read: it is not whole JSON, it is not of a trace, it has a kind of event
that this version does not know, or a field of another type."""


@dataclass(frozen=True, slots=True)
class TraceRecord:
    """One event of a trace file.

    Attributes:
        time: When it happened, in seconds since 1970 (UTC).
        process: The id of the process that wrote it.
        event: The event.
    """

    time: float
    process: int
    event: TraceEvent


@dataclass(frozen=True, slots=True)
class TraceNote:
    """A line that a writer added on its own account.

    Attributes:
        time: When it was written, in seconds since 1970 (UTC).
        process: The id of the process that wrote it.
        note: ``started``: the process began to write; ``dropped``: events are missing here.
        count: How many events are missing.
        rtllm: The version of rtllm that writes.
    """

    time: float
    process: int
    note: Literal["started", "dropped"]
    count: int = 0
    rtllm: str | None = None


@dataclass(frozen=True, slots=True)
class TraceReading:
    """The content of a trace file, as far as it could be read.

    Attributes:
        records: The events, in the order of the file.
        unread: How many lines could not be read, by reason.
        dropped: How many events the writers dropped, because they came faster than the disk.
        versions: The version of rtllm of each process that named it.
    """

    records: tuple[TraceRecord, ...] = ()
    unread: Mapping[Unread, int] = field(default_factory=dict)
    dropped: int = 0
    versions: Mapping[int, str] = field(default_factory=dict)

    @property
    def remarks(self) -> tuple[str, ...]:
        """What is missing, as sentences for the reader; empty if nothing is."""
        sentences = [
            f"1 line {_REASONS[reason][0]}"
            if count == 1
            else f"{count} lines {_REASONS[reason][1]}"
            for reason, count in self.unread.items()
            if count
        ]
        if self.dropped:
            sentences.append(f"{self.dropped} events were dropped when they were written")
        return tuple(sentences)


_REASONS: Mapping[Unread, tuple[str, str]] = {
    "cut": ("could not be read: cut off, or not JSON",) * 2,
    "foreign": ("is not of a trace", "are not of a trace"),
    "newer": (
        "is of a kind that this version of rtllm does not know",
        "are of a kind that this version of rtllm does not know",
    ),
    "invalid": (
        "has a field of another type or lacks one",
        "have a field of another type or lack one",
    ),
}
"""Why lines could not be read, for one and for several."""
