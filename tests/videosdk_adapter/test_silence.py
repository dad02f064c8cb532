"""How long a turn may be silent."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from rtllm import ConfigError, TurnTimeout
from rtllm.simulator import Silence, Simulator
from rtllm_videosdk import OpenAILLM
from rtllm_videosdk.timeouts import VideoSDKTimeouts
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
        (VideoSDKTimeouts(), None, 12.0),
        (VideoSDKTimeouts(), 5.0, 12.0),
        (VideoSDKTimeouts(), 30.0, None),
        (VideoSDKTimeouts(silence=7.0), 30.0, 7.0),
        (VideoSDKTimeouts(silence=None), None, None),
    ],
)
def test_the_default_gives_way_to_a_longer_timeout(
    waits: VideoSDKTimeouts, timeout: float | None, silence: float | None
) -> None:
    assert waits.limits(timeout).silence == silence


@pytest.mark.parametrize("keyword", ["silence_limit", "first_output_timeout", "speech_floor"])
def test_a_limit_that_limits_nothing_is_refused(keyword: str) -> None:
    keywords: dict[str, Any] = {keyword: -1}
    with pytest.raises(ConfigError, match=f"{keyword} is -1"):
        OpenAILLM(api_key="key", **keywords)
