"""rtllm compared with the stock plugins of LiveKit and VideoSDK, on the same server.

    uv run benchmarks/run.py [--short] [--flows] [--only livekit|videosdk|azure|faults|latency]

First the call flows of `livekit_flows.py` and `videosdk_flows.py`: whether the model saw the
agent's contexts, how many responses were continued of those possible, requests, bytes, connections.
Then the Azure cases, the fault cases (`fault_cases.py`), and `latency.py`. This script prints the
README's tables.
"""

import asyncio
import logging
from collections.abc import Sequence
from typing import Annotated, Literal, get_args

import typer
from rich.console import Console

import azure_cases
import fault_cases
import latency
import livekit_flows
import videosdk_flows
from score import AnyStage, Suite, play_all, tables_of

Part = Literal["livekit", "videosdk", "azure", "faults", "latency"]
PARTS: Sequence[Part] = get_args(Part)


def show(console: Console, suite: Suite[AnyStage], *, each: bool) -> None:
    """Run an SDK's flows and print the tables."""
    scores = asyncio.run(play_all(suite))
    for table in tables_of(suite, scores, each=each):
        console.print(table)


def main(
    short: Annotated[bool, typer.Option(help="Fewer rounds, fewer hosts.")] = False,
    flows: Annotated[bool, typer.Option(help="Also print a table for each flow.")] = False,
    only: Annotated[Part | None, typer.Option(help="Run only this part.")] = None,
) -> None:
    """Compare the plugins and print the tables."""
    logging.disable(logging.CRITICAL)
    console = Console(width=140)
    for part in [only] if only else PARTS:
        match part:
            case "livekit":
                show(console, livekit_flows.SUITE, each=flows)
            case "videosdk":
                show(console, videosdk_flows.SUITE, each=flows)
            case "azure":
                console.print(azure_cases.table_of(asyncio.run(azure_cases.run())))
            case "faults":
                console.print(fault_cases.table_of(fault_cases.run(short=short)))
            case "latency":
                console.print(latency.table_of(asyncio.run(latency.run(5 if short else 20))))


if __name__ == "__main__":
    typer.run(main)
