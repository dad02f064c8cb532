"""Progress of one turn: how far it got, its remaining retries, and its time limits."""

from collections import Counter
from dataclasses import replace

from rtllm.content.retries import RetryPolicy
from rtllm.content.timeouts import Timeouts
from rtllm.errors import Details, Phase, TurnError
from rtllm.retry.backoff import backoff
from rtllm.retry.faults import Fault, FaultKind, Wait, timed_out
from rtllm.retry.policy import (
    FORM_REJECTIONS,
    LOSES_ONLY_THE_END,
    MAX_FORM_RESENDS,
    RESEND_OVER_HTTP,
    TABLE,
    Action,
    Fail,
    Resend,
    decide,
    error_type,
    lesson_of,
)


class TurnProgress:
    """The progress of one turn. It records facts and answers questions; it never waits.

    Args:
        limits: Its time limits.
        retry: Its retry policy.
        now: When it began, in seconds on any clock.
        can_fall_back: Whether its request may use HTTP if the WebSocket fails.
    """

    def __init__(
        self, limits: Timeouts, retry: RetryPolicy, now: float, *, can_fall_back: bool = False
    ) -> None:
        self.limits = limits
        self.retry = retry
        self.attempts = 0
        self.budget_used = 0
        self.text_emitted = 0
        self.calls_emitted = 0
        self.recoveries: list[tuple[Fault, Action]] = []
        self._seen: Counter[FaultKind] = Counter()
        self._began = now
        self._since = now
        self._slow_since: float | None = None
        self._slow_began: float | None = None
        self._slow_seconds = 0.0
        self._speech_until: float | None = None
        self._had_output = False
        self._phase: Phase = "connecting"
        self._can_fall_back = can_fall_back
        self._socket_fault: Fault | None = None

    # -- facts -----------------------------------------------------------------------------

    def record_connecting(self, now: float) -> None:
        """Record that an attempt looks for a connection."""
        self._phase = "connecting"
        self._since = now
        self._end_slow_item(now)
        self._speech_until = None
        self._had_output = False

    def record_sent(self, now: float) -> None:
        """Record that the request was sent."""
        self.attempts += 1
        self._phase = "sent"
        self._since = now

    def record_written(self, now: float) -> None:
        """Record that the request was written, however long that took: its wait begins now."""
        if self._phase == "sent" and not self._had_output and self._slow_since is None:
            self._since = now

    def record_http(self) -> None:
        """Record that the request uses HTTP, so that there is nothing left to fall back to."""
        self._can_fall_back = False

    def record_created(self) -> None:
        """Record that the service accepted the request; this does not reset a limit."""
        if self._phase == "sent":
            self._phase = "created"

    def record_output(self, now: float) -> None:
        """Record useful output: text to speak, or a complete tool call."""
        self._since = now
        self._had_output = True

    def record_speech(self, now: float, characters: int, *, is_open: bool) -> None:
        """Record text, and set how soon more must follow while its message is open."""
        if not is_open or not self.limits.speech_floor:
            self._speech_until = None
        elif self._speech_until is None:
            self._speech_until = now + self.limits.base
        else:
            earned = self._speech_until + characters / self.limits.speech_floor
            self._speech_until = min(earned, now + self.limits.base)

    def record_slow_item(self, now: float, *, is_open: bool) -> None:
        """Record an event of a reasoning, tool call or hosted tool item, perhaps its last."""
        if is_open:
            self._slow_since = now
            if self._slow_began is None:
                self._slow_began = now
        elif self._slow_since is not None:
            self._end_slow_item(now)
            self._since = now

    def _end_slow_item(self, now: float) -> None:
        if self._slow_began is not None:
            self._slow_seconds += now - self._slow_began
        self._slow_began = self._slow_since = None

    def record_emitted(self, *, text: int = 0, calls: int = 0) -> None:
        """Record text (in characters) or calls as emitted; from then on nothing is sent again."""
        self.text_emitted += text
        self.calls_emitted += calls

    # -- questions -------------------------------------------------------------------------

    @property
    def has_emitted(self) -> bool:
        """Whether anything was emitted."""
        return bool(self.text_emitted or self.calls_emitted)

    @property
    def has_one_form_left(self) -> bool:
        """Whether one more rejected form would end the turn."""
        return sum(self._seen[kind] for kind in FORM_REJECTIONS) == MAX_FORM_RESENDS - 1

    def phase(self, *, is_complete: bool = False) -> Phase:
        """Return how far the attempt got.

        Args:
            is_complete: Whether only the last event is missing.
        """
        if is_complete:
            return "complete"
        return "emitted" if self.has_emitted else self._phase

    def deadline(self) -> tuple[float, Wait, float]:
        """Return when the current wait ends, what it waits for, and its limit in seconds."""
        limits = self.limits
        at: float
        what: Wait
        if self._phase == "connecting":
            at, what, seconds = self._since + limits.connect, "a connection", limits.connect
        elif self._slow_since is not None:
            at, what, seconds = self._slow_since + limits.open_item, "more output", limits.open_item
        elif self._had_output or limits.first_output is None:
            what = "more output" if self._had_output else "the first output"
            at, seconds = self._since + limits.base, limits.base
        else:
            what, seconds = "the first output", limits.first_output
            at = self._since + seconds
        if self._speech_until is not None and self._speech_until < at:
            at, what = self._speech_until, "enough speech"
        has_spoken = self._had_output or self.has_emitted or self._slow_since is not None
        last = self._last_moment(has_spoken=has_spoken)
        return (at, what, seconds) if at <= last[0] else last

    def _last_moment(self, *, has_spoken: bool) -> tuple[float, Wait, float]:
        """Return when the turn ends whatever its attempts do, and by which limit.

        Args:
            has_spoken: Whether the limit for the turn's first word no longer counts.
        """
        limits = self.limits
        end: tuple[float, Wait, float] = (
            self._began + limits.total,
            "the whole turn",
            limits.total,
        )
        if limits.silence is not None and not has_spoken:
            silent = self._began + limits.silence + self._slow_seconds
            end = min(end, (silent, "the turn's first word", limits.silence))
        return end

    @property
    def _resend_until(self) -> float:
        """When it is too late to send the turn again; output that wasn't emitted is lost then."""
        return self._last_moment(has_spoken=self.has_emitted)[0]

    def make_timeout(self) -> Fault:
        """Return the fault of the wait that has just timed out."""
        _, what, seconds = self.deadline()
        return timed_out(what, seconds)

    def waited(self, now: float) -> float:
        """Return how long the current wait has lasted, in seconds."""
        return now - self._since

    def may_wait(self, until: float, now: float) -> bool:
        """Whether a wait before sending is within the turn's limits."""
        return until - now <= self.retry.max_wait and until < self._resend_until

    def decide(
        self, fault: Fault, now: float, jitter: float, *, is_complete: bool = False
    ) -> Action:
        """Decide how to handle a fault, and count it.

        Args:
            fault: What happened.
            now: When.
            jitter: A random number from 0 to 1, for the wait.
            is_complete: Whether only the last event is missing.
        """
        # Held calls are emitted if only the last event is lost; otherwise the request is sent
        # again.
        ends = is_complete and (self.has_emitted or fault.kind in LOSES_ONLY_THE_END)
        phase, left = self.phase(is_complete=ends), self.retry.budget - self.budget_used
        action = decide(fault, phase, self._seen, left, can_fall_back=self._can_fall_back)
        self._end_slow_item(now)
        if isinstance(action, Resend):
            action = self._charge(fault, action, now, jitter)
            by_http = self._can_fall_back and TABLE[fault.kind].falls_back(phase)
            if isinstance(action, Fail) and by_http and now < self._resend_until:
                action = RESEND_OVER_HTTP
        if lesson_of(fault) == "no http" and self._socket_fault is not None:
            action = Fail(TABLE[self._socket_fault.kind].error)
        if isinstance(action, Resend) and action.over_http:
            self._can_fall_back = False
            self._socket_fault = fault
        self._seen[fault.kind] += 1
        self.recoveries.append((fault, action))
        return action

    def _charge(self, fault: Fault, resend: Resend, now: float, jitter: float) -> Action:
        """Charge a retry to the budget and set its wait; fail if that would take too long."""
        wait = 0.0
        if resend.waits:
            wait = backoff(self.retry, self.budget_used, fault.retry_after, jitter)
        too_late = now + wait >= self._resend_until
        if too_late or wait > self.retry.max_wait:
            return Fail(TABLE[fault.kind].error)
        self.budget_used += resend.uses_budget
        return replace(resend, wait=wait)

    def make_error(
        self,
        kind: type[TurnError],
        fault: Fault,
        *,
        is_complete: bool = False,
        now: float | None = None,
    ) -> TurnError:
        """Return the error that a failed turn ends with."""
        if lesson_of(fault) == "no http" and self._socket_fault is not None:
            fault = self._socket_fault  # the WebSocket's fault says more than that HTTP failed too
        details = Details(
            code=fault.code,
            status=fault.status,
            param=fault.param,
            request_id=fault.request_id,
            phase=self.phase(is_complete=is_complete),
            attempts=self.attempts,
            emitted=(self.text_emitted, self.calls_emitted),
            retry_after=fault.retry_after,
            address=fault.address,
            tries=max(1, len(self.recoveries)),
            seconds=None if now is None else now - self._began,
        )
        return error_type(kind, fault)(fault.message, details)
