"""Time limits of a turn, from the constructor's keywords and a session's ``conn_options``."""

from dataclasses import dataclass
from typing import Protocol

from livekit.agents import APIConnectOptions
from livekit.agents.types import DEFAULT_API_CONNECT_OPTIONS

from rtllm import SILENCE_LIMIT, ConfigError, Timeouts


class Timeout(Protocol):
    """The common interface of `httpx.Timeout`, `httpx2.Timeout` and `openai.Timeout`."""

    @property
    def connect(self) -> float | None:
        """Seconds for a connection."""


@dataclass(frozen=True, slots=True)
class LiveKitTimeouts:
    """The constructor's time limits.

    Attributes:
        timeout: Seconds for connecting, or what names them.
        speech_floor: The minimum speed of speech in characters per second.
        first_output: Seconds for the first output of an attempt; None for the base limit.
        silence: Seconds for the first output of a turn; None for no limit.

    Raises:
        ConfigError: If one of them is not a positive number.
    """

    timeout: float | Timeout | None = None
    speech_floor: float = 0.0
    first_output: float | None = None
    silence: float | None = SILENCE_LIMIT

    def __post_init__(self) -> None:
        if self.connect is not None and self.connect <= 0:
            raise ConfigError(f"timeout is {self.timeout!r}; expected more than 0 seconds")
        self.limits(DEFAULT_API_CONNECT_OPTIONS)

    @property
    def connect(self) -> float | None:
        """Seconds for connecting; None for the base limit."""
        timeout = self.timeout
        return timeout if isinstance(timeout, int | float) else getattr(timeout, "connect", None)

    def limits(self, conn_options: APIConnectOptions) -> Timeouts:
        """Derive a turn's limits; with options of the user the default silence limit is off."""
        is_own = conn_options is not DEFAULT_API_CONNECT_OPTIONS
        return Timeouts.of(
            conn_options.timeout,
            self.connect,
            speech_floor=self.speech_floor,
            first_output=self.first_output,
            silence=None if is_own and self.silence == SILENCE_LIMIT else self.silence,
        )
