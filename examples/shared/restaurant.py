"""What both conversation examples share: the caller, the tools, the simulated model, the figures.

The examples of LiveKit and VideoSDK import this module; it knows neither.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import typer
from rich.console import Console
from rich.table import Table

from rtllm import ConfigError, TurnReport, UsageSnapshot
from rtllm.simulator import Call, Reply, Request, Simulator

INSTRUCTIONS = (
    "You answer the phone of the restaurant Mirabelle. Keep answers to a sentence or two. Look "
    "tables up with find_table, one call for each day that is asked about, and book with "
    "book_table."
)
CALLER = (
    "Hello, who am I talking to?",
    "Do you have a table tonight, or tomorrow?",
    "Tell me about the menu, please.",  # interrupted while the response is spoken
    "Sorry, only the fish.",
    "Then book the table tonight for two.",
    "Thank you, goodbye.",
)
INTERRUPTED = 2
FIRST_TURN = 8.0
"""Seconds for the first turn."""


async def find_table(day: str) -> str:
    """Look up free tables of a day.

    Args:
        day: Such as "tonight" or "tomorrow".
    """
    return {"tonight": "one table at eight", "tomorrow": "none"}.get(day, "unknown day")


async def book_table(day: str, guests: int) -> str:
    """Book a table.

    Args:
        day: Such as "tonight".
        guests: How many come.
    """
    return f"booked {day} for {guests}, number 4711"


def model_stand_in(request: Request) -> Reply:
    """Play the model of this conversation in the simulator."""
    outputs = [str(item["output"]) for item in request.trailing_outputs]
    said = request.last_user_text
    if outputs and "booked" in outputs[0]:
        return Reply.of("It is booked: tonight at eight for two, number 4711.")
    if outputs:
        return Reply.of("Tonight there is one table at eight; tomorrow we are full.")
    if "tonight, or tomorrow" in said:
        days = ("tonight", "tomorrow")
        return Reply.of(*(Call("find_table", {"day": day}) for day in days))
    if "book" in said:
        return Reply.of(Call("book_table", {"day": "tonight", "guests": 2}))
    if "menu" in said:
        return Reply.of(
            "We begin with a soup of green peas, then there is trout with almonds, duck with "
            "cherries, or a mushroom tart, and for dessert we have plums in red wine."
        )
    if "fish" in said:
        return Reply.of("The trout comes from the lake next door, with almonds and butter.")
    if "goodbye" in said:
        return Reply.of("We look forward to seeing you tonight. Goodbye!")
    return Reply.of("This is the restaurant Mirabelle. How can I help you?")


@asynccontextmanager
async def host(model: str, console: Console) -> AsyncIterator[dict[str, Any]]:
    """Yield the keywords of the host: the real one with ``OPENAI_API_KEY``, else a simulator."""
    if os.environ.get("OPENAI_API_KEY"):
        console.print(f"[dim]{model}[/]")
        yield {"model": model}
        return
    console.print("[dim]the built-in simulator, because OPENAI_API_KEY is not set[/]")
    async with Simulator(model_stand_in, time_to_first=0.12, per_delta=0.02) as simulator:
        yield {
            "model": model,
            "api_key": "simulated",
            "base_url": simulator.base_url,
            "lanes": True,
        }


def table_of(reports: list[TurnReport]) -> Table:
    """Create a table with one row for each request of the session."""
    table = Table(title="What each request cost")
    for name in (
        "request",
        "outcome",
        "first output",
        "chained",
        "items",
        "bytes",
        "tokens in/out",
    ):
        table.add_column(name, justify="right" if name not in ("outcome", "chained") else "left")
    for number, report in enumerate(reports, 1):
        first = report.time_to_first
        usage = report.usage
        table.add_row(
            str(number),
            report.outcome,
            "-" if first is None else f"{first * 1000:.0f} ms",
            "yes" if report.chained else f"no: {report.full_context_reason}",
            str(report.items_sent),
            str(report.bytes_sent),
            "running on" if usage is None else f"{usage.input}/{usage.output}",
        )
    return table


class Failed(Exception):
    """The conversation can't go on."""


class Watch:
    """Collects the reports of the turns, and ends the conversation at the first one that fails."""

    def __init__(self) -> None:
        self.reports: list[TurnReport] = []
        self._failure: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    def note(self, report: TurnReport) -> None:
        """Take the report of a turn."""
        self.reports.append(report)
        if report.error is not None and not self._failure.done():
            self._failure.set_result(report.error)

    async def until_failure(self, conversation: Coroutine[Any, Any, None]) -> None:
        """Run a conversation.

        Raises:
            Failed: If a turn fails, or the first one takes too long.
        """
        talking = asyncio.create_task(conversation)
        either = (talking, self._failure)
        await asyncio.wait(either, timeout=FIRST_TURN, return_when=asyncio.FIRST_COMPLETED)
        if self.reports:
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        if not talking.done():
            talking.cancel()
            await asyncio.wait([talking])
        if self._failure.done():
            raise Failed(self._failure.result())
        if not self.reports:
            raise Failed(f"no response within {FIRST_TURN:g} s; check the network")
        await talking


def print_figures(console: Console, reports: list[TurnReport], usage: UsageSnapshot) -> None:
    """Print what the requests cost."""
    console.print(table_of(reports))
    total = usage.all
    console.print(
        f"{total.attempts} responses, {total.input} tokens in ({total.cached} from the cache), "
        f"{total.output} out; connections used: {len({r.connection for r in reports})}"
    )


def run_example(conversation: Coroutine[Any, Any, None]) -> None:
    """Run an example; what goes wrong is one sentence."""
    try:
        asyncio.run(conversation)
    except (ConfigError, Failed) as error:
        typer.echo(f"{error}", err=True)
        raise typer.Exit(1) from None
