"""What an adapter's author writes for the contract, and the tool of its conversations."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

INSTRUCTIONS = "Be brief."
"""The system text of each conversation."""

ContextEntry = tuple[str, str]
"""A kind and a text: ``system``, ``user``, ``assistant``, ``call`` (`call_entry`) or ``output``."""


class ContractViolation(AssertionError):
    """An adapter violates a law; the text tells what was expected and what happened."""


@dataclass(slots=True)
class SlowCity:
    """A city of which the weather is not known at once.

    Attributes:
        name: The city's name.
        runs: How often the tool was started for it.
        started: Set when the tool is running.
        known: Lets the tool return.
        returned: Set when the tool has returned.
    """

    name: str
    runs: int = 0
    started: asyncio.Event = field(default_factory=asyncio.Event)
    known: asyncio.Event = field(default_factory=asyncio.Event)
    returned: asyncio.Event = field(default_factory=asyncio.Event)


_slow_cities: dict[str, SlowCity] = {}


@contextmanager
def slow_city(name: str) -> Iterator[SlowCity]:
    """Let `get_weather` wait in a city, of which no other check asks."""
    city = _slow_cities[name] = SlowCity(name)
    try:
        yield city
    finally:
        city.known.set()
        del _slow_cities[name]


async def get_weather(city: str) -> str:
    """Look up the weather."""
    if (slow := _slow_cities.get(city)) is not None:
        slow.runs += 1
        slow.started.set()
        await slow.known.wait()
        slow.returned.set()
    return f"sunny in {city}"


def call_entry(name: str, arguments: str | Mapping[str, Any]) -> ContextEntry:
    """Create the entry of a call, with its arguments by value."""
    try:
        value = json.loads(arguments) if isinstance(arguments, str) else dict(arguments)
    except ValueError:
        value = arguments
    return ("call", f"{name} {json.dumps(value, sort_keys=True)}")


@dataclass(frozen=True, slots=True)
class Heard:
    """What the user heard of one turn, all its responses included.

    Attributes:
        text: The text that the framework played. Text before an error belongs to it, too.
        failed: Whether the framework got an error.
    """

    text: str
    failed: bool = False


@dataclass(frozen=True, slots=True)
class Setup:
    """The settings of an adapter under test.

    Attributes:
        base_url: The API's root.
        api_key: The key.
        model: The model.
        timeout: The base time limit in seconds.
        temperature: A parameter of all requests; None not to send it.
    """

    base_url: str
    api_key: str = "key"
    model: str = "gpt-4.1"
    timeout: float = 2.0
    temperature: float | None = None


class ConversationUnderTest(Protocol):
    """One conversation of a framework, with `INSTRUCTIONS` and the tool `get_weather`."""

    async def say(self, text: str, *, interrupt: bool = False) -> Heard:
        """Let the user speak, and wait for the response, with all its tool calls.

        A turn that fails does not raise.

        Args:
            text: The words of the user.
            interrupt: Whether to interrupt the response after its first piece of text, as the
                framework does it.
        """

    async def interrupt(self) -> None:
        """Interrupt the turn that `say` is waiting for, as the framework does it.

        It is called while a tool runs. Then `say` returns what was heard until now.
        """

    def context(self) -> Sequence[ContextEntry]:
        """Return the framework's context.

        `INSTRUCTIONS` are its first entry, also if the framework keeps them elsewhere. Text before
        a call may be recorded after it.
        """


class AdapterUnderTest(Protocol):
    """An adapter, with one object that serves several conversations.

    If it does not use the Responses WebSocket, it also has an attribute ``protocol``: "http" (the
    Responses API with stored responses) or "chat" (Chat Completions). Over HTTP the tokens of an
    interrupted response are not known, and Chat Completions continues no response, so these are not
    checked.
    """

    async def start(self) -> ConversationUnderTest:
        """Start a conversation."""

    def tokens(self) -> tuple[int, int]:
        """Return the input and output tokens that were reported so far, late ones included."""

    async def aclose(self) -> None:
        """Close the adapter and its conversations."""


MakeAdapter = Callable[[Setup], AdapterUnderTest]
"""Creates an adapter under test."""
Check = Callable[[MakeAdapter], Awaitable[None]]
"""Checks one law; raises `ContractViolation`."""
