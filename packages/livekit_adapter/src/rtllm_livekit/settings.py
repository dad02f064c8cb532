"""Options of an LLM's requests, with what LiveKit adds."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from livekit.agents import APIConnectOptions
from livekit.agents.types import DEFAULT_API_CONNECT_OPTIONS
from livekit.agents.utils import is_given

from rtllm import Timeouts
from rtllm.adapters import Options, check_settings, timeout_parts


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class LiveKitOptions(Options):
    """The options of an LLM's requests.

    Attributes:
        prompt_cache_breakpoints: Whether prompt cache breakpoints are sent.
        answer_invalid_calls: Whether calls that can't run are answered inside `chat`.
    """

    prompt_cache_breakpoints: bool | Literal["auto"] = "auto"
    answer_invalid_calls: bool = False

    def __post_init__(self) -> None:
        Options.__post_init__(self)  # `super()` needs the class before its slots
        check_settings(answer_invalid_calls=self.answer_invalid_calls)

    def limits_of(self, conn_options: APIConnectOptions) -> Timeouts:
        """Derive a turn's limits; with options of the user the default silence limit is off."""
        _, connect = timeout_parts(self.timeout)
        is_own = conn_options is not DEFAULT_API_CONNECT_OPTIONS
        return self.limits(conn_options.timeout, connect, patient=is_own)


def set_keywords(**keywords: Any) -> dict[str, Any]:
    """Return the keywords that were set."""
    return {name: value for name, value in keywords.items() if is_given(value)}


def without_not_given(keywords: Mapping[str, Any]) -> dict[str, Any]:
    """Return keywords with None for those that are not given."""
    return {name: value if is_given(value) else None for name, value in keywords.items()}
