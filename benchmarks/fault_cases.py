"""Faults in the second of three turns: both plugins, on both SDKs, with the same cases.

The cases are those of the tests (`tests/faults/cases`) that have the same meaning for both plugins:
faults of the service and the WebSocket, without keywords of rtllm, in one session. Time is virtual,
so a plugin that hangs only fails its case.

A case passes if every turn ends within two minutes or reports an error, no text is emitted twice,
no call runs twice, and each request has the agent's context. If a retry can help, the turn must be
answered; otherwise an error must be reported. The turn after the fault must be answered.
"""

import asyncio
import contextlib
import re
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Protocol

from livekit.agents import Agent, AgentSession, RunContext, function_tool
from livekit.agents.types import APIConnectOptions
from livekit.agents.voice.agent_session import SessionConnectOptions
from rich.table import Table

import livekit_stages
import videosdk_stages
from faults.case import EVERY_HOST, Case, Ends, Host
from faults.play import BUDGET, script_of, words
from faults.runs import CASES
from rtllm.simulator import Entry, Simulator, in_turn
from rtllm_livekit.testing import FakeTextOutput, VirtualTimeLoop
from videosdk_adapter.phone import Voice

TURN_LIMIT = 120.0  # virtual seconds
_WORD = re.compile(r"\bw\d+x\d+\b")
_CONN = SessionConnectOptions(llm_conn_options=APIConnectOptions(max_retry=BUDGET))

FAULTS = tuple(
    case
    for case in CASES
    if not (case.options or case.closed or case.renewable or case.simulator or case.lanes)
)


class Stage(Protocol):
    """The common interface of the stages of both SDKs."""

    service: Simulator

    @property
    def entries(self) -> list[Entry]:
        """The requests so far."""

    def check_context(self, entry: Entry) -> None:
        """Raise if the model saw another context than that of the agent."""


class Line(Protocol):
    """A session of either SDK, as its caller sees it."""

    @property
    def spoken(self) -> list[str]:
        """The texts that the agent said, in order."""

    @property
    def runs(self) -> list[str]:
        """The arguments that tools were run with."""

    @property
    def errors(self) -> int:
        """How many errors were reported."""

    async def says(self, text: str) -> None:
        """Say something as the caller; return when the turn is over."""

    async def interrupt(self) -> None:
        """Interrupt as the caller."""


@dataclass(frozen=True, slots=True)
class Kind:
    """An SDK, and how to start a session on it."""

    name: str
    line: Callable[..., contextlib.AbstractAsyncContextManager[tuple[Stage, Line]]]
    ends: Callable[[Case], Ends]


def _options(case: Case, host: Host, *, stock: bool) -> dict[str, Any]:
    """Return the keywords of a stage; rtllm without a warm connection to get the fault."""
    known: dict[str, Any] = {"lanes": host.lanes, "store": host.store}
    return {**known, "warm_connections": 0} if case.handshake is not None and not stock else known


# -- LiveKit ---------------------------------------------------------------------------------


class _Looker(Agent):
    """An agent with a tool that records its runs."""

    def __init__(self) -> None:
        super().__init__(instructions="Be kind.")
        self.runs: list[str] = []

    @function_tool
    async def look(self, context: RunContext[Any], what: str) -> str:
        """Look something up.

        Args:
            context: LiveKit's.
            what: What to look up.
        """
        del context
        self.runs.append(what)
        return f"found {what}"


class _LiveKit:
    def __init__(self, model: Any, session: AgentSession[Any], agent: _Looker) -> None:
        self._session = session
        self._agent = agent
        self.errors = 0
        self._captions = FakeTextOutput()
        session.output.transcription = self._captions
        model.on("error", self._note)

    def _note(self, event: Any) -> None:
        self.errors += not event.recoverable

    @property
    def spoken(self) -> list[str]:
        return self._captions.segments

    @property
    def runs(self) -> list[str]:
        return self._agent.runs

    async def says(self, text: str) -> None:
        with contextlib.suppress(Exception):  # any exception that the framework lets through
            await self._session.run(user_input=text)

    async def interrupt(self) -> None:
        await self._session.interrupt()


@asynccontextmanager
async def _on_livekit(case: Case, host: Host, *, stock: bool) -> AsyncIterator[tuple[Stage, Line]]:
    options = _options(case, host, stock=stock)
    async with livekit_stages.stage(script_of(case), stock=stock, **options) as on:
        agent = _Looker()
        async with livekit_stages.session_of(on.llm, agent, conn_options=_CONN) as session:
            yield on, _LiveKit(on.llm, session, agent)


# -- VideoSDK --------------------------------------------------------------------------------


class _PlainLooker(videosdk_stages.Plain):
    """An agent with a tool that records its runs."""

    def __init__(self) -> None:
        super().__init__()  # the framework finds its tool itself
        self.looked: list[str] = []

    @videosdk_stages.tool
    async def look(self, what: str) -> str:
        """Look something up.

        Args:
            what: What to look up.
        """
        self.looked.append(what)
        return f"found {what}"


class _VideoSDK:
    def __init__(self, on: Any, line: Any, agent: _PlainLooker, voice: Voice) -> None:
        self._stage = on
        self._line = line
        self._agent = agent
        self._voice = voice

    @property
    def spoken(self) -> list[str]:
        return self._voice.said

    @property
    def runs(self) -> list[str]:
        return self._agent.looked

    @property
    def errors(self) -> int:
        return len(self._stage.errors)

    async def says(self, text: str) -> None:
        await self._line.turn(text, limit=2 * TURN_LIMIT)

    async def interrupt(self) -> None:
        await self._line.barge_in()


@asynccontextmanager
async def _on_videosdk(case: Case, host: Host, *, stock: bool) -> AsyncIterator[tuple[Stage, Line]]:
    sorry = {} if stock else {"failure_text": "Sorry."}
    options = {**_options(case, host, stock=stock), **sorry, "max_retries": BUDGET}
    async with videosdk_stages.stage(script_of(case), stock=stock, streaming=True, **options) as on:
        agent, voice = _PlainLooker(), Voice()
        async with videosdk_stages.talk(on.llm, agent, tts=voice) as line:
            yield on, _VideoSDK(on, line, agent, voice)


KINDS = (
    Kind("LiveKit", _on_livekit, lambda case: case.ends),
    Kind("VideoSDK", _on_videosdk, lambda case: case.videosdk or case.ends),
)


# -- playing ---------------------------------------------------------------------------------


async def _play(kind: Kind, case: Case, host: Host, *, stock: bool) -> str | None:
    """Run a case; return what went wrong, None if nothing did."""
    async with kind.line(case, host, stock=stock) as (on, line):
        service = on.service
        for number, text in enumerate(("Hello.", case.caller, "And then?")):
            if number == 1:
                await _spoil(service, case)
            spoken = len(line.spoken)
            try:
                async with asyncio.timeout(TURN_LIMIT):
                    await line.says(text)
            except TimeoutError:
                if number != 1 or not line.errors:
                    return "hangs"
                # VideoSDK's pipeline waits forever after an error, in both plugins.
                with contextlib.suppress(TimeoutError):
                    await line.interrupt()
            service.fault, service.on_connect = None, None
            await asyncio.sleep(1.0)
            answered = any(_WORD.search(said) for said in line.spoken[spoken:])
            if number == 1 and (wrong := _wrong(kind.ends(case), case, line, answered=answered)):
                return wrong
            if number != 1 and not answered:
                return "the next turn is silent"
        if wrong := _said_wrong(line):
            return wrong
        for entry in on.entries:
            try:
                on.check_context(entry)
            except AssertionError:
                return "wrong context"
    return None


async def _spoil(service: Simulator, case: Case) -> None:
    fault = case.fault
    one = fault is not None and not callable(fault) and not case.always
    service.fault = in_turn(fault) if one else fault
    if case.handshake is not None:
        first = len(service.journal.connections)
        service.on_connect = lambda n: case.handshake if case.always or n == first else None
    if case.handshake is not None or case.between == "close":
        await service.close_connections()
    elif case.between == "abort":
        service.abort_connections()
    await asyncio.sleep(1.0)


def _wrong(ends: Ends, case: Case, line: Line, *, answered: bool) -> str | None:
    if ends.error is None and not case.silent and not answered:
        return "not recovered"
    if ends.error is not None and not line.errors:
        return "no error"
    return None


def _said_wrong(line: Line) -> str | None:
    heard = [word for text in line.spoken for word in _WORD.findall(text)]
    if any(count > 1 for count in Counter(heard).values()):
        return "said twice"
    for text in line.spoken:
        found = _WORD.findall(text)
        if found and found != words(int(found[0][1:].split("x")[0])).split()[: len(found)]:
            return "mixed answers"
    if any(count > 1 for count in Counter(line.runs).values()):
        return "ran twice"
    return None


def run(*, short: bool = False) -> list[tuple[str, list[str | None]]]:
    """Play every case in every setting, each in virtual time; returns what went wrong.

    Args:
        short: Whether to play them on one host instead of four.
    """
    rows: list[tuple[str, list[str | None]]] = []
    for kind in KINDS:
        for host in EVERY_HOST[:1] if short else EVERY_HOST:
            for stock in (True, False):
                if stock and host.lanes == "off":
                    continue  # it has no lanes, so the result is the same
                lanes = "lanes" if host.lanes == "on" else "no lanes"
                stored = "stored" if host.store else "store=False"
                who = f"stock, {stored}" if stock else f"rtllm, {lanes}, {stored}"
                results = [_one(kind, case, host, stock=stock) for case in FAULTS]
                rows.append((f"{kind.name}: {who}", results))
    return rows


def _one(kind: Kind, case: Case, host: Host, *, stock: bool) -> str | None:
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        try:
            return runner.run(_play(kind, case, host, stock=stock))
        except Exception as error:  # noqa: BLE001 - a plugin that breaks its session has failed
            return type(error).__name__


def table_of(rows: list[tuple[str, list[str | None]]]) -> Table:
    """Create a table of how many cases pass, and of the defects in the others."""
    table = Table(title=f"{len(FAULTS)} faults in the second of three turns")
    table.add_column("plugin and host")
    table.add_column("pass", justify="right")
    table.add_column("defects in the others")
    for name, results in rows:
        wrong = Counter(result for result in results if result is not None)
        told = ", ".join(f"{what} {count}" for what, count in wrong.most_common())
        table.add_row(name, f"{results.count(None)} of {len(results)}", told)
    return table


if __name__ == "__main__":
    import logging

    from rich.console import Console

    logging.disable(logging.CRITICAL)
    Console(width=140).print(table_of(run()))
