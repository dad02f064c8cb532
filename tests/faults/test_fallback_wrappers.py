"""Both frameworks' own fallback wrappers switch in time: keep-alives hold nothing up."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from livekit.agents import Agent, llm
from videosdk.agents import FallbackLLM

from livekit_adapter.sessions import said_in, session_of
from rtllm.simulator import Fault, Silence, Simulator
from rtllm_livekit import LLM
from rtllm_videosdk import OpenAILLM
from videosdk_adapter.phone import Voice
from videosdk_adapter.talks import talk

LIMIT = 5.0
SILENCES: dict[str, Fault] = {
    "nothing": Silence(),
    "keep-alives": Silence(noise="keepalive", every=1.0),
    "in_progress again and again": Silence(phase="created", noise="in_progress", every=1.0),
    "a dead connection": Silence(scope="connection", pongs=False),
}
silences = pytest.mark.parametrize("silence", SILENCES.values(), ids=list(SILENCES))


@asynccontextmanager
async def two_hosts(silence: Fault) -> AsyncIterator[tuple[Simulator, Simulator]]:
    async with Simulator("Never.", fault=silence) as first, Simulator("Second.") as second:
        yield first, second


@silences
async def test_livekits_adapter_switches_when_the_wait_ran_out(silence: Fault) -> None:
    async with two_hosts(silence) as hosts:
        models = [LLM(api_key="k", base_url=host.base_url) for host in hosts]
        both = llm.FallbackAdapter(
            list(models), attempt_timeout=LIMIT, max_retry_per_llm=0, retry_interval=0.0
        )
        switched: list[Any] = []
        both.on("llm_availability_changed", switched.append)
        async with session_of(both, Agent(instructions="Be kind.")) as session:
            began = asyncio.get_running_loop().time()
            await session.run(user_input="Hello.")
            waited = asyncio.get_running_loop().time() - began
            assert said_in(session)[-1] == ("assistant", "Second.")
            await session.run(user_input="And now?")
            assert said_in(session)[-1] == ("assistant", "Second.")
        assert LIMIT <= waited < 2 * LIMIT  # virtual seconds
        assert [(event.llm, event.available) for event in switched] == [(models[0], False)]
        assert len(hosts[1].journal.entries) == 2
        await both.aclose()
        for model in models:
            await model.aclose()


@silences
async def test_videosdks_wrapper_switches_when_the_wait_ran_out(silence: Fault) -> None:
    async with two_hosts(silence) as hosts:
        models = [
            OpenAILLM(
                api_key="k", base_url=host.base_url, streaming=True, timeout=LIMIT, max_retries=0
            )
            for host in hosts
        ]
        both = FallbackLLM(list(models))
        voice = Voice()
        async with talk(both, tts=voice) as on:
            began = asyncio.get_running_loop().time()
            await on.turn("Hello.")
            waited = asyncio.get_running_loop().time() - began
            await on.turn("And now?")
        assert voice.said == ["Second.", "Second."]
        assert LIMIT <= waited < 2 * LIMIT  # virtual seconds
        assert len(hosts[0].journal.entries) == 1
        assert len(hosts[1].journal.entries) == 2
        for model in models:
            await model.aclose()
