"""Attributes for a framework's own span of a request."""

from rtllm.engine.report import TurnReport


def span_attributes(report: TurnReport) -> dict[str, str | bool | int]:
    """Return what the report of a turn tells, as attributes of an OpenTelemetry span.

    Set them on the framework's span of the request. `rtllm.otel.OpenTelemetry` makes spans of its
    own.

    Args:
        report: The report of the turn.
    """
    return {
        "rtllm.chained": report.chained,
        "rtllm.full_context_reason": report.full_context_reason or "",
        "rtllm.items_sent": report.items_sent,
        "rtllm.bytes_sent": report.bytes_sent,
        "rtllm.attempts": report.attempts,
        "rtllm.connection": report.connection or 0,
        "rtllm.connection_reused": report.reused,
        "rtllm.lane": report.lane or "",
        "rtllm.outcome": report.outcome,
    }
