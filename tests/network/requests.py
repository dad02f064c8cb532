"""Ask a model of either framework."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from livekit.agents import APIConnectOptions

from livekit_adapter import requests as of_livekit
from rtllm_videosdk import OpenAILLM
from videosdk_adapter import requests as of_videosdk


async def ask(model: Any) -> str:
    """Ask as the framework of the model does; an error is raised."""
    if isinstance(model, OpenAILLM):
        chunks, error = await of_videosdk.chunks_of(model, of_videosdk.hello())
        text = of_videosdk.text_of(chunks)
    else:
        options = APIConnectOptions(max_retry=0, timeout=5.0)
        stream = model.chat(chat_ctx=of_livekit.hello(), conn_options=options)
        heard, error = await of_livekit.chunks_of(stream)
        text = of_livekit.text_of(heard)
    if error is not None:
        raise error
    return text


@asynccontextmanager
async def closing(model: Any) -> AsyncIterator[Any]:
    try:
        yield model
    finally:
        await model.aclose()
