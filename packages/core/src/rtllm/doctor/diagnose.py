"""The complete examination: the way to a host, its API, and a conversation with it."""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from rtllm.content.usage import Totals, Usage
from rtllm.doctor.judgements.contact import judge_chat, judge_contact
from rtllm.doctor.judgements.conversation import (
    judge_barge_in,
    judge_cache,
    judge_chained,
    judge_cold,
    judge_tools,
    judge_warm,
)
from rtllm.doctor.judgements.findings import Finding, not_checked
from rtllm.doctor.judgements.network import judge_clock
from rtllm.doctor.judgements.report import Report
from rtllm.doctor.judgements.steps import Estimate, cost_of
from rtllm.doctor.judgements.suggestion import Learned, suggested_profile, suggestion
from rtllm.doctor.probes.chains import Continuation, OtherConnection, UnknownParent, WarmUp
from rtllm.doctor.probes.chat import ask_chat
from rtllm.doctor.probes.check import CannotCheckError, Check
from rtllm.doctor.probes.conversation import STEPS, Talk, Way, hold_conversation
from rtllm.doctor.probes.lab import Lab
from rtllm.doctor.probes.lanes import Lanes
from rtllm.doctor.probes.listing import Listing, probe_listing
from rtllm.doctor.probes.network import probe_network
from rtllm.doctor.probes.over_http import OverHttp
from rtllm.doctor.probes.versions import probe_versions
from rtllm.doctor.probes.wire import Wire
from rtllm.doctor.target import Target
from rtllm.doctor.verify import run_checks, versions
from rtllm.retry.faults import Fault

TITLE = "rtllm doctor"
CHECKS_OF_API: tuple[Check, ...] = (
    Continuation(),
    UnknownParent(),
    OtherConnection(),
    Lanes(),
    WarmUp(),
    OverHttp(),
)
"""The checks of the protocol that tell which keywords to set."""
_WAY = ("proxy", "dns", "connection", "tls")
_TALK = (
    "tools",
    "first-word-cold",
    "first-word-warm",
    "first-word-chained",
    "first-word-barge-in",
    "prompt-cache",
)
SUBJECTS_OF_RUN: tuple[str, ...] = (
    "versions",
    *_WAY,
    "clock",
    "key",
    "model",
    *(name for check in CHECKS_OF_API for name in check.answers),
    *_TALK,
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
    progress(", ".join(("versions", *_WAY)))
    run.findings.append(probe_versions())
    way = await probe_network(target)
    run.findings += way
    if not any(each.verdict == "fails" for each in way):
        progress("clock, key, model")
        try:
            listing = await probe_listing(target, now)
            run.findings.append(judge_clock(listing.skew))
            await run.examine_api(listing)
        finally:
            await target.aclose()
    return run.report(on)


class _Run:
    """One examination: what was found and learned so far."""

    def __init__(self, target: Target, progress: Callable[[str], None]) -> None:
        self._target = target
        self._progress = progress
        self._learned = Learned()
        self._totals = Totals()
        self._requests = 0
        self.findings: list[Finding] = []

    async def examine_api(self, listing: Listing) -> None:
        """Check the API, then talk to it."""
        target = self._target
        usual = Way(target.profile, settings=target.optional_settings(), usual_cap=target.usual_cap)
        async with Wire(target) as wire:
            lab = Lab(target, wire)
            try:
                found, fault = await run_checks(lab, wire, CHECKS_OF_API, self._progress), None
            except CannotCheckError as error:
                found, fault = [], error.fault
            used, unknown = lab.used()
            self._add(len(wire.requests), used, unknown)
        if fault is not None and not lab.has_websocket and _lacks_responses(fault):
            await self._examine_chat(usual, fault, listing)
            return
        self.findings += judge_contact(fault, target.model, listing.models)
        if fault is not None:
            return
        self.findings += found
        self._learned = _learned(lab)
        way = replace(
            usual,
            profile=suggested_profile(target.profile, self._learned),
            websocket=lab.has_websocket,
            stored=self._learned.memory == "stored",
            settings=dict(lab.optional),
        )
        await self._talk(way)

    async def _examine_chat(self, way: Way, fault: Fault, listing: Listing) -> None:
        """Examine a host that does not have the Responses API."""
        way = replace(way, chat=True)
        failed = await ask_chat(self._target, way)
        self._requests += 1
        if failed is None:
            self.findings += judge_contact(None, self._target.model)
            self.findings.append(judge_chat(None))
            await self._talk(way)
            return
        found = judge_contact(failed, self._target.model, listing.models)
        is_missing = failed.status == 404 and self._target.model in listing.models
        self.findings += [judge_chat(failed)] if is_missing else found

    async def _talk(self, way: Way) -> None:
        self._progress(", ".join(_TALK))
        talk = await hold_conversation(self._target, way)
        totals = talk.totals
        self._add(
            totals.attempts, Usage(totals.input, totals.output, totals.cached), totals.unknown
        )
        self.findings += _judge(talk, way)

    def _add(self, requests: int, usage: Usage, unknown: int) -> None:
        self._requests += requests
        self._totals += Totals(requests, unknown, usage.input, usage.output, usage.cached or 0)

    def report(self, on: str) -> Report:
        """Create the report; what was not reached is listed as not checked."""
        target, totals = self._target, self._totals
        known = {each.name for each in self.findings}
        left = [name for name in SUBJECTS_OF_RUN if name not in known]
        why = "no turn can succeed yet"
        if "chat" in known:
            why = "the host has no Responses API"
        findings = (*self.findings, *(not_checked(name, "nothing", why) for name in left))
        has_failed = any(each.verdict == "fails" for each in findings)
        code = ""
        if not has_failed and "chat" not in known:
            code = suggestion(target.profile, self._learned, findings, target.shown_model)
        report = Report(
            target.profile.name,
            target.endpoint.host,
            target.shown_model,
            on,
            versions(),
            findings,
            self._requests,
            Usage(totals.input, totals.output, totals.cached),
            totals.unknown,
            title=TITLE,
            left_out=(),
            suggestion=code,
            is_brief=True,
            well="Nothing is wrong between an agent and this model.",
        )
        return report.scrubbed(target.secrets)


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


def _judge(talk: Talk, way: Way) -> Sequence[Finding]:
    """Judge a conversation."""
    later = [talk.warm, talk.chained, talk.after]
    return [
        judge_tools(talk.strict, talk.plain),
        judge_cold(talk.cold, talk.warm),
        judge_warm(talk.warm),
        judge_chained(talk.chained, talk.warm),
        judge_barge_in(talk.after, talk.warm, has_lanes=way.profile.lanes),
        judge_cache(later, takes_key=way.profile.name in _CACHE_KEYS),
    ]
