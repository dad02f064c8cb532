"""The usage that VideoSDK's metrics get: of one `chat`, and of a turn with its nested ones.

The framework reads the usage from the chunks of a turn's first `chat` only, and keeps the last one
that it gets. So that of nested calls is reported to its metrics directly.
"""

from typing import Any

from videosdk.agents import metrics_collector

from rtllm.adapters import SpentTokens


def usage_metadata(spent: SpentTokens) -> dict[str, Any]:
    """Create the ``usage`` of a chunk's metadata; empty if no tokens are known."""
    if spent.usage is None:
        return {}
    return {
        "prompt_tokens": spent.usage.input,
        "completion_tokens": spent.usage.output,
        "total_tokens": spent.usage.total,
        "prompt_cached_tokens": spent.usage.cached or 0,
        "prompt_cache_write_tokens": spent.usage.cache_write or 0,
        "reasoning_tokens": spent.usage.reasoning or 0,
        "responses": spent.responses,
        "request_id": spent.response_id,
        "model": spent.model,
    }


def report_nested(pipeline: Any, own: SpentTokens, of_turn: SpentTokens) -> None:
    """Report the usage of a nested `chat` to the framework.

    Args:
        pipeline: The `ContentGeneration` that called it.
        own: The tokens of this `chat`.
        of_turn: Those of the turn so far.
    """
    if usage := usage_metadata(own):
        pipeline.emit("usage_tracked", usage)
        metrics_collector.set_llm_usage(usage_metadata(of_turn))
