"""Our LLM and the stock one, which note each context by value when `chat()` is called."""

from __future__ import annotations

from typing import Any, TypeAlias

from livekit.agents import llm
from livekit.agents.types import NOT_GIVEN
from livekit.agents.utils import is_given
from livekit.plugins.openai import responses

from livekit_adapter.contexts import Asked
from rtllm_livekit import LLM

Model: TypeAlias = "RecordingLLM | RecordingStock"


class _Notes:
    """Contexts by value, in the order of the `chat()` calls."""

    asked: list[Asked]

    def _noted(self, ctx: llm.ChatContext, extra: Any) -> dict[str, Any]:
        """Note a context; its number travels with the request."""
        self.asked.append(Asked.of(ctx))
        given = dict(extra) if is_given(extra) else {}
        return {**given, "metadata": {"asked": str(len(self.asked) - 1)}}


class RecordingLLM(LLM, _Notes):
    def __init__(self, **options: Any) -> None:
        self.asked = []
        super().__init__(**options)

    def chat(self, *, chat_ctx: llm.ChatContext, extra_kwargs: Any = NOT_GIVEN, **rest: Any) -> Any:
        extra = self._noted(chat_ctx, extra_kwargs)
        return super().chat(chat_ctx=chat_ctx, extra_kwargs=extra, **rest)


class RecordingStock(responses.LLM, _Notes):
    def __init__(self, **options: Any) -> None:
        self.asked = []
        super().__init__(**options)

    def chat(self, *, chat_ctx: llm.ChatContext, extra_kwargs: Any = NOT_GIVEN, **rest: Any) -> Any:
        extra = self._noted(chat_ctx, extra_kwargs)
        return super().chat(chat_ctx=chat_ctx, extra_kwargs=extra, **rest)
