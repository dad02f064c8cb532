"""Scores of call flows, and the table of the scores: the same for every SDK.

A flow runs on a stage: a simulator, and a model object that records the context of each request.
The context that the model saw is taken from the simulator's journal and compared afterwards.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from rich.table import Table

from rtllm.simulator import Entry, Simulator

FLOW_LIMIT = 60.0  # seconds


class Stage(Protocol):
    """The interface of the stages: both adapters' stages in `tests` have it."""

    service: Simulator

    def check_context(self, entry: Entry, /) -> None:
        """Raise `AssertionError` if the model saw another context than that of the request."""

    def begins_with(self, entry: Entry, known: Entry, /) -> bool:
        """Whether a request begins with an earlier request and its response."""


AnyStage = TypeVar("AnyStage", bound=Stage)


@dataclass(frozen=True, slots=True)
class Setting(Generic[AnyStage]):
    """A plugin on a kind of host.

    Attributes:
        name: Its name in the tables.
        stage: Creates a new stage.
    """

    name: str
    stage: Callable[[], AbstractAsyncContextManager[AnyStage]]


@dataclass(frozen=True, slots=True)
class Suite(Generic[AnyStage]):
    """An SDK's flows, and the settings to run them in.

    Attributes:
        name: The SDK.
        flows: The flows.
        settings: The rows of the table.
        unanswered: Counts the unanswered turns of a stage; None if a flow ends with such a turn, so
            that there is nothing to count.
    """

    name: str
    flows: Sequence[Callable[[AnyStage], Awaitable[None]]]
    settings: Sequence[Setting[AnyStage]]
    unanswered: Callable[[AnyStage], int] | None = None


@dataclass(frozen=True, slots=True)
class Score:
    """The scores of one flow, or of several."""

    requests: int = 0
    right: int = 0
    eligible: int = 0
    chained: int = 0
    refused: int = 0
    unanswered: int = 0
    sent: int = 0
    sockets: int = 0

    def __add__(self, other: "Score") -> "Score":
        return Score(
            self.requests + other.requests,
            self.right + other.right,
            self.eligible + other.eligible,
            self.chained + other.chained,
            self.refused + other.refused,
            self.unanswered + other.unanswered,
            self.sent + other.sent,
            self.sockets + other.sockets,
        )


async def play(
    suite: Suite[AnyStage],
    flow: Callable[[AnyStage], Awaitable[None]],
    setting: Setting[AnyStage],
) -> Score:
    """Run one flow in one setting; a flow that hangs counts as one more unanswered turn."""
    async with setting.stage() as stage:
        hung = 0
        try:
            await asyncio.wait_for(flow(stage), FLOW_LIMIT)
        except TimeoutError:
            hung = 1
        await stage.service.journal.wait_idle()
        entries = stage.service.journal.entries
        answered = [entry for entry in entries if entry.outcome != "refused"]
        eligible = [entry for entry in answered if could_continue(stage, entry)]
        return Score(
            requests=len(answered),
            right=sum(sees_what_was_asked(stage, entry) for entry in answered),
            eligible=len(eligible),
            chained=sum(entry.previous_response_id is not None for entry in eligible),
            refused=len(entries) - len(answered),
            unanswered=hung + (suite.unanswered(stage) if suite.unanswered else 0),
            sent=sum(entry.bytes for entry in entries),
            sockets=len(stage.service.journal.connections),
        )


def could_continue(stage: Stage, entry: Entry) -> bool:
    """Whether a context begins with any completed response, wherever that is remembered.

    Chat Completions remembers no responses.
    """
    return entry.api != "chat" and any(
        known.outcome == "completed" and stage.begins_with(entry, known)
        for known in stage.service.journal.entries[: entry.index]
    )


def sees_what_was_asked(stage: Stage, entry: Entry) -> bool:
    """Whether the model saw the context of the request."""
    try:
        stage.check_context(entry)
    except AssertionError:
        return False
    return True


async def play_all(suite: Suite[AnyStage]) -> dict[str, dict[str, Score]]:
    """Run every flow in every setting; return the scores by setting and flow."""
    return {
        setting.name: {flow.__name__: await play(suite, flow, setting) for flow in suite.flows}
        for setting in suite.settings
    }


def table_of(rows: Sequence[tuple[str, Score]], title: str, *, unanswered: bool) -> Table:
    """Create a table of the scores, on request with the unanswered turns."""
    unanswered = unanswered or any(score.unanswered for _, score in rows)
    table = Table(title=title)
    table.add_column("plugin and host", no_wrap=True)
    names = ["correct contexts", "chained", "rejected", "requests", "KB sent", "sockets"]
    for name in [*names, *(["unanswered turns"] if unanswered else [])]:
        table.add_column(name, justify="right")
    for name, score in rows:
        share = f"{100 * score.chained / score.eligible:.0f} %" if score.eligible else "-"
        table.add_row(
            name,
            f"{score.right} of {score.requests}",
            f"{score.chained} of {score.eligible} ({share})",
            str(score.refused),
            str(score.requests + score.refused),
            f"{score.sent / 1000:.0f}",
            str(score.sockets),
            *([str(score.unanswered)] if unanswered else []),
        )
    return table


def tables_of(
    suite: Suite[AnyStage], scores: dict[str, dict[str, Score]], *, each: bool
) -> Iterable[Table]:
    """Create the table of all flows together; with `each`, also one for each flow."""
    counts = suite.unanswered is not None
    totals = [(name, sum(by_flow.values(), Score())) for name, by_flow in scores.items()]
    yield table_of(totals, f"{suite.name}: {len(suite.flows)} call flows", unanswered=counts)
    if each:
        for flow in suite.flows:
            rows = [(name, by_flow[flow.__name__]) for name, by_flow in scores.items()]
            title = f"{suite.name}: {flow.__name__.replace('_', ' ')}"
            yield table_of(rows, title, unanswered=counts)
