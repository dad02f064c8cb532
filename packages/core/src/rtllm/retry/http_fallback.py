"""HTTP fallback: whether requests use the WebSocket or HTTP, by how a host has behaved.

A WebSocket that failed a turn is not used for a while. Then a trial connection is opened while a
turn goes over HTTP, so that no caller waits for the trial.
"""

from dataclasses import replace
from enum import Enum, auto

from rtllm.retry.faults import Fault, FaultKind

COOLDOWN = 60.0
"""Seconds without the WebSocket after a failure; doubled with each further failure."""
LONGEST_COOLDOWN = 600.0
"""The longest time without the WebSocket, also used if the host reports that it has none."""


_THOUGH_OPEN = (FaultKind.DROPPED, FaultKind.CONNECTION_LIMIT, FaultKind.UNRESPONSIVE)
_TRUSTED_FAILURES = 1
_NOT_HERE = (404, 405, 426, 501)
_NO_ANSWER = (FaultKind.DROPPED, FaultKind.UNREACHABLE)


class ProtocolChoice(Enum):
    """The protocol of a request."""

    SOCKET = auto()
    HTTP = auto()
    HTTP_WITH_TRIAL = auto()
    """Over HTTP, while a trial WebSocket is opened."""


class HttpFallback:
    """Remembers whether a host's WebSocket works, and chooses the protocol of each request."""

    def __init__(self) -> None:
        self._avoid_until: float | None = None
        self._avoids_open_too = False
        self.has_no_websocket = False
        """Whether the host reported that it has no WebSocket, and none has opened since."""
        self._cooldown = COOLDOWN
        self._is_trial_running = False
        self._no_http_until = 0.0

    @property
    def avoids_websocket(self) -> bool:
        """Whether the WebSocket failed, and none has opened since."""
        return self._avoid_until is not None

    def choose_protocol(self, now: float, *, has_open: bool = False) -> ProtocolChoice:
        """Choose the protocol of the next request; changes nothing.

        Args:
            now: Seconds on any clock.
            has_open: Whether an open connection can take it. A failure to open another one does not
                count against that.
        """
        if self._avoid_until is None or (has_open and not self._avoids_open_too):
            return ProtocolChoice.SOCKET
        if self._is_trial_running or now < self._avoid_until:
            return ProtocolChoice.HTTP
        return ProtocolChoice.HTTP_WITH_TRIAL

    def may_use_http(self, now: float) -> bool:
        """Whether HTTP has not failed recently."""
        return now >= self._no_http_until

    def record_no_http(self, now: float) -> None:
        """Record that the host does not answer over HTTP, so that only the WebSocket is left."""
        self._no_http_until = now + COOLDOWN
        self.record_open()

    def begin_trial(self) -> None:
        """Record that a trial is running; until it ends, no other one is started."""
        self._is_trial_running = True

    def record_failure(
        self, now: float, *, has_no_websocket: bool = False, opened: bool = False
    ) -> None:
        """Record that the WebSocket failed a turn, or its trial.

        Args:
            now: Seconds on the same clock.
            has_no_websocket: Whether the host reported that it has none.
            opened: Whether it failed after it had opened.
        """
        is_avoiding = self._avoid_until is not None and now < self._avoid_until
        self._avoids_open_too = opened or (is_avoiding and self._avoids_open_too)
        if is_avoiding and not self._is_trial_running and not has_no_websocket:
            return  # turns from before the failure add nothing to it
        self.has_no_websocket = self.has_no_websocket or has_no_websocket
        cooldown = LONGEST_COOLDOWN if has_no_websocket else self._cooldown
        self._avoid_until = now + cooldown
        self._cooldown = min(2 * self._cooldown, LONGEST_COOLDOWN)
        self._is_trial_running = False

    def record_fault(self, now: float, fault: Fault, *, others_respond: bool = False) -> None:
        """Record the fault that a turn, or the trial, had with the WebSocket.

        Args:
            now: Seconds on the same clock.
            fault: The fault.
            others_respond: Whether other open connections respond; then it does not count against
                those.
        """
        self.record_failure(
            now,
            has_no_websocket=fault.kind is FaultKind.NO_WEBSOCKET,
            opened=fault.kind in _THOUGH_OPEN and not others_respond,
        )

    def record_open(self) -> None:
        """Record that the trial succeeded, so that the next request uses the WebSocket."""
        self._avoid_until = None
        self._is_trial_running = False
        self.has_no_websocket = False

    def record_response(self) -> None:
        """Record a response, so that the next failure starts with the shortest time again."""
        self._cooldown = COOLDOWN


class HttpTrust:
    """Decides whether a failure over HTTP means that the host does not offer the API there.

    If the host answered over HTTP before, a single failure does not.
    """

    def __init__(self) -> None:
        self._failures_left = 0

    def record_response(self) -> None:
        """Record that the host accepted a request over HTTP."""
        self._failures_left = _TRUSTED_FAILURES

    def reclassify(self, fault: Fault) -> Fault:
        """Count a failed request, and reclassify its fault if the API is not offered over HTTP.

        Call it only if the request could use the WebSocket instead.
        """
        self._failures_left -= 1
        if self._failures_left >= 0:
            return fault
        not_here = fault.status in _NOT_HERE and not fault.has_code
        if not_here or fault.kind in _NO_ANSWER:
            return replace(fault, kind=FaultKind.NO_HTTP)
        return fault
