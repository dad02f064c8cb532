"""Checks of lanes, and of what each of them keeps."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace

from rtllm.doctor.judgements.chains import Continued
from rtllm.doctor.judgements.connections import (
    have_lanes,
    judge_failed_continuation,
    judge_fork,
    judge_lane_memory,
    judge_lanes,
    judge_older,
    judge_running,
    judge_warm_up_lane,
)
from rtllm.doctor.judgements.findings import Finding, not_checked
from rtllm.doctor.judgements.replies import HostReply
from rtllm.doctor.judgements.steps import COUNTED, TELL, Step
from rtllm.doctor.probes.check import Check
from rtllm.doctor.probes.lab import Lab, LabConnection, new_word


def _tell(lane: str) -> Step:
    return Step(TELL, 3, lane=lane)


def _ask(lane: str, after: Step) -> Step:
    return Step(lane=lane, after=after)


class Lanes(Check):
    """Two requests at once, each on a lane of its own."""

    answers = ("lanes",)
    steps = (_tell("a"), _tell("b"))

    async def run(self, lab: Lab) -> Sequence[Finding]:
        """Send two requests without waiting in between."""
        connection = await lab.connect()
        running = [connection.start(step, new_word()) for step in self.steps]
        replies = await asyncio.gather(*(lab.wait_for(each) for each in running))
        lab.has_lanes = have_lanes(replies)
        return [judge_lanes(lab.profile, replies)]


_FIRST, _SECOND = _tell("a"), _tell("b")
_NEXT = replace(COUNTED, lane="a")
_BROKEN_FORK = Step(broken=True, lane="f", after=_SECOND)
_BROKEN_OWN = replace(_BROKEN_FORK, lane="b")


class LaneMemory(Check):
    """What each lane keeps: while others work, while it works, afterwards, and after failures."""

    answers = ("lane-memory", "lane-running", "lane-older", "failed-fork", "failed-continuation")
    steps = (
        _FIRST,
        _SECOND,
        _ask("c", _FIRST),
        _NEXT,
        _ask("d", _FIRST),
        _ask("e", _FIRST),
        _BROKEN_FORK,
        _ask("g", _SECOND),
        _BROKEN_OWN,
        _ask("h", _SECOND),
    )
    needs = "lanes"

    async def run(self, lab: Lab) -> Sequence[Finding]:
        """Tell a word on each of two lanes, and ask for both on others."""
        connection, one, two = await lab.connect(), new_word(), new_word()
        first = await connection.ask(_FIRST, one)
        second = await connection.ask(_SECOND, two)

        async def asks(lane: str, parent: HostReply, word: str) -> Continued:
            second = await connection.ask(_ask(lane, _FIRST), word, parent.response_id)
            return Continued(parent, second, word, lab.baseline)

        turn = await asks("c", first, one)
        found = [judge_lane_memory(turn)]
        if turn.kept != "kept":
            return found
        found.append(await self._while_running(lab, connection, first, one))
        found.append(judge_older(await asks("e", first, one)))
        failed = await connection.ask(_BROKEN_FORK, two, second.response_id)
        found.append(judge_fork(failed, await asks("g", second, two)))
        failed = await connection.ask(_BROKEN_OWN, two, second.response_id)
        found.append(judge_failed_continuation(failed, await asks("h", second, two)))
        return found

    async def _while_running(
        self, lab: Lab, connection: LabConnection, first: HostReply, word: str
    ) -> Finding:
        """Ask for the word while its lane is busy with a long response."""
        busy = connection.start(_NEXT, word)
        await busy.wait_until_begun()
        running = connection.start(_ask("d", _FIRST), word, first.response_id)
        await running.wait_until_begun()
        was_busy = not busy.over
        second = await lab.wait_for(running)
        await lab.wait_for(busy)
        if not was_busy:
            return not_checked("lane-running", "a fork of a busy lane", "the lane was idle again")
        return judge_running(Continued(first, second, word, lab.baseline))


_WARMED = Step(TELL, 3, lane="a", generates=False)


class WarmUpLane(Check):
    """A warm-up on a lane that keeps a response."""

    answers = ("warm-up-lane",)
    steps = (_FIRST, _WARMED, _ask("b", _FIRST))
    needs = "lanes"

    async def run(self, lab: Lab) -> Sequence[Finding]:
        """Tell a word, warm another one up on the same lane, and ask for the first."""
        connection, word = await lab.connect(), new_word()
        first = await connection.ask(_FIRST, word)
        warmed = await connection.ask(_WARMED, new_word())
        if warmed.fault is not None:
            return [not_checked("warm-up-lane", "`generate: false` on a lane", warmed.summary)]
        second = await connection.ask(self.steps[2], word, first.response_id)
        return [judge_warm_up_lane(Continued(first, second, word, lab.baseline))]
