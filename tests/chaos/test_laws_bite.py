"""Broken clients break the laws: what chaos looks for, it can find."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable, Iterator
from datetime import date
from typing import Any

import pytest
from hypothesis import Phase

from chaos.laws import Broken
from chaos.rounds import PLAYS, play_round
from rtllm.content.usage import AttemptDetails, Usage, UsageCategory
from rtllm.content.usage_ledger import UsageLedger
from rtllm.engine.engine import Engine
from rtllm.engine.progress import TurnProgress
from rtllm.errors import ConnectionLost
from rtllm.retry import policy as recovery
from rtllm.retry.faults import FaultKind, Wait
from rtllm.transport.websocket import WebSockets
from rtllm_livekit.stream import LLMStream
from rtllm_videosdk import OpenAILLM
from support.saboteurs import items_counted

Breaking = Callable[[pytest.MonkeyPatch], None]

MOST_ROUNDS = 40


def words_forgotten(patch: pytest.MonkeyPatch) -> None:
    """What was said doesn't keep a turn from being sent again."""
    patch.setattr(TurnProgress, "has_emitted", property(lambda self: bool(self.calls_emitted)))


def calls_forgotten(patch: pytest.MonkeyPatch) -> None:
    """Calls that were emitted don't keep a turn from being sent again."""
    patch.setattr(TurnProgress, "has_emitted", property(lambda self: bool(self.text_emitted)))


def waits_too_long(patch: pytest.MonkeyPatch) -> None:
    """Every wait has ten minutes, and there is no limit for the whole turn."""

    def deadline(self: TurnProgress) -> tuple[float, Wait, float]:
        return self._since + 600.0, "more output", 600.0

    patch.setattr(TurnProgress, "deadline", deadline)


def stays_open(patch: pytest.MonkeyPatch) -> None:
    """Closing closes nothing."""

    async def aclose(self: WebSockets) -> None:
        await asyncio.sleep(0)

    patch.setattr(WebSockets, "aclose", aclose)
    patch.setattr(WebSockets, "close", lambda self, number: None)


def cuts_cost_nothing(patch: pytest.MonkeyPatch) -> None:
    """An answer without a listener is missing in the usage totals."""
    record = UsageLedger.record

    def only_heard(
        self: UsageLedger,
        account: UsageCategory,
        usage: Usage | None,
        details: AttemptDetails,
        day: date,
    ) -> None:
        if account not in ("cancelled", "draft"):
            record(self, account, usage, details, day)

    patch.setattr(UsageLedger, "record", only_heard)


def unknown_is_nothing(patch: pytest.MonkeyPatch) -> None:
    """An attempt whose usage is unknown counts as if it had used nothing."""
    record = UsageLedger.record
    patch.setattr(
        UsageLedger,
        "record",
        lambda self, a, usage, *more: record(self, a, usage or Usage(0, 0), *more),
    )


def tells_twice(patch: pytest.MonkeyPatch) -> None:
    """Each error is emitted twice."""
    run, tell = LLMStream._run, OpenAILLM._report_error

    async def run_twice(self: LLMStream) -> None:
        try:
            await run(self)
        except Exception as error:
            self._emit_error(error, recoverable=False)
            raise

    def tell_twice(self: OpenAILLM, error: Exception, reply: Any) -> None:
        tell(self, error, reply)
        self.emit("error", error)

    patch.setattr(LLMStream, "_run", run_twice)
    patch.setattr(OpenAILLM, "_report_error", tell_twice)


def dead_sockets_kept(patch: pytest.MonkeyPatch) -> None:
    """A lost connection is used again, each time."""
    patch.setattr(Engine, "_connection_lost", lambda self, connection, fault, now: None)
    patch.setitem(recovery.TABLE, FaultKind.DROPPED, recovery.PolicyRow(ConnectionLost))


@pytest.fixture
def _leaks_end_here() -> Iterator[None]:
    """What a broken client leaves open is collected before another test is blamed for it."""
    yield
    gc.collect()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.usefixtures("_leaks_end_here")
@pytest.mark.timeout(240)
@pytest.mark.parametrize("way", ["livekit", "videosdk"])
@pytest.mark.parametrize(
    ("breaking", "law"),
    [
        (words_forgotten, "no word twice"),
        (calls_forgotten, "no call twice"),
        (items_counted, "context"),
        (waits_too_long, "deadline"),
        (stays_open, "nothing left"),
        (cuts_cost_nothing, "books"),
        (unknown_is_nothing, "books"),
        (tells_twice, "one error"),
        (dead_sockets_kept, "the next turn works"),
    ],
)
def test_a_broken_client_breaks_a_law(
    breaking: Breaking,
    law: str,
    way: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if breaking is calls_forgotten and way == "videosdk":
        pytest.skip("its calls are held, and emitted when nothing can break any more")
    breaking(monkeypatch)
    broken: set[str] = set()
    for number in range(MOST_ROUNDS):
        try:
            play_round(number, PLAYS[way][0], [Phase.generate])
        except Broken as error:
            broken.add(error.law)
        if law in broken:
            return
    pytest.fail(f"{law} held; broken: {broken}")
