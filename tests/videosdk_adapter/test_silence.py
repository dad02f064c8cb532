"""How long a turn may be silent."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from rtllm import ConfigError, TurnTimeout
from rtllm.adapters import Options
from rtllm.simulator import Silence, Simulator
from rtllm_videosdk import OpenAILLM
from rtllm_videosdk.settings import limits_of
from videosdk_adapter.requests import chunks_of, hello


@pytest.mark.parametrize("streaming", [True, False])
async def test_a_dead_service_ends_a_turn_within_the_silence_limit(streaming: bool) -> None:
    async with Simulator(fault=Silence(phase="sent")) as service:
        model = OpenAILLM(api_key="key", base_url=service.base_url, streaming=streaming)
        began = asyncio.get_running_loop().time()
        _, error = await chunks_of(model, hello())
        assert isinstance(error, TurnTimeout)
        assert asyncio.get_running_loop().time() - began == pytest.approx(12.0, abs=1.0)
        await model.aclose()


@pytest.mark.parametrize(
    ("waits", "timeout", "silence"),
    [
        ({}, None, 12.0),
        ({}, 5.0, 12.0),
        ({}, 30.0, None),
        ({"silence_limit": 7.0}, 30.0, 7.0),
        ({"silence_limit": None}, None, None),
    ],
)
def test_the_default_gives_way_to_a_longer_timeout(
    waits: dict[str, Any], timeout: float | None, silence: float | None
) -> None:
    assert limits_of(Options(api="chat", model="m", **waits), timeout).silence == silence


@pytest.mark.parametrize("keyword", ["silence_limit", "first_output_timeout", "speech_floor"])
def test_a_limit_that_limits_nothing_is_refused(keyword: str) -> None:
    keywords: dict[str, Any] = {keyword: -1}
    with pytest.raises(ConfigError, match=f"{keyword} is -1"):
        OpenAILLM(api_key="key", **keywords)
