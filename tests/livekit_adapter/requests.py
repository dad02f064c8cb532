"""Requests to an LLM, as a session does, without a session."""

from __future__ import annotations

import asyncio
from typing import Any

from livekit.agents import llm
from livekit.agents._exceptions import APIError
from livekit.agents.types import APIConnectOptions

from livekit_adapter.stage import Stage

ONCE = APIConnectOptions(max_retry=0, timeout=5.0)
TWICE_MORE = APIConnectOptions(max_retry=2, retry_interval=0.0, timeout=5.0)


def context(*messages: tuple[str, str]) -> llm.ChatContext:
    ctx = llm.ChatContext.empty()
    for role, text in messages:
        ctx.add_message(role=role, content=text)  # type: ignore[arg-type]
    return ctx


def hello(text: str = "Hello") -> llm.ChatContext:
    return context(("system", "Be kind."), ("user", text))


async def answer(st: Stage, ctx: llm.ChatContext, **call: Any) -> llm.CollectedResponse:
    """Ask, and wait for the whole answer."""
    call.setdefault("conn_options", ONCE)
    collected: llm.CollectedResponse = await asyncio.wait_for(
        st.llm.chat(chat_ctx=ctx, **call).collect(), 20
    )
    return collected


async def turn(st: Stage, ctx: llm.ChatContext, text: str | None = None, **call: Any) -> str:
    """One whole turn, recorded in the context as LiveKit does it when all was heard."""
    if text is not None:
        ctx.add_message(role="user", content=text)
    collected = await answer(st, ctx, **call)
    message = ctx.add_message(
        role="assistant", content=collected.text, extra=dict(collected.extra or {})
    )
    for number, call_ in enumerate(collected.tool_calls):
        ctx.items.append(
            llm.FunctionCall(
                id=f"{message.id}/fnc_{number}",
                call_id=call_.call_id,
                name=call_.name,
                arguments=call_.arguments,
            )
        )
    if not collected.text:
        ctx.items.remove(message)
    return collected.text


def output(ctx: llm.ChatContext, call_id: str, text: str, *, is_error: bool = False) -> None:
    """Record what a call came to."""
    item = llm.FunctionCallOutput(call_id=call_id, name="", output=text, is_error=is_error)
    ctx.items.append(item)


async def chunks_of(stream: llm.LLMStream) -> tuple[list[llm.ChatChunk], Exception | None]:
    """All chunks of a stream, and the error that it ended with."""
    chunks: list[llm.ChatChunk] = []
    try:
        async with asyncio.timeout(20), stream:
            async for chunk in stream:
                chunks.append(chunk)
    except APIError as error:
        return chunks, error
    return chunks, None


def text_of(chunks: list[llm.ChatChunk]) -> str:
    return "".join(c.delta.content or "" for c in chunks if c.delta)


def calls_of(chunks: list[llm.ChatChunk]) -> list[llm.FunctionToolCall]:
    return [call for c in chunks if c.delta for call in c.delta.tool_calls]
