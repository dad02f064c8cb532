"""A dropped LLM is freed with its sockets and tasks, also if its callbacks refer to it."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from livekit.agents import llm
from livekit.agents.utils import http_context

from rtllm.simulator import Pause, Reply, Simulator, Text
from rtllm_livekit import LLM, ChatLLM
from support.owners import CALLBACKS, Owner, freed, give_llm, hosted, is_theirs, left, refs

WAYS: dict[str, tuple[type[LLM | ChatLLM], dict[str, Any]]] = {
    "socket": (LLM, {"lanes": True}),
    "spares": (LLM, {"lanes": False, "warm_connections": 2}),
    "rebuilding": (LLM, {"lanes": True, "rebuild": True, "store": False}),
    "http": (LLM, {"use_websocket": False}),
    "chat": (ChatLLM, {}),
}


ways = pytest.mark.parametrize("way", WAYS)
callbacks = pytest.mark.parametrize("callback", CALLBACKS)


def made(way: str, callback: str, service: Simulator) -> Owner:
    kind, options = WAYS[way]
    owner = Owner()
    give_llm(owner, kind, kind.with_azure, callback, service, **options)
    return owner


async def ask(model: llm.LLM[Any], text: str = "Hi.") -> str:
    context = llm.ChatContext.empty()
    context.add_message(role="user", content=text)
    return (await asyncio.wait_for(model.chat(chat_ctx=context).collect(), 20)).text


@asynccontextmanager
async def in_job() -> AsyncIterator[Simulator]:
    async with http_context.open(), hosted() as service:
        yield service


@ways
@callbacks
async def test_one_that_is_dropped_idle_is_freed(way: str, callback: str) -> None:
    async with in_job() as service:
        owner = made(way, callback, service)
        assert await ask(owner.llm) == "Hi."
        held = refs(owner)
        del owner
        await freed(held, service, theirs=is_theirs(way, callback))


@ways
@pytest.mark.parametrize("callback", ["on_turn", "api_key closure", "passed client"])
async def test_one_that_was_closed_is_freed(way: str, callback: str) -> None:
    async with in_job() as service:
        owner = made(way, callback, service)
        for _ in range(2):  # it opens again
            await ask(owner.llm)
            await owner.llm.aclose()
        held = refs(owner)
        del owner
        await freed(held, service, theirs=is_theirs(way, callback))


@ways
@pytest.mark.parametrize(
    "callback", ["on_turn", "api_key closure", "passed client", "token provider"]
)
async def test_a_running_turn_goes_on_and_then_all_is_freed(way: str, callback: str) -> None:
    gate = asyncio.Event()
    async with hosted(Reply.of(Text(pieces=("One ", Pause(gate), "two.")))) as service:
        owner = made(way, callback, service)
        reports = owner.reports
        turn = asyncio.create_task(ask(owner.llm))
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
@pytest.mark.parametrize("callback", ["on_turn", "async api_key", "passed client"])
async def test_a_cut_turn_holds_nothing(way: str, callback: str) -> None:
    async with hosted(Reply.of(Text(pieces=("One ", Pause(asyncio.Event()), "two.")))) as service:
        owner = made(way, callback, service)
        context = llm.ChatContext.empty()
        context.add_message(role="user", content="Hi.")
        async with owner.llm.chat(chat_ctx=context) as stream:
            async for _ in stream:
                break
        held = refs(owner)
        del owner, stream
        await freed(held, service, theirs=is_theirs(way, callback))


@pytest.mark.parametrize("way", ["socket", "spares", "chat"])
@pytest.mark.parametrize("callback", ["on_turn", "api_key"])
async def test_one_that_was_only_warmed_is_freed(way: str, callback: str) -> None:
    async with in_job() as service:
        owner = made(way, callback, service)
        owner.llm.prewarm()
        await asyncio.sleep(0)
        held = refs(owner)
        del owner
        await freed(held, service)


@ways
@pytest.mark.parametrize("callback", ["on_turn", "api_key", "async token provider"])
async def test_another_thread_may_drop_it(way: str, callback: str) -> None:
    async with in_job() as service:
        owners = [made(way, callback, service)]
        await ask(owners[0].llm)
        held = refs(owners[0])

        def drop() -> None:
            owners.clear()
            gc.collect()

        thread = threading.Thread(target=drop)
        thread.start()
        await asyncio.to_thread(thread.join)
        await freed(held, service)


@ways
async def test_it_is_freed_on_every_loop_that_it_was_used_on(way: str) -> None:
    async with in_job() as service:
        owners = [made(way, "on_turn", service)]
        await ask(owners[0].llm)
        used, leave = threading.Event(), threading.Event()

        async def other() -> None:
            async with http_context.open():
                await ask(owners[0].llm)
                used.set()
                while not leave.is_set():
                    await asyncio.sleep(0.002)
                assert not left()

        loop = asyncio.get_running_loop()  # whose context isn't copied, other than by to_thread
        elsewhere = loop.run_in_executor(None, lambda: asyncio.run(other()))
        try:
            await asyncio.to_thread(used.wait, 20)
            held = refs(owners[0])
            owners.clear()
            await freed(held, service)
        finally:
            leave.set()
            await elsewhere
