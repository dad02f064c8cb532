"""Time to first text through a relay: in an ordinary turn, prewarmed, and after a barge-in.

    uv run benchmarks/latency.py [--short]

Both plugins run against the same simulator, whose model responds at once, so that only handshakes
and round trips remain. After a barge-in the time is measured from the interruption. Figures are
medians in round trips of the relay.
"""

import asyncio
import statistics
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Annotated, Any

import typer
from livekit.agents import llm
from livekit.agents.utils import http_context
from livekit.plugins.openai import responses
from rich.console import Console
from rich.table import Table

from relay import Relay
from rtllm.simulator import Pause, Reply, Request, Simulator, Text
from rtllm.simulator.service import LaneMode
from rtllm_livekit import LLM

ROUND_TRIP = 0.06  # seconds


@dataclass(frozen=True, slots=True)
class Setting:
    """A plugin on a kind of host."""

    name: str
    lanes: LaneMode
    make: Callable[[str], llm.LLM[Any]]


@dataclass(frozen=True, slots=True)
class Times:
    """Medians in seconds."""

    ordinary: float
    prewarmed: float
    after_cut: float
    sockets: int
    cuts: int


def _stock(base_url: str, store: bool) -> llm.LLM[Any]:
    return responses.LLM(api_key="key", base_url=f"{base_url}/responses", store=store)


def _ours(base_url: str, store: bool, *, lanes: bool) -> llm.LLM[Any]:
    return LLM(api_key="key", base_url=base_url, store=store, lanes=lanes)


def settings(*, store: bool) -> list[Setting]:
    """List both plugins on every kind of host."""
    said = "stored" if store else "store=False"
    return [
        Setting(f"stock, {said}", "on", lambda url: _stock(url, store)),
        Setting(f"rtllm, lanes, {said}", "on", lambda url: _ours(url, store, lanes=True)),
        Setting(f"rtllm, no lanes, {said}", "off", lambda url: _ours(url, store, lanes=False)),
        Setting(
            f"rtllm, lanes ignored, {said}", "ignore", lambda url: _ours(url, store, lanes=True)
        ),
    ]


class Talk:
    """A caller who talks to a model and remembers what was heard."""

    def __init__(self, model: llm.LLM[Any]) -> None:
        self._model = model
        self._ctx = llm.ChatContext.empty()
        self._ctx.add_message(role="system", content="You are brief. " * 40)
        self._loop = asyncio.get_running_loop()
        self._count = 0

    async def turn(self) -> float:
        """Send a request and read the full response; return the seconds to the first text."""
        began = self._ask("tell")
        first, text = 0.0, ""
        async with self._model.chat(chat_ctx=self._ctx) as stream:
            async for chunk in stream:
                if chunk.delta and chunk.delta.content:
                    first = first or self._loop.time() - began
                    text += chunk.delta.content
        self._ctx.add_message(role="assistant", content=text)
        return first

    async def cut(self) -> None:
        """Send a request, and cancel the response at its first text."""
        self._ask("long")
        stream = self._model.chat(chat_ctx=self._ctx)
        async for chunk in stream:
            if chunk.delta and chunk.delta.content:
                self._ctx.add_message(role="assistant", content=chunk.delta.content)
                break
        await stream.aclose()

    def _ask(self, words: str) -> float:
        self._count += 1
        self._ctx.add_message(role="user", content=f"{words} {self._count}")
        return self._loop.time()


@asynccontextmanager
async def _host(lanes: LaneMode) -> AsyncIterator[tuple[Simulator, Relay]]:
    """Run a simulator, whose long responses take two more round trips, with the relay."""

    def model(request: Request) -> Reply:
        if request.last_user_text.startswith("long"):
            return Reply.of(Text(pieces=("Once ", Pause(2 * ROUND_TRIP), "upon a time.")))
        return Reply.of("Well then.")

    async with (
        Simulator(model, lanes=lanes) as simulator,
        Relay(simulator.base_url, ROUND_TRIP) as relay,
    ):
        yield simulator, relay


async def measure(setting: Setting, rounds: int) -> Times:
    """Run one plugin on one kind of host."""
    ordinary: list[float] = []
    prewarmed: list[float] = []
    after: list[float] = []
    async with http_context.open(), _host(setting.lanes) as (simulator, relay):
        for _ in range(max(3, rounds // 3)):
            model = setting.make(relay.base_url)
            model.prewarm()
            await asyncio.sleep(8 * ROUND_TRIP)
            prewarmed.append(await Talk(model).turn())
            await model.aclose()
        opened = len(simulator.journal.connections)
        model = setting.make(relay.base_url)
        talk = Talk(model)
        await talk.turn()
        for _ in range(rounds):
            ordinary.append(await talk.turn())
            await talk.cut()
            after.append(await talk.turn())
            await asyncio.sleep(6 * ROUND_TRIP)  # a caller listens for a while
        sockets = len(simulator.journal.connections) - opened
        await model.aclose()
    return Times(
        statistics.median(ordinary),
        statistics.median(prewarmed),
        statistics.median(after),
        sockets,
        rounds,
    )


def table_of(rows: list[tuple[Setting, Times]]) -> Table:
    """Create a table of the figures in round trips."""
    table = Table(title=f"Time to first text, in round trips of {ROUND_TRIP * 1000:.0f} ms")
    table.add_column("plugin and host")
    for name in ("ordinary", "first after prewarm", "after a barge-in", "ratio", "sockets/cuts"):
        table.add_column(name, justify="right")
    for setting, times in rows:
        table.add_row(
            setting.name,
            f"{times.ordinary / ROUND_TRIP:.2f}",
            f"{times.prewarmed / ROUND_TRIP:.2f}",
            f"{times.after_cut / ROUND_TRIP:.2f}",
            f"{times.after_cut / times.ordinary:.2f}",
            f"{times.sockets}/{times.cuts}",
        )
    return table


async def run(rounds: int) -> list[tuple[Setting, Times]]:
    """Measure every setting, one after the other."""
    return [
        (setting, await measure(setting, rounds))
        for store in (True, False)
        for setting in settings(store=store)
    ]


def main(
    short: Annotated[bool, typer.Option(help="A few rounds only.")] = False,
) -> None:
    """Measure the time to first text of both plugins."""
    Console(width=110).print(table_of(asyncio.run(run(5 if short else 20))))


if __name__ == "__main__":
    typer.run(main)
