"""`TraceFile`: a listener that writes the trace events as JSON lines."""

import atexit
import logging
import os
import queue
import threading
import time
from pathlib import Path
from typing import Final

from rtllm._version import __version__
from rtllm.codec.trace_lines import event_line, note_line
from rtllm.errors import ConfigError
from rtllm.instrumentation.rotating_file import RotatingFile
from rtllm.trace.events import TraceEvent
from rtllm.trace.records import TraceNote

logger = logging.getLogger(__name__)

QUEUED: Final = 10_000
"""How many events may wait to be written, before further ones are dropped."""
BATCH: Final = 100
"""How many lines are appended by one write at most."""
EXIT_LIMIT: Final = 2.0
"""Seconds that writing the last events may take when the process ends."""

_Entry = tuple[float, TraceEvent] | threading.Event


class TraceFile:
    """A trace listener that appends each event to a file, as a line of JSON.

    Pass it as ``on_trace``, also to several LLMs. A thread writes, so the event loop never waits
    for a disk. Any number of processes may write to one file: each line is appended by one write.
    The file is created for its owner only. It holds no text of a conversation; ``docs/tracing.md``
    describes the format, and `read_trace` reads it.

    Args:
        path: The file; its folder must exist.
        max_bytes: The size in bytes from which on the file is renamed to ``path.1``, and that one
            to ``path.2``; a new one is begun.
        backups: How many such older files are kept.

    Attributes:
        path: The file.
        dropped: How many events could not be written: they came faster than the disk takes them, or
            it is full.

    Raises:
        ConfigError: If the file can't be written, or a number is not valid.
    """

    def __init__(
        self, path: str | os.PathLike[str], *, max_bytes: int = 50_000_000, backups: int = 4
    ) -> None:
        _check_count("max_bytes", max_bytes, 1000)
        _check_count("backups", backups, 0)
        self.path = Path(path)
        self.dropped = 0
        self._file = RotatingFile(self.path, max_bytes, backups)
        try:
            self._file.open()
        except OSError as error:
            raise ConfigError(f"the trace file {path} can't be written: {error}") from error
        self._process = 0
        self._lock = threading.Lock()
        self._queue: queue.Queue[_Entry | None] = queue.Queue(QUEUED)
        self._thread: threading.Thread | None = None
        self._dropped_before = 0
        self._has_warned = False

    def __repr__(self) -> str:
        return f"<TraceFile {self.path}, {self.dropped} dropped>"

    def __call__(self, event: TraceEvent, /) -> None:
        """Queue an event; it is written soon."""
        try:
            if self._process != os.getpid():
                self._begin()
            self._queue.put_nowait((time.time(), event))
        except (queue.Full, RuntimeError):  # the latter when the interpreter ends
            self._drop(1)

    def flush(self, limit: float = EXIT_LIMIT) -> bool:
        """Wait until the events so far are written.

        It blocks: in an event loop call it with ``asyncio.to_thread``.

        Args:
            limit: Seconds to wait at most.

        Returns:
            Whether they are written.
        """
        if self._thread is None or not self._thread.is_alive() or self._process != os.getpid():
            return True
        is_written = threading.Event()
        until = time.monotonic() + limit
        try:
            self._queue.put(is_written, timeout=limit)
        except queue.Full:
            return False
        return is_written.wait(max(0.0, until - time.monotonic()))

    def close(self) -> None:
        """Write the events so far, within a limit; later events open the file again.

        At the normal end of a process this happens by itself.
        """
        self.flush()
        thread, self._thread = self._thread, None
        if thread is not None and self._process == os.getpid():
            self._process = 0
            atexit.unregister(self.close)
            try:
                self._queue.put_nowait(None)
            except queue.Full:
                return  # the thread is a daemon, and ends with the process
            thread.join(EXIT_LIMIT)

    def _begin(self) -> None:
        """Start the thread of this process; after a fork the child needs its own."""
        with self._lock:
            process = os.getpid()
            if self._process == process:
                return
            is_child = self._process != 0
            if is_child:  # the parent's thread writes what it has queued
                self._queue = queue.Queue(QUEUED)
                self._file = RotatingFile(self.path, self._file.max_bytes, self._file.backups)
            atexit.register(self.close)
            self._thread = threading.Thread(
                target=self._write_all,
                args=(self._queue, self._file),
                name="rtllm trace file",
                daemon=True,
            )
            self._thread.start()
            self._process = process

    def _write_all(self, entries: "queue.Queue[_Entry | None]", file: RotatingFile) -> None:
        """Write what is queued, until None is."""
        process = os.getpid()
        started = TraceNote(time.time(), process, "started", rtllm=__version__)
        self._write(file, [note_line(started)], counts=False)
        batch: list[bytes] = []
        entry = entries.get()
        while entry is not None:
            if isinstance(entry, threading.Event):
                batch = self._write_batch(file, batch, process)
                entry.set()
            else:
                batch += self._encoded(entry, process)
            if entries.empty() or len(batch) >= BATCH:
                batch = self._write_batch(file, batch, process)
            entry = entries.get()
        self._write_batch(file, batch, process)
        file.close()

    def _encoded(self, entry: tuple[float, TraceEvent], process: int) -> list[bytes]:
        try:
            return [event_line(entry[1], entry[0], process)]
        except Exception:
            self._drop(1)
            logger.debug("a trace event could not be encoded", exc_info=True)
            return []

    def _write_batch(self, file: RotatingFile, batch: list[bytes], process: int) -> list[bytes]:
        """Write lines, and how many events are missing since the last such line."""
        if batch:
            self._write(file, batch)
        count = self.dropped - self._dropped_before
        if count:
            note = TraceNote(time.time(), process, "dropped", count)
            if self._write(file, [note_line(note)], counts=False):
                self._dropped_before += count
        return []

    def _write(self, file: RotatingFile, lines: list[bytes], *, counts: bool = True) -> bool:
        try:
            file.append(b"".join(lines))
        except OSError as error:
            if counts:
                self._drop(len(lines), error)
            return False
        return True

    def _drop(self, count: int, error: OSError | None = None) -> None:
        with self._lock:
            self.dropped += count
            is_first, self._has_warned = not self._has_warned, True
        if is_first:
            logger.warning(
                "events are missing in the trace file %s: %s",
                self.path,
                error or "they come faster than they can be written",
            )


def _check_count(name: str, value: object, least: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise ConfigError(f"{name} is {value!r}; expected {least} or more")
