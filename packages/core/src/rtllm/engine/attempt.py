"""One request in flight: what was sent where, what reads its answer, and how it counts."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from rtllm.content.events import Event, ResponseEnded
from rtllm.content.items import Item
from rtllm.content.request import Record
from rtllm.content.usage import Usage, UsageCategory
from rtllm.engine.request_planner import Placement
from rtllm.retry.faults import Fault


class Decoder(Protocol):
    """What turns the pieces of one response into events; see `rtllm.codec`."""

    response_id: str | None
    created: bool
    in_progress: bool
    ended: ResponseEnded | None

    @property
    def whole(self) -> bool:
        """Whether everything but the last event is there."""

    @property
    def slow_item_open(self) -> bool:
        """Whether an item is open that may take long without a word."""

    @property
    def touched_slow_item(self) -> bool:
        """Whether the last piece belonged to such an item."""

    @property
    def message_open(self) -> bool:
        """Whether the service is in the middle of a message."""

    @property
    def ids(self) -> Collection[str]:
        """The ids by which a late piece of this response can be told."""

    def output(self) -> tuple[Item, ...]:
        """The items that are done."""

    def feed(self, piece: Any, /) -> tuple[Sequence[Event], Fault | None]:
        """Take the next piece."""


@runtime_checkable
class ExchangeDecoder(Decoder, Protocol):
    """What reads the answer of an HTTP exchange."""

    @property
    def finished(self) -> bool:
        """Whether only what may be lost is missing, such as the usage."""

    @property
    def may_end_after_silence(self) -> bool:
        """Whether a short silence ends the answer: then call `finish`."""

    @property
    def continued_after_finish(self) -> bool:
        """Whether output followed the reason why it finished."""

    def accepted(self) -> None:
        """Note that the service answered with a stream."""

    def finish(self) -> tuple[Sequence[Event], Fault | None]:
        """Take the end of the stream."""


@dataclass(slots=True, eq=False)
class Attempt:
    """One request in flight.

    Attributes:
        number: Grows with each attempt of an engine.
        turn: The number of its turn.
        connection: The number of its connection, or of its HTTP exchange.
        placement: What is sent, and where.
        size: Bytes of the request.
        decoder: Reads the answer.
        record: Maps an output to what the framework will record for it.
        mark: The mark of the response; None if nothing can be continued.
        begun: Whether the service may have got the request, so that it must be booked.
        written: Whether the request was written.
        fault: Why nothing more comes; None if nothing went wrong.
        finished: Whether nothing more is expected.
        abandoned: What it counts as when its turn no longer waits for it; else None.
        on_late_usage: Who is told of its tokens if it ends behind its turn.
        parent_judged: Whether it was looked at what the service says of its parent.
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
    on_late_usage: Callable[[Usage], None] | None = None
    parent_judged: bool = False

    def __repr__(self) -> str:
        state = "finished" if self.finished else "running"
        if self.abandoned is not None and not self.finished:
            state = f"draining ({self.abandoned})"
        where = f"connection {self.connection}, {self.placement.seat.lane or 'default lane'}"
        return f"<Attempt {self.number} of turn {self.turn}: {state}, {where}>"

    @property
    def lane(self) -> str | None:
        """The lane that it was sent on."""
        return self.placement.seat.lane

    @property
    def is_waiting(self) -> bool:
        """Whether the service has not yet said that it took the request."""
        return not self.decoder.created

    @property
    def category(self) -> UsageCategory:
        """What its tokens are spent on."""
        if not self.placement.generates:
            return "warm-up"
        ended = self.decoder.ended
        failed = self.fault is not None or ended is None or ended.outcome == "empty"
        return self.abandoned or ("failed" if failed else "answered")

    @property
    def usage(self) -> Usage | None:
        """Its tokens, where the service told."""
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
    """Whether a service says that it does not know the response that was continued.

    Its first event tells: it names a parent, the same or another; or none, or has no such field,
    or says that it stores nothing though it was asked to.
    """
    parent = getattr(decoder, "parent", None)
    return not parent or (asked_to_store and getattr(decoder, "forgets", False))
