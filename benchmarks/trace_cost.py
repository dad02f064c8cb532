"""What tracing costs a turn of the engine: without a listener, with one, a file, OpenTelemetry.

    uv run benchmarks/trace_cost.py [--turns 2000] [--deltas 50]

Without a listener the cost is too small to be measured directly. It is the number of a turn's
events, times the measured cost of a call that does nothing, plus the check at each delta.
"""

import json
import tempfile
import time
import timeit
from pathlib import Path
from typing import Annotated

import typer
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from rich.console import Console
from rich.table import Table

from rtllm import Message, Request, TraceFile, TraceListener
from rtllm.content.prices import UNPRICED
from rtllm.engine.actions import Action, Connect, Send, Trace
from rtllm.engine.engine import Engine
from rtllm.engine.options import EngineOptions
from rtllm.engine.prepared import prepare
from rtllm.engine.tracing import Tracer
from rtllm.otel import OpenTelemetry
from rtllm.providers.hosts import HostProfile

CALLS = 1_000_000
"""How often a call that does nothing is measured."""


def frames_of(number: int, deltas: int, lane: str | None) -> list[str]:
    """Build the frames of a response."""
    response, item = {"id": f"resp_{number}"}, f"msg_{number}"
    part = {"type": "output_text", "text": "word " * deltas}
    message = {"type": "message", "id": item, "role": "assistant", "content": [part]}
    delta = {"type": "response.output_text.delta", "item_id": item, "delta": "word "}
    frames: list[dict[str, object]] = [
        {"type": "response.created", "response": response},
        {"type": "response.in_progress", "response": response},
        {"type": "response.output_item.added", "item": {**message, "content": []}},
        *(dict[str, object](delta) for _ in range(deltas)),
        {"type": "response.output_item.done", "item": message},
        {"type": "response.completed", "response": {**response, "output": [message]}},
    ]
    return [json.dumps({**frame, "stream_id": lane} if lane else frame) for frame in frames]


def play(turns: int, deltas: int, listener: TraceListener | None) -> tuple[float, int]:
    """Play the turns of one call; return the CPU seconds and the number of events."""
    profile = HostProfile("benchmark")
    options = EngineOptions(profile, chaining=False, tracing=listener is not None)
    engine, items, spent, events = Engine(options), [Message.of("system", "Be brief.")], 0.0, 0

    def carry_out(actions: list[Action]) -> list[Action]:
        nonlocal events
        for action in actions:
            if isinstance(action, Trace) and listener is not None:
                events += 1
                listener(action.event)
        return actions

    for number in range(turns):
        items = [*items[:1], *items[-9:], Message.of("user", f"go on {number}")]
        prepared = prepare(Request(tuple(items), "gpt-4.1", tuple, tools=()))
        began = time.thread_time()
        _, actions = engine.ask(prepared, float(number))
        for connect in [a for a in carry_out(actions) if isinstance(a, Connect)]:
            actions = carry_out(engine.connected(connect.connection, float(number)))
        (send,) = [a for a in actions if isinstance(a, Send)]
        lane = json.loads(send.data).get("stream_id")
        carry_out(engine.sent(send.attempt, float(number)))
        spent += time.thread_time() - began
        frames = frames_of(number, deltas, lane)
        began = time.thread_time()
        for frame in frames:
            carry_out(engine.received(send.connection, frame, float(number)))
        spent += time.thread_time() - began
        items.append(Message.of("assistant", "word " * deltas))
    return spent, events


def main(
    turns: Annotated[int, typer.Option(help="Turns of each kind.")] = 2000,
    deltas: Annotated[int, typer.Option(help="Pieces of text in each response.")] = 50,
) -> None:
    """Measure, and print a table."""
    tracer = Tracer(lambda _: None, "", UNPRICED, is_on=False)
    empty = timeit.timeit("pass", number=CALLS)
    call = timeit.timeit("t.written(None, 0.0)", globals={"t": tracer}, number=CALLS)
    check = timeit.timeit("t.is_on", globals={"t": tracer}, number=CALLS)
    call, check = (call - empty) / CALLS, 2 * max(0.0, check - empty) / CALLS
    play(turns // 10, deltas, None)  # warm
    without, _ = play(turns, deltas, None)
    listening, events = play(turns, deltas, lambda _: None)
    with tempfile.TemporaryDirectory() as folder:
        file = TraceFile(Path(folder) / "trace.jsonl")
        writing, _ = play(turns, deltas, file)
        file.close()
    meters = MeterProvider(metric_readers=[InMemoryMetricReader()])
    telemetry = OpenTelemetry(tracer_provider=TracerProvider(), meter_provider=meters)
    spanning, _ = play(turns, deltas, telemetry)
    pieces = deltas + 5
    nothing = events / turns * call + pieces * check
    table = Table("tracing", "CPU per turn on the event loop", "of a turn")
    table.add_row("none", f"{without / turns * 1e6:.0f} µs", "")
    table.add_row(
        f"no listener: {events / turns:.1f} calls of {call * 1e9:.0f} ns, "
        f"{pieces} checks of {check * 1e9:.0f} ns",
        f"{nothing * 1e6:.2f} µs",
        f"{nothing / (without / turns):.2%}",
    )
    for name, spent in (
        ("a listener that does nothing", listening),
        ("a file", writing),
        ("OpenTelemetry, without an exporter", spanning),
    ):
        table.add_row(name, f"{spent / turns * 1e6:.0f} µs", f"{(spent - without) / without:.1%}")
    Console().print(table)


if __name__ == "__main__":
    typer.run(main)
