"""One request in flight: fed by the reader, read by its turn, and drained when that is gone."""

import asyncio
from collections import deque
from collections.abc import Callable, Collection, Sequence
from typing import Any, Protocol

from rtllm.dispatch import Placement
from rtllm.events import Called, Delta, Ended, Event
from rtllm.faults import Fault
from rtllm.items import Item
from rtllm.request import Record
from rtllm.turn import Turn
from rtllm.usage import Account
from rtllm.wire.response_events import Assembler


class Reading(Protocol):
    """What turns the frames or chunks of one response into events; see `Assembler`."""

    response_id: str | None
    created: bool
    in_progress: bool
    ended: Ended | None

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


class Attempt:
    """One request in flight.

    Args:
        number: Grows with each attempt of the client.
        turn: The turn it belongs to, which learns of its progress.
        placement: What was sent, and where.
        size: Bytes of its frame.
        record: Maps an output to what the framework will record for it.
        on_in_progress: Called when the service takes it in hand.
        on_end: Called once when no more frames are due.
        reading: What reads them; one of the Responses API if left out.
    """

    def __init__(
        self,
        number: int,
        turn: Turn,
        placement: Placement,
        size: int,
        record: Record,
        on_in_progress: Callable[["Attempt"], None],
        on_end: Callable[["Attempt"], None],
        reading: Reading | None = None,
    ) -> None:
        self.number = number
        self.placement = placement
        self.size = size
        self.record = record
        self.assembler: Reading = reading or Assembler()
        self.fault: Fault | None = None
        self.finished = False
        self.ran_out = False
        self.abandoned: Account | None = None
        self.drain_limit: asyncio.TimerHandle | None = None
        self._turn = turn
        self._on_in_progress = on_in_progress
        self._on_end = on_end
        self._mail: deque[Event | Fault] = deque()
        self._arrival: asyncio.Future[None] | None = None
        self._loop = asyncio.get_running_loop()

    @property
    def gap(self) -> float:
        """Seconds that its turn waits for more."""
        return self._turn.limits.base

    @property
    def lane(self) -> str | None:
        """The lane it was sent on."""
        return self.placement.seat.lane

    @property
    def created(self) -> bool:
        """Whether the service accepted it."""
        return self.assembler.created

    @property
    def ids(self) -> Collection[str]:
        """The ids by which a late frame of this response can be told."""
        return self.assembler.ids

    @property
    def ended(self) -> Ended | None:
        """How the response ended, once it has."""
        return self.assembler.ended

    @property
    def account(self) -> Account:
        """Where its usage is booked."""
        if not self.placement.generates:
            return "warm-up"
        ended = self.ended
        failed = self.fault is not None or ended is None or ended.outcome == "empty"
        return self.abandoned or ("failed" if failed else "answered")

    # -- the reader's side -------------------------------------------------------------------

    def feed(self, frame: Any) -> None:
        """Take a frame, or whatever piece of a response the attempt's reading takes."""
        assembler = self.assembler
        was_in_progress = assembler.in_progress
        self.take(*assembler.feed(frame), was_in_progress=was_in_progress)

    def take(
        self, events: Sequence[Event], fault: Fault | None, *, was_in_progress: bool = True
    ) -> None:
        """Take what a piece, or the end of them, brought."""
        assembler = self.assembler
        if assembler.in_progress and not was_in_progress:
            self._on_in_progress(self)
        if self.abandoned is None:
            self._tell_turn(events)
            self._mail.extend(events)
        if fault is not None:
            self.fail(fault)
        elif assembler.ended is not None:
            self._end()
        if events:
            self._wake()

    def _tell_turn(self, events: Sequence[Event]) -> None:
        assembler, turn = self.assembler, self._turn
        if assembler.created:
            turn.created()
        if assembler.touched_slow_item:
            turn.slow_item(self._loop.time(), is_open=assembler.slow_item_open)
        if any(isinstance(event, Delta | Called) for event in events):
            turn.output(self._loop.time())
        if turn.limits.speech_floor:
            text = sum(len(event.text) for event in events if isinstance(event, Delta))
            turn.speech(self._loop.time(), text, is_open=assembler.message_open)

    def fail(self, fault: Fault) -> None:
        """Take the news that nothing more will come, and why."""
        if self.finished:
            return
        self.fault = fault
        self._mail.append(fault)
        self._end()
        self._wake()

    def _end(self) -> None:
        self.finished = True
        if self.drain_limit is not None:
            self.drain_limit.cancel()
        self._on_end(self)

    # -- the turn's side ---------------------------------------------------------------------

    async def next(self) -> Event | Fault:
        """Wait for what comes next; a wait that runs out is a fault too."""
        while not self._mail:
            deadline, _, _ = self._turn.deadline()
            self._arrival = self._loop.create_future()
            try:
                async with asyncio.timeout_at(deadline):
                    await self._arrival
            except TimeoutError:
                if self._mail or self._turn.deadline()[0] > self._loop.time():
                    continue
                self.ran_out = True
                return self._turn.ran_out()
            finally:
                self._arrival = None
        return self._mail.popleft()

    def abandon(self, account: Account) -> None:
        """Nobody reads on; what still comes is drained and booked."""
        if self.abandoned is None:
            self.abandoned = account
            self._mail.clear()

    def _wake(self) -> None:
        if self._arrival is not None and not self._arrival.done():
            self._arrival.set_result(None)
