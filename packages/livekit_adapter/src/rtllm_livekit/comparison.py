"""A conversation on this package's LLM or on the stock plugin's, for ``rtllm doctor --compare``."""

import asyncio
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Any, Self

from livekit.agents import llm
from livekit.agents.utils import http_context

from rtllm import HostProfile
from rtllm.adapters import ProviderConfig
from rtllm_livekit.llm import LLM

STOCK = "livekit-plugins-openai"
"""The distribution that is compared with."""


class Speaker:
    """One conversation, as an async context manager.

    Args:
        model: The LLM.
    """

    def __init__(self, model: Any) -> None:
        self._llm = model
        self._context = llm.ChatContext.empty()
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

    async def __aenter__(self) -> Self:
        await self._stack.enter_async_context(http_context.open())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            await self._llm.aclose()
        finally:
            await self._stack.aclose()

    async def say(
        self, role: str, text: str, *, is_cut: bool = False
    ) -> tuple[float | None, int | None, int | None]:
        """Say something, and for a user's text hear the answer, or its first words.

        Args:
            role: ``system`` or ``user``.
            text: The text.
            is_cut: Whether to interrupt at the first words.

        Returns:
            Seconds to the first words, and the tokens of input and of its cached part, each None if
            unknown.
        """
        self._context.add_message(role="system" if role == "system" else "user", content=text)
        if role == "system":
            return None, None, None
        loop = asyncio.get_running_loop()
        began, seconds, said = loop.time(), None, ""
        extra: dict[str, Any] = {}
        tokens: tuple[int | None, int | None] = (None, None)
        async with self._llm.chat(chat_ctx=self._context) as stream:
            async for chunk in stream:
                if chunk.delta is not None:
                    said += chunk.delta.content or ""
                    extra.update(chunk.delta.extra or {})
                if said and seconds is None:
                    seconds = loop.time() - began
                if said and is_cut:
                    break
                if chunk.usage is not None:
                    tokens = (chunk.usage.prompt_tokens, chunk.usage.prompt_cached_tokens)
        if said:
            self._context.add_message(
                role="assistant", content=said, extra=extra, interrupted=is_cut
            )
        return seconds, *tokens
