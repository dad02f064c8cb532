"""Reports of runs on a target."""

import platform
from collections.abc import Iterable

from rtllm._version import __version__
from rtllm.content.usage import Totals
from rtllm.doctor.judgements.findings import Finding
from rtllm.doctor.judgements.report import Report, ReportKind
from rtllm.doctor.target import Target


def report_of(
    target: Target,
    kind: ReportKind,
    on: str,
    findings: Iterable[Finding],
    totals: Totals,
    suggestion: str = "",
) -> Report:
    """Create the report of a run, without the target's secrets.

    Args:
        target: The host.
        kind: What was examined.
        on: The date.
        findings: The findings.
        totals: The requests, with their tokens.
        suggestion: What to pass to the constructors, as code; empty if nothing is suggested.
    """
    report = Report(
        kind,
        target.profile.name,
        target.endpoint.host,
        target.shown_model,
        on,
        f"rtllm {__version__}, Python {platform.python_version()}",
        tuple(findings),
        totals,
        suggestion=suggestion,
    )
    return report.scrubbed(target.secrets)
