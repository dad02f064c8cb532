"""A caller that records what it hears, as a framework would."""

import itertools
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from rtllm import (
    ChatClient,
    Client,
    Event,
    Item,
    Message,
    Request,
    ResponseEnded,
    RetryPolicy,
    TextDelta,
    Timeouts,
    ToolCall,
    ToolCallReady,
    ToolOutput,
)
from rtllm.simulator import Simulator

QUICK = Timeouts(base=3.0, connect=5.0, open_item=6.0, total=60.0)


NEVER_RUNS_OUT = Timeouts(base=20.0, connect=20.0, open_item=30.0, total=60.0)


def _named(item: Item) -> Item:
    """An item with an id, as the frameworks give one to each."""
    if not isinstance(item, Message | ToolCall | ToolOutput) or item.key is not None:
        return item
    return replace(item, key=f"item-{next(_ids)}")


_ids = itertools.count()


def as_recorded(output: tuple[Item, ...]) -> tuple[Item, ...]:
    """One message of all that was said, then the calls."""
    text = " ".join(i.text for i in output if isinstance(i, Message) and i.text)
    calls = [i for i in output if isinstance(i, ToolCall)]
    return (*([Message.of("assistant", text)] if text else []), *calls)


@dataclass
class Caller:
    """One conversation through a client.

    Attributes:
        client: The client.
        items: The context so far.
    """

    client: Client | ChatClient
    items: list[Item] = field(default_factory=lambda: [Message.of("system", "Be brief.")])
    settings: dict[str, Any] = field(default_factory=dict)
    model: str = "gpt-4.1"
    limits: Timeouts = NEVER_RUNS_OUT
    retry: RetryPolicy = field(default_factory=lambda: RetryPolicy(budget=3, interval=0.0))
    tools: tuple[bytes, ...] = ()
    strict: bool = False

    def request(self, *, hold_calls: bool = False) -> Request:
        self._name_items()
        return Request(
            tuple(self.items),
            self.model,
            as_recorded,
            self.settings,
            self.tools,
            limits=self.limits,
            retry=self.retry,
            hold_calls=hold_calls,
            strict_parameters=self.strict,
        )

    def _name_items(self) -> None:
        self.items = [_named(item) for item in self.items]

    async def say(self, text: str) -> list[Event]:
        """Ask, and record the answer as heard whole."""
        self.items.append(Message.of("user", text))
        return await self.listen()

    async def listen(self) -> list[Event]:
        """Ask with the context as it is, and record the answer as heard whole."""
        heard: list[Event] = []
        with self.client.ask(self.request()) as answer:
            async for event in answer:
                heard.append(event)
        if text := spoken(heard):
            self.items.append(Message.of("assistant", text))
        self.items += [e.call for e in heard if isinstance(e, ToolCallReady)]
        self._name_items()
        return heard

    async def hear_only(self, text: str, pieces: int) -> str:
        """Ask, and cut the answer after some pieces; records what was heard."""
        self.items.append(Message.of("user", text))
        heard: list[str] = []
        with self.client.ask(self.request()) as answer:
            while len(heard) < pieces:
                event = await anext(answer)
                if isinstance(event, TextDelta):
                    heard.append(event.text)
        if heard:
            self.items.append(Message.of("assistant", "".join(heard)))
        return "".join(heard)


def spoken(events: list[Event]) -> str:
    """All text of some events."""
    return "".join(e.text for e in events if isinstance(e, TextDelta))


def ended(events: list[Event]) -> ResponseEnded:
    """The last event, which must be the end."""
    assert isinstance(events[-1], ResponseEnded)
    return events[-1]


class MakeClient(Protocol):
    """Makes a client of a simulator."""

    def __call__(self, simulator: Simulator, **options: Any) -> Client: ...
