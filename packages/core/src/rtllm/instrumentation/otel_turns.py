"""What OpenTelemetry's spans and metrics of a turn are made of: its events, put together."""

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Final

from rtllm.content.usage import Usage, add_usage
from rtllm.trace.events import AttemptEnded, RequestSent, TraceEvent, TurnFinished, TurnQueued

LIMIT: Final = 10_000
"""How many turns may be open; the oldest one is closed then. Its event loop has ended, most
likely, so its events never come."""


@dataclass(slots=True, eq=False, weakref_slot=True)
class OpenTurn:
    """A turn that is not over, or of which an attempt is not.

    Attributes:
        queued: The event that began it.
        running: The attempts that are not over.
        finished: The event that ended it; None before.
        usage: The tokens of its attempts so far, if any was reported.
        model: The model that responded.
        cost: What its attempts cost; None if it is not known of any.
        currency: The currency of the cost.
    """

    queued: TurnQueued
    running: set[int] = field(default_factory=set)
    finished: TurnFinished | None = None
    usage: Usage | None = None
    model: str | None = None
    cost: float | None = None
    currency: str | None = None

    @property
    def is_over(self) -> bool:
        """Whether nothing more is known later, apart from a draft that is discarded."""
        return self.finished is not None and not self.running

    @property
    def error(self) -> str | None:
        """The name of the error that it ended with; None if there was none."""
        return self.finished.error if self.finished is not None else None

    def note(self, event: TraceEvent) -> None:
        """Add an event of this turn."""
        match event:
            case RequestSent(attempt=int(number)):
                self.running.add(number)
            case AttemptEnded(attempt=int(number)):
                self.running.discard(number)
                self._add(event)
            case TurnFinished():
                self.finished = event
            case _:
                pass

    def _add(self, event: AttemptEnded) -> None:
        self.model = event.model or self.model
        if not event.counted:
            return
        self.usage = add_usage(self.usage, event.usage)
        if event.cost is not None:
            self.cost = (self.cost or 0.0) + event.cost
            self.currency = event.currency


class OpenTurns:
    """The turns that are not over, of any number of clients."""

    def __init__(self) -> None:
        self._turns: OrderedDict[tuple[str, int], OpenTurn] = OrderedDict()

    def __len__(self) -> int:
        return len(self._turns)

    def note(self, event: TraceEvent) -> OpenTurn | None:
        """Add an event; return its turn if that is known and not over before.

        A turn that is over after the event is forgotten.
        """
        if event.turn is None:
            return None
        key = event.client, event.turn
        if isinstance(event, TurnQueued):
            self._turns[key] = turn = OpenTurn(event)
            return turn
        found = self._turns.get(key)
        if found is not None:
            found.note(event)
            if found.is_over:
                self._turns.pop(key, None)
        return found

    def surplus(self) -> OpenTurn | None:
        """Remove and return the oldest turn if there are too many."""
        return self._turns.popitem(last=False)[1] if len(self._turns) > LIMIT else None
