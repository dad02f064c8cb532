"""The log lines of a turn: one for its end, and one for each fault that was recovered from."""

import logging

from rtllm.content.usage import Usage
from rtllm.engine.report import TurnReport

logger = logging.getLogger(__name__)


def log_turn(report: TurnReport) -> None:
    """Log the end of a turn: at INFO, or at WARNING with the reason if it failed.

    The lines hold no text of the conversation. A host's error may quote it, so the error's text is
    logged at DEBUG.
    """
    if not logger.isEnabledFor(logging.INFO if report.outcome != "failed" else logging.WARNING):
        return
    for recovery in report.recoveries if report.outcome != "failed" else ():
        logger.info(
            "conversation %d: %s%s: %s%s",
            report.conversation,
            recovery.fault,
            f" ({recovery.code})" if recovery.code else "",
            recovery.action,
            f" after {recovery.wait:.1f} s" if recovery.wait else "",
        )
    if report.outcome == "failed":
        logger.warning(
            "conversation %d: the turn failed after %.1f s: %s; %s",
            report.conversation,
            report.duration,
            _reason_of(report),
            _request_of(report),
        )
        logger.debug("conversation %d: %s", report.conversation, report.error)
        return
    first = "no output" if report.time_to_first is None else f"{report.time_to_first:.2f} s"
    logger.info(
        "conversation %d: %s, first output after %s, %s in all; %s; %s",
        report.conversation,
        report.outcome,
        first,
        f"{report.duration:.2f} s",
        _tokens_of(report.usage),
        _request_of(report),
    )


def _reason_of(report: TurnReport) -> str:
    """Describe the last fault of a failed turn, without the host's sentence."""
    if not report.recoveries:
        return "no attempt was made"
    last = report.recoveries[-1]
    return f"{last.fault}{f' ({last.code})' if last.code else ''}"


def _tokens_of(usage: Usage | None) -> str:
    if usage is None:
        return "tokens unknown"
    cached = f" ({usage.cached} cached)" if usage.cached else ""
    return f"{usage.input}{cached} input and {usage.output} output tokens"


def _request_of(report: TurnReport) -> str:
    """Describe what was sent, and where."""
    context = "chained" if report.chained else f"full context ({report.full_context_reason})"
    if report.protocol == "http":
        where = "HTTP"
    else:
        reused = "reused" if report.reused else "new"
        where = f"{reused} connection {report.connection}, lane {report.lane or 'default'}"
    return (
        f"{report.model}, {context}, {report.items_sent} items, {report.bytes_sent} bytes, "
        f"{report.attempts} attempts, {where}, response {report.response_id}"
    )
