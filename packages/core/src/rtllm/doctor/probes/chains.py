"""Checks of continued responses, of warm-ups and of cancelled responses, without lanes."""

from collections.abc import Sequence
from dataclasses import replace

from rtllm.doctor.judgements.chains import (
    Continued,
    judge_incomplete,
    judge_kept,
    judge_named,
    judge_stored,
    judge_tokens,
    judge_unknown,
    judge_unstored,
    judge_warm_up,
)
from rtllm.doctor.judgements.connections import judge_usage, judge_websocket
from rtllm.doctor.judgements.findings import Finding, not_checked
from rtllm.doctor.judgements.replies import Baseline, HostReply
from rtllm.doctor.judgements.steps import (
    ALONE,
    ASKED,
    ASKED_STORED,
    COUNT,
    COUNTED,
    GIVEN,
    NO_RESPONSE,
    SHORTEST_CAP,
    STORED,
    Step,
)
from rtllm.doctor.probes.check import CannotCheckError, Check
from rtllm.doctor.probes.lab import Lab, LabConnection, new_word
from rtllm.retry.policy import lacks_websocket, may_accept_later
from rtllm.transport.websocket_connect import FaultError


class Continuation(Check):
    """Two turns on one connection. It is the first check, so it finds what stops all others."""

    answers = ("websocket", "parent-kept", "parent-named", "input-tokens")
    steps = (ALONE, GIVEN, ASKED)

    async def run(self, lab: Lab) -> Sequence[Finding]:
        """Ask for a word that was never given; give one, and ask for it."""
        try:
            connection = await self._connect(lab)
        except FaultError as error:
            if not (lacks_websocket(error.fault) or may_accept_later(error.fault)):
                raise CannotCheckError(error.fault) from None
            lab.has_websocket = False
            return [judge_websocket(HostReply(fault=error.fault))]
        alone = await lab.first(lambda: connection.start(ALONE, ""))
        if alone.fault is not None:
            raise CannotCheckError(alone.fault)
        word = new_word()
        first = await connection.ask(GIVEN, word)
        if first.fault is not None:
            raise CannotCheckError(first.fault)
        lab.baseline = Baseline.of(first, alone)
        second = await connection.ask(ASKED, word, first.response_id)
        turn = Continued(first, second, word, lab.baseline)
        lab.keeps_unstored = turn.kept == "kept"
        lab.names_parents = bool(second.parent) if lab.keeps_unstored else None
        return [
            judge_websocket(alone),
            judge_kept(lab.profile, turn),
            judge_named(lab.profile, turn),
            judge_tokens(turn),
        ]

    async def _connect(self, lab: Lab) -> LabConnection:
        try:
            return await lab.connect()
        except FaultError as error:
            if not may_accept_later(error.fault):
                raise
            return await lab.connect()


class UnknownParent(Check):
    """A request that continues a response that never existed."""

    answers = ("unknown-parent",)
    steps = (Step(),)

    async def run(self, lab: Lab) -> Sequence[Finding]:
        """Continue an id that the host never gave."""
        connection = await lab.connect()
        reply = await connection.ask(self.steps[0], "", NO_RESPONSE)
        return [judge_unknown(lab.profile, reply)]


class OtherConnection(Check):
    """Responses of one connection, continued on another."""

    answers = ("stored-elsewhere", "unstored-elsewhere")
    steps = (STORED, ASKED_STORED, GIVEN, ASKED)

    async def run(self, lab: Lab) -> Sequence[Finding]:
        """Tell a word on one connection, stored and not; ask for it on another."""
        one, other = await lab.connect(), await lab.connect()
        stored = await self._turn(lab, one, other, STORED)
        unstored = await self._turn(lab, one, other, GIVEN)
        lab.keeps_stored = stored.is_kept
        return [judge_stored(lab.profile, stored), judge_unstored(unstored)]

    async def _turn(
        self, lab: Lab, one: LabConnection, other: LabConnection, step: Step
    ) -> Continued:
        word = new_word()
        first = await one.ask(step, word)
        second = await other.ask(Step(after=step), word, first.response_id)
        return Continued(first, second, word, lab.baseline)


class WarmUp(Check):
    """A context that is processed without a response, and continued."""

    answers = ("warm-up",)
    steps = (replace(GIVEN, generates=False), ASKED)

    async def run(self, lab: Lab) -> Sequence[Finding]:
        """Tell a word without a response, and ask for it."""
        connection, word = await lab.connect(), new_word()
        warmed = await connection.ask(self.steps[0], word)
        second = HostReply(fault=warmed.fault)
        if warmed.fault is None:
            second = await connection.ask(self.steps[1], word, warmed.response_id)
        return [judge_warm_up(warmed, Continued(warmed, second, word, lab.baseline))]


_CUT = Step(f"Remember this word: {{word}}. {COUNT}", SHORTEST_CAP, cap=SHORTEST_CAP)


class IncompleteParent(Check):
    """A response that is cut at its output limit, and continued."""

    answers = ("incomplete-parent",)
    steps = (_CUT, Step(after=_CUT))

    async def run(self, lab: Lab) -> Sequence[Finding]:
        """Tell a word in a request whose response is cut, and ask for it."""
        connection, word = await lab.connect(), new_word()
        first = await connection.ask(_CUT, word)
        if first.fault is not None:
            return [not_checked("incomplete-parent", "a response cut at 16 tokens", first.summary)]
        second = await connection.ask(self.steps[1], word, first.response_id)
        return [judge_incomplete(Continued(first, second, word, lab.baseline))]


class CancelledResponse(Check):
    """A long response, of which only the beginning is used."""

    answers = ("drained-usage",)
    steps = (COUNTED,)

    async def run(self, lab: Lab) -> Sequence[Finding]:
        """Use the first text of a long response, and wait for its usage."""
        connection = await lab.connect()
        running = connection.start(COUNTED, "")
        await running.wait_for_text()
        read = len(running.text)
        return [judge_usage(await lab.wait_for(running), read)]
