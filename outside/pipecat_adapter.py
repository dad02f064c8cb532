# /// script
# requires-python = ">=3.11,<3.14"
# dependencies = ["pipecat-ai[openai]==1.14.0", "rtllm", "rich"]
# [tool.uv.sources]
# rtllm = { path = "../packages/core", editable = true }
# ///
"""The adapter for pipecat of examples/, compared with pipecat's own Responses service.

    uv run outside/pipecat_adapter.py

Both run in pipecat's pipeline with its aggregators, on the simulator. Then the adapter is checked
with the contract of `rtllm.testing`. The result is in ``docs/outside.md``.
"""

import asyncio
import copy
import logging
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

from loguru import logger
from pipecat.frames.frames import (
    EndFrame,
    Frame,
    InterruptionFrame,
    LLMContextFrame,
    LLMFullResponseEndFrame,
    LLMMessagesAppendFrame,
    LLMTextFrame,
    MetricsFrame,
)
from pipecat.metrics.metrics import LLMUsageMetricsData
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineParams, PipelineWorker
from pipecat.processors.aggregators.llm_context import LLMContext
from pipecat.processors.aggregators.llm_response_universal import LLMContextAggregatorPair
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor
from pipecat.services.llm_service import FunctionCallParams, LLMService
from pipecat.services.openai.responses.llm import OpenAIResponsesLLMService
from pipecat.services.settings import LLMSettings
from pipecat.workers.runner import WorkerRunner
from rich.console import Console
from rich.table import Table

from rtllm import Client
from rtllm.simulator import Call, Entry, Reply, Request, Simulator
from rtllm.testing import CONTRACT, INSTRUCTIONS, ContextEntry, Heard, Setup, call_entry
from rtllm.testing import get_weather as look_up

sys.path.insert(0, str(Path(__file__).parents[1] / "examples" / "pipecat_adapter"))

from service import RtllmLLMService

SETTLED = 0.1
"""Seconds in which pipecat passes a response's calls or an interruption on."""
LIMIT = 30.0  # seconds
LONG = " ".join(f"word{number}" for number in range(60))


async def get_weather(params: FunctionCallParams, city: str) -> None:
    """Look up the weather.

    Args:
        params: What pipecat passes.
        city: The city.
    """
    await params.result_callback(await look_up(city))


# -- a call in pipecat's pipeline -----------------------------------------------------------------


class Line(FrameProcessor):
    """Listens to a service, and keeps what it hears.

    Attributes:
        heard: The pieces of text of this turn.
        ends: How many responses of this turn have ended.
        tokens: The input and output tokens of all metrics.
    """

    def __init__(self) -> None:
        super().__init__()
        self.heard: list[str] = []
        self.ends = 0
        self.tokens = (0, 0)

    def begin(self) -> None:
        """Begin a turn."""
        self.heard, self.ends = [], 0

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        """Note a frame and pass it on."""
        await super().process_frame(frame, direction)
        if isinstance(frame, LLMTextFrame):
            self.heard.append(frame.text)
        elif isinstance(frame, LLMFullResponseEndFrame):
            self.ends += 1
        elif isinstance(frame, MetricsFrame):
            for data in frame.data:
                if isinstance(data, LLMUsageMetricsData):
                    value, (given, received) = data.value, self.tokens
                    self.tokens = given + value.prompt_tokens, received + value.completion_tokens
        await self.push_frame(frame, direction)


def recording(kind: type[LLMService[Any]]) -> Any:
    """Return a service that keeps a copy of each context that it gets."""

    class Recording(kind):  # type: ignore[valid-type, misc]
        contexts: list[list[Any]]
        errors: list[str]
        running = 0

        async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
            if not isinstance(frame, LLMContextFrame):
                await super().process_frame(frame, direction)
                return
            self.contexts.append(copy.deepcopy(frame.context.get_messages()))
            self.running += 1
            try:
                await super().process_frame(frame, direction)
            finally:
                self.running -= 1

        async def push_error(self, *args: Any, **kwargs: Any) -> None:
            self.errors.append(str(kwargs or args))

    return Recording


class PipecatCall:
    """One call: a pipeline with pipecat's aggregators around a service."""

    def __init__(self, service: Any) -> None:
        service.contexts, service.errors = [], []
        self.service = service
        self.messages = LLMContext(tools=[get_weather])
        self.line = Line()
        pair = LLMContextAggregatorPair(self.messages)
        self._worker = PipelineWorker(
            Pipeline([pair.user(), service, self.line, pair.assistant()]),
            params=PipelineParams(enable_metrics=True, enable_usage_metrics=True),
            cancel_on_idle_timeout=False,
            enable_rtvi=False,
        )
        self._is_interrupted = False
        self._started = asyncio.Event()
        self._running: asyncio.Task[None] | None = None

        @self._worker.event_handler("on_pipeline_started")
        async def _on_started(*_: Any) -> None:
            self._started.set()

    async def begin(self) -> None:
        """Start the pipeline."""
        runner = WorkerRunner(handle_sigint=False)
        await runner.add_workers(self._worker)
        self._running = asyncio.create_task(runner.run())
        await asyncio.wait_for(self._started.wait(), LIMIT)

    async def ask(self, text: str) -> None:
        """Add a message of the user, and let the service respond."""
        self.line.begin()
        message = {"role": "user", "content": text}
        await self._worker.queue_frame(LLMMessagesAppendFrame([message], run_llm=True))

    async def until(self, holds: Callable[[], object]) -> None:
        """Wait until something holds."""
        async with asyncio.timeout(LIMIT):
            while not holds():  # noqa: ASYNC110 - pipecat has no event for it
                await asyncio.sleep(0.002)

    async def say(self, text: str, *, interrupt: bool = False) -> Heard:
        """Hold a turn."""
        errors, contexts = self.service.errors, self.service.contexts
        errors.clear()
        self._is_interrupted = False
        known = len(contexts)
        await self.ask(text)
        await self.until(lambda: len(contexts) > known)
        if interrupt:
            await self.until(lambda: self.line.heard)
            await self._worker.queue_frame(InterruptionFrame())
            await self.until(self._is_recorded)
            return Heard(str(self.messages.get_messages()[-1]["content"]))
        asked = 0
        while asked != len(contexts):  # text before calls is recorded before their outputs
            asked = len(contexts)
            await self.until(
                lambda: (
                    self._is_interrupted
                    or self._is_recorded()
                    or (errors and self.line.ends == len(contexts) - known)
                )
            )
            await asyncio.sleep(SETTLED)
        return Heard("".join(self.line.heard), failed=bool(errors))

    async def interrupt(self) -> None:
        """Interrupt the turn."""
        await self._worker.queue_frame(InterruptionFrame())
        await asyncio.sleep(SETTLED)
        self._is_interrupted = True

    def _is_recorded(self) -> bool:
        last = self.messages.get_messages()[-1]
        is_answer = last["role"] == "assistant" and bool(last.get("content"))
        return is_answer and not self.service.running

    async def end(self) -> None:
        """Hang up."""
        if self._running is not None:
            await self._worker.queue_frame(EndFrame())
            await asyncio.wait_for(self._running, LIMIT)

    def context(self) -> Sequence[ContextEntry]:
        """Return the context as the contract compares it."""
        return [("system", INSTRUCTIONS), *entries_of(self.messages.get_messages())]


def entries_of(messages: Sequence[Any]) -> list[ContextEntry]:
    """Convert pipecat's messages."""
    entries: list[ContextEntry] = []
    for message in messages:
        if message["role"] == "tool":
            entries.append(("output", message["content"]))
        elif message.get("content"):
            role = "system" if message["role"] == "developer" else message["role"]
            entries.append((role, message["content"]))
        for call in message.get("tool_calls") or ():
            entries.append(call_entry(call["function"]["name"], call["function"]["arguments"]))
    return entries


# -- the comparison -------------------------------------------------------------------------------


def ours(simulator: Simulator) -> Any:
    """Create the service of the example."""
    settings = LLMSettings(model="gpt-4.1", system_instruction=INSTRUCTIONS)
    # As at OpenAI: a client knows by the host's name whether it has lanes.
    client = Client.connect(api_key="any", base_url=simulator.base_url, lanes=True)
    return recording(RtllmLLMService)(client=client, settings=settings)


def stock(simulator: Simulator) -> Any:
    """Create pipecat's own service."""
    settings = OpenAIResponsesLLMService.Settings(model="gpt-4.1", system_instruction=INSTRUCTIONS)
    return recording(OpenAIResponsesLLMService)(
        api_key="any", ws_url=simulator.websocket_url, settings=settings
    )


def script(request: Request) -> Reply | str:
    """Answer as the flows expect it."""
    if request.trailing_outputs:
        return "Sunny in both."
    if "weather" in request.last_user_text:
        calls = (Call("get_weather", {"city": city}) for city in ("Rome", "Oslo"))
        return Reply.of("One moment.", *calls)
    return LONG if "story" in request.last_user_text else f"You said: {request.last_user_text}"


async def plain(call: PipecatCall) -> float | None:
    """Hold four turns."""
    for number in range(4):
        await call.say(f"turn {number}")
    return None


async def with_tools(call: PipecatCall) -> float | None:
    """Let the model call two tools after some text, then hold another turn."""
    await call.say("hello")
    await call.say("The weather?")
    await call.until(lambda: "Sunny" in str(call.messages.get_messages()[-1].get("content")))
    await call.say("thanks")
    return None


async def interrupted(call: PipecatCall) -> float | None:
    """Interrupt a long answer; return the seconds from the next message to its first text."""
    await call.say("hello")
    await call.say("Tell a story", interrupt=True)
    began = time.monotonic()
    await call.ask("stop")
    await call.until(lambda: call.line.heard)
    taken = time.monotonic() - began
    await call.until(lambda: len(call.service.contexts) == 3 and not call.service.running)
    await call.say("bye")
    return taken


def seen_by_turn(entries: Sequence[ContextEntry]) -> list[list[ContextEntry]]:
    """Split a context at the user's messages; order within a turn is the model's, not pipecat's."""
    turns: list[list[ContextEntry]] = [[]]
    for entry in entries:
        if entry[0] == "user":
            turns.append([])
        turns[-1].append(entry)
    return [sorted(turn) for turn in turns]


def seen(entry: Entry) -> list[ContextEntry]:
    """Read what the model saw of a request, without instructions."""
    kinds = {"function_call_output": "output", "developer": "system"}
    return [
        call_entry(item["name"], item["arguments"])
        if kind == "function_call"
        else (kinds.get(kind, kind), text)
        for item, (kind, text) in zip(entry.context, entry.texts(), strict=True)
        if (kind, text) != ("system", INSTRUCTIONS)
    ]


FLOWS: dict[str, Callable[[PipecatCall], Awaitable[float | None]]] = {
    "four turns": plain,
    "text, then two tools": with_tools,
    "an interruption": interrupted,
}


async def compare(table: Table) -> int:
    """Play the flows with both services; return how many contexts of ours were wrong."""
    wrong = 0
    for flow, play in FLOWS.items():
        for make in (ours, stock):
            async with Simulator(script, per_delta=0.03) as simulator:
                call = PipecatCall(make(simulator))
                await call.begin()
                try:
                    taken = await play(call)
                    result = "" if taken is None else f"{taken * 1000:.0f} ms"
                except TimeoutError:
                    result = f"nothing within {LIMIT:.0f} s"
                await call.end()
                entries = [e for e in simulator.journal.entries if e.outcome != "refused"]
                pairs = list(zip(entries, call.service.contexts, strict=False))
                right = sum(
                    seen_by_turn(seen(entry)) == seen_by_turn(entries_of(context))
                    for entry, context in pairs
                )
                chained = sum(entry.previous_response_id is not None for entry in entries)
                asked = len(call.service.contexts)
                wrong += asked - right if make is ours else 0
                table.add_row(
                    flow,
                    "the example" if make is ours else "pipecat's own",
                    f"{right} of {asked}",
                    f"{chained} of {asked - 1}",
                    result,
                )
    return wrong


# -- the contract ---------------------------------------------------------------------------------


class PipecatUnderTest:
    """The example's service under test: one service and one pipeline for each conversation."""

    def __init__(self, setup: Setup) -> None:
        self._setup = setup
        self._calls: list[PipecatCall] = []

    async def start(self) -> PipecatCall:
        """Start a call."""
        setup = self._setup
        settings = LLMSettings(model=setup.model, system_instruction=INSTRUCTIONS)
        if setup.temperature is not None:
            settings.temperature = setup.temperature
        service = recording(RtllmLLMService)(
            api_key=setup.api_key,
            base_url=setup.base_url,
            timeout=setup.timeout,
            settings=settings,
        )
        call = PipecatCall(service)
        await call.begin()
        self._calls.append(call)
        return call

    def tokens(self) -> tuple[int, int]:
        """Return the tokens of pipecat's metrics."""
        tokens = [call.line.tokens for call in self._calls]
        return sum(given for given, _ in tokens), sum(received for _, received in tokens)

    async def aclose(self) -> None:
        """End the calls."""
        for call in self._calls:
            await call.end()


async def main() -> int:
    """Compare, then check the contract."""
    logger.remove()
    logging.getLogger("rtllm").setLevel(logging.CRITICAL)  # the contract's faults are on purpose
    table = Table("flow", "service", "contexts right", "chained", "first text after a barge-in")
    wrong = await compare(table)
    checks = Table("the example keeps the contract", "")
    for name, check in CONTRACT.items():
        try:
            await check(PipecatUnderTest)
            checks.add_row(name, "yes")
        except AssertionError as error:
            checks.add_row(name, str(error))
            wrong += 1
    Console(width=120).print(table, checks)
    return wrong


if __name__ == "__main__":
    sys.exit(1 if asyncio.run(main()) else 0)
