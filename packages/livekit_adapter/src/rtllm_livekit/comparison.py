"""A conversation on this package's LLM or on the stock plugin's, for ``rtllm doctor --compare``."""

from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack
from typing import Any, Literal, Self

from livekit.agents import llm
from livekit.agents.utils import http_context

from rtllm import HostProfile, Usage
from rtllm.adapters import ProviderConfig
from rtllm_livekit.llm import LLM

STOCK = "livekit-plugins-openai"
"""The distribution that is compared with."""


class Conversation:
    """One conversation; `rtllm doctor` adds the user's messages, and times the responses.

    Args:
        model: The LLM.
    """

    def __init__(self, model: Any) -> None:
        self._llm = model
        self._context = llm.ChatContext.empty()
        self._extra: dict[str, Any] = {}
        self._stack = AsyncExitStack()

    @classmethod
    def ours(cls, config: ProviderConfig, model: str, profile: HostProfile) -> Self:
        """Create the conversation on this package's LLM."""
        return cls(LLM(model=model, client=config, host_profile=profile))

    @classmethod
    def stock(cls, key: str, model: str, base_url: str, websocket_url: str) -> Self:
        """Create the conversation on the stock plugin's LLM.

        Raises:
            ImportError: If the plugin is not installed.
        """
        from livekit.plugins.openai import responses  # noqa: PLC0415 - it may be missing

        return cls(responses.LLM(model=model, api_key=key, base_url=websocket_url))

    async def open(self) -> None:
        """Open what the plugins share in a job of LiveKit's."""
        await self._stack.enter_async_context(http_context.open())

    async def aclose(self) -> None:
        """Close the LLM and what `open` opened."""
        try:
            await self._llm.aclose()
        finally:
            await self._stack.aclose()

    def add(self, role: Literal["system", "user"], text: str) -> None:
        """Add a message to the context."""
        self._context.add_message(role=role, content=text)

    async def stream(self) -> AsyncGenerator[tuple[str, Usage | None]]:
        """Ask for a response; yield the pieces of its text, and its usage once it is known."""
        self._extra = {}
        async with self._llm.chat(chat_ctx=self._context) as chunks:
            async for chunk in chunks:
                text, usage = "", None
                if chunk.delta is not None:
                    text = chunk.delta.content or ""
                    self._extra.update(chunk.delta.extra or {})
                if (used := chunk.usage) is not None:
                    usage = Usage(
                        used.prompt_tokens, used.completion_tokens, used.prompt_cached_tokens
                    )
                yield text, usage

    async def keep(self, text: str, *, is_interrupted: bool) -> None:
        """Add a response to the context, as far as it was read."""
        if text:
            self._context.add_message(
                role="assistant", content=text, extra=self._extra, interrupted=is_interrupted
            )
