"""One turn: how far it got, what it may still try, and how long it may still wait."""

from collections import Counter
from dataclasses import replace

from rtllm.content.timeouts import RetryPolicy, Timeouts
from rtllm.errors import Details, Phase, TurnError
from rtllm.retry.backoff import backoff
from rtllm.retry.faults import Fault, FaultKind, Wait, timed_out
from rtllm.retry.policy import (
    BY_HTTP,
    ENDS_WHOLE,
    FREE_IN_A_TURN,
    OF_FORM,
    TABLE,
    Action,
    Fail,
    Resend,
    decide,
    error_type,
    lesson_of,
    message_of,
)


class TurnProgress:
    """The state of one turn. Facts go in, actions come out; nothing here waits.

    Args:
        limits: How long it may wait.
        retry: What it may try.
        now: When it began, in seconds of any clock.
        can_fall_back: Whether its request may take HTTP if the socket doesn't do.
    """

    def __init__(
        self, limits: Timeouts, retry: RetryPolicy, now: float, *, can_fall_back: bool = False
    ) -> None:
        self.limits = limits
        self.retry = retry
        self.attempts = 0
        self.paid = 0
        self.text_emitted = 0
        self.calls_emitted = 0
        self.recoveries: list[tuple[Fault, Action]] = []
        self._seen: Counter[FaultKind] = Counter()
        self._began = now
        self._since = now
        self._slow_since: float | None = None
        self._speech_until: float | None = None
        self._had_output = False
        self._phase: Phase = "connecting"
        self._can_fall_back = can_fall_back
        self._socket_fault: Fault | None = None

    # -- facts -----------------------------------------------------------------------------

    def connecting(self, now: float) -> None:
        """An attempt looks for a connection."""
        self._phase = "connecting"
        self._since = now
        self._slow_since = None
        self._speech_until = None
        self._had_output = False

    def sent(self, now: float) -> None:
        """The request went out."""
        self.attempts += 1
        self._phase = "sent"
        self._since = now

    def over_http(self) -> None:
        """The request took HTTP: there is nothing to fall back to."""
        self._can_fall_back = False

    def created(self) -> None:
        """The service took the request; that is no progress yet."""
        if self._phase == "sent":
            self._phase = "created"

    def output(self, now: float) -> None:
        """Useful output came: speakable text or a whole tool call."""
        self._since = now
        self._had_output = True

    def speech(self, now: float, characters: int, *, is_open: bool) -> None:
        """Text came, and its message is open or not: how long it may now take for more."""
        if not is_open or not self.limits.speech_floor:
            self._speech_until = None
        elif self._speech_until is None:
            self._speech_until = now + self.limits.base
        else:
            earned = self._speech_until + characters / self.limits.speech_floor
            self._speech_until = min(earned, now + self.limits.base)

    def slow_item(self, now: float, *, is_open: bool) -> None:
        """An event of a reasoning, tool call or hosted tool item came, perhaps its last."""
        if is_open:
            self._slow_since = now
        elif self._slow_since is not None:
            self._slow_since = None
            self._since = now

    def note_emitted(self, *, text: int = 0, calls: int = 0) -> None:
        """Text (in characters) or calls went to the framework: no replay from here."""
        self.text_emitted += text
        self.calls_emitted += calls

    # -- questions -------------------------------------------------------------------------

    @property
    def has_emitted(self) -> bool:
        """Whether anything went to the framework."""
        return bool(self.text_emitted or self.calls_emitted)

    @property
    def has_one_form_left(self) -> bool:
        """Whether one more refusal of a form would be the turn's end."""
        return sum(self._seen[kind] for kind in OF_FORM) == FREE_IN_A_TURN - 1

    def phase(self, *, whole: bool = False) -> Phase:
        """How far the attempt got.

        Args:
            whole: Whether everything but the last event is there.
        """
        if whole:
            return "whole"
        return "given out" if self.has_emitted else self._phase

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
        if self._speech_until is not None and self._speech_until < at:
            at, what = self._speech_until, "enough speech"
        last = self._began + limits.whole
        wait: tuple[float, Wait, float] = (at, what, seconds)  # type: ignore[assignment]
        return wait if at <= last else (last, "the whole turn", limits.whole)

    def ran_out(self) -> Fault:
        """The fault of a wait that ran out just now."""
        _, what, seconds = self.deadline()
        return timed_out(what, seconds)

    def decide(self, fault: Fault, now: float, jitter: float, *, whole: bool = False) -> Action:
        """Decide what to do about a fault, and count it.

        Args:
            fault: What happened.
            now: When.
            jitter: A random number from 0 to 1 for the wait.
            whole: Whether everything but the last event is there.
        """
        # Calls that are held are given out if only the last event is lost; else ask again.
        ends = whole and (self.has_emitted or fault.kind in ENDS_WHOLE)
        phase, left = self.phase(whole=ends), self.retry.budget - self.paid
        action = decide(fault, phase, self._seen, left, can_fall_back=self._can_fall_back)
        if isinstance(action, Resend):
            action = self._paid(fault, action, now, jitter)
            by_http = self._can_fall_back and TABLE[fault.kind].falls_back(phase)
            if isinstance(action, Fail) and by_http and now < self._began + self.limits.whole:
                action = BY_HTTP
        if lesson_of(fault) == "no http" and self._socket_fault is not None:
            action = Fail(TABLE[self._socket_fault.kind].error)
        if isinstance(action, Resend) and action.over_http:
            self._can_fall_back = False
            self._socket_fault = fault
        self._seen[fault.kind] += 1
        self.recoveries.append((fault, action))
        return action

    def _paid(self, fault: Fault, resend: Resend, now: float, jitter: float) -> Action:
        """Take a resend from the budget, with its wait; or fail if that would take too long."""
        wait = 0.0
        if resend.waits:
            wait = backoff(self.retry, self.paid, fault.retry_after, jitter)
        too_late = now + wait >= self._began + self.limits.whole
        if too_late or wait > self.retry.max_wait:
            return Fail(TABLE[fault.kind].error)
        self.paid += resend.paid
        return replace(resend, wait=wait)

    def error(self, kind: type[TurnError], fault: Fault, *, whole: bool = False) -> TurnError:
        """The error that a failed turn ends with."""
        if lesson_of(fault) == "no http" and self._socket_fault is not None:
            fault = self._socket_fault  # that HTTP doesn't do either says less
        details = Details(
            code=fault.code,
            status=fault.status,
            param=fault.param,
            request_id=fault.request_id,
            phase=self.phase(whole=whole),
            attempts=self.attempts,
            emitted=(self.text_emitted, self.calls_emitted),
            retry_after=fault.retry_after,
        )
        return error_type(kind, fault)(message_of(fault, self.attempts), details)
