"""OpenTelemetry's metrics: times in seconds, tokens, retries and connections."""

from typing import Final

from opentelemetry.metrics import Counter, Histogram, Meter

from rtllm.content.usage import Usage
from rtllm.instrumentation.otel_attributes import Attributes, Conventions, common_attributes
from rtllm.instrumentation.otel_turns import OpenTurn
from rtllm.trace.events import (
    AttemptEnded,
    ConnectionClosed,
    ConnectionOpened,
    FaultHandled,
    TraceEvent,
    TurnFinished,
)

SECONDS: Final = tuple(round(0.01 * 2**power, 2) for power in range(14))
"""Boundaries of durations, in seconds: those that the conventions advise."""
TOKENS: Final = tuple(4**power for power in range(14))
"""Boundaries of token counts: those that the conventions advise."""

_USAGE: Final = (
    ("input_tokens", "Input tokens, cached ones included."),
    ("output_tokens", "Output tokens, reasoning included."),
    ("cache_read.input_tokens", "Input tokens read from the prompt cache."),
    ("cache_write.input_tokens", "Input tokens written to the prompt cache."),
    ("reasoning.output_tokens", "Output tokens spent on reasoning."),
)


class Metrics:
    """Records metrics of trace events.

    Args:
        meter: Creates the instruments.
        conventions: Which names are used.
    """

    def __init__(self, meter: Meter, conventions: Conventions) -> None:
        self._versions: list[_Current | _Former] = []
        if conventions != "1.41.0":
            self._versions.append(_Current(meter))
        if conventions != "0.1.0":
            self._versions.append(_Former(meter))
        self._retries = meter.create_counter(
            "rtllm.client.retries", "{retry}", "Requests that were sent again after a fault."
        )
        self._tokens = meter.create_counter(
            "rtllm.client.tokens", "{token}", "Tokens by what they were spent on."
        )
        self._cost = meter.create_counter(
            "rtllm.client.cost", "{currency}", "What the attempts cost, if it is known."
        )
        self._connections = meter.create_up_down_counter(
            "rtllm.client.connections", "{connection}", "WebSockets that are open."
        )
        self._closed = meter.create_counter(
            "rtllm.client.connections.closed", "{connection}", "WebSockets that have ended."
        )
        self._handshake = meter.create_histogram(
            "rtllm.client.handshake.duration",
            "s",
            "Duration of a WebSocket's handshake.",
            explicit_bucket_boundaries_advisory=SECONDS,
        )

    def note(self, event: TraceEvent, turn: OpenTurn | None) -> None:
        """Take an event, with its turn if it has one that is known."""
        match event:
            case ConnectionOpened():
                self._connections.add(1)
                self._handshake.record(event.seconds)
            case ConnectionClosed():
                self._close(event)
            case _ if turn is not None:
                self._note_turn(event, turn)
            case _:
                pass

    def _close(self, event: ConnectionClosed) -> None:
        if event.reason != "not opened":
            self._connections.add(-1)
        attributes: Attributes = {"rtllm.reason": event.reason}
        if event.fault is not None:
            attributes["error.type"] = event.fault
        self._closed.add(1, attributes)

    def _note_turn(self, event: TraceEvent, turn: OpenTurn) -> None:
        common = common_attributes(turn.queued)
        if turn.model is not None:
            common["gen_ai.response.model"] = turn.model
        failed: Attributes = {"error.type": turn.error} if turn.error else {}
        match event:
            case FaultHandled(resends=True):
                self._retries.add(1, common | {"rtllm.fault": event.fault})
            case AttemptEnded(counted=True):
                self._spend(event, common)
            case TurnFinished() if turn.queued.purpose == "response":
                for version in self._versions:
                    version.duration.record(event.duration, common | failed)
                    if event.time_to_first is not None:
                        version.first_chunk.record(event.time_to_first, common)
            case _:
                pass
        if turn.is_over:
            for version in self._versions:
                version.over(turn.usage, common | failed)

    def _spend(self, event: AttemptEnded, common: Attributes) -> None:
        category: Attributes = {"rtllm.category": event.category}
        if event.usage is not None:
            for kind, count in (("input", event.usage.input), ("output", event.usage.output)):
                self._tokens.add(count, common | category | {"gen_ai.token.type": kind})
        if event.cost is not None and event.currency is not None:
            self._cost.add(event.cost, common | category | {"rtllm.currency": event.currency})
        for version in self._versions:
            version.spend(event.usage, common)


class _Current:
    """The instruments of version 0.1.0 of the GenAI conventions."""

    def __init__(self, meter: Meter) -> None:
        name = "gen_ai.client.inference"
        self.duration, self.first_chunk = _durations(meter, name)
        self._usage: dict[str, Counter] = {
            kind: meter.create_counter(f"{name}.usage.{kind}", "{token}", text)
            for kind, text in _USAGE
        }
        self._input = _token_histogram(meter, f"{name}.operation.input_tokens")
        self._output = _token_histogram(meter, f"{name}.operation.output_tokens")

    def spend(self, usage: Usage | None, common: Attributes) -> None:
        """Count the tokens of an attempt; the conventions want a 0 if they are not known."""
        counts: tuple[int | None, ...] = (0, 0, None, None, None)  # the order of `_USAGE`
        if usage is not None:
            counts = (usage.input, usage.output, usage.cached, usage.cache_write, usage.reasoning)
        for (kind, _), count in zip(_USAGE, counts, strict=True):
            if count is not None:
                # The service does not tell texts and images apart; what it writes is text.
                is_text = usage is not None and kind.endswith("output_tokens")
                modality = "text" if is_text else "unknown"
                self._usage[kind].add(count, common | {"gen_ai.token.modality": modality})

    def over(self, usage: Usage | None, attributes: Attributes) -> None:
        """Record the tokens of a turn, all its attempts together."""
        self._input.record(usage.input if usage is not None else 0, attributes)
        self._output.record(usage.output if usage is not None else 0, attributes)


class _Former:
    """The instruments of version 1.41.0 of the general conventions."""

    def __init__(self, meter: Meter) -> None:
        self.duration, self.first_chunk = _durations(meter, "gen_ai.client.operation")
        self._usage = _token_histogram(meter, "gen_ai.client.token.usage")

    def spend(self, usage: Usage | None, common: Attributes) -> None:
        """Do nothing: this version has tokens for whole turns only."""

    def over(self, usage: Usage | None, attributes: Attributes) -> None:
        """Record the tokens of a turn, all its attempts together, if they are known."""
        if usage is not None:
            for kind, count in (("input", usage.input), ("output", usage.output)):
                self._usage.record(count, attributes | {"gen_ai.token.type": kind})


def _durations(meter: Meter, name: str) -> tuple[Histogram, Histogram]:
    return (
        meter.create_histogram(
            f"{name}.duration",
            "s",
            "Duration of a turn, with all its retries.",
            explicit_bucket_boundaries_advisory=SECONDS,
        ),
        meter.create_histogram(
            f"{name}.time_to_first_chunk",
            "s",
            "Time from the request to the first text or tool call.",
            explicit_bucket_boundaries_advisory=SECONDS,
        ),
    )


def _token_histogram(meter: Meter, name: str) -> Histogram:
    return meter.create_histogram(
        name,
        "{token}",
        "Tokens of a turn, all its attempts together.",
        explicit_bucket_boundaries_advisory=TOKENS,
    )
