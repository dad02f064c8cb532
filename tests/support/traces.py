"""The order of a trace, judged from its events alone."""

from __future__ import annotations

from dataclasses import dataclass, field

from rtllm import TraceEvent
from rtllm.trace import (
    AttemptDiscarded,
    AttemptEnded,
    RequestSent,
    RequestWritten,
    ResponseCreated,
    TurnFinished,
    TurnQueued,
)


@dataclass
class TraceOrder:
    """A listener that notes which events must not have come.

    Attributes:
        events: All events.
        wrong: What was wrong, as texts.
    """

    events: list[TraceEvent] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    _turns: dict[tuple[str, int], str] = field(default_factory=dict)
    _attempts: dict[tuple[str, int], str] = field(default_factory=dict)
    _latest: dict[str, float] = field(default_factory=dict)

    def __call__(self, event: TraceEvent) -> None:
        """Receive an event."""
        self.events.append(event)
        if event.at < self._latest.get(event.client, event.at):
            self.wrong.append(f"{event} comes from the past")
        self._latest[event.client] = event.at
        if event.turn is not None:
            self._judge(event, (event.client, event.turn), (event.client, event.attempt or 0))

    def _judge(self, event: TraceEvent, turn: tuple[str, int], attempt: tuple[str, int]) -> None:
        expected = "running"
        match event:
            case TurnQueued():
                self._expect(event, self._turns.get(turn), None)
                self._turns[turn] = "running"
                return
            case AttemptDiscarded():
                self._expect(event, self._attempts.get(attempt), "over")
                return
            case RequestSent():
                self._expect(event, self._attempts.get(attempt), None)
                self._attempts[attempt] = "running"
            case AttemptEnded():
                self._expect(event, self._attempts.get(attempt), "running")
                self._attempts[attempt] = "over"
        if isinstance(event, AttemptEnded | RequestWritten | ResponseCreated):
            return  # a draining attempt may outlive its turn
        self._expect(event, self._turns.get(turn), expected)
        if isinstance(event, TurnFinished):
            self._turns[turn] = "over"

    def _expect(self, event: TraceEvent, state: str | None, expected: str | None) -> None:
        if state != expected:
            self.wrong.append(f"{event} comes while it is {state}, not {expected}")

    @property
    def unfinished(self) -> list[tuple[str, int]]:
        """The turns that have not ended."""
        return [turn for turn, state in self._turns.items() if state != "over"]
