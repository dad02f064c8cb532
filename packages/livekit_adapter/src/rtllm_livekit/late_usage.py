"""The tokens of cancelled responses, for LiveKit's metrics."""

import contextvars
import time
import weakref
from typing import Never

from livekit.agents import llm
from livekit.agents.metrics import LLMMetrics
from livekit.agents.metrics.base import Metadata
from livekit.agents.voice import SpeechHandle

from rtllm import Usage

_SPEECH = "agents_speech_handle"
"""The name of LiveKit's context variable for the speech that a task belongs to (*seen* in 1.8)."""


class LateUsage:
    """Reports the tokens of a cancelled response to LiveKit's metrics.

    The service completes the response and bills it, but LiveKit's own event of it, which comes at
    the interruption, has no tokens. This one comes when they are known, with the same ids.

    Args:
        source: The LLM, which must not be kept alive until the response has drained.
        model: The model of the request.

    Attributes:
        response_id: The service's id of the response, once it is known.
    """

    def __init__(self, source: llm.LLM[Never], model: str) -> None:
        self.response_id: str | None = None
        self._source = weakref.ref(source)
        self._model = model
        speech = current_speech()
        self._speech_id = speech.id if speech is not None else None
        self._began = time.perf_counter()

    def __call__(self, usage: Usage) -> None:
        """Report the tokens."""
        if (source := self._source()) is None:
            return
        duration = time.perf_counter() - self._began
        source.emit(
            "metrics_collected",
            LLMMetrics(
                label=source.label,
                request_id=self.response_id or "",
                timestamp=time.time(),
                duration=duration,
                ttft=-1.0,
                cancelled=True,
                completion_tokens=usage.output,
                prompt_tokens=usage.input,
                prompt_cached_tokens=usage.cached or 0,
                cache_creation_tokens=usage.cache_write or 0,
                reasoning_tokens=usage.reasoning or 0,
                total_tokens=usage.total,
                tokens_per_second=usage.output / duration if duration else 0.0,
                speech_id=self._speech_id,
                metadata=Metadata(model_name=self._model, model_provider=source.provider),
            ),
        )


def current_speech() -> SpeechHandle | None:
    """Return the speech that the running task belongs to, if there is one.

    LiveKit adds its id to metrics that are emitted in the task; these ones are emitted elsewhere.
    """
    for variable, value in contextvars.copy_context().items():
        if variable.name == _SPEECH and isinstance(value, SpeechHandle):
            return value
    return None
