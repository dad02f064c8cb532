"""The usage that VideoSDK's metrics get: of one `chat`, and of a turn with its nested ones.

The framework reads the usage from the chunks of a turn's first `chat` only, and keeps the last one
that it gets. So that of nested calls is reported to its metrics directly.
"""

from dataclasses import dataclass
from typing import Any

from videosdk.agents import metrics_collector

from rtllm import ResponseEnded, Usage
from rtllm.adapters import add_usage


@dataclass(slots=True)
class SpentTokens:
    """The tokens of several responses together.

    Attributes:
        usage: Their sum; None if the service reported none.
        responses: How many responses there were.
        response_id: The id of the last one.
        model: The model that answered it.
    """

    usage: Usage | None = None
    responses: int = 0
    response_id: str | None = None
    model: str | None = None

    def add(self, ended: ResponseEnded, model: str | None) -> None:
        """Add the tokens of a response."""
        self.usage = add_usage(self.usage, ended.usage)
        self.responses += 1
        self.response_id, self.model = ended.response_id, model

    def add_all(self, other: "SpentTokens") -> None:
        """Add the tokens of other responses, which came later."""
        self.usage = add_usage(self.usage, other.usage)
        self.responses += other.responses
        self.response_id, self.model = other.response_id, other.model

    def metadata(self) -> dict[str, Any]:
        """Create the ``usage`` of a chunk's metadata; empty if no tokens are known."""
        if self.usage is None:
            return {}
        return {
            "prompt_tokens": self.usage.input,
            "completion_tokens": self.usage.output,
            "total_tokens": self.usage.total,
            "prompt_cached_tokens": self.usage.cached or 0,
            "prompt_cache_write_tokens": self.usage.cache_write or 0,
            "reasoning_tokens": self.usage.reasoning or 0,
            "responses": self.responses,
            "request_id": self.response_id,
            "model": self.model,
        }


def report_nested(pipeline: Any, own: SpentTokens, of_turn: SpentTokens) -> None:
    """Report the usage of a nested `chat` to the framework.

    Args:
        pipeline: The `ContentGeneration` that called it.
        own: The tokens of this `chat`.
        of_turn: Those of the turn so far.
    """
    if usage := own.metadata():
        pipeline.emit("usage_tracked", usage)
        metrics_collector.set_llm_usage(of_turn.metadata())
