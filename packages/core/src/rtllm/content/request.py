"""What an adapter asks for: one request, taken by value."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import msgspec

from rtllm.content.items import Item
from rtllm.content.timeouts import RetryPolicy, Timeouts
from rtllm.content.usage import Usage

if TYPE_CHECKING:
    import aiohttp

Record = Callable[[tuple[Item, ...]], tuple[Item, ...] | None]
"""Maps an output to the items that a framework will record for it, None if it can't."""


@dataclass(frozen=True, slots=True)
class Network:
    """What new connections are made with.

    Attributes:
        connector: An aiohttp connector that somebody else owns; None for one of our own.
        proxy: The address of a proxy, which may hold a password.
    """

    connector: "aiohttp.BaseConnector | None" = None
    proxy: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Request:
    """One request of a framework for an answer, taken by value.

    Attributes:
        items: The context as the framework has it, oldest first; it is made legal here.
        model: The model that shall answer.
        settings: The other fields of the body, ready for the wire.
        tools: Encoded tools.
        record: Maps an output to the items that the framework will record for it; None where
            it records something else. The chain stands or falls with it.
        guide: Text for the ``instructions`` field that isn't part of the conversation.
        limits: How long to wait.
        retry: What may be tried again.
        untouched: Parameters that nobody set, whose refusal needs no warning.
        strict_parameters: Whether the refusal of a chosen parameter ends the turn, where else
            it would be sent again without it.
        hold_calls: Whether tool calls are given out at the end of the response only.
        headers: More headers, where the request goes over HTTP.
        query: More query parameters, likewise.
        network: What to open connections with.
        unsent: The framework's ids of those items of its context that no model sees, such as
            notes of changed instructions: they tell whose call it is as well as the others'.
        conversation: Whose request it is, by a name that only one conversation has. None: the
            items' keys and marks tell.
        warm_up: Whether the service shall only prepare the context, without an answer, so that
            every conversation that begins with these system texts goes on from there.
        on_late_usage: Called with the tokens of an answer that was cut, when its end tells them.
    """

    items: tuple[Item, ...]
    model: str
    record: Record
    settings: Mapping[str, object] = field(default_factory=dict)
    tools: tuple[msgspec.Raw, ...] = ()
    guide: str = ""
    limits: Timeouts = field(default_factory=Timeouts)
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    hold_calls: bool = False
    untouched: frozenset[str] = frozenset()
    strict_parameters: bool = False
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    query: Mapping[str, str] = field(default_factory=dict, repr=False)
    network: Network = field(default_factory=Network)
    unsent: tuple[str, ...] = ()
    conversation: str | None = None
    warm_up: bool = False
    on_late_usage: Callable[[Usage], None] | None = None
