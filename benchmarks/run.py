"""rtllm beside the stock LiveKit plugin, on the same server, in the same run.

    uv run benchmarks/run.py [--short] [--flows]

First the call flows of `flows.py`: what the model saw against what the agent asked, how much
of what the service knew was continued, requests, bytes, sockets. Then `latency.py`. The
README's table is printed by this script.
"""

import asyncio
import logging
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Literal

import typer
from rich.console import Console
from rich.table import Table

import latency
from flows import FLOWS, Flow, model
from rtllm.simulator import Entry
from stages import Stage, is_chained, stage

Lanes = Literal["on", "off", "ignore"]


@dataclass(frozen=True, slots=True)
class Setting:
    """A plugin, a kind of host, and whether answers are stored."""

    stock: bool
    lanes: Lanes
    store: bool | None

    @property
    def name(self) -> str:
        """What the table calls it."""
        host = {"on": "lanes", "off": "no lanes", "ignore": "lanes ignored"}[self.lanes]
        stored = "store=False" if self.store is False else "stored"
        return f"stock, {stored}" if self.stock else f"rtllm, {host}, {stored}"


SETTINGS = (
    Setting(stock=True, lanes="on", store=None),
    Setting(stock=False, lanes="on", store=None),
    Setting(stock=False, lanes="off", store=None),
    Setting(stock=False, lanes="ignore", store=None),
    Setting(stock=True, lanes="on", store=False),
    Setting(stock=False, lanes="on", store=False),
    Setting(stock=False, lanes="off", store=False),
    Setting(stock=False, lanes="ignore", store=False),
)


@dataclass(frozen=True, slots=True)
class Score:
    """What came of one flow, or of several."""

    requests: int = 0
    right: int = 0
    eligible: int = 0
    chained: int = 0
    refused: int = 0
    sent: int = 0
    sockets: int = 0

    def __add__(self, other: "Score") -> "Score":
        return Score(
            self.requests + other.requests,
            self.right + other.right,
            self.eligible + other.eligible,
            self.chained + other.chained,
            self.refused + other.refused,
            self.sent + other.sent,
            self.sockets + other.sockets,
        )


async def play(flow: Flow, setting: Setting) -> Score:
    """Play one flow with one plugin."""
    async with stage(model, store=setting.store, lanes=setting.lanes, stock=setting.stock) as on:
        await flow(on)
        await on.service.journal.wait_idle()
        answered = [entry for entry in on.entries if entry.outcome != "refused"]
        eligible = [entry for entry in answered if could_continue(on, entry)]
        return Score(
            requests=len(answered),
            right=sum(sees_what_was_asked(on, entry) for entry in answered),
            eligible=len(eligible),
            chained=sum(is_chained(entry) for entry in eligible),
            refused=len(on.entries) - len(answered),
            sent=sum(entry.bytes for entry in on.entries),
            sockets=len(on.service.journal.connections),
        )


def could_continue(on: Stage, entry: Entry) -> bool:
    """Whether a context begins with any completed state, wherever that is remembered."""
    return any(
        known.outcome == "completed" and on.begins_with(entry, known)
        for known in on.entries[: entry.index]
    )


def sees_what_was_asked(on: Stage, entry: Entry) -> bool:
    """Whether the model saw the context that the agent asked with."""
    try:
        on.check_context(entry)
    except AssertionError:
        return False
    return True


def table_of(rows: Iterable[tuple[str, Score]], title: str) -> Table:
    """The scores as a table."""
    table = Table(title=title)
    table.add_column("plugin and host")
    for name in ("contexts right", "chained", "refused", "requests", "KB sent", "sockets"):
        table.add_column(name, justify="right")
    for name, score in rows:
        share = 100 * score.chained / score.eligible if score.eligible else 100.0
        table.add_row(
            name,
            f"{score.right} of {score.requests}",
            f"{score.chained} of {score.eligible} ({share:.0f} %)",
            str(score.refused),
            str(score.requests + score.refused),
            f"{score.sent / 1000:.0f}",
            str(score.sockets),
        )
    return table


async def all_flows(settings: Iterable[Setting]) -> dict[Setting, dict[str, Score]]:
    """Play every flow in every setting."""
    return {
        setting: {flow.__name__: await play(flow, setting) for flow in FLOWS}
        for setting in settings
    }


def main(
    short: Annotated[bool, typer.Option(help="Fewer rounds of the latency part.")] = False,
    flows: Annotated[bool, typer.Option(help="A table for each flow, too.")] = False,
) -> None:
    """Compare both plugins and print the tables."""
    logging.disable(logging.WARNING)
    console = Console(width=120)
    scores = asyncio.run(all_flows(SETTINGS))
    totals = [(s.name, sum(scores[s].values(), Score())) for s in SETTINGS]
    console.print(table_of(totals, f"{len(FLOWS)} call flows"))
    if flows:
        for flow in FLOWS:
            rows = [(s.name, scores[s][flow.__name__]) for s in SETTINGS]
            console.print(table_of(rows, flow.__name__.replace("_", " ")))
    console.print(latency.table_of(asyncio.run(latency.run(5 if short else 20))))


if __name__ == "__main__":
    typer.run(main)
