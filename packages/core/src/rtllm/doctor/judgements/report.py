"""Report: the findings as Markdown that can be posted, and as data."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from rtllm.content.usage import Totals
from rtllm.doctor.judgements.findings import Finding, exit_status, keywords
from rtllm.doctor.judgements.subjects import EVERYTHING

_IDS = re.compile(
    r"\b(?:org|proj)[-_][A-Za-z0-9_-]{6,}"
    r"|\b(?:user|acct|asst|req|resp|msg|sess|rs|fc|call|key)[-_](?=[A-Za-z_-]*\d)[A-Za-z0-9_-]{6,}"
    r"|\bsk-[A-Za-z0-9_*.-]+"
    r"|\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f-]{13,}"
    r"|\b[A-Za-z0-9+/_-]{40,}"
    r"|[\w.+-]+@[\w-]+\.[\w.]+"
)
_QUERY = re.compile(r"(\b(?:https?|wss?)://[^\s?'\"]+)\?[^\s'\"]*")
_RESOURCE = re.compile(
    r"\b[\w-]+(?=\.(?:openai\.azure\.(?:com|us)|cognitiveservices\.azure\.com"
    r"|services\.ai\.azure\.com|models\.ai\.azure\.com))"
)
_FINE_TUNED = re.compile(r"\b(ft:[\w.-]+):[\w:.-]+")
_LONGEST = 300


@dataclass(frozen=True, slots=True)
class ReportKind:
    """What a report is about.

    Attributes:
        title: The command.
        well: The verdict if nothing differs.
        differing: How the verdict begins if something differs.
        left_out: What is not checked.
        is_brief: Whether a finding that holds has one line.
    """

    title: str
    well: str
    differing: str = "Not as expected"
    left_out: tuple[str, ...] = ()
    is_brief: bool = False


@dataclass(frozen=True, slots=True)
class Report:
    """The result of one run.

    Attributes:
        kind: What it is about.
        host: The name of the host's profile.
        address: The host's name in its address.
        model: The model.
        on: When, as a date.
        versions: The versions of this library and of Python.
        findings: The findings.
        totals: The requests that were sent, with the tokens of those whose usage was reported.
        money: What the tokens cost; empty if that is not known.
        suggestion: What to pass to the constructors, as code; empty if nothing is suggested.
    """

    kind: ReportKind
    host: str
    address: str
    model: str
    on: str
    versions: str
    findings: tuple[Finding, ...]
    totals: Totals
    money: str = ""
    suggestion: str = ""

    @property
    def verdict(self) -> str:
        """The result in one sentence."""
        return verdict_of(self.findings, self.kind)

    @property
    def exit_status(self) -> int:
        """The exit status of the command."""
        return exit_status(self.findings)

    def scrubbed(self, secrets: Sequence[str]) -> "Report":
        """Return the report without secrets and without ids.

        Args:
            secrets: Keys and the like.
        """
        return replace(
            self,
            address=scrub(self.address, secrets),
            model=scrub(self.model, secrets),
            findings=tuple(_scrubbed(each, secrets) for each in self.findings),
            suggestion=_without_names(self.suggestion, secrets),
        )


def _scrubbed(finding: Finding, secrets: Sequence[str]) -> Finding:
    return replace(
        finding,
        asked=scrub(finding.asked, secrets),
        seen=scrub(finding.seen, secrets),
        meaning=scrub(finding.meaning, secrets),
        keyword=scrub(finding.keyword, secrets),
    )


def _without_names(code: str, secrets: Sequence[str]) -> str:
    """Remove secrets, and names of Azure resources and of organizations, from code."""
    for secret in secrets:
        code = code.replace(secret, "…")
    return _RESOURCE.sub("…", _FINE_TUNED.sub(r"\1:…", code))


def scrub(text: str, secrets: Sequence[str] = ()) -> str:
    """Remove from a text what identifies an account: keys, ids, queries, resource names.

    Args:
        text: The text, such as the sentence of a host.
        secrets: Keys that must not be in it.
    """
    for secret in secrets:
        if secret:
            text = text.replace(secret, "…")
    text = _FINE_TUNED.sub(r"\1:…", _QUERY.sub(r"\1?…", text))
    text = _RESOURCE.sub("…", _IDS.sub("…", text))
    text = " ".join(text.split())
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


def verdict_of(findings: Sequence[Finding], kind: ReportKind) -> str:
    """Summarize findings in one sentence.

    Args:
        findings: The findings.
        kind: What the report is about.
    """
    status = exit_status(findings)
    broken = [each for each in findings if each.verdict == "fails"]
    if broken:
        names = ", ".join(each.name for each in broken)
        return f"No turn can succeed: {names}. {broken[0].seen.rstrip('.')}."
    if status == 2:
        return "Nothing could be checked."
    if status == 0:
        return f"{kind.well} No keyword is needed."
    named = keywords(findings)
    wrong = ", ".join(each.name for each in findings if each.verdict == "differs")
    begin = f"{kind.differing}: {wrong}."
    if not named:
        return f"{begin} No keyword is needed."
    return f"{begin} Set: {'; '.join(f'`{each}`' for each in named)}."


def to_markdown(report: Report) -> str:
    """Write a report as Markdown."""
    totals = report.totals
    tokens = f"{totals.input} input tokens ({totals.cached} cached), {totals.output} output tokens"
    if totals.unknown:
        tokens += f", without {totals.unknown} requests whose usage is unknown"
    if report.money:
        tokens += f", {report.money}"
    lines = [
        f"# {report.kind.title}",
        "",
        f"**{report.verdict}**",
        "",
        f"- host: `{report.host}` at {report.address}, model {report.model}",
        f"- {report.on}, {report.versions}",
        f"- cost: {totals.attempts} requests, {tokens}",
        "",
    ]
    for finding in _in_order(report.findings):
        if report.kind.is_brief and finding.verdict in ("holds", "not checked"):
            lines.append(_line_of(finding))
        else:
            lines += [*_lines_of(finding), ""]
    if lines[-1]:
        lines.append("")
    if report.suggestion:
        code = [f"    {line}".rstrip() for line in report.suggestion.splitlines()]
        lines += ["For this host:", "", *code, ""]
    if report.kind.left_out:
        lines += [
            "Not checked by this command:",
            "",
            *(f"- {each}" for each in report.kind.left_out),
        ]
    return "\n".join(lines).rstrip("\n")


def _line_of(finding: Finding) -> str:
    if finding.verdict == "not checked":
        return f"- {finding.name}: not checked ({finding.seen})"
    return f"- {finding.name}: {finding.seen.rstrip('.')}; {finding.meaning}"


def _lines_of(finding: Finding) -> list[str]:
    head = f"- **{finding.name}**: {finding.verdict} ({finding.certainty}). {finding.question}"
    lines = [
        head,
        f"  - asked: {finding.asked}",
        f"  - seen: {finding.seen}",
        f"  - means: {finding.meaning}",
    ]
    if finding.keyword:
        lines.append(f"  - set: `{finding.keyword}`")
    return lines


def _in_order(findings: Iterable[Finding]) -> list[Finding]:
    """Sort findings as their questions; those that differ come first."""
    order = {name: place for place, name in enumerate(EVERYTHING)}
    first = {"fails": 0, "differs": 1}
    return sorted(findings, key=lambda each: (first.get(each.verdict, 2), order[each.name]))


def to_data(report: Report) -> dict[str, Any]:
    """Convert a report to plain data, for JSON."""
    return {
        "verdict": report.verdict,
        "exit_status": report.exit_status,
        "keywords": list(keywords(report.findings)),
        "host": report.host,
        "address": report.address,
        "model": report.model,
        "date": report.on,
        "versions": report.versions,
        "cost": {
            "requests": report.totals.attempts,
            "input_tokens": report.totals.input,
            "cached_tokens": report.totals.cached,
            "output_tokens": report.totals.output,
            "without_usage": report.totals.unknown,
            "money": report.money or None,
        },
        "findings": [
            {
                "name": each.name,
                "question": each.question,
                "verdict": each.verdict,
                "asked": each.asked,
                "seen": each.seen,
                "means": each.meaning,
                "set": each.keyword or None,
                "certainty": each.certainty,
            }
            for each in _in_order(report.findings)
        ],
        "left_out": list(report.kind.left_out),
        "suggestion": report.suggestion or None,
    }
