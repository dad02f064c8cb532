"""One turn: how far it got, what it may still try, and how long it may still wait."""

from collections import Counter
from dataclasses import dataclass, replace

from rtllm.errors import Details, Phase, TurnError
from rtllm.faults import Fault, Kind, Wait, silent
from rtllm.recovery import TABLE, Action, Fail, Resend, decide


@dataclass(frozen=True, slots=True)
class Limits:
    """How long a turn waits, in seconds.

    Attributes:
        base: For the first output of an attempt, and for each gap between outputs.
        connect: For a connection.
        open_item: For the next event of a reasoning, tool call or hosted tool item that is
            open, since such items may take long without a word.
        whole: For the whole turn.
    """

    base: float = 10.0
    connect: float = 10.0
    open_item: float = 30.0
    whole: float = 120.0

    @classmethod
    def of(cls, base: float, connect: float | None = None, whole: float = 120.0) -> "Limits":
        """Derive all limits from the base limit."""
        return cls(base, min(base, connect or base), max(30.0, 3 * base), whole)


@dataclass(frozen=True, slots=True)
class Retry:
    """How often and after what wait a turn is tried again.

    Attributes:
        budget: Paid resends.
        interval: Seconds before the second and later ones; the first waits a tenth at most.
        max_wait: The longest wait; where the service asks for more, the turn ends instead.
    """

    budget: int = 3
    interval: float = 2.0
    max_wait: float = 8.0


class Turn:
    """The state of one turn. Facts go in, actions come out; nothing here waits.

    Args:
        limits: How long it may wait.
        retry: What it may try.
        now: When it began, in seconds of any clock.
    """

    def __init__(self, limits: Limits, retry: Retry, now: float) -> None:
        self.limits = limits
        self.retry = retry
        self.attempts = 0
        self.paid = 0
        self.text_given_out = 0
        self.calls_given_out = 0
        self.recoveries: list[tuple[Fault, Action]] = []
        self._seen: Counter[Kind] = Counter()
        self._began = now
        self._since = now
        self._slow_since: float | None = None
        self._had_output = False
        self._phase: Phase = "connecting"

    # -- facts -----------------------------------------------------------------------------

    def connecting(self, now: float) -> None:
        """An attempt looks for a connection."""
        self._phase = "connecting"
        self._since = now
        self._slow_since = None
        self._had_output = False

    def sent(self, now: float) -> None:
        """The request went out."""
        self.attempts += 1
        self._phase = "sent"
        self._since = now

    def created(self) -> None:
        """The service took the request; that is no progress yet."""
        if self._phase == "sent":
            self._phase = "created"

    def output(self, now: float) -> None:
        """Useful output came: speakable text or a whole tool call."""
        self._since = now
        self._had_output = True

    def slow_item(self, now: float, *, is_open: bool) -> None:
        """An event of a reasoning, tool call or hosted tool item came, perhaps its last."""
        if is_open:
            self._slow_since = now
        elif self._slow_since is not None:
            self._slow_since = None
            self._since = now

    def gave_out(self, *, text: int = 0, calls: int = 0) -> None:
        """Text (in characters) or calls went to the framework: no replay from here."""
        self.text_given_out += text
        self.calls_given_out += calls

    # -- questions -------------------------------------------------------------------------

    @property
    def has_given_out(self) -> bool:
        """Whether anything went to the framework."""
        return bool(self.text_given_out or self.calls_given_out)

    def phase(self, *, whole: bool = False) -> Phase:
        """How far the attempt got.

        Args:
            whole: Whether everything but the last event is there.
        """
        if whole:
            return "whole"
        return "given out" if self.has_given_out else self._phase

    def deadline(self) -> tuple[float, Wait, float]:
        """When the present wait ends, what it is for, and how many seconds it had."""
        limits = self.limits
        if self._phase == "connecting":
            at, what, seconds = self._since + limits.connect, "a connection", limits.connect
        elif self._slow_since is not None:
            at, what, seconds = self._slow_since + limits.open_item, "more output", limits.open_item
        else:
            what = "more output" if self._had_output else "the first output"
            at, seconds = self._since + limits.base, limits.base
        last = self._began + limits.whole
        wait: tuple[float, Wait, float] = (at, what, seconds)  # type: ignore[assignment]
        return wait if at <= last else (last, "the whole turn", limits.whole)

    def ran_out(self) -> Fault:
        """The fault of a wait that ran out just now."""
        _, what, seconds = self.deadline()
        return silent(what, seconds)

    def decide(self, fault: Fault, now: float, jitter: float, *, whole: bool = False) -> Action:
        """Decide what to do about a fault, and count it.

        Args:
            fault: What happened.
            now: When.
            jitter: A random number from 0 to 1 for the wait.
            whole: Whether everything but the last event is there.
        """
        action = decide(fault, self.phase(whole=whole), self._seen, self.retry.budget - self.paid)
        if isinstance(action, Resend):
            action = self._paid(fault, action, now, jitter)
        self._seen[fault.kind] += 1
        self.recoveries.append((fault, action))
        return action

    def _paid(self, fault: Fault, resend: Resend, now: float, jitter: float) -> Action:
        """Take a resend from the budget, with its wait; or fail if that would take too long."""
        wait = 0.0
        if resend.waits and fault.retry_after is not None:
            wait = fault.retry_after
        elif resend.waits:
            # As LiveKit does it: a tenth of a second first, then the whole interval.
            interval = min(0.1, self.retry.interval) if self.paid == 0 else self.retry.interval
            wait = interval * (0.5 + jitter)
        too_late = now + wait >= self._began + self.limits.whole
        if too_late or wait > self.retry.max_wait:
            return Fail(TABLE[fault.kind].error)
        self.paid += resend.paid
        return replace(resend, wait=wait)

    def error(self, kind: type[TurnError], fault: Fault, *, whole: bool = False) -> TurnError:
        """The error that a failed turn ends with."""
        details = Details(
            code=fault.code,
            status=fault.status,
            param=fault.param,
            request_id=fault.request_id,
            phase=self.phase(whole=whole),
            attempts=self.attempts,
            given_out=(self.text_given_out, self.calls_given_out),
            retry_after=fault.retry_after,
        )
        return kind(fault.message, details)
