"""The functions of docs/direct_use.md, called on the simulator."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest
from livekit.agents import llm
from videosdk.agents import ChatContext, ChatRole, function_tool

from rtllm.simulator import Call, Reply, Request, Simulator
from rtllm_livekit import LLM
from rtllm_videosdk import OpenAILLM

PAGE = Path(__file__).parents[2] / "docs" / "direct_use.md"
EXAMPLES = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)


def script(request: Request) -> Reply | str:
    """Answer as the page's functions expect it."""
    asked = str(request.context)
    if "Classify" in asked:
        return json.dumps({"topic": "bill", "is_urgent": True})
    if "Judge" in asked:
        return json.dumps({"is_polite": False, "reason": "It shouts."})
    if "weather" in asked:
        return Reply.of(Call("weather", {"city": "Rome"}), Call("weather", {"city": "Oslo"}))
    return "They talked about a bill."


@pytest.fixture
def page() -> dict[str, Any]:
    """Run each example by itself, because a reader copies the one of their SDK."""
    found: dict[str, Any] = {}
    for code in EXAMPLES:
        names: dict[str, Any] = {"__name__": "page"}
        exec(code, names)  # noqa: S102 - the page's own code
        found |= names
    return found


@pytest.fixture
async def base_url() -> AsyncIterator[str]:
    async with Simulator(script) as service:
        yield service.base_url


async def test_livekit_summarizes_and_classifies(page: dict[str, Any], base_url: str) -> None:
    async with aclosing(LLM(api_key="key", base_url=base_url)) as model:
        call = llm.ChatContext.empty()
        call.add_message(role="user", content="My bill is wrong.")
        assert await page["summarize"](model, call) == "They talked about a bill."
        topic = await page["classify"](model, "My bill is wrong!")
        assert (topic.topic, topic.is_urgent) == ("bill", True)


@pytest.mark.parametrize("streaming", [True, False])
async def test_videosdk_judges_and_finds_calls(
    page: dict[str, Any], base_url: str, streaming: bool
) -> None:
    @function_tool  # type: ignore[untyped-decorator]  # the framework has no types
    async def weather(city: str) -> str:
        """Tell the weather."""
        return city

    made = OpenAILLM(api_key="key", base_url=base_url, streaming=streaming, model="gpt-4o")
    async with aclosing(made) as model:
        assert (await page["judge"](model, "NO!")).reason == "It shouts."
        context = ChatContext.empty()
        context.add_message(role=ChatRole.USER, content="weather in Rome and Oslo?")
        calls = await page["find_calls"](model, context, [weather])
        assert [call["arguments"]["city"] for call in calls] == ["Rome", "Oslo"]
