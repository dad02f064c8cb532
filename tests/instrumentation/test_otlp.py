"""OpenTelemetry over the wire: a listener decodes OTLP with the official protobufs."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiohttp import web
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from rtllm import Client, TurnError
from rtllm.otel import OpenTelemetry
from rtllm.simulator import Close, ErrorFrame, Simulator, echo
from transport.caller import Caller

MINUTE = 60_000


@dataclass
class Collector:
    """What a collector receives.

    Attributes:
        url: Where to send it.
        spans: The spans, decoded.
        metrics: The metrics by their names, decoded.
    """

    url: str = ""
    spans: list[Any] = field(default_factory=list)
    metrics: dict[str, Any] = field(default_factory=dict)

    async def take_spans(self, request: web.Request) -> web.Response:
        message = ExportTraceServiceRequest.FromString(await body_of(request))
        for resource in message.resource_spans:
            for scope in resource.scope_spans:
                assert scope.scope.name == "rtllm"
                self.spans += scope.spans
        return web.Response(content_type="application/x-protobuf")

    async def take_metrics(self, request: web.Request) -> web.Response:
        message = ExportMetricsServiceRequest.FromString(await body_of(request))
        for resource in message.resource_metrics:
            for scope in resource.scope_metrics:
                self.metrics |= {metric.name: metric for metric in scope.metrics}
        return web.Response(content_type="application/x-protobuf")


async def body_of(request: web.Request) -> bytes:
    body = await request.read()
    return gzip.decompress(body) if body.startswith(b"\x1f\x8b") else body


def attributes_of(source: Any) -> dict[str, Any]:
    """The attributes of a decoded span, event or point."""
    return {
        pair.key: getattr(pair.value, pair.value.WhichOneof("value")) for pair in source.attributes
    }


@pytest.fixture
async def collector() -> AsyncIterator[Collector]:
    found = Collector()
    application = web.Application()
    application.router.add_post("/v1/traces", found.take_spans)
    application.router.add_post("/v1/metrics", found.take_metrics)
    runner = web.AppRunner(application)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    found.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield found
    await runner.cleanup()


async def test_a_collector_takes_the_spans_and_the_metrics(collector: Collector) -> None:
    tracers = TracerProvider()
    tracers.add_span_processor(
        BatchSpanProcessor(OTLPSpanExporter(endpoint=f"{collector.url}/v1/traces"))
    )
    exporter = OTLPMetricExporter(endpoint=f"{collector.url}/v1/metrics")
    reader = PeriodicExportingMetricReader(exporter, export_interval_millis=MINUTE)
    meters = MeterProvider(metric_readers=[reader])
    listener = OpenTelemetry(tracer_provider=tracers, meter_provider=meters)
    faults: dict[int, Any] = {
        0: Close(phase="created"),
        2: ErrorFrame(code="insufficient_quota", status=429),
    }
    async with Simulator(echo(), fault=lambda request: faults.get(request.index)) as service:
        client = Client.connect(api_key="key", base_url=service.base_url, on_trace=listener)
        caller = Caller(client)
        await caller.say("Hello")
        with pytest.raises(TurnError):
            await caller.say("Again")
        usage = client.usage
        await client.aclose()
    await asyncio.to_thread(tracers.shutdown)
    await asyncio.to_thread(meters.shutdown)
    turns = [span for span in collector.spans if span.name == "chat gpt-4.1"]
    completed, failed = sorted(turns, key=lambda span: span.start_time_unix_nano)
    attempts = [s for s in collector.spans if s.parent_span_id == completed.span_id]
    assert [span.name for span in attempts] == ["attempt", "attempt"]
    assert {span.trace_id for span in attempts} == {completed.trace_id}
    assert completed.kind == Span.SPAN_KIND_CLIENT
    known = attributes_of(completed)
    assert known["gen_ai.operation.name"] == "chat"
    assert known["gen_ai.usage.input_tokens"] == usage.answered.input
    assert "rtllm.retry" in [event.name for event in completed.events]
    assert failed.status.code == Status.STATUS_CODE_ERROR
    duration = collector.metrics["gen_ai.client.inference.duration"]
    assert duration.unit == "s"
    assert sum(point.count for point in duration.histogram.data_points) == 2
    (tokens,) = [
        point
        for point in collector.metrics["rtllm.client.tokens"].sum.data_points
        if attributes_of(point) | {"gen_ai.token.type": "input", "rtllm.category": "answered"}
        == attributes_of(point)
    ]
    assert tokens.as_int == usage.answered.input
