"""The checks of ``--verify-protocol``, in order, with one limit for all."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Literal

from rtllm.doctor.judgements.findings import Finding, not_checked
from rtllm.doctor.judgements.questions import LEFT_OUT
from rtllm.doctor.judgements.report import Report, ReportKind
from rtllm.doctor.judgements.steps import Estimate, cost_of
from rtllm.doctor.probes.chains import (
    CancelledResponse,
    Continuation,
    IncompleteParent,
    OtherConnection,
    UnknownParent,
    WarmUp,
)
from rtllm.doctor.probes.check import CHECK_LIMIT, Check
from rtllm.doctor.probes.lab import Lab
from rtllm.doctor.probes.lanes import LaneMemory, Lanes, WarmUpLane
from rtllm.doctor.probes.limits import AtOnce, FrameSize, LaneSpeed, Lifetime, UnknownEvent
from rtllm.doctor.probes.over_http import OverHttp, StateOverHttp
from rtllm.doctor.probes.wire import Wire
from rtllm.doctor.reporting import report_of
from rtllm.doctor.target import Target
from rtllm.transport.websocket_connect import FaultError

KIND = ReportKind(
    "rtllm doctor --verify-protocol",
    well="All assumptions of the code hold on this host.",
    differing="Not as assumed",
    left_out=LEFT_OUT,
)
Transport = Literal["websocket", "http", "both"]
"""What to check."""

CHECKS: tuple[Check, ...] = (
    Continuation(),
    UnknownParent(),
    OtherConnection(),
    Lanes(),
    LaneMemory(),
    LaneSpeed(),
    AtOnce(),
    FrameSize(),
    UnknownEvent(),
    WarmUp(),
    WarmUpLane(),
    IncompleteParent(),
    CancelledResponse(),
    OverHttp(),
    StateOverHttp(),
)
"""All checks, in order: later ones use what earlier ones learned."""

TOTAL_LIMIT = 600.0
"""Seconds for all but the wait of `Lifetime`; checks after it are not made."""
_POINTLESS = "an earlier answer left nothing to ask"


def checks_of(transport: Transport, patience: float = 0.0) -> tuple[Check, ...]:
    """List the checks of a transport.

    Args:
        transport: The transport.
        patience: Minutes to keep a connection open, for `Lifetime`.
    """
    checks = (*CHECKS, Lifetime(patience))
    if transport == "both":
        return checks
    return tuple(each for each in checks if (each.needs == "http") == (transport == "http"))


def cost(target: Target, transport: Transport = "both", patience: float = 0.0) -> Estimate:
    """Estimate what the checks cost."""
    steps = [step for check in checks_of(transport, patience) for step in check.steps]
    return cost_of(steps, target.usual_cap)


async def verify_protocol(
    target: Target,
    *,
    on: str,
    transport: Transport = "both",
    patience: float = 0.0,
    progress: Callable[[str], None] = lambda _: None,
) -> Report:
    """Check on a host what this library assumes about the protocol.

    It sends the requests that `cost` estimates. All connections are closed at the end, also if it
    is cancelled.

    Args:
        target: The host.
        on: The date, for the report.
        transport: What to check.
        patience: Minutes to keep a connection open, for the question about its lifetime.
        progress: Called with the names of the questions before each check.

    Raises:
        CannotCheckError: If nothing can be checked.
    """
    async with Wire(target) as wire:
        lab = Lab(target, wire)
        findings = await run_checks(lab, checks_of(transport, patience), progress)
        totals = lab.totals
    return report_of(target, KIND, on, findings, totals)


async def run_checks(
    lab: Lab, checks: Sequence[Check], progress: Callable[[str], None]
) -> list[Finding]:
    """Make checks in order, with one limit for all.

    Args:
        lab: What they share.
        checks: The checks.
        progress: Called with the names of the questions before each check.

    Raises:
        CannotCheckError: If nothing can be checked.
    """
    findings: list[Finding] = []
    loop = asyncio.get_running_loop()
    deadline = loop.time() + TOTAL_LIMIT
    for check in checks:
        if (obstacle := _obstacle(lab, check)) is not None:
            findings += _unanswered(check, obstacle)
            continue
        progress(", ".join(check.answers))
        deadline += check.limit - CHECK_LIMIT
        findings += await _run(lab, check, min(deadline - loop.time(), check.limit))
        lab.close_connections()
    return findings


def _obstacle(lab: Lab, check: Check) -> str | None:
    """Return why a check can't be made; None if it can."""
    if check.needs != "http" and not lab.has_websocket:
        return "the host has no WebSocket"
    if check.needs == "http" and not lab.has_http:
        return "the host does not answer over HTTP"
    if check.needs != "lanes":
        return None
    if not lab.has_lanes:
        return "the host has no lanes" if lab.has_lanes is False else "no lanes were seen"
    if not lab.keeps_unstored:
        return "the host does not continue responses that are not stored"
    return None


def _unanswered(check: Check, why: str) -> list[Finding]:
    return [not_checked(name, "nothing", why) for name in check.answers]


async def _run(lab: Lab, check: Check, limit: float) -> Sequence[Finding]:
    """Make one check within a limit."""
    if limit <= 0:
        return _unanswered(check, "the time for all checks was over")
    try:
        async with asyncio.timeout(limit):
            found = await check.run(lab)
    except FaultError as error:
        return _unanswered(check, error.fault.message)
    except TimeoutError:
        return _unanswered(check, f"not within {limit:.0f} s")
    answered = {each.name for each in found}
    left = [name for name in check.answers if name not in answered]
    why = _obstacle(lab, check) or "not possible after the answer before it"
    return [*found, *(not_checked(name, "nothing", why) for name in left)]
