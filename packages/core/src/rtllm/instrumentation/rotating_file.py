"""A file that several processes append lines to, renamed when it has grown."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

_FLAGS = os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_BINARY", 0)


class RotatingFile:
    """A file to append lines to.

    Lines are appended whole, so those of several processes don't mix. The
    process that finds the file grown renames it, under a lock; the others notice that, and go on in
    the new one. A line may still end up in the renamed file, but none is lost.

    Args:
        path: The file.
        max_bytes: The size from which on it is renamed.
        backups: How many renamed files are kept; 0 to delete instead.
    """

    def __init__(self, path: Path, max_bytes: int, backups: int) -> None:
        self.path = path
        self.max_bytes = max_bytes
        self.backups = backups
        self._file: int | None = None

    def open(self) -> int:
        """Open the file, if it is not open.

        Raises:
            OSError: If it can't be opened.
        """
        if self._file is None:
            self._file = os.open(self.path, _FLAGS, 0o600)
        return self._file

    def close(self) -> None:
        """Close the file, if it is open."""
        if self._file is not None:
            file, self._file = self._file, None
            os.close(file)

    def append(self, lines: bytes) -> None:
        """Append whole lines by one write.

        Raises:
            OSError: If they can't be written whole; then a part of them may be there.
        """
        file = self.open()
        if self._is_renamed(file) or (os.fstat(file).st_size >= self.max_bytes and self._rotate()):
            self.close()
            file = self.open()
        written = os.write(file, lines)
        if written < len(lines):
            os.write(file, b"\n")  # what follows is readable again
            raise OSError(f"only {written} of {len(lines)} bytes were written")

    def _is_renamed(self, file: int) -> bool:
        """Whether the path leads to another file now, or to none."""
        try:
            there = self.path.stat()
        except FileNotFoundError:
            return True
        here = os.fstat(file)
        return (there.st_ino, there.st_dev) != (here.st_ino, here.st_dev)

    def _rotate(self) -> bool:
        """Rename the file, unless another process has just done so.

        Returns:
            Whether it is renamed. If its folder can't be changed, it goes on growing.
        """
        try:
            with self._locked():
                if self._file is None or not self._is_renamed(self._file):
                    self._rename()
        except OSError:
            return False
        return True

    def _rename(self) -> None:
        if not self.backups:
            self.path.unlink(missing_ok=True)
            return
        for number in range(self.backups - 1, 0, -1):
            with contextlib.suppress(FileNotFoundError):
                self._backup(number).replace(self._backup(number + 1))
        self.path.replace(self._backup(1))

    def _backup(self, number: int) -> Path:
        return self.path.with_name(f"{self.path.name}.{number}")

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """Keep other processes from renaming the file."""
        lock = os.open(self.path.with_name(f"{self.path.name}.lock"), _FLAGS, 0o600)
        try:
            if fcntl is not None:
                fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)
