"""Whether requests take the socket or HTTP, by what a host has shown so far.

A socket that failed a turn rests for a while, and then it is tried beside a turn, not with it:
no caller waits for the trial.
"""

from dataclasses import replace
from enum import Enum, auto

from rtllm.retry.faults import Fault, FaultKind

COOLDOWN = 60.0
"""Seconds that a failing socket rests at first; twice as long each time that it fails again."""
LONGEST_COOLDOWN = 600.0
"""Seconds that it rests at most, and where the host said that it has no socket."""


_THOUGH_OPEN = (FaultKind.DROPPED, FaultKind.CONNECTION_LIMIT, FaultKind.UNRESPONSIVE)
_TRUSTED_FAILURES = 1
_NOT_HERE = (404, 405, 426, 501)
_NO_ANSWER = (FaultKind.DROPPED, FaultKind.UNREACHABLE)


class ProtocolChoice(Enum):
    """How a request goes."""

    SOCKET = auto()
    HTTP = auto()
    HTTP_WITH_TRIAL = auto()
    """Over HTTP, while a socket is tried beside it."""


class HttpFailover:
    """Remembers how a host's socket fares. Facts go in, the way comes out."""

    def __init__(self) -> None:
        self._rests_until: float | None = None
        self._open_ones_too = False
        self.has_none = False
        """Whether the host said that it has no socket, and none has opened since."""
        self._cooldown = COOLDOWN
        self._trying = False
        self._no_http_until = 0.0

    @property
    def rests(self) -> bool:
        """Whether the socket failed, and none has opened since."""
        return self._rests_until is not None

    def way(self, now: float, *, has_open: bool = False) -> ProtocolChoice:
        """The way of the next request; changes nothing.

        Args:
            now: Seconds of any clock.
            has_open: Whether an open connection has a place for it: that no other could be
                opened says nothing against this one.
        """
        if self._rests_until is None or (has_open and not self._open_ones_too):
            return ProtocolChoice.SOCKET
        if self._trying or now < self._rests_until:
            return ProtocolChoice.HTTP
        return ProtocolChoice.HTTP_WITH_TRIAL

    def may_take_http(self, now: float) -> bool:
        """Whether HTTP has not failed a little while ago."""
        return now >= self._no_http_until

    def without_http(self, now: float) -> None:
        """Note that the host does not answer over HTTP: for a while only the socket is left."""
        self._no_http_until = now + COOLDOWN
        self.opened()

    def begin_trial(self) -> None:
        """Note that a socket is tried now; until it opened or failed, no other is tried."""
        self._trying = True

    def failed(self, now: float, *, has_none: bool = False, opened: bool = False) -> None:
        """The socket failed a turn, or its trial.

        Args:
            now: Seconds of the same clock.
            has_none: Whether the host said that it has none.
            opened: Whether it failed though it was open.
        """
        resting = self._rests_until is not None and now < self._rests_until
        self._open_ones_too = opened or (resting and self._open_ones_too)
        if resting and not self._trying and not has_none:
            return  # turns that began before the rest tell no more than the first of them
        self.has_none = self.has_none or has_none
        cooldown = LONGEST_COOLDOWN if has_none else self._cooldown
        self._rests_until = now + cooldown
        self._cooldown = min(2 * self._cooldown, LONGEST_COOLDOWN)
        self._trying = False

    def learn(self, now: float, fault: Fault, *, others_work: bool = False) -> None:
        """Note the fault that a turn, or the trial, met with the socket.

        Args:
            now: Seconds of the same clock.
            fault: The fault.
            others_work: Whether other open connections were heard from: then it says nothing
                against those.
        """
        self.failed(
            now,
            has_none=fault.kind is FaultKind.NO_WEBSOCKET,
            opened=fault.kind in _THOUGH_OPEN and not others_work,
        )

    def opened(self) -> None:
        """The trial's socket opened: the next request takes the socket."""
        self._rests_until = None
        self._trying = False
        self.has_none = False

    def answered(self) -> None:
        """The socket answered: a later failure rests it for the shortest time again."""
        self._cooldown = COOLDOWN


class HttpTrust:
    """Whether a failure over HTTP means that the host does not speak the API there.

    Where it answered before, one failure alone does not.
    """

    def __init__(self) -> None:
        self._failures_left = 0

    def answered(self) -> None:
        """Note that the host took a request over HTTP."""
        self._failures_left = _TRUSTED_FAILURES

    def judge(self, fault: Fault) -> Fault:
        """Count a request that the host did not take, and name what it means.

        Asked only where the request could take the socket instead.
        """
        self._failures_left -= 1
        if self._failures_left >= 0:
            return fault
        not_here = fault.status in _NOT_HERE and not fault.has_code
        if not_here or fault.kind in _NO_ANSWER:
            return replace(fault, kind=FaultKind.NO_HTTP)
        return fault
