"""A dropped LLM is freed with its sockets and tasks, also if its callbacks refer to it."""

from __future__ import annotations

import asyncio
import gc
import threading
from typing import Any

import av
import pytest
from videosdk.agents import ChatContext, ChatRole, ImageContent

from rtllm.simulator import Pause, Reply, Simulator, Text
from rtllm_videosdk import OpenAILLM
from support.owners import CALLBACKS, Owner, freed, give_llm, hosted, is_theirs, refs
from videosdk_adapter.requests import chunks_of, hello, text_of
from videosdk_adapter.talks import tool

WAYS: dict[str, dict[str, Any]] = {
    "socket": {"streaming": True, "lanes": True},
    "spares": {"streaming": True, "lanes": False, "warm_connections": 2},
    "http": {"streaming": True, "use_websocket": False},
    "chat": {"streaming": False},
}


class Agent(Owner):
    """An owner with a tool, which refers to it, too."""

    def __init__(self) -> None:
        super().__init__()

        @tool
        async def look() -> str:
            """Look something up."""
            return str(self)

        self.tools = [look]


ways = pytest.mark.parametrize("way", WAYS)
callbacks = pytest.mark.parametrize(
    "callback",
    [name for name in CALLBACKS if "api_key" not in name],  # a text, on VideoSDK
)


def made(way: str, callback: str, service: Simulator) -> Agent:
    owner = Agent()
    give_llm(owner, OpenAILLM, OpenAILLM.azure, callback, service, **WAYS[way])
    return owner


async def ask(owner: Agent) -> str:
    chunks, error = await chunks_of(owner.llm, hello(), tools=owner.tools)
    assert error is None
    return text_of(chunks)


@ways
@callbacks
async def test_one_that_is_dropped_idle_is_freed(way: str, callback: str) -> None:
    async with hosted() as service:
        owner = made(way, callback, service)
        assert await ask(owner) == "Hi."
        held = refs(owner)
        del owner
        await freed(held, service, theirs=is_theirs(way, callback))


@ways
@pytest.mark.parametrize("callback", ["on_turn", "passed client", "token provider"])
async def test_one_that_was_closed_is_freed(way: str, callback: str) -> None:
    async with hosted() as service:
        owner = made(way, callback, service)
        for _ in range(2):  # it opens again
            await ask(owner)
            await owner.llm.aclose()
        held = refs(owner)
        del owner
        await freed(held, service, theirs=is_theirs(way, callback))


@ways
@pytest.mark.parametrize("callback", ["on_turn closure", "passed client", "async token provider"])
async def test_a_running_turn_goes_on_and_then_all_is_freed(way: str, callback: str) -> None:
    gate = asyncio.Event()
    async with hosted(Reply.of(Text(pieces=("One ", Pause(gate), "two.")))) as service:
        owner = made(way, callback, service)
        reports = owner.reports
        turn = asyncio.create_task(ask(owner))
        await service.journal.wait(lambda journal: journal.entries)
        held = refs(owner)
        del owner
        gc.collect()
        gate.set()
        assert await turn == "One two."
        del turn
        await freed(held, service, theirs=is_theirs(way, callback))
        assert len(reports) == callback.startswith("on_turn")


@ways
@pytest.mark.parametrize("callback", ["on_turn", "passed client"])
async def test_a_cut_turn_holds_nothing(way: str, callback: str) -> None:
    async with hosted(Reply.of(Text(pieces=("One ", Pause(asyncio.Event()), "two.")))) as service:
        owner = made(way, callback, service)
        stream = owner.llm.chat(hello(), tools=owner.tools)
        async for _ in stream:
            break
        await owner.llm.cancel_current_generation()
        await stream.aclose()
        held = refs(owner)
        del owner, stream
        await freed(held, service, theirs=is_theirs(way, callback))


@pytest.mark.parametrize("way", ["socket", "spares", "chat"])
@pytest.mark.parametrize("callback", ["on_turn", "token provider"])
async def test_one_that_never_asked_is_freed(way: str, callback: str) -> None:
    async with hosted() as service:
        owner = made(way, callback, service)
        await asyncio.sleep(0)  # it connects by itself
        held = refs(owner)
        del owner
        await freed(held, service)


@ways
@pytest.mark.parametrize("callback", ["on_turn", "async token provider"])
async def test_another_thread_may_drop_it(way: str, callback: str) -> None:
    async with hosted() as service:
        owners = [made(way, callback, service)]
        await ask(owners[0])
        held = refs(owners[0])

        def drop() -> None:
            owners.clear()
            gc.collect()

        thread = threading.Thread(target=drop)
        thread.start()
        await asyncio.to_thread(thread.join)
        await freed(held, service)


@ways
async def test_closing_and_cancelling_leave_the_answers_of_other_threads(way: str) -> None:
    gate, begun = asyncio.Event(), threading.Event()
    async with Simulator(Reply.of(Text(pieces=("One ", Pause(gate), "two.")))) as service:
        model = OpenAILLM(model="gpt-4.1", api_key="key", base_url=service.base_url, **WAYS[way])

        async def listen() -> str:
            said = ""
            async for chunk in model.chat(hello()):
                said += chunk.content
                begun.set()
            await model.aclose()
            return said

        elsewhere = asyncio.create_task(asyncio.to_thread(lambda: asyncio.run(listen())))
        await asyncio.to_thread(begun.wait, 20)
        await model.cancel_current_generation()
        await model.aclose()
        gate.set()
        assert await elsewhere == "One two."


@ways
async def test_the_clients_of_an_old_key_go_too(way: str) -> None:
    async with hosted() as service:
        owner = made(way, "on_turn", service)
        await ask(owner)
        held = refs(owner)
        owner.llm.api_key = "sk-new"
        await ask(owner)
        held += refs(owner)
        del owner
        await freed(held, service)


async def test_pictures_go_with_their_objects_and_at_closing() -> None:
    async with hosted() as service:
        owner = made("socket", "none", service)

        async def show(colour: str) -> ImageContent:
            frame = av.VideoFrame(32, 32, "rgb24")
            frame.planes[0].update(colour.encode() * (32 * 32 * 3))
            context = ChatContext.empty()
            content = ImageContent(id="mine", image=frame)
            context.add_message(role=ChatRole.USER, content=["What?", content])
            _, error = await chunks_of(owner.llm, context)
            assert error is None
            return content

        for colour in "ab":
            await show(colour)
        gc.collect()
        assert ", 0 images" in repr(owner.llm)
        kept = await show("c")
        assert ", 1 images" in repr(owner.llm)
        await owner.llm.aclose()
        assert ", 0 images" in repr(owner.llm)
        shown = [str(e.context[-1]["content"]) for e in service.journal.entries]
        assert len(set(shown)) == 3
        del kept
