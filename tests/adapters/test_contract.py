"""The contract of an adapter: the adapters keep it, and a saboteur breaks each law."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest

from adapters.livekit_session_under_test import SessionUnderTest
from adapters.livekit_under_test import LiveKitUnderTest
from adapters.saboteurs import SABOTEURS, PageUnderTest, queueing
from adapters.videosdk_pipeline_under_test import PipelineUnderTest
from adapters.videosdk_under_test import VideoSdkUnderTest
from rtllm.testing import CONTRACT, ContractViolation, MakeAdapter, check_adapter
from rtllm_livekit import ChatLLM
from support.page_adapter import under_test

HTTP: dict[str, Any] = {"protocol": "http", "use_websocket": False, "store": True}
ADAPTERS: dict[str, MakeAdapter] = {
    "the page's": PageUnderTest,
    "livekit": LiveKitUnderTest,
    "livekit, in a session": SessionUnderTest,
    "livekit, correcting calls": partial(SessionUnderTest, answer_invalid_calls=True),
    "livekit, over HTTP": partial(LiveKitUnderTest, **HTTP),
    "livekit, Chat Completions": partial(LiveKitUnderTest, kind=ChatLLM, protocol="chat"),
    "videosdk": VideoSdkUnderTest,
    "videosdk, in a pipeline": PipelineUnderTest,
    "videosdk, over HTTP": partial(VideoSdkUnderTest, **HTTP),
    "videosdk, Chat Completions": partial(VideoSdkUnderTest, streaming=False, protocol="chat"),
}


@pytest.mark.parametrize("name", CONTRACT)
@pytest.mark.parametrize("adapter", ADAPTERS)
async def test_the_adapters_keep_the_contract(adapter: str, name: str) -> None:
    await CONTRACT[name](ADAPTERS[adapter])


@pytest.mark.parametrize("name", CONTRACT)
async def test_a_saboteur_breaks_it(name: str) -> None:
    with pytest.raises(ContractViolation):
        await CONTRACT[name](SABOTEURS[name])


async def test_all_violations_of_an_adapter_are_listed() -> None:
    name = "what the service has is not sent again"
    found = await check_adapter(SABOTEURS[name])
    assert [text for text in found if text.startswith(name)]
    assert len(found) < len(CONTRACT)


async def test_text_that_is_lost_at_an_error_is_found() -> None:
    with pytest.raises(ContractViolation, match="heard '' instead of 'one two '"):
        await CONTRACT["nothing is emitted twice"](under_test(queueing))
