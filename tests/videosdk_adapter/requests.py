"""Requests to an LLM, as a pipeline does, without a pipeline."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from videosdk.agents import ChatContext, ChatRole, LLMResponse


def context(*messages: tuple[str, str]) -> ChatContext:
    ctx = ChatContext.empty()
    for role, text in messages:
        ctx.add_message(role=ChatRole(role), content=text)
    return ctx


def hello(text: str = "Hello") -> ChatContext:
    return context(("system", "Be kind."), ("user", text))


async def chunks_of(
    model: Any, ctx: ChatContext, **call: Any
) -> tuple[list[LLMResponse], Exception | None]:
    """All chunks of an answer, and the error that it ended with."""
    chunks: list[LLMResponse] = []
    try:
        async with asyncio.timeout(20):
            async for chunk in model.chat(ctx, **call):
                chunks.append(chunk)
    except Exception as error:  # noqa: BLE001 - it is looked at
        return chunks, error
    return chunks, None


def text_of(chunks: Sequence[LLMResponse]) -> str:
    return "".join(chunk.content for chunk in chunks)


def calls_of(chunks: Sequence[LLMResponse]) -> list[dict[str, Any]]:
    return [c.metadata["function_call"] for c in chunks if "function_call" in (c.metadata or {})]


def usages_of(chunks: Sequence[LLMResponse]) -> list[dict[str, Any]]:
    return [c.metadata["usage"] for c in chunks if "usage" in (c.metadata or {})]
