"""A phone call with troubles: the caller, the agent's tool, and the simulated host.

`record_trace.py` of LiveKit and VideoSDK play it; this module knows neither of them.
"""

import asyncio
from collections.abc import Coroutine
from decimal import Decimal
from pathlib import Path
from typing import Any, Protocol

import typer

from rtllm import ModelPrices, Prices, TraceFile, TraceListener, UsageSnapshot
from rtllm.simulator import (
    Abort,
    Call,
    DelayHandshake,
    ErrorFrame,
    Fault,
    Reasoning,
    Reply,
    Request,
    Simulator,
)

MENU = " ".join(f"Dish {number} is served with vegetables of the day." for number in range(1, 120))
GREETING = "Say good afternoon."
LATER_GREETING = "Say good evening."
STORY = " ".join(["There is much more to tell about the menu of this evening."] * 5)
DROPPED = "Only the fish, please."
REJECTED = "And what does the kitchen next door put into its sauce?"
WORDS_HEARD = 9
"""Words of the story that the caller hears before interrupting it."""
THINKING = 0.8
"""Seconds that the caller thinks before the next words."""
OPTIONS: dict[str, Any] = {
    "model": "gpt-5-mini",
    "api_key": "simulated",
    "lanes": True,
    "prices": Prices({"*": ModelPrices(Decimal(2), Decimal(8), cached=Decimal("0.5"))}),
    "cache_report": True,
    "label": "front desk",
}
"""The LLM's keywords, with both frameworks."""

_NO_TIER = ErrorFrame(
    status=400,
    code="unsupported_parameter",
    kind="invalid_request_error",
    message="Unsupported parameter: 'service_tier' is not supported with this model.",
    param="service_tier",
)


def instructions(greeting: str) -> str:
    """Return the agent's instructions, which begin with a greeting."""
    return f"{greeting} You answer the phone of a restaurant. The menu: {MENU}"


async def find_table(day: str, guests: int) -> str:
    """Look up free tables.

    Args:
        day: Such as "tonight".
        guests: How many come.
    """
    await asyncio.sleep(0.6)
    return f"{day} at eight, for {guests}"


class Phone(Protocol):
    """A call to an agent of one of the frameworks."""

    async def say(self, text: str, *, words: int | None = None) -> None:
        """Say something, and listen to the answer, or to so many words of it at least."""

    async def greet(self, greeting: str) -> None:
        """Let the agent's instructions begin with another greeting."""

    def set_tier(self, tier: str) -> None:
        """Let the agent's LLM ask for a service tier."""


async def call(phone: Phone) -> None:
    """Hold the conversation."""
    await phone.say("Hello, who am I talking to?")
    await phone.say("Do you have a table tonight?")
    await phone.say("Tell me about the menu.", words=WORDS_HEARD)
    await phone.say(DROPPED)
    phone.set_tier("flex")
    await phone.say("Then book it for two.")
    await phone.greet(LATER_GREETING)
    await phone.say("Is there a place to park?")
    await phone.say(REJECTED)
    await phone.say("Thank you, goodbye.")


class Host:
    """The model and its troubles."""

    def __init__(self) -> None:
        self._has_dropped = False

    async def answer(self, request: Request) -> Reply | str:
        """Play the model."""
        said = request.last_user_text
        if request.trailing_outputs:
            return "There is a table at eight. Shall I take it?"
        if "table tonight" in said:
            return Reply.of(Call("find_table", {"day": "tonight", "guests": 2}))
        if "menu" in said:
            return STORY
        if "park" in said:
            return Reply.of(Reasoning(tokens=180, seconds=0.7), "Yes, there is one in the yard.")
        if said == DROPPED and not self._has_dropped:
            self._has_dropped = True
            await asyncio.sleep(1.1)
        if "Thank you" in said:
            await asyncio.sleep(0.4)
        return "Of course. Is there anything else that I can do for you?"

    def faults(self, request: Request) -> Fault | None:
        """Choose the faults of a request."""
        if request.last_user_text == REJECTED:
            return ErrorFrame(status=400, code="invalid_prompt", kind="invalid_request_error")
        if request.last_user_text == DROPPED and not self._has_dropped:
            return Abort(phase="opened")
        if "service_tier" in request.body:
            return _NO_TIER
        return None


def simulate() -> Simulator:
    """Return the host: with a slow handshake, and with troubles."""
    host = Host()
    return Simulator(
        host.answer,
        time_to_first=0.18,
        per_delta=0.03,
        fault=host.faults,
        on_connect=lambda number: DelayHandshake(0.35 if number == 0 else 0.15),
    )


class Play(Protocol):
    """The conversation with an agent of one of the frameworks."""

    def __call__(
        self, base_url: str, on_trace: list[TraceListener], /
    ) -> Coroutine[Any, Any, UsageSnapshot]:
        """Hold the conversation at a host, and return what it used."""


async def record(play: Play, path: Path) -> UsageSnapshot:
    """Play the call, and write its trace.

    Args:
        play: Holds the conversation with an agent of one of the frameworks.
        path: The file.

    Returns:
        What the call used.
    """
    trace = TraceFile(path)
    async with simulate() as service:
        usage = await play(service.base_url, [trace])
    await asyncio.to_thread(trace.close)
    return usage


def run(play: Play, path: Path) -> None:
    """Record the call in a new file, and tell how to look at it."""
    path.unlink(missing_ok=True)
    usage = asyncio.run(record(play, path))
    typer.echo(f"{usage.all.attempts} requests, {usage.cost}")
    typer.echo(f"wrote {path}; look at it with: rtllm trace {path}")
