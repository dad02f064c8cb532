"""Timeouts in all accepted forms, converted to time limits of a turn."""

from dataclasses import dataclass
from typing import Any

from rtllm import SILENCE_LIMIT, ConfigError, Timeouts

READ, CONNECT = 10.0, 15.0
"""The original's defaults, in seconds."""


@dataclass(frozen=True, slots=True)
class VideoSDKTimeouts:
    """The constructor's time limits, except for its ``timeout``.

    Attributes:
        speech_floor: The minimum speed of speech in characters per second.
        first_output: Seconds for the first output of an attempt; None for the base limit.
        silence: Seconds for the first output of a turn; None for no limit.
    """

    speech_floor: float = 0.0
    first_output: float | None = None
    silence: float | None = SILENCE_LIMIT

    def limits(self, timeout: Any) -> Timeouts:
        """Convert seconds, or an httpx, httpx2 or openai ``Timeout``, to time limits.

        ``read`` limits the wait for the first output and for each gap, ``connect`` that for a
        connection. A part that is None is limited only by the turn. With a ``read`` longer than
        the default silence limit, that limit is off.

        Args:
            timeout: Any of these; None for the original's defaults.

        Raises:
            ConfigError: If it is none of these, or not more than 0 seconds.
        """
        read, connect = _seconds_of(timeout)
        is_patient = self.silence == SILENCE_LIMIT and read > SILENCE_LIMIT
        return Timeouts.of(
            read,
            connect,
            speech_floor=self.speech_floor,
            first_output=self.first_output,
            silence=None if is_patient else self.silence,
        )


def _seconds_of(timeout: Any) -> tuple[float, float]:
    """Return the limits for a gap and for a connection."""
    if timeout is None:
        return READ, CONNECT
    whole = Timeouts().total
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
    return read, connect
