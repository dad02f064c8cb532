"""OpenTelemetry: a trace listener that makes spans and metrics.

``docs/opentelemetry.md`` describes them. It needs ``pip install 'rtllm[otel]'``.
"""

try:
    from opentelemetry import metrics, trace
except ImportError as error:
    raise ImportError(
        "rtllm.otel needs opentelemetry-api; install it with: pip install 'rtllm[otel]'"
    ) from error

from typing import get_args

from rtllm._version import __version__
from rtllm.errors import ConfigError
from rtllm.instrumentation.otel_attributes import Conventions
from rtllm.instrumentation.otel_metrics import Metrics
from rtllm.instrumentation.otel_spans import ParentContext, Spans
from rtllm.instrumentation.otel_turns import OpenTurns
from rtllm.trace.events import TraceEvent

__all__ = ["Conventions", "OpenTelemetry", "ParentContext"]


class OpenTelemetry:
    """A trace listener that makes OpenTelemetry's spans and metrics, by the GenAI conventions.

    Pass it as ``on_trace``, also to several LLMs. A turn has a span, whose parent is the span that
    is current where the turn is asked for; each attempt has a child. Nothing holds text of a
    conversation.

    Args:
        tracer_provider: Where spans go. Default: the global one.
        meter_provider: Where metrics go. Default: the global one.
        conventions: The version of the GenAI conventions whose names are used: "0.1.0", "1.41.0",
            or "both" while dashboards are changed.
        parent: Called when a turn begins; returns the context whose span is its parent, or None for
            the current one.

    Raises:
        ConfigError: If `conventions` is not known.
    """

    def __init__(
        self,
        *,
        tracer_provider: trace.TracerProvider | None = None,
        meter_provider: metrics.MeterProvider | None = None,
        conventions: Conventions = "0.1.0",
        parent: ParentContext | None = None,
    ) -> None:
        if conventions not in get_args(Conventions):
            raise ConfigError(
                f"conventions is {conventions!r}; expected one of "
                f"{', '.join(map(repr, get_args(Conventions)))}"
            )
        self._turns = OpenTurns()
        self._spans = Spans(
            trace.get_tracer("rtllm", __version__, tracer_provider), conventions, parent
        )
        self._metrics = Metrics(
            metrics.get_meter("rtllm", __version__, meter_provider), conventions
        )

    def __repr__(self) -> str:
        return f"<OpenTelemetry: {len(self._turns)} turns open>"

    def __call__(self, event: TraceEvent, /) -> None:
        """Make spans and metrics of an event."""
        turn = self._turns.note(event)
        try:
            self._spans.note(event, turn)
        finally:
            self._metrics.note(event, turn)
        if (oldest := self._turns.surplus()) is not None:
            self._spans.end(oldest)
