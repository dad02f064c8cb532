"""A soak: a hundred conversations for an hour of call time. Memory, sockets and tasks stay flat.

It runs only if it is asked for: ``pytest tests/chaos/test_soak.py --soak -s`` (``--soak 5`` for
five minutes). Time is virtual; the figures are printed.
"""

from __future__ import annotations

import asyncio
import gc
import tracemalloc
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from livekit.agents.utils import http_context
from videosdk.agents import ChatContext, ChatRole

from livekit_adapter.requests import context
from rtllm import HostProfile
from rtllm.simulator import Request, Simulator
from rtllm_livekit import LLM
from rtllm_livekit.testing import run_in_virtual_time
from rtllm_videosdk import OpenAILLM
from support.oracle import KEY
from videosdk_adapter.requests import chunks_of, text_of

CONVERSATIONS = 100
LIFETIME = 600.0
"""Seconds that the host lets a connection live, so that many are exchanged in an hour."""
TURN_EVERY = 20.0
WINDOW = 12
"""Items of a context: a conversation that runs all day forgets its beginning."""


@dataclass(frozen=True)
class Sample:
    """What there was at a moment."""

    minute: int
    turns: int
    traced: float
    resident: float
    sockets: int
    tasks: int

    def __str__(self) -> str:
        return (
            f"minute {self.minute:3}: {self.turns:6} turns, {self.traced:6.1f} MB traced, "
            f"{self.resident:6.1f} MB resident, {self.sockets:3} sockets, {self.tasks:4} tasks"
        )


def resident() -> float:
    """Resident memory of this process in MB."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1024
    return 0.0


class Soak:
    """The conversations, and the samples."""

    def __init__(self, service: Simulator, model: Any, minutes: float) -> None:
        self.service = service
        self.model = model
        self.minutes = minutes
        self.turns = 0
        self.samples: list[Sample] = []
        self.over = False

    async def converse(self, number: int) -> None:
        """One conversation: a turn now and then, every seventh one cut."""
        await asyncio.sleep(number * TURN_EVERY / CONVERSATIONS)
        said: list[tuple[str, str]] = []
        while not self.over:
            said = [*said[-WINDOW:], ("user", f"Question {self.turns} of {number}")]
            answer = await self.ask([("system", f"You are number {number}."), *said])
            said.append(("assistant", answer))
            self.turns += 1
            await asyncio.sleep(TURN_EVERY)

    async def ask(self, said: list[tuple[str, str]]) -> str:
        if isinstance(self.model, LLM):
            stream = self.model.chat(chat_ctx=context(*said))
            if self.turns % 7 == 0:
                first = await anext(stream)
                await stream.aclose()
                return (first.delta.content or "") if first.delta is not None else ""
            return (await stream.collect()).text
        ctx = ChatContext.empty()
        for role, text in said:
            ctx.add_message(role=ChatRole(role), content=text)
        chunks, error = await chunks_of(self.model, ctx)
        assert error is None
        return text_of(chunks)

    async def watch(self) -> None:
        """Take a sample every minute."""
        for minute in range(1, int(self.minutes) + 1):
            await asyncio.sleep(60.0)
            gc.collect()
            journal = self.service.journal
            self.samples.append(
                Sample(
                    minute,
                    self.turns,
                    tracemalloc.get_traced_memory()[0] / 2**20,
                    resident(),
                    len(journal.open_connections),
                    sum("rtllm" in task.get_name() for task in asyncio.all_tasks()),
                )
            )
        self.over = True


async def soak(way: str, minutes: float) -> Soak:
    def model(request: Request) -> str:
        return f"Answer {request.index} has a few words in it."

    profile = HostProfile("soak", lifetime=LIFETIME)
    options: dict[str, Any] = {"api_key": KEY, "lanes": True, "host_profile": profile}
    async with (
        http_context.open(),
        Simulator(model, per_delta=0.05, lifetime=LIFETIME, keep=200) as service,
    ):
        llm: Any
        if way == "livekit":
            llm = LLM(base_url=service.base_url, store=False, **options)
        else:
            llm = OpenAILLM(base_url=service.base_url, streaming=True, **options)
        played = Soak(service, llm, minutes)
        async with asyncio.TaskGroup() as group:
            group.create_task(played.watch())
            for number in range(CONVERSATIONS):
                group.create_task(played.converse(number))
        # No caller asks any more: idle connections are closed by themselves.
        await asyncio.sleep(3600.0)
        left = len(service.journal.open_connections)
        await llm.aclose()
        ended = [c for c in service.journal.connections if c.closed]
        print(f"\n{way}: {left} sockets an hour later, {len(ended)} of the last ones closed")  # noqa: T201
        assert left <= 1
        assert not service.journal.open_connections
        assert llm.usage.all.attempts == played.turns
        assert all(e.error_code is None for e in service.journal.entries)
    return played


@pytest.mark.timeout(0)
@pytest.mark.parametrize("way", ["livekit", "videosdk"])
def test_a_hundred_conversations_stay_flat(way: str, request: pytest.FixtureRequest) -> None:
    minutes = request.config.getoption("--soak")
    if minutes is None:
        pytest.skip("a soak takes minutes; it runs with --soak")
    tracemalloc.start()
    try:
        played = run_in_virtual_time(soak(way, float(minutes)), patience=0.0002)
    finally:
        tracemalloc.stop()
    samples = played.samples
    for sample in samples[:: max(1, len(samples) // 12)]:
        print(sample)  # noqa: T201 - the figures are what it is for
    print(samples[-1])  # noqa: T201
    warm, rest = samples[len(samples) // 3], samples[len(samples) // 3 :]
    assert max(s.traced for s in rest) < warm.traced * 1.1 + 1.0
    assert max(s.resident for s in rest) < warm.resident * 1.1 + 4.0
    most = CONVERSATIONS // 4 * 2 + 2  # four a connection, twice at an exchange, and spares
    assert max(s.sockets for s in rest) <= most
    assert max(s.tasks for s in rest) <= 4 * most
