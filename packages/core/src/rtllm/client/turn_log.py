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
    whose = name_of(report)
    for recovery in report.recoveries if report.outcome != "failed" else ():
        logger.info(
            "%s: %s%s: %s%s",
            whose,
            recovery.fault,
            f" ({recovery.code})" if recovery.code else "",
            recovery.action,
            f" after {recovery.wait:.1f} s" if recovery.wait else "",
        )
    if report.outcome == "failed":
        logger.warning(
            "%s: the turn failed after %.1f s: %s; %s",
            whose,
            report.duration,
            _reason_of(report),
            _request_of(report),
        )
        logger.debug("%s: %s", whose, report.error)
        return
    first = "no output" if report.time_to_first is None else f"{report.time_to_first:.2f} s"
    logger.info(
        "%s: %s, first output after %s, %s in all; %s; %s",
        whose,
        report.outcome,
        first,
        f"{report.duration:.2f} s",
        _tokens_of(report.usage),
        _request_of(report),
    )


def name_of(report: TurnReport) -> str:
    """Name the conversation of a turn, and its call as far as that has names."""
    call = str(report.call)
    return f"conversation {report.conversation}{f' ({call})' if call else ''}"


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
    reasoning = f" ({usage.reasoning} of reasoning)" if usage.reasoning else ""
    return f"{usage.input}{cached} input and {usage.output}{reasoning} output tokens"


def _request_of(report: TurnReport) -> str:
    """Describe what was sent, and where."""
    context = "chained" if report.chained else f"full context ({report.full_context_reason})"
    if report.protocol == "http":
        where = "HTTP"
    else:
        reused = "reused" if report.reused else "new"
        where = f"{reused} connection {report.connection}, lane {report.lane or 'default'}"
    return (
        f"{report.model}, {context}, {_counted(report.items_sent, 'item')}, "
        f"{report.bytes_sent} bytes, {_counted(report.attempts, 'attempt')}, {where}, "
        f"response {report.response_id}"
    )


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun if count == 1 else f'{noun}s'}"
