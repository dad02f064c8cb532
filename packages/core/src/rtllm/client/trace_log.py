"""The story of each turn as log lines at DEBUG, from the trace events."""

import logging
from dataclasses import fields

from rtllm.trace.events import TraceEvent

logger = logging.getLogger(__name__)

_OF_ALL = frozenset(field.name for field in fields(TraceEvent))


def is_logged() -> bool:
    """Whether trace events are logged."""
    return logger.isEnabledFor(logging.DEBUG)


def log_event(event: TraceEvent, /) -> None:
    """Log a trace event at DEBUG."""
    if is_logged():
        logger.debug("%s", describe(event))


def describe(event: TraceEvent) -> str:
    """Describe an event in a line: whose it is, what it is, and what is known of it."""
    whose = [
        f"{name} {value}"
        for name in ("conversation", "turn", "attempt", "connection", "lane")
        if (value := getattr(event, name)) is not None
    ]
    known = [
        f"{field.name} {_text_of(value)}"
        for field in fields(event)
        if field.name not in _OF_ALL and (value := getattr(event, field.name)) is not None
    ]
    call = f" ({event.call})" if str(event.call) else ""
    what = type(event).kind.replace("_", " ")
    return f"{', '.join(whose)}{call}: {what}{': ' if known else ''}{', '.join(known)}"


def _text_of(value: object) -> str:
    return f"{value:.3f}" if isinstance(value, float) else str(value)
