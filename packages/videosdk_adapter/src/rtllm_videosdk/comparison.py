"""A conversation on this package's LLM or on the stock plugin's, for ``rtllm doctor --compare``."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any, Literal, Self

from videosdk.agents import ChatContext, ChatRole

from rtllm import HostProfile, Usage
from rtllm.adapters import ProviderConfig
from rtllm_videosdk.llm import OpenAILLM

STOCK = "videosdk-plugins-openai"
"""The distribution that is compared with."""


class Conversation:
    """One conversation; `rtllm doctor` adds the user's messages, and times the responses.

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

    async def open(self) -> None:
        """Do nothing: the LLM opens what it needs."""

    async def aclose(self) -> None:
        """Close the LLM."""
        await self._llm.aclose()

    def add(self, role: Literal["system", "user"], text: str) -> None:
        """Add a message to the context."""
        self._context.add_message(role=ChatRole(role), content=text)

    async def stream(self) -> AsyncGenerator[tuple[str, Usage | None]]:
        """Ask for a response; yield the pieces of its text, and its usage once it is known."""
        async with aclosing(self._llm.chat(self._context)) as chunks:
            async for chunk in chunks:
                used, usage = (chunk.metadata or {}).get("usage") or {}, None
                if used.get("prompt_tokens"):
                    output, cached = used.get("completion_tokens"), used.get("prompt_cached_tokens")
                    usage = Usage(used["prompt_tokens"], output or 0, cached)
                yield chunk.content or "", usage

    async def keep(self, text: str, *, is_interrupted: bool) -> None:
        """Add a response to the context, as far as it was read."""
        if is_interrupted:
            await self._llm.cancel_current_generation()  # as the pipeline does
        if text:
            self._context.add_message(role=ChatRole.ASSISTANT, content=text)
