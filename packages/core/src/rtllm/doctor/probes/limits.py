"""Checks of the limits of connections, and of the speed of lanes."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace

from rtllm.doctor.judgements.findings import Finding, not_checked
from rtllm.doctor.judgements.limits import (
    MIB,
    judge_at_once,
    judge_frame_size,
    judge_lane_speed,
    judge_lifetime,
    judge_unknown_event,
)
from rtllm.doctor.judgements.replies import HostReply
from rtllm.doctor.judgements.steps import COUNT, TELL, Step
from rtllm.doctor.probes.check import Check
from rtllm.doctor.probes.lab import Lab, LabConnection, new_word
from rtllm.doctor.probes.wire import PendingRequest

_LANES = "aabbc"
"""The lanes of five turns of one conversation: the second and fourth stay on theirs."""


def _turns() -> tuple[Step, ...]:
    steps = [Step(TELL, 3, lane=_LANES[0])]
    for lane in _LANES[1:]:
        steps.append(Step(lane=lane, after=steps[-1]))
    return tuple(steps)


class LaneSpeed(Check):
    """Five turns of one conversation, of which two stay on the lane before."""

    answers = ("lane-speed",)
    steps = _turns()
    needs = "lanes"

    async def run(self, lab: Lab) -> Sequence[Finding]:
        """Continue each response, on its own lane or on another."""
        connection, word = await lab.connect(), new_word()
        replies: list[HostReply] = []
        for step in self.steps:
            parent = replies[-1].response_id if replies else None
            replies.append(await connection.ask(step, word, parent))
        pairs = [
            (before == after, reply)
            for before, after, reply in zip(_LANES, _LANES[1:], replies[1:], strict=False)
        ]
        same = [reply for is_same, reply in pairs if is_same]
        return [judge_lane_speed(same, [reply for is_same, reply in pairs if not is_same])]


_AT_ONCE = 9
_SHORT = 64


class AtOnce(Check):
    """More requests at once than the code sends on one connection."""

    answers = ("at-once",)
    steps = tuple(Step(COUNT, _SHORT, lane=f"n{i}", cap=_SHORT) for i in range(_AT_ONCE))
    needs = "lanes"

    async def run(self, lab: Lab) -> Sequence[Finding]:
        """Send all, and count which have begun when the first one ends."""
        connection = await lab.connect()
        running = [connection.start(step, "") for step in self.steps]
        began: set[PendingRequest] = set()

        async def note_beginning(request: PendingRequest) -> None:
            await request.wait_until_begun()
            if not any(each.over for each in running):
                began.add(request)

        await asyncio.gather(*(note_beginning(each) for each in running))
        replies = [await lab.wait_for(each) for each in running]
        failed = next((reply for reply in replies if reply.fault is not None), None)
        return [judge_at_once(len(began), len(running), failed)]


_BROKEN = Step(broken=True)


class FrameSize(Check):
    """Frames as large as in the host's profile, and smaller ones if they are too large."""

    answers = ("frame-size",)
    steps = (_BROKEN,) * 3

    async def run(self, lab: Lab) -> Sequence[Finding]:
        """Send frames that are refused for their content, until one is read."""
        tried: list[tuple[int, HostReply]] = []
        largest = lab.profile.max_frame
        for size in (largest, *(each for each in (4 * MIB, MIB) if each < largest)):
            empty = len(lab.frame(_BROKEN, "", None))
            step = replace(_BROKEN, padding=size - empty)
            connection = await lab.connect()
            reply = await connection.ask(step, "")
            tried.append((size, reply))
            if not reply.is_too_large:
                break
        return [judge_frame_size(lab.profile, tried)]


class UnknownEvent(Check):
    """An event that does not exist, and a request after it."""

    answers = ("unknown-event",)
    steps = (Step(),)

    async def run(self, lab: Lab) -> Sequence[Finding]:
        """Send an unknown event, wait for what it brings, and send a request."""
        connection = await lab.connect()
        await self._bring(connection)
        return [judge_unknown_event(await connection.ask(self.steps[0], ""))]

    async def _bring(self, connection: LabConnection) -> None:
        """Send the event; an error frame may come, or nothing."""
        sent = connection.wire.send(
            connection.number, b'{"type":"response.no_such_event"}', None, is_request=False
        )
        await sent.wait_for_reply(accept=2.0)


class Lifetime(Check):
    """A connection that is only kept open for a while.

    Args:
        minutes: For how long; 0 to leave it out.
    """

    answers = ("lifetime",)

    def __init__(self, minutes: float = 0.0) -> None:
        self._minutes = minutes
        self.steps = (Step(), Step()) if minutes else ()
        self.limit = minutes * 60 + super().limit

    async def run(self, lab: Lab) -> Sequence[Finding]:
        """Wait, and send a request."""
        if not self._minutes:
            wanted = f"--patience {lab.profile.lifetime / 60 + 1:.0f}"
            return [not_checked("lifetime", "nothing", f"only with {wanted}, which takes as long")]
        connection = await lab.connect()
        await connection.ask(Step(), "")
        loop = asyncio.get_running_loop()
        began = loop.time()
        is_open = await connection.wire.keep_open(connection.number, self._minutes * 60)
        waited = loop.time() - began
        after: HostReply | None = None
        if is_open:
            after = await connection.ask(Step(), "")
        lost = None if is_open else connection.wire.why_lost(connection.number)
        return [judge_lifetime(lab.profile, waited, lost, after)]
