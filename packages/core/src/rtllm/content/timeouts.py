"""Settings of a turn's time limits, as the user gives them.

`TurnProgress.deadline` in `rtllm.engine.progress` computes from them when a turn's current wait
ends; `rtllm.engine.turns` sets that deadline and handles it once it has passed.
"""

from dataclasses import dataclass

from rtllm.errors import ConfigError

SILENCE_LIMIT = 12.0
"""The adapters' default for `Timeouts.silence`, in seconds."""


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Time limits of a turn, in seconds.

    Attributes:
        base: The limit for the first output of an attempt once its request was written, and for
            each gap between outputs.
        connect: The limit for connecting.
        open_item: The limit for the next event while a reasoning, tool call or hosted tool item is
            open, since such items may take long without text.
        total: The limit for the turn in total.
        speech_floor: The minimum speed of speech in characters per second while a message is open,
            measured over the base limit; 0 for no minimum.
        first_output: The limit for the first output of an attempt; None for the base limit.
        silence: The limit for the first output of the turn, over all its attempts. It does not run
            while a reasoning, tool call or hosted tool item is open. None for no such limit.

    Raises:
        ConfigError: If ``speech_floor`` is negative, or one of the last two not positive.
    """

    base: float = 10.0
    connect: float = 10.0
    open_item: float = 30.0
    total: float = 120.0
    speech_floor: float = 0.0
    first_output: float | None = None
    silence: float | None = None

    def __post_init__(self) -> None:
        if not _is_number(self.speech_floor) or self.speech_floor < 0:
            raise ConfigError(
                f"speech_floor is {self.speech_floor!r}; expected 0 or more characters/s"
            )
        limits = {"first_output_timeout": self.first_output, "silence_limit": self.silence}
        for name, limit in limits.items():
            if limit is not None and not (_is_number(limit) and limit > 0):
                raise ConfigError(f"{name} is {limit!r}; expected more than 0 seconds, or None")

    @classmethod
    def of(
        cls,
        base: float,
        connect: float | None = None,
        total: float = 120.0,
        speech_floor: float = 0.0,
        first_output: float | None = None,
        silence: float | None = None,
    ) -> "Timeouts":
        """Derive the other limits from the base limit."""
        return cls(
            base,
            min(base, connect or base),
            max(30.0, 3 * base),
            total,
            speech_floor,
            first_output,
            silence,
        )


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
