"""Connection as a value: its state, its attempts, and the routing of frames to them."""

from collections import deque
from dataclasses import dataclass
from typing import Literal

from rtllm.codec.frames import Frame, error_of
from rtllm.codec.late_frames import LateFrames
from rtllm.codec.responses_decoder import ResponsesDecoder
from rtllm.content.request import Network
from rtllm.engine.attempt import Attempt
from rtllm.engine.snapshot import ConnectionSnapshot
from rtllm.engine.transitions import change
from rtllm.retry.faults import Fault, belongs_to_connection, from_error
from rtllm.retry.policy import ends_connection, may_concern_connection, refuses_lanes
from rtllm.retry.redaction import NO_SECRETS

State = Literal["connecting", "open", "closing", "closed"]

TRANSITIONS: dict[State, frozenset[State]] = {
    "connecting": frozenset({"open", "closed"}),
    "open": frozenset({"closing", "closed"}),
    "closing": frozenset({"closed"}),
    "closed": frozenset(),
}
"""The allowed changes of a connection's state. *Closing*: it accepts no new request, and is closed
once its attempts have ended."""


@dataclass(frozen=True, slots=True)
class Opening:
    """The settings that a connection and its replacements are opened with.

    Attributes:
        model: The model that will be used.
        network: The network settings.
        limit: Seconds for connecting.
    """

    model: str
    network: Network
    limit: float


@dataclass(frozen=True, slots=True)
class LanelessError:
    """The effect of an error without a lane on the attempts of a connection.

    Attributes:
        failed: The attempts that fail with `fault`.
        displaced: The attempts whose turns must be sent again on another connection. The attempts
            themselves may still end.
        fault: The fault that the frame reports.
        is_over: Whether the connection accepts no new request.
    """

    fault: Fault
    failed: tuple[Attempt, ...] = ()
    displaced: tuple[Attempt, ...] = ()
    is_over: bool = False


class Connection:
    """A WebSocket, or one HTTP exchange (with a negative number), without I/O.

    Attributes:
        number: Its number.
        opening: The settings that it was opened with.
        replaces: The number of the connection that it replaces, or None.
        is_trial: Whether it is opened to check if the host's WebSocket works again.
        state: Its state.
        has_responded: Whether a frame for one of its attempts ever arrived.
        last_error: An error that arrived while no attempt ran; it explains a close that follows.
        heard_at: When the last data, ping or pong arrived.
        pinged_at: When a ping was sent that is not answered yet; else None.
        is_doubted: Whether a turn on it timed out and nothing has arrived since.
        unsent: Bytes that are not written yet, by attempt.
        held: A ``created`` without a lane, until the next frame tells whether the host ignores
            lanes or the frame was a stray one.
        lanes_proved: Whether a response on it named its lane.
        address: The address that it asks, with the method, without the query.
        secrets: The credentials that its host was sent.
        began: When it began to be opened.
        opened_at: When it was open.
    """

    def __init__(
        self,
        number: int,
        opening: Opening,
        *,
        replaces: int | None = None,
        is_trial: bool = False,
    ) -> None:
        self.number = number
        self.opening = opening
        self.replaces = replaces
        self.is_trial = is_trial
        self.state: State = "connecting"
        self.has_responded = False
        self.last_error: Fault | None = None
        self.heard_at = 0.0
        self.pinged_at: float | None = None
        self.is_doubted = False
        self.unsent: dict[int, int] = {}
        self.held: Frame | None = None
        self.address: str | None = None
        self.secrets = NO_SECRETS
        self.began = 0.0
        self.opened_at = 0.0
        self.lanes_proved = False
        self._running: dict[str | None, deque[Attempt]] = {}
        self._late_frames = LateFrames()

    def __repr__(self) -> str:
        attempts = [attempt.number for attempt in self.attempts()]
        return f"<Connection {self.number}: {self.state}, attempts {attempts}>"

    @property
    def is_exchange(self) -> bool:
        """Whether it is an HTTP exchange; their numbers are negative."""
        return self.number < 0

    def become(self, state: State) -> None:
        """Change the state.

        Raises:
            RuntimeError: If the change is not allowed; a bug in this library.
        """
        self.state = change(f"connection {self.number}", TRANSITIONS, self.state, state)

    def heard(self, now: float) -> None:
        """Record that data, a ping or a pong arrived."""
        self.heard_at = now
        self.pinged_at = None
        self.is_doubted = False

    def snapshot(self) -> ConnectionSnapshot:
        """Return its state now."""
        attempts = self.attempts()
        return ConnectionSnapshot(
            self.number,
            self.state,
            tuple(attempt.number for attempt in attempts),
            sum(1 for attempt in attempts if attempt.abandoned is not None),
            sum(self.unsent.values()),
            self.is_doubted,
        )

    # -- its attempts -----------------------------------------------------------------------

    def attempts(self) -> list[Attempt]:
        """List its running attempts, in the order in which they were sent."""
        running = [attempt for queue in self._running.values() for attempt in queue]
        return sorted(running, key=lambda attempt: attempt.number)

    @property
    def is_idle(self) -> bool:
        """Whether no attempt runs on it."""
        return not any(self._running.values())

    def add(self, attempt: Attempt) -> None:
        """Expect the response of an attempt."""
        self._running.setdefault(attempt.lane, deque()).append(attempt)

    def remove(self, attempt: Attempt) -> None:
        """Expect nothing more of an attempt, whichever queue holds it by now."""
        self.unsent.pop(attempt.number, None)
        for queue in self._running.values():
            if attempt in queue:
                queue.remove(attempt)
        if isinstance(attempt.decoder, ResponsesDecoder):
            running = [
                other.decoder
                for other in self.attempts()
                if isinstance(other.decoder, ResponsesDecoder)
            ]
            self._late_frames.ended(attempt.decoder, running)

    # -- routing -------------------------------------------------------------------------------

    def route(self, frame: Frame) -> Attempt | LanelessError | None:
        """Find the attempt that a frame is for.

        Returns:
            The attempt; the effect of an error without a lane; or None for a frame without attempt.
        """
        lane = frame.lane
        queue = self._running.get(lane)
        if lane is None and not (queue and self.has_responded):
            if frame.is_error:
                if not queue or self._may_be_answered_anyway(self._fault_of(frame)):
                    return self._route_error(frame)
            elif not queue and frame.type == "response.created":
                self.held = None if self.lanes_proved or self.is_idle else frame
            elif not queue and self.held is not None:
                queue = self._answer_in_order()
        if not queue:
            return None
        attempt = queue[0]
        decoder = attempt.decoder
        if isinstance(decoder, ResponsesDecoder) and self._late_frames.is_late(frame, decoder):
            return None
        if lane is not None:
            self.lanes_proved, self.held = True, None
        self.has_responded = True
        return attempt

    def _answer_in_order(self) -> deque[Attempt] | None:
        """Expect responses in the order of the requests: the host ignores lanes."""
        attempts = self.attempts()
        if not attempts:
            return None
        self._running = {None: deque(attempts)}
        return self._running[None]

    def _route_error(self, frame: Frame) -> LanelessError | None:
        """Find the attempts that an error without a lane concerns.

        It belongs to a request only if exactly one request can be meant. Otherwise it belongs to
        the connection: requests that are not accepted yet are sent on another one, and running ones
        may end.
        """
        fault = self._fault_of(frame)
        attempts = self.attempts()
        waiting = tuple(attempt for attempt in attempts if attempt.is_waiting)
        if not attempts:
            self.last_error = fault
            return None
        if refuses_lanes(fault) and len(waiting) > 1:
            # One error follows for each request, and none tells which request it belongs to.
            return LanelessError(fault, failed=waiting, is_over=True)
        is_over = ends_connection(fault)
        if len(waiting) == 1 or (not waiting and len(attempts) == 1 and not is_over):
            failed = waiting or tuple(attempts)
            # If a host names lanes, its response may still come. The next request on that lane
            # would take it for its own.
            may_come = self.lanes_proved and failed[0].lane is not None
            may_come = may_come or self._may_be_answered_anyway(fault)
            is_over = is_over or (may_come and not refuses_lanes(fault))
            return LanelessError(fault, failed=failed, is_over=is_over)
        if not is_over:
            fault = belongs_to_connection(fault)
        return LanelessError(fault, displaced=waiting, is_over=True)

    def _fault_of(self, frame: Frame) -> Fault:
        return self.secrets.redact(from_error(*error_of(frame)))

    def _may_be_answered_anyway(self, fault: Fault) -> bool:
        """Whether a request may be answered in spite of an error.

        A busy service's or a proxy's error that comes before all else may be about the connection.
        The response would then be taken for the next request's.
        """
        return not self.has_responded and may_concern_connection(fault)

    def close_reason(self, fault: Fault) -> Fault:
        """Return the reason why the connection was closed.

        Seen: hosts that accept the upgrade, send an error that explains the refusal, and close.
        """
        return fault if self.has_responded else self.last_error or fault
