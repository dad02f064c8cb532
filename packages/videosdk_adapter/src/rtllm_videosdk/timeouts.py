"""Timeouts in all accepted forms, converted to time limits of a turn."""

from typing import Any

from rtllm import ConfigError, Timeouts

READ, CONNECT = 10.0, 15.0
"""The original's defaults, in seconds."""


def limits_of(timeout: Any, speech_floor: float = 0.0) -> Timeouts:
    """Convert seconds, or an httpx, httpx2 or openai ``Timeout``, to time limits.

    ``read`` limits the wait for the first output and for each gap, ``connect`` that for a
    connection. A part that is None is limited only by the turn.

    Args:
        timeout: Any of these; None for the original's defaults.
        speech_floor: The minimum speed of speech in characters per second.

    Raises:
        ConfigError: If it is none of these, or not more than 0 seconds.
    """
    if timeout is None:
        return Timeouts.of(READ, CONNECT, speech_floor=speech_floor)
    whole = Timeouts().whole
    if isinstance(timeout, int | float):
        read = connect = float(timeout)
    elif hasattr(timeout, "read") and hasattr(timeout, "connect"):
        read = whole if timeout.read is None else float(timeout.read)
        connect = whole if timeout.connect is None else float(timeout.connect)
    else:
        raise ConfigError(
            f"timeout is {timeout!r}; expected seconds, or an httpx, httpx2 or openai Timeout"
        )
    if read <= 0 or connect <= 0:
        raise ConfigError(f"timeout is {timeout!r}; expected more than 0 seconds")
    return Timeouts.of(read, connect, speech_floor=speech_floor)
