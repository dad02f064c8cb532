"""Event loops whose tasks run as soon as they are made: LiveKit's base class makes one."""

from __future__ import annotations

import asyncio

import pytest
from livekit.agents import llm

from rtllm.simulator import Simulator
from rtllm_livekit import LLM


async def test_a_stream_is_read_from_its_first_word() -> None:
    factory = vars(asyncio).get("eager_task_factory")
    if factory is None:
        pytest.skip("eager tasks came with Python 3.12")
    asyncio.get_running_loop().set_task_factory(factory)
    context = llm.ChatContext.empty()
    context.add_message(role="user", content="hello")
    async with Simulator("Hi there.") as service:
        model = LLM(api_key="key", base_url=service.base_url)
        for _ in range(2):
            async with model.chat(chat_ctx=context) as stream:
                response = await stream.collect()
            assert response.text == "Hi there."
        await model.aclose()
