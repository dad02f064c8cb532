"""Record the trace of a phone call with troubles, on the simulator.

    uv run examples/trace/record.py calls.jsonl
    uv run rtllm trace calls.jsonl

One caller books a table: a slow handshake, a tool, a barge-in, a parameter that the host rejects, a
dropped connection, instructions that change during the call, and a request that is rejected. It
takes about 15 seconds. The trace in the documentation is recorded by it.
"""

import asyncio
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from decimal import Decimal
from pathlib import Path
from typing import Annotated

import typer

from rtllm import (
    CallIdentity,
    Client,
    Credentials,
    FunctionTool,
    Item,
    Message,
    ModelPrices,
    Prices,
    Request,
    RequestRejected,
    TextDelta,
    ToolCall,
    ToolCallReady,
    ToolOutput,
    TraceFile,
    endpoint,
)
from rtllm import simulator as sim

MENU = " ".join(f"Dish {number} is served with vegetables of the day." for number in range(1, 120))
INSTRUCTIONS = f"{{greeting}} You answer the phone of a restaurant. The menu: {MENU}"
STORY = " ".join(["There is much more to tell about the menu of this evening."] * 5)
DROPPED = "Only the fish, please."
REJECTED = "And what does the kitchen next door put into its sauce?"
PRICES = Prices({"gpt-4.1": ModelPrices(Decimal(2), Decimal(8), cached=Decimal("0.5"))})

NO_TIER = sim.ErrorFrame(
    status=400,
    code="unsupported_parameter",
    kind="invalid_request_error",
    message="Unsupported parameter: 'service_tier' is not supported with this model.",
    param="service_tier",
)


async def find_table(day: str, guests: int) -> str:
    """Look up free tables.

    Args:
        day: Such as "tonight".
        guests: How many come.
    """
    await asyncio.sleep(0.6)
    return f"{day} at eight, for {guests}"


FIND_TABLE = FunctionTool.of(find_table).encoded


class Host:
    """The model and its troubles."""

    def __init__(self) -> None:
        self.has_dropped = False

    async def answer(self, request: sim.Request) -> sim.Reply | str:
        """Play the model."""
        said = request.last_user_text
        if request.trailing_outputs:
            return "There is a table at eight. Shall I book it?"
        if "table tonight" in said:
            return sim.Reply.of(sim.Call("find_table", {"day": "tonight", "guests": 2}))
        if "menu" in said:
            return STORY
        if said == DROPPED and not self.has_dropped:
            self.has_dropped = True
            await asyncio.sleep(1.1)
        if "Thank you" in said:
            await asyncio.sleep(0.4)
        return "Of course. Is there anything else that I can do for you?"

    def faults(self, request: sim.Request) -> sim.Fault | None:
        """Choose the faults of a request."""
        if request.last_user_text == REJECTED:
            return sim.ErrorFrame(status=400, code="invalid_prompt", kind="invalid_request_error")
        if request.last_user_text == DROPPED and not self.has_dropped:
            return sim.Abort(phase="opened")
        if "service_tier" in request.body:
            return NO_TIER
        return None


@dataclass
class Caller:
    """One phone call: its client, its settings, and its context so far."""

    client: Client
    settings: dict[str, object] = field(default_factory=dict)
    items: list[Item] = field(default_factory=list)

    def add(self, item: Message | ToolCall | ToolOutput) -> None:
        """Add an item with an id, as the frameworks do."""
        self.items.append(replace(item, key=f"item-{len(self.items)}"))

    def greet(self, greeting: str) -> None:
        """Set the instructions, which begin with a greeting."""
        instructions = Message.of("system", INSTRUCTIONS.format(greeting=greeting))
        self.items[:1] = [replace(instructions, key="instructions")]

    async def say(self, text: str, *, stop_after: int | None = None) -> None:
        """Say something, listen to all of the answer or to some pieces of it, and think."""
        self.add(Message.of("user", text))
        await self.listen(stop_after)
        await asyncio.sleep(0.8)

    async def listen(self, stop_after: int | None = None) -> None:
        """Ask for a response, add what was heard of it, and run its tools."""
        request = Request(
            tuple(self.items),
            "gpt-4.1",
            recorded,
            self.settings,
            tools=(FIND_TABLE,),
            call=CallIdentity(label="front desk", room="room-7"),
        )
        heard: list[str] = []
        calls: list[ToolCall] = []
        with self.client.ask(request) as response:
            async for event in response:
                if isinstance(event, TextDelta):
                    heard.append(event.text)
                elif isinstance(event, ToolCallReady):
                    calls.append(event.call)
                if stop_after is not None and len(heard) >= stop_after:
                    break
        if heard:
            self.add(Message.of("assistant", "".join(heard)))
        for call in calls:
            self.add(call)
            self.add(ToolOutput(call.call_id, await find_table("tonight", 2)))
        if calls:
            await self.listen()


def recorded(output: tuple[Item, ...]) -> tuple[Item, ...]:
    """Return the items that a `Caller` adds for a response."""
    text = "".join(item.text for item in output if isinstance(item, Message))
    calls = [item for item in output if isinstance(item, ToolCall)]
    return (*([Message.of("assistant", text)] if text else []), *calls)


async def record(path: Path) -> None:
    """Play the call, and write its trace."""
    host, trace = Host(), TraceFile(path)
    service = sim.Simulator(
        host.answer,
        time_to_first=0.18,
        per_delta=0.03,
        fault=host.faults,
        on_connect=lambda number: sim.DelayHandshake(0.35 if number == 0 else 0.15),
    )
    async with service, aclosing(_client(service.base_url, trace)) as client:
        caller = Caller(client)
        caller.greet("Say good afternoon.")
        await caller.say("Hello, who am I talking to?")
        await caller.say("Do you have a table tonight?")
        await caller.say("Tell me about the menu.", stop_after=9)
        await caller.say(DROPPED)
        caller.settings["service_tier"] = "flex"
        await caller.say("Then book it for two.")
        caller.greet("Say good evening.")
        await caller.say("Is there a place to park?")
        try:
            await caller.say(REJECTED)
        except RequestRejected:
            caller.items.pop()
            await asyncio.sleep(0.8)
        await caller.say("Thank you, goodbye.")
    await asyncio.to_thread(trace.close)


def _client(base_url: str, trace: TraceFile) -> Client:
    return Client(
        endpoint(base_url),
        Credentials("any"),
        lanes=True,
        prices=PRICES,
        cache_report=True,
        on_trace=trace,
    )


def main(path: Annotated[Path, typer.Argument(help="The file to write.")]) -> None:
    """Record the call."""
    path.unlink(missing_ok=True)
    asyncio.run(record(path))
    typer.echo(f"wrote {path}; see it with: rtllm trace {path}")


if __name__ == "__main__":
    typer.run(main)
