"""The complete examination: the network, the API, and a conversation with it."""

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from rtllm.content.usage import Totals
from rtllm.doctor.judgements.contact import judge_chat, judge_contact
from rtllm.doctor.judgements.conversation import (
    judge_barge_in,
    judge_cache,
    judge_chained,
    judge_cold,
    judge_failed_conversation,
    judge_tools,
    judge_warm,
)
from rtllm.doctor.judgements.findings import Finding, not_checked
from rtllm.doctor.judgements.network import judge_clock
from rtllm.doctor.judgements.report import Report, ReportKind
from rtllm.doctor.judgements.steps import Estimate, cost_of
from rtllm.doctor.judgements.suggestion import Learned, suggested_profile, suggestion
from rtllm.doctor.probes.chains import Continuation, OtherConnection, UnknownParent, WarmUp
from rtllm.doctor.probes.chat import ask_chat
from rtllm.doctor.probes.check import CannotCheckError, Check
from rtllm.doctor.probes.conversation import STEPS, ConversationTurns, Route, hold_conversation
from rtllm.doctor.probes.lab import Lab
from rtllm.doctor.probes.lanes import Lanes
from rtllm.doctor.probes.listing import Listing, probe_listing
from rtllm.doctor.probes.network import probe_network
from rtllm.doctor.probes.over_http import OverHttp
from rtllm.doctor.probes.versions import probe_versions
from rtllm.doctor.probes.wire import Wire
from rtllm.doctor.reporting import report_of
from rtllm.doctor.target import Target
from rtllm.doctor.verify import run_checks
from rtllm.retry.faults import Fault

KIND = ReportKind(
    "rtllm doctor",
    well="Nothing is wrong between an agent and this model.",
    is_brief=True,
)
CHECKS_OF_API: tuple[Check, ...] = (
    Continuation(),
    UnknownParent(),
    OtherConnection(),
    Lanes(),
    WarmUp(),
    OverHttp(),
)
"""The checks of the protocol that tell which keywords to set."""
_NETWORK = ("proxy", "dns", "connection", "tls")
_CONVERSATION = (
    "tools",
    "first-word-cold",
    "first-word-warm",
    "first-word-chained",
    "first-word-barge-in",
    "prompt-cache",
)
SUBJECTS_OF_RUN: tuple[str, ...] = (
    "versions",
    *_NETWORK,
    "clock",
    "key",
    "model",
    *(name for check in CHECKS_OF_API for name in check.answers),
    *_CONVERSATION,
)
"""What a report of `diagnose` is about; ``chat`` comes only without the Responses API."""
_CACHE_KEYS = ("openai", "azure")


def cost_of_diagnosis(target: Target) -> Estimate:
    """Estimate what `diagnose` costs."""
    steps = [step for check in CHECKS_OF_API for step in check.steps]
    return cost_of([*steps, *STEPS], target.usual_cap)


async def diagnose(
    target: Target,
    *,
    on: str,
    progress: Callable[[str], None] = lambda _: None,
    now: Callable[[], float] = time.time,
) -> Report:
    """Examine everything between an agent and its model, and say which keywords to set.

    It sends the requests that `cost_of_diagnosis` estimates. Everything is closed at the end, also
    if it is cancelled.

    Args:
        target: The host.
        on: The date, for the report.
        progress: Called with the names of the subjects before they are examined.
        now: Returns this computer's time, in seconds since 1970.
    """
    run = _Run(target, progress)
    progress(", ".join(("versions", *_NETWORK)))
    run.add([probe_versions()])
    network = await probe_network(target)
    run.add(network)
    if not any(each.verdict == "fails" for each in network):
        progress("clock, key, model")
        try:
            listing = await probe_listing(target, now)
            run.add([judge_clock(listing.skew)])
            await run.examine_api(listing)
        finally:
            await target.aclose()
    return run.report(on)


class _Run:
    """One examination: what was found and learned so far.

    Args:
        target: The host.
        progress: Called with the names of the subjects before they are examined.
    """

    def __init__(self, target: Target, progress: Callable[[str], None]) -> None:
        self._target = target
        self._progress = progress
        self._listed: Sequence[str] = ()
        self._learned = Learned()
        self._totals = Totals()
        self._findings: dict[str, Finding] = {}

    def add(self, findings: Iterable[Finding]) -> None:
        """Add findings; a later one about the same subject replaces the earlier one."""
        self._findings |= {each.name: each for each in findings}

    async def examine_api(self, listing: Listing) -> None:
        """Check the API, then have a conversation with it."""
        target = self._target
        # Azure lists models, and its deployments have names of their own.
        self._listed = () if target.is_deployment else listing.models
        usual = Route(
            target.profile, settings=target.optional_settings(), usual_cap=target.usual_cap
        )
        async with Wire(target) as wire:
            lab = Lab(target, wire)
            try:
                found, fault = await run_checks(lab, CHECKS_OF_API, self._progress), None
            except CannotCheckError as error:
                found, fault = [], error.fault
            self._totals += lab.totals
        if fault is not None and not lab.has_websocket and _lacks_responses(fault):
            await self._examine_chat(usual)
            return
        self.add(judge_contact(fault, target.model, self._listed))
        if fault is not None:
            return
        self.add(found)
        self._learned = _learned(lab)
        route = replace(
            usual,
            profile=suggested_profile(target.profile, self._learned),
            websocket=lab.has_websocket,
            stored=self._learned.memory == "stored",
            settings=dict(lab.optional),
        )
        await self._converse(route)

    async def _examine_chat(self, route: Route) -> None:
        """Examine a host that does not have the Responses API."""
        target, route = self._target, replace(route, chat=True)
        fault, totals = await ask_chat(target, route)
        self._totals += totals
        if fault is not None and fault.status == 404 and target.model in self._listed:
            self.add([judge_chat(fault)])
            return
        self.add(judge_contact(fault, target.model, self._listed))
        if fault is None:
            self.add([judge_chat(None)])
            await self._converse(route)

    async def _converse(self, route: Route) -> None:
        self._progress(", ".join(_CONVERSATION))
        turns = await hold_conversation(self._target, route)
        self._totals += turns.totals
        self.add(_judge(turns, route))

    def report(self, on: str) -> Report:
        """Create the report; what was not reached is listed as not checked."""
        target, found = self._target, self._findings
        why = "the host has no Responses API" if "chat" in found else "no turn can succeed yet"
        left = [name for name in SUBJECTS_OF_RUN if name not in found]
        findings = [*found.values(), *(not_checked(name, "nothing", why) for name in left)]
        has_failed = any(each.verdict == "fails" for each in findings)
        code = ""
        if not has_failed and "chat" not in found:
            code = suggestion(target.profile, self._learned, findings, target.shown_model)
        return report_of(target, KIND, on, findings, self._totals, code)


def _lacks_responses(fault: Fault) -> bool:
    """Whether a refusal over HTTP may mean that the host has only Chat Completions."""
    return fault.status in (404, 405, 501)


def _learned(lab: Lab) -> Learned:
    return Learned(
        lab.has_lanes if lab.has_websocket else False,
        lab.keeps_unstored if lab.has_websocket else False,
        lab.keeps_stored,
        lab.names_parents,
    )


def _judge(turns: ConversationTurns, route: Route) -> list[Finding]:
    """Judge a conversation."""
    plain = [turns.cold, turns.warm, turns.chained, turns.after]
    found = [
        judge_tools(turns.strict, turns.plain),
        judge_cold(turns.cold, turns.warm),
        judge_warm(turns.warm),
        judge_chained(turns.chained, turns.warm),
        judge_barge_in(turns.after, turns.warm, has_lanes=route.profile.lanes),
        judge_cache(plain[1:], takes_key=route.profile.name in _CACHE_KEYS),
    ]
    if all(turn.error for turn in plain):
        found.append(judge_failed_conversation(turns.cold.error))
    return found
