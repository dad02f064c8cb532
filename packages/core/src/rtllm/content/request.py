"""Requests: what adapters ask of a client, passed by value."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from rtllm.content.call_identity import UNNAMED, CallIdentity
from rtllm.content.items import Item
from rtllm.content.retries import RetryPolicy
from rtllm.content.timeouts import Timeouts
from rtllm.content.usage import Usage

Record = Callable[[tuple[Item, ...]], tuple[Item, ...] | None]
"""Maps an output to the items that a framework will record for it, None if it can't."""


def _is_not_recorded(_: tuple[Item, ...]) -> None:
    return None


@dataclass(frozen=True, slots=True)
class Network:
    """Network settings of new connections.

    Attributes:
        connector: An aiohttp connector that another object owns; None to create one.
        proxy: The URL of a proxy.
    """

    connector: object | None = None
    proxy: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Request:
    """A framework's request for a response, passed by value.

    Attributes:
        items: The context as the framework has it, oldest first; it is normalized here.
        model: The model.
        settings: The other fields of the body, ready to be encoded.
        tools: The tools, each encoded as JSON for the Responses API (`FunctionTool.encoded`, or a
            hosted tool's object).
        record: Maps an output to the items that the framework will record for it, which need no
            keys; None if it records something else. Without it responses are not continued.
        guide: A system text of this request only. It comes last in the ``instructions`` field, and
            no later context needs it to continue the response.
        limits: The time limits.
        retry: The retry policy.
        untouched: Parameters that the user did not set; their rejection needs no warning.
        strict_parameters: Whether the rejection of a chosen parameter ends the turn; otherwise the
            request is sent again without it.
        hold_calls: Whether tool calls are emitted only at the end of the response.
        headers: Additional headers, if the request goes over HTTP.
        query: Additional query parameters, likewise.
        network: The network settings of new connections.
        unsent: The framework's ids of the items that no model sees, such as notes of changed
            instructions. They identify the conversation as well as the other items' ids.
        conversation: The unique name of the conversation. None to identify it by the items' keys
            and marks.
        warm_up: Whether the service only processes the context, without a response, so that every
            conversation with the same system texts can continue from there.
        on_late_usage: Called with the tokens of a cancelled response when they become known.
        call: The names of the call, for reports, traces and logs.
    """

    items: tuple[Item, ...]
    model: str
    record: Record = _is_not_recorded
    settings: Mapping[str, object] = field(default_factory=dict)
    tools: tuple[bytes, ...] = ()
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
    call: CallIdentity = UNNAMED
