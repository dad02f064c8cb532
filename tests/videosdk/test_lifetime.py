"""A dropped LLM is freed with its sockets and tasks, also when its callbacks are its owner's."""

import asyncio
import gc
import weakref
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from videosdk.agents import ChatContext, ChatRole

from rtllm.simulator import Simulator
from rtllm_videosdk import OpenAILLM

WAYS: dict[str, dict[str, Any]] = {
    "socket": {"streaming": True, "lanes": True},
    "spares": {"streaming": True, "lanes": False, "spare": 2},
    "http": {"streaming": True, "use_websocket": False},
    "chat": {"streaming": False},
}


class Owner:
    """An agent that owns its LLM, and lends it methods of its own."""

    def __init__(self) -> None:
        self.llm: OpenAILLM | None = None
        self.reports: list[Any] = []

    def note(self, report: Any) -> None:
        self.reports.append(report)

    def token(self) -> str:
        return "token"


CALLBACKS: dict[str, Callable[[Owner], dict[str, Any]]] = {
    "none": lambda _: {},
    "on_turn": lambda owner: {"on_turn": owner.note},
    "token provider": lambda owner: {"azure_ad_token_provider": owner.token},
}


async def used_and_dropped(
    service: Simulator, way: str, callback: str, *, close: bool
) -> list[weakref.ref[object]]:
    owner = Owner()
    options = {"model": "gpt-4.1", **WAYS[way], **CALLBACKS[callback](owner)}
    if callback == "token provider":
        owner.llm = OpenAILLM.azure(azure_endpoint=service.azure_endpoint, **options)
    else:
        owner.llm = OpenAILLM(api_key="sk", base_url=service.base_url, **options)
    context = ChatContext.empty()
    context.add_message(role=ChatRole.USER, content="hello")
    said = [chunk.content async for chunk in owner.llm.chat(context)]
    assert "".join(said) == "Hi."
    if close:
        await owner.llm.aclose()
    return [weakref.ref(owner), weakref.ref(owner.llm)]


@pytest.mark.parametrize("close", [False, True], ids=["dropped", "closed"])
@pytest.mark.parametrize("callback", CALLBACKS)
@pytest.mark.parametrize("way", WAYS)
async def test_a_dropped_llm_is_freed(way: str, callback: str, *, close: bool) -> None:
    async with Simulator("Hi.") as service:
        held = await used_and_dropped(service, way, callback, close=close)
        left = ["all of it"]
        with suppress(TimeoutError):
            async with asyncio.timeout(20):
                while left:
                    gc.collect()
                    tasks = [t.get_name() for t in asyncio.all_tasks() if "rtllm" in t.get_name()]
                    alive = [str(number) for number, ref in enumerate(held) if ref() is not None]
                    left = alive + tasks  # names only: a reference here would keep it alive
                    await asyncio.sleep(0.005)
        assert not left
