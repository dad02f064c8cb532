"""Plays a case in the second of three turns, and checks what must hold of any fault.

It is the same for both adapters: a `Line` is all that it knows of a framework's session.
"""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import Callable
from typing import Any, Protocol

from faults.case import Case, Ends
from rtllm import TurnReport
from rtllm.simulator import Call, Entry, Reply, Request, Simulator, in_turn

BUDGET = 2
_WORD = re.compile(r"\bw\d+x\d+\b")
_A_LONG_TIME = 600.0  # virtual seconds


class Stage(Protocol):
    """What both stages have."""

    service: Simulator
    llm: Any
    reports: list[TurnReport]

    @property
    def entries(self) -> list[Entry]: ...
    @property
    def lanes(self) -> Any: ...
    def begins_with(self, entry: Entry, known: Entry) -> bool: ...
    async def check(
        self, *, whole: Any, connections: int | None, refused: int | None, lost: int
    ) -> None: ...
    def story(self) -> str: ...


class Line(Protocol):
    """A running session of a framework, as a caller has it."""

    @property
    def spoken(self) -> list[str]:
        """What the agent said to the caller, in order."""

    @property
    def recorded(self) -> list[str]:
        """What the framework recorded as the agent's words."""

    @property
    def runs(self) -> list[str]:
        """The ids of the calls that were run."""

    @property
    def errors(self) -> list[Any]:
        """The turns' errors so far, as events reported them."""

    async def says(self, text: str) -> None:
        """The caller says something; returns when the turn is over, however it ended."""


def words(index: int) -> str:
    """An answer whose words occur in no other."""
    return " ".join(f"w{index}x{n}" for n in range(8))


def script_of(case: Case) -> Callable[[Request], Reply | str]:
    """The model: in the second turn it answers as the case says."""

    def answer(request: Request) -> Reply | str:
        if request.last_user_text != case.caller or request.trailing_outputs:
            return words(request.index)
        if case.says == "words":
            return words(request.index)
        count = 1 if case.says == "call" else 2
        return Reply.of(*(Call("look", {"what": f"thing {n}"}) for n in range(count)))

    return answer


class Played:
    """A case on a stage.

    Args:
        case: What goes wrong.
        stage: The simulator and the LLM.
        line: The session.
        ends: What is expected of it.
        store: Whether the host stores answers.
    """

    def __init__(self, case: Case, stage: Stage, line: Line, ends: Ends, *, store: bool) -> None:
        self._case = case
        self._stage = stage
        self._line = line
        self._ends = ends
        self._store = store
        self._began: list[int] = []

    async def play(self) -> None:
        """Three turns, the second of them with the fault; then everything is checked."""
        service = self._stage.service
        await self._turn(0)
        await self._spoil()
        await self._turn(1)
        service.fault, service.on_connect = None, None
        await self._mend()
        remembered = self._remembered()
        await self._turn(2)
        await service.journal.wait_idle(_A_LONG_TIME)
        await self._booked()
        self._check_second()
        self._check_third(remembered)
        self._check_words()
        # A resend may send the full context, and so may the turn after a fault if no state is left.
        whole = range(self._began[1], len(self._stage.entries))
        await self._stage.check(
            whole=whole,
            connections=None,
            refused=len(service.journal.refused),
            lost=self._case.lost,
        )

    async def _turn(self, number: int) -> None:
        self._began.append(len(self._stage.entries))
        task = asyncio.ensure_future(
            self._line.says(("Hello.", self._case.caller, "And then?")[number])
        )
        if number == 1:
            await self._during()
        async with asyncio.timeout(_A_LONG_TIME):
            await task
        await asyncio.sleep(1.0)  # the caller thinks

    async def _spoil(self) -> None:
        case, service = self._case, self._stage.service
        fault = case.fault
        if fault is not None and not callable(fault) and not case.always:
            service.fault = in_turn(fault)
        else:
            service.fault = fault
        if case.handshake is not None:
            first = len(service.journal.connections)
            service.on_connect = lambda number: (
                case.handshake if case.always or number == first else None
            )
        if case.handshake is not None or case.between == "close":
            await service.close_connections()
        elif case.between == "abort":
            service.abort_connections()
        await asyncio.sleep(1.0)

    async def _booked(self) -> None:
        """Wait until unanswered responses are abandoned and their usage is counted."""
        async with asyncio.timeout(_A_LONG_TIME):
            while self._stage.llm.usage.all.attempts < sum(r.attempts for r in self._stage.reports):
                await asyncio.sleep(1.0)

    async def _during(self) -> None:
        """What happens while the turn runs."""
        if self._case.closed:
            await asyncio.sleep(2.0)  # virtual: it jumps when all else waits
            await self._stage.llm.aclose()

    async def _mend(self) -> None:
        """What else ends after the turn."""

    def _of_turn(self, number: int) -> list[Entry]:
        ends = [*self._began[1:], len(self._stage.entries)]
        return self._stage.entries[self._began[number] : ends[number]]

    def _remembered(self) -> set[str]:
        """The responses that the third turn could continue, by what the service holds."""
        if self._store:
            return {e.response_id or "" for e in self._stage.entries}
        return self._stage.service.remembered

    def _check_second(self) -> None:
        story = self._stage.story()
        asked, ends = self._of_turn(1), self._ends
        errors = [type(error) for error in self._line.errors]
        assert errors == ([] if ends.error is None else [ends.error]), (errors, story)
        continued = any(entry.previous_response_id for entry in asked)
        more = int(self._case.blames_parent and continued)
        assert len(asked) == ends.requests + more, story
        runs = self._line.runs
        assert len(runs) == len(set(runs)) == ends.runs, (runs, story)
        failed = [report for report in self._stage.reports if report.outcome == "failed"]
        if not self._case.closed:  # a cut while it connects may be reported as either
            assert len(failed) == len(errors)
        if ends.error is None and not self._case.silent:
            assert _WORD.search(self._line.spoken[1]), self._line.spoken

    def _check_third(self, remembered: set[str]) -> None:
        *_, last = self._of_turn(2)
        assert self._line.spoken[-1].strip() == words(last.index), self._line.spoken
        assert self._case.next_way in (None, last.transport)
        if self._case.forgets or self._case.blames_parent:
            return
        known = [e for e in self._stage.entries[: last.index] if e.outcome == "completed"]
        if self._case.closed or (last.transport == "http" and not self._store):
            remembered = set()  # a client that was closed has forgotten its conversations
        in_reach = [e for e in known if e.response_id in remembered]
        chains = any(self._stage.begins_with(last, e) for e in in_reach)
        assert (last.previous_response_id is not None) == chains, self._stage.story()

    def _check_words(self) -> None:
        """Nothing was said twice, and each turn's words are those of one answer."""
        for said in (self._line.spoken, self._line.recorded):
            heard = [word for text in said for word in _WORD.findall(text)]
            twice = [word for word, count in Counter(heard).items() if count > 1]
            assert not twice, (twice, said)
            for text in said:
                found = _WORD.findall(text)
                index = found[0][1:].split("x")[0] if found else "0"
                assert found == words(int(index)).split()[: len(found)], said
