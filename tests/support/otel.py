"""OpenTelemetry's SDK with everything in memory, and what a backend would show of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from rtllm.otel import OpenTelemetry


@dataclass
class Telemetry:
    """A listener, and what it made.

    Attributes:
        options: The other keywords of the listener.
        exporter: Where the spans are.
        tracers: Where they come from.
        reader: Where the metrics are.
        listener: What to pass as ``on_trace``.
    """

    options: Mapping[str, Any] = field(default_factory=dict)
    exporter: InMemorySpanExporter = field(default_factory=InMemorySpanExporter)
    tracers: TracerProvider = field(init=False)
    reader: InMemoryMetricReader = field(default_factory=InMemoryMetricReader)
    listener: OpenTelemetry = field(init=False)

    def __post_init__(self) -> None:
        self.tracers = TracerProvider()
        self.tracers.add_span_processor(SimpleSpanProcessor(self.exporter))
        meters = MeterProvider(metric_readers=[self.reader])
        self.listener = OpenTelemetry(
            tracer_provider=self.tracers, meter_provider=meters, **self.options
        )

    @property
    def spans(self) -> list[ReadableSpan]:
        """Our spans that have ended, in the order of their beginnings."""
        ours = [s for s in self.exporter.get_finished_spans() if scope_of(s) == "rtllm"]
        return sorted(ours, key=lambda span: span.start_time or 0)

    def named(self, name: str) -> list[ReadableSpan]:
        """The spans of a name, also those of others."""
        return [s for s in self.exporter.get_finished_spans() if s.name == name]

    @property
    def turns(self) -> list[ReadableSpan]:
        """The spans of turns."""
        return [s for s in self.spans if s.name != "attempt"]

    def attempts_of(self, turn: ReadableSpan) -> list[ReadableSpan]:
        """The children of a turn's span."""
        return [s for s in self.spans if is_child(s, turn)]

    def metrics(self) -> dict[str, Any]:
        """The metrics by their names."""
        data = self.reader.get_metrics_data()
        return {
            metric.name: metric
            for resource in (data.resource_metrics if data is not None else ())
            for scope in resource.scope_metrics
            for metric in scope.metrics
        }

    def sum_of(self, name: str, **wanted: str) -> float:
        """The sum of a counter or histogram over the points with some attributes.

        Args:
            name: The metric's name.
            **wanted: Attributes, with ``__`` for each dot.
        """
        attributes = {key.replace("__", "."): value for key, value in wanted.items()}
        metric = self.metrics().get(name)
        points: list[Any] = list(metric.data.data_points) if metric is not None else []
        total = 0.0
        for point in points:
            if attributes.items() <= dict(point.attributes or {}).items():
                total += point.value if hasattr(point, "value") else point.sum
        return total


def scope_of(span: ReadableSpan) -> str:
    """The name of the library that made a span."""
    return span.instrumentation_scope.name if span.instrumentation_scope is not None else ""


def is_child(span: ReadableSpan, parent: ReadableSpan) -> bool:
    """Whether a span is a child of another one."""
    return (
        span.parent is not None
        and parent.context is not None
        and (span.parent.span_id, span.parent.trace_id)
        == (parent.context.span_id, parent.context.trace_id)
    )


def attributes_of(span: ReadableSpan) -> dict[str, Any]:
    """The attributes of a span."""
    return dict(span.attributes or {})


def seconds_of(span: ReadableSpan) -> float:
    """The duration of a span."""
    assert span.start_time is not None
    assert span.end_time is not None
    return (span.end_time - span.start_time) / 1e9


def events_of(span: ReadableSpan) -> list[str]:
    """The names of a span's events."""
    return [event.name for event in span.events]


def everything(telemetry: Telemetry) -> str:
    """All that would leave the process, as one text."""
    spans = [span.to_json() for span in telemetry.spans]
    return "\n".join([*spans, *(metric.to_json() for metric in telemetry.metrics().values())])
