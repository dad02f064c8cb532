"""Listeners of trace events."""

import logging
from collections.abc import Collection, Iterable
from typing import Protocol

from rtllm.trace.events import TraceEvent

logger = logging.getLogger(__name__)


class TraceListener(Protocol):
    """A function that receives trace events as they happen, on the client's event loop.

    It must return at once. An exception that it raises is logged, once for each listener.
    """

    def __call__(self, event: TraceEvent, /) -> object:
        """Receive an event; the result is ignored."""


TraceListeners = TraceListener | Collection[TraceListener] | None
"""What ``on_trace`` takes: a listener, several of them, or None."""


class TraceHub:
    """Passes each event to all listeners; no exception of theirs gets out.

    Args:
        listeners: The listeners.
    """

    def __init__(self, listeners: Iterable[TraceListener]) -> None:
        self.listeners = tuple(listeners)
        self._failed: set[int] = set()

    def __call__(self, event: TraceEvent, /) -> None:
        """Pass an event on."""
        for number, listener in enumerate(self.listeners):
            try:
                listener(event)
            except Exception:
                if number not in self._failed:
                    self._failed.add(number)
                    logger.exception(
                        "the trace listener %s raised; it is called again, and its further "
                        "exceptions are not logged",
                        _name_of(listener),
                    )


def listeners_in(on_trace: TraceListeners) -> tuple[TraceListener, ...]:
    """Return the listeners that were passed as ``on_trace``."""
    if on_trace is None:
        return ()
    return (on_trace,) if callable(on_trace) else tuple(on_trace)


def _name_of(listener: TraceListener) -> str:
    return getattr(listener, "__qualname__", type(listener).__name__)
