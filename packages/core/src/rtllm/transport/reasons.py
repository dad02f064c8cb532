"""Reasons why a connection could not be opened, in words without addresses and headers."""

import os
import re
import socket
from collections.abc import Iterator

_NUMBER = re.compile(r"\[Errno (-?\d+)\]")


def reason_of(error: BaseException) -> str | None:
    """Return the operating system's reason for an exception; None if there is none."""
    for beneath in beneath_of(error):
        if isinstance(beneath, socket.gaierror):
            return f"the host name can't be resolved ({(beneath.strerror or 'no reason').lower()})"
    for beneath in beneath_of(error):
        if isinstance(beneath, TimeoutError) and beneath.errno is None:
            continue
        if isinstance(beneath, OSError) and (number := _number_of(beneath)) is not None:
            return os.strerror(number).lower()
    return None


def beneath_of(error: BaseException) -> Iterator[BaseException]:
    """Yield an exception and its causes; of a group its first exception."""
    found: BaseException | None = error
    for _ in range(10):
        if found is None:
            return
        yield found
        inner = getattr(found, "os_error", None)  # aiohttp keeps it there
        if isinstance(found, BaseExceptionGroup):
            inner = found.exceptions[0]
        following = inner if isinstance(inner, BaseException) else None
        found = following or found.__cause__ or found.__context__


def _number_of(error: OSError) -> int | None:
    """Return the number of an error; of several attempts, that of the first."""
    if isinstance(error.errno, int) and error.errno > 0:
        return error.errno
    found = _NUMBER.search(str(error))
    return int(found[1]) if found is not None and int(found[1]) > 0 else None
