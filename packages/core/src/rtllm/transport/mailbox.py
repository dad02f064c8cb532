"""Mailbox: the events of one turn on their way from the runtime to the response stream."""

import asyncio
from collections import deque
from collections.abc import Callable

from rtllm.content.events import Event, ResponseEnded
from rtllm.content.usage import Usage
from rtllm.engine.actions import Deliver, Finish
from rtllm.engine.report import TurnReport
from rtllm.errors import TurnError


class Mailbox:
    """The events of one turn that were not read yet.

    Attributes:
        response_id: The service's id of the response; None before its first event.
        mark: The mark of the response; None if the response can't be continued.
        report: The report of the turn, once it is over.
        error: Why the turn failed, if it did.
        on_finish: Called when the turn is over.
    """

    def __init__(self) -> None:
        self.response_id: str | None = None
        self.mark: str | None = None
        self.report: TurnReport | None = None
        self.error: TurnError | None = None
        self.on_finish: Callable[[], None] | None = None
        self._events: deque[Event] = deque()
        self._arrival: asyncio.Future[None] | None = None

    def put(self, delivery: Deliver) -> None:
        """Add events."""
        self._events.extend(delivery.events)
        self.response_id, self.mark = delivery.response_id, delivery.mark
        self._wake()

    def finish(self, action: Finish) -> None:
        """Add the end of the turn."""
        self.report, self.error = action.report, action.error
        self.response_id = action.report.response_id
        self._wake()
        if self.on_finish is not None:
            self.on_finish()

    @property
    def unread_usage(self) -> Usage | None:
        """The tokens of a complete response whose end was not read."""
        last = self._events[-1] if self._events else None
        return last.usage if isinstance(last, ResponseEnded) else None

    def _wake(self) -> None:
        if self._arrival is not None and not self._arrival.done():
            self._arrival.set_result(None)

    async def next(self) -> Event | None:
        """Wait for the next event; None if the turn is over and every event was read.

        The wait needs no limit: the engine ends every turn.
        """
        while not self._events:
            if self.report is not None:
                return None
            self._arrival = asyncio.get_running_loop().create_future()
            try:
                await self._arrival
            finally:
                self._arrival = None
        return self._events.popleft()
