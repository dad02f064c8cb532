"""A conversation on this package's LLM or on the stock plugin's, for ``rtllm doctor --compare``."""

import asyncio
from contextlib import aclosing
from types import TracebackType
from typing import Any, Self

from videosdk.agents import ChatContext, ChatRole

from rtllm import HostProfile
from rtllm.adapters import ProviderConfig
from rtllm_videosdk.llm import OpenAILLM

STOCK = "videosdk-plugins-openai"
"""The distribution that is compared with."""


class Speaker:
    """One conversation, as an async context manager.

    Args:
        model: The LLM.
    """

    def __init__(self, model: Any) -> None:
        self._llm = model
        self._context = ChatContext.empty()

    @classmethod
    def ours(cls, config: ProviderConfig, model: str, profile: HostProfile) -> Self:
        """Create the conversation on this package's LLM."""
        options: dict[str, Any] = {"client": config}
        return cls(OpenAILLM(model=model, host_profile=profile, streaming=True, **options))

    @classmethod
    def stock(cls, key: str, model: str, base_url: str, websocket_url: str) -> Self:
        """Create the conversation on the stock plugin's LLM.

        Raises:
            ImportError: If the plugin is not installed.
        """
        from videosdk.plugins.openai import OpenAILLM as Stock  # noqa: PLC0415 - may be missing

        return cls(
            Stock(
                model=model, api_key=key, base_url=base_url, wss_url=websocket_url, streaming=True
            )
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._llm.aclose()

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
        self._context.add_message(role=ChatRole(role), content=text)
        if role == "system":
            return None, None, None
        loop = asyncio.get_running_loop()
        began, seconds, said = loop.time(), None, ""
        tokens: tuple[int | None, int | None] = (None, None)
        async with aclosing(self._llm.chat(self._context)) as stream:
            async for chunk in stream:
                said += chunk.content or ""
                if said and seconds is None:
                    seconds = loop.time() - began
                if said and is_cut:
                    break
                usage = (chunk.metadata or {}).get("usage") or {}
                if usage.get("prompt_tokens"):
                    tokens = (usage["prompt_tokens"], usage.get("prompt_cached_tokens"))
        if is_cut:
            await self._llm.cancel_current_generation()  # as the pipeline does
        if said:
            self._context.add_message(role=ChatRole.ASSISTANT, content=said)
        return seconds, *tokens
