"""The oracle of what a framework asked through an adapter, from the simulator's journal alone.

A stage holds a simulator and a model that notes each context by value when it is asked. The
oracle compares each request that arrived with what was asked, and finds for itself which of them
could have been chained. What a framework's context is, and how it compares, an adapter's stage
says: `Oracle.check_context` and `Oracle.begins_with`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias, TypeVar

from rtllm import TurnReport
from rtllm.simulator import Entry, Simulator
from support.contexts import unit_of
from support.traces import TraceOrder
from support.waiting import until

KEY = "sk-the-secret-key"
LaneMode: TypeAlias = Literal["on", "off", "refuse", "ignore"]
"""What a host does with lanes."""
FEW = 5
"""Fewer requests than that evict no state from a connection: a conversation has lanes enough."""


@dataclass
class Oracle(ABC):
    """A simulator, a model on it, and what happened.

    Attributes:
        service: The simulator.
        answers: Its script, which notes its answers.
        llm: The model.
        reports: The reports of its turns.
    """

    service: Simulator
    answers: Any
    llm: Any
    reports: list[TurnReport] = field(default_factory=list, kw_only=True)

    # -- what an adapter's stage says ----------------------------------------------------------

    @property
    @abstractmethod
    def lanes(self) -> str:
        """What the host does with lanes: on, off, refuse or ignore."""

    @property
    @abstractmethod
    def is_stored(self) -> bool:
        """Whether the host stores answers."""

    @property
    @abstractmethod
    def is_socket(self) -> bool:
        """Whether requests go over a WebSocket."""

    @property
    @abstractmethod
    def is_ours(self) -> bool:
        """Whether the model is this project's, not the stock plugin's."""

    @property
    def can_chain(self) -> bool:
        """Whether every state that the service knows can be continued."""
        return self.lanes == "on"

    @abstractmethod
    def check_context(self, entry: Entry) -> None:
        """Check that the model saw exactly what the framework asked with."""

    @abstractmethod
    def begins_with(self, entry: Entry, known: Entry) -> bool:
        """Whether what was asked begins with what an earlier request came to."""

    # -- what must hold ------------------------------------------------------------------------

    @property
    def entries(self) -> list[Entry]:
        """The requests that arrived."""
        return self.service.journal.entries

    async def check(
        self,
        *,
        whole: Collection[int] = (),
        connections: int | None = 1,
        refused: int | None = None,
        lost: int = 0,
    ) -> None:
        """Check everything that must hold of any scenario.

        Args:
            whole: Requests that may have gone whole although a part was known.
            connections: How many connections there may be; None if it doesn't matter.
            refused: How many requests were refused; by default none, but the one try of a
                lane where the host knows none.
            lost: How many requests may have gone into a dead connection and never arrived.
        """
        await self.service.journal.wait_idle()
        for entry in self.entries:
            self.check_context(entry)
        if refused is None:
            refused = 1 if self.lanes == "refuse" and self.is_ours else 0
        assert len(self.service.journal.refused) == refused, self.story()
        if self.can_chain:
            self._check_chained(whole)
            if self.is_socket and connections is not None:
                opened = self.service.journal.connections
                assert len(opened) == connections, f"{len(opened)} connections"
        if self.is_ours:
            await self._check_books(lost)

    def _check_chained(self, whole: Collection[int]) -> None:
        missed = [e.index for e in self.entries if self.should_chain(e) and not is_chained(e)]
        assert set(missed) <= set(whole), f"not chained: {missed}\n{self.story()}"

    async def _check_books(self, lost: int) -> None:
        """Check that each attempt was reported and counted, and each turn as it went."""
        sent = sum(report.attempts for report in self.reports)
        await until(lambda: self.llm.usage.all.attempts == sent)
        assert len(self.entries) <= sent <= len(self.entries) + lost, self.story()
        by_id = {e.response_id: e for e in self.entries if e.response_id}
        for report in self.reports:
            if report.response_id in by_id:
                assert report.chained == is_chained(by_id[report.response_id]), report

    def should_chain(self, entry: Entry) -> bool:
        """Whether a request begins with a completed state that can be continued, by the journal."""
        return any(
            known.outcome == "completed"
            and known.body["model"] == entry.body["model"]
            and self._in_reach(entry, known)
            and self.begins_with(entry, known)
            for known in self.entries[: entry.index]
        )

    def _in_reach(self, entry: Entry, known: Entry) -> bool:
        if self.is_stored:
            return True
        if known.connection != entry.connection:
            return False
        between = [
            e
            for e in self.entries[known.index + 1 : entry.index]
            if e.connection == known.connection
        ]
        return len(between) < FEW or all(e.lane != known.lane for e in between)

    def story(self) -> str:
        """What happened, to be read."""
        return "\n".join(line_of(entry) for entry in self.entries)


def is_chained(entry: Entry) -> bool:
    """Whether a request continued another one's response."""
    return entry.previous_response_id is not None


def line_of(entry: Entry) -> str:
    """A request and its answer, to be read."""
    parent = f" after {entry.previous_response_id}" if entry.previous_response_id else ""
    return (
        f"#{entry.index} {entry.connection}/{entry.lane} {entry.response_id}{parent}:"
        f" {entry.outcome} ({entry.error_code} {entry.error_message})"
        f" instructions={entry.instructions!r}\n    sent {[unit_of(i) for i in entry.input]}"
        f"\n    said {entry.reply_text!r}"
    )


AnyStage = TypeVar("AnyStage", bound=Oracle)


class Reports(list[TurnReport]):
    """The reports of a stage's turns, and the order of their trace."""

    def __init__(self) -> None:
        super().__init__()
        self.trace = TraceOrder()


@asynccontextmanager
async def staged(
    answers: Any,
    make: Callable[[Simulator, Reports], AnyStage],
    *,
    lanes: LaneMode,
    simulator: Mapping[str, Any] | None,
) -> AsyncIterator[AnyStage]:
    """A simulator with a script, and a stage with an LLM on it."""
    async with Simulator(answers, lanes=lanes, **(simulator or {})) as service:
        reports = Reports()
        stage = make(service, reports)
        try:
            yield stage
        finally:
            await stage.llm.aclose()
        assert reports.trace.wrong == []
        assert reports.trace.unfinished == []


def keywords_on(
    service: Simulator, lanes: LaneMode, reports: Reports, options: Mapping[str, Any]
) -> dict[str, Any]:
    """The keywords of our LLM on a simulator: the socket by itself, unless a test sets more."""
    return {
        "api_key": KEY,
        "base_url": service.base_url,
        "lanes": lanes != "off",
        "fallback": None,
        "on_turn": reports.append,
        "on_trace": reports.trace,
        **options,
    }
