"""Attempt: one request in flight, with its placement, its decoder and its usage."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, cast

from rtllm.content.call_identity import UNNAMED, CallIdentity
from rtllm.content.events import Event, ResponseEnded
from rtllm.content.items import Item
from rtllm.content.request import Record
from rtllm.content.usage import Usage, UsageCategory
from rtllm.context.prompt_cache import SentPrompt
from rtllm.engine.request_planner import Placement
from rtllm.retry.faults import Fault


class Decoder(Protocol):
    """A decoder of one response: pieces in, events out; see `rtllm.codec`."""

    response_id: str | None
    model: str | None
    created: bool
    in_progress: bool
    ended: ResponseEnded | None

    @property
    def is_complete(self) -> bool:
        """Whether everything but the last event is there."""

    @property
    def slow_item_open(self) -> bool:
        """Whether an item is open that may take long without text, such as reasoning."""

    @property
    def touched_slow_item(self) -> bool:
        """Whether the last piece belonged to such a slow item."""

    @property
    def hidden_item(self) -> str | None:
        """The type of the open item that the framework does not record; None if none is open."""

    @property
    def message_open(self) -> bool:
        """Whether a message has begun and has not ended."""

    @property
    def ids(self) -> Collection[str]:
        """The ids by which a late piece of this response can be recognized."""

    def output(self) -> tuple[Item, ...]:
        """Return the items that are complete."""

    def received_text(self) -> str:
        """Return all text and arguments so far, for an estimate of the output tokens."""

    def feed(self, piece: Any, /) -> tuple[Sequence[Event], Fault | None]:
        """Decode the next piece; return its events, and a fault if the response failed."""


class ExchangeDecoder(Decoder, Protocol):
    """A decoder of the response to an HTTP exchange."""

    @property
    def finished(self) -> bool:
        """Whether at most optional parts are missing, such as the usage."""

    @property
    def may_end_after_silence(self) -> bool:
        """Whether a short silence counts as the end; then `finish` must be called."""

    @property
    def continued_after_finish(self) -> bool:
        """Whether output followed the ``finish_reason``."""

    def accepted(self) -> None:
        """Note that the service answered with a stream."""

    def finish(self) -> tuple[Sequence[Event], Fault | None]:
        """Decode the end of the stream."""


DISCARDABLE: frozenset[UsageCategory] = frozenset({"answered", "cancelled"})
"""What a response may count as that is then thrown away."""


@dataclass(slots=True, eq=False)
class Attempt:
    """One request in flight.

    Attributes:
        number: Its number; later attempts of an engine have higher ones.
        turn: The number of its turn.
        connection: The number of its connection, or of its HTTP exchange.
        placement: What is sent, and on which connection and lane.
        size: The size of the request in bytes.
        decoder: Decodes its response.
        record: Maps an output to what the framework will record for it.
        mark: The mark of its response; None if the response can't be continued.
        begun: Whether the service may have received the request, so that it must be counted.
        written: Whether the request was written.
        fault: Why it ended early; None if it did not.
        finished: Whether nothing more is expected.
        abandoned: What it counts as once its turn no longer waits for it; until then None.
        is_draft: Whether its response was thrown away since the caller's words changed.
        unseen: The tools and the guide of its request, for an estimate of its tokens.
        prompt: What it sent, if reports about the prompt cache are wanted.
        on_late_usage: Called with its tokens if it ends after its turn.
        is_parent_checked: Whether the service's statement about the continued response was checked.
        call: The names of the call that it belongs to.
        is_created: Whether it was traced that the service accepted it.
        has_output: Whether its first output was traced.
        hidden_item: The type of the open item that the framework does not record, and since when it
            is open, for the trace.
    """

    number: int
    turn: int
    connection: int
    placement: Placement
    size: int
    decoder: Decoder
    record: Record
    mark: str | None = None
    begun: bool = False
    written: bool = False
    fault: Fault | None = None
    finished: bool = False
    abandoned: UsageCategory | None = None
    is_draft: bool = False
    unseen: tuple[tuple[bytes, ...], str] = ((), "")
    prompt: SentPrompt | None = None
    on_late_usage: Callable[[Usage], None] | None = None
    is_parent_checked: bool = False
    call: CallIdentity = UNNAMED
    is_created: bool = False
    has_output: bool = False
    hidden_item: tuple[str, float] | None = None

    def __repr__(self) -> str:
        state = "finished" if self.finished else "running"
        if self.abandoned is not None and not self.finished:
            state = f"draining ({self.abandoned})"
        where = f"connection {self.connection}, {self.placement.lane_choice.lane or 'default lane'}"
        return f"<Attempt {self.number} of turn {self.turn}: {state}, {where}>"

    @property
    def lane(self) -> str | None:
        """The lane that it was sent on."""
        return self.placement.lane_choice.lane

    @property
    def over_http(self) -> bool:
        """Whether it is an HTTP exchange; their numbers are negative."""
        return self.connection < 0

    @property
    def exchange(self) -> ExchangeDecoder | None:
        """The decoder, if it is one of an HTTP exchange."""
        return cast("ExchangeDecoder", self.decoder) if self.connection < 0 else None

    @property
    def is_waiting(self) -> bool:
        """Whether the service has not confirmed yet that it accepted the request."""
        return not self.decoder.created

    @property
    def category(self) -> UsageCategory:
        """What its tokens are spent on."""
        if not self.placement.generates:
            return "warm-up"
        ended = self.decoder.ended
        failed = self.fault is not None or ended is None or ended.outcome == "empty"
        category = self.abandoned or ("failed" if failed else "answered")
        return "draft" if self.is_draft and category in DISCARDABLE else category

    @property
    def usage(self) -> Usage | None:
        """Its tokens, if the service reported them."""
        ended = self.decoder.ended
        return ended.usage if ended is not None else None

    @property
    def is_complete(self) -> bool:
        """Whether its response is complete, so that it may be continued."""
        ended = self.decoder.ended
        if ended is None or self.fault is not None:
            return False
        return ended.outcome == "completed" or (
            ended.outcome == "empty" and not self.placement.generates
        )


def is_forgotten(decoder: Decoder, *, asked_to_store: bool) -> bool:
    """Whether a service reports that it does not know the response that was continued.

    Its first event shows this: a service that knows the response names a parent, the same or
    another one. A service that doesn't names none, lacks the field, or reports that it stores
    nothing though it was asked to.
    """
    parent = getattr(decoder, "parent", None)
    return not parent or (asked_to_store and getattr(decoder, "forgets", False))
