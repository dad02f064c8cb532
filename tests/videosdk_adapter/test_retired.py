"""New keys and headers open new clients; the old ones end what they have begun, and go."""

from __future__ import annotations

import asyncio
import gc
from typing import Any
from weakref import WeakSet

from rtllm import ChatClient, Client
from rtllm.simulator import Pause, Reply, Request, Text
from rtllm_videosdk import OpenAILLM
from support.memory import clients_of
from support.waiting import until
from videosdk_adapter.requests import chunks_of, hello, text_of
from videosdk_adapter.stage import Host, stage


def gated(gate: asyncio.Event) -> Any:
    def script(request: Request) -> Reply | str:
        if request.last_user_text == "slow":
            return Reply.of(Text(pieces=("One ", Pause(gate), "two.")))
        return f"You said {request.last_user_text}."

    return script


async def reading(model: OpenAILLM, **call: Any) -> tuple[asyncio.Task[None], list[str]]:
    """Ask for the slow answer, and wait for its beginning."""
    pieces: list[str] = []

    async def read() -> None:
        async for chunk in model.chat(hello("slow"), **call):
            pieces.append(chunk.content)

    task = asyncio.create_task(read())
    await until(lambda: pieces)
    return task, pieces


async def test_a_new_key_lets_the_running_answer_end(host: Host) -> None:
    gate = asyncio.Event()
    async with stage(gated(gate), **host) as st:
        task, pieces = await reading(st.llm)
        st.llm.api_key = "sk-new"
        chunks, error = await chunks_of(st.llm, hello("next"))
        assert (text_of(chunks), error) == ("You said next.", None)
        gate.set()
        await asyncio.wait_for(task, 20)
        assert "".join(pieces) == "One two."
        assert st.llm.usage.answered.attempts == 2
        journal = st.service.journal
        if st.is_socket:  # that of the old key closes now, the other one stays
            await journal.wait(lambda j: len(j.open_connections) == 1)
            assert journal.open_connections[0].headers["Authorization"] == "Bearer sk-new"


async def test_headers_of_their_own_dont_end_each_others_answers(socket: Host) -> None:
    gate = asyncio.Event()
    async with stage(gated(gate), **socket) as st:
        calls = []
        for number in range(6):
            calls.append(await reading(st.llm, extra_headers={"X-Call": str(number)}))
        gate.set()
        await asyncio.wait_for(asyncio.gather(*(task for task, _ in calls)), 20)
        assert {"".join(pieces) for _, pieces in calls} == {"One two."}
        await st.service.journal.wait(lambda j: len(j.open_connections) <= 5)


async def test_clients_of_old_keys_are_not_kept_but_their_tokens_are(host: Host) -> None:
    async with stage("Hi.", **host) as st:
        clients: WeakSet[Client | ChatClient] = WeakSet()
        for number in range(6):
            st.llm.api_key = f"sk-{number}"
            await chunks_of(st.llm, hello())
            clients.update(clients_of(st.llm))
        await until(lambda: gc.collect() >= 0 and len(clients) == 1)
        assert st.llm.usage.all.attempts == 6


async def test_closing_ends_the_answers_of_an_old_key_at_once(socket: Host) -> None:
    gate = asyncio.Event()
    async with stage(gated(gate), **socket) as st:
        task, _ = await reading(st.llm)
        st.llm.api_key = "sk-new"
        await st.llm.aclose()
        await st.service.journal.wait(lambda j: not j.open_connections)
        assert not [t for t in asyncio.all_tasks() if t.get_name() == "rtllm close client"]
        await asyncio.wait([task], timeout=20)
        assert task.done()
