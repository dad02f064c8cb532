"""Connections of an engine: opened, kept warm, watched, replaced and closed."""

from collections.abc import Callable, Iterable, Iterator

from rtllm.engine.actions import Action, Close, Connect, Ping
from rtllm.engine.attempt import Attempt
from rtllm.engine.connection import Connection, Opening
from rtllm.engine.timers import Timers
from rtllm.engine.tracing import Tracer
from rtllm.retry.faults import Fault
from rtllm.scheduling.connection_pool import ConnectionPool

TimerKey = tuple[str, int]
"""The purpose of a deadline, and the number of its turn, attempt or connection."""

PING_AFTER = 20.0
"""Seconds of silence on a connection before a ping is sent."""
PONG_LIMIT = 10.0
"""Seconds to wait for a pong; after that the connection counts as lost."""
END_LIMIT = 2.0
"""Seconds in which an HTTP exchange may end by itself once its response is complete."""
MAX_UNSENT = 256 * 2**10
"""Bytes waiting to be written above which no new request is sent on a connection."""
LARGE_FRAME = 2**20
"""Bytes above which a request is written on a connection that no other conversation uses."""


class Connections:
    """The connections of one engine.

    Args:
        emit: Adds an action.
        timers: The engine's deadlines.
        pool: Knows which conversations use the open connections.
        warm: How many to keep open in advance on a host without lanes.
        trace: Emits the trace events.
    """

    def __init__(
        self,
        emit: Callable[[Action], None],
        timers: Timers[TimerKey],
        pool: ConnectionPool,
        warm: int,
        trace: Tracer,
    ) -> None:
        self._emit = emit
        self._timers = timers
        self._pool = pool
        self._warm = warm
        self._trace = trace
        self._by_number: dict[int, Connection] = {}
        self._exchanges = 0

    def __iter__(self) -> Iterator[Connection]:
        return iter(list(self._by_number.values()))

    def __repr__(self) -> str:
        return f"<Connections {list(self._by_number.values())}>"

    def find(self, number: int) -> Connection | None:
        """Find a connection that is not closed."""
        return self._by_number.get(number)

    @property
    def newest(self) -> int:
        """The number of the newest open connection; 0 if there is none."""
        connections = self._by_number.values()
        opened = (c for c in connections if c.state == "open" and not c.is_exchange)
        return max((connection.number for connection in opened), default=0)

    def list_unsuitable(self) -> set[int]:
        """List the connections that should not get a new request just now."""
        return {
            number
            for number, connection in self._by_number.items()
            if connection.is_doubted
            or (connection.unsent and sum(connection.unsent.values()) > MAX_UNSENT)
        }

    def is_unresponsive(self, number: int) -> bool:
        """Whether a connection is open, and no frame ever arrived for a request on it."""
        connection = self._by_number.get(number)
        return (
            connection is not None
            and not connection.is_exchange
            and connection.state == "open"
            and not connection.has_responded
        )

    def others_respond(self, number: int) -> bool:
        """Whether another open connection has responded."""
        return any(
            connection.has_responded and connection.state == "open"
            for other, connection in self._by_number.items()
            if not connection.is_exchange and other != number
        )

    def find_silent(self, numbers: Iterable[int], since: float) -> int | None:
        """Find the connection that has been silent for longest, if it has been since a moment.

        Args:
            numbers: The open connections to look at.
            since: Seconds on the clock of the facts.
        """
        found = (self._by_number[number] for number in numbers if number in self._by_number)
        silent = [connection for connection in found if connection.heard_at <= since]
        return min(silent, key=lambda c: c.heard_at).number if silent else None

    # -- opening -------------------------------------------------------------------------------

    def open(
        self,
        opening: Opening,
        now: float,
        *,
        replaces: int | None = None,
        is_trial: bool = False,
        is_spare: bool = False,
    ) -> int:
        """Begin to open a connection; return its number."""
        number = self._pool.add(opening.model)
        connection = Connection(number, opening, replaces=replaces, is_trial=is_trial)
        connection.began = now
        self._by_number[number] = connection
        self._trace.opening(connection, now, is_spare=is_spare)
        self._emit(Connect(number, opening.model, opening.network))
        self._timers.set(("connect", number), now + opening.limit)
        return number

    def open_exchange(self, opening: Opening) -> Connection:
        """Register a new HTTP exchange."""
        self._exchanges -= 1
        connection = Connection(self._exchanges, opening)
        self._by_number[connection.number] = connection
        return connection

    def opened(self, connection: Connection, now: float) -> None:
        """Record that a connection is open."""
        connection.become("open")
        connection.opened_at = now
        connection.heard(now)
        self._trace.opened(connection, now)
        if not connection.is_exchange:
            self._timers.clear(("connect", connection.number))
            self._timers.set(("ping", connection.number), now + PING_AFTER)
            self._pool.mark_open(connection.number, now)

    def keep_warm(self, opening: Opening, now: float, at_least: int = 0) -> None:
        """Begin to open the warm connections that are missing."""
        for _ in range(self._pool.count_missing_warm(max(self._warm, at_least))):
            self.open(opening, now, is_spare=True)

    def replace_old(self, now: float) -> list[int]:
        """Begin to replace connections near the end of their lifetime.

        Returns:
            The numbers of connections that were unused for long, to be closed.
        """
        due = self._pool.upkeep(now)
        for number in due.rotate:
            if (connection := self._by_number.get(number)) is not None:
                self.open(connection.opening, now, replaces=number)
        if due.next_at is not None:
            self._timers.set(("upkeep", 0), due.next_at)
        return list(due.close)

    # -- watching ------------------------------------------------------------------------------

    def mark_doubted(self, since: float, now: float) -> None:
        """Ping the connections that have been silent since a moment, and mark them as doubted."""
        for connection in self._by_number.values():
            if connection.is_exchange or connection.state != "open":
                continue
            if connection.heard_at < since:
                connection.is_doubted = True
                self._ping(connection, now)

    def check_liveness(self, connection: Connection, now: float) -> bool:
        """Check a connection whose silence may have lasted too long; ping it if it has.

        Returns:
            Whether its pong did not arrive in time.
        """
        if connection.pinged_at is not None:
            return now >= connection.pinged_at + PONG_LIMIT
        if now >= connection.heard_at + PING_AFTER:
            self._ping(connection, now)
        else:
            self._timers.set(("ping", connection.number), connection.heard_at + PING_AFTER)
        return False

    def _ping(self, connection: Connection, now: float) -> None:
        if connection.pinged_at is None:
            connection.pinged_at = now
            self._emit(Ping(connection.number))
            self._timers.set(("ping", connection.number), now + PONG_LIMIT)

    # -- closing -------------------------------------------------------------------------------

    def close_when_idle(self, connection: Connection, now: float, limit: float) -> None:
        """Send no new request on a connection; it is closed once its attempts have ended.

        Args:
            connection: The connection; one that is still connecting is left as it is.
            now: Seconds on the clock of the facts.
            limit: Seconds that its attempts may take.
        """
        if connection.state == "open":
            self._pool.remove(connection.number)
            connection.become("closing")
            self._timers.set(("close", connection.number), now + limit)

    def retire(self, number: int, now: float, limit: float) -> None:
        """Send no new request on a connection, and close it once its attempts have ended.

        Args:
            number: The connection.
            now: Seconds on the clock of the facts.
            limit: Seconds that its attempts may take.
        """
        if (connection := self._by_number.get(number)) is not None:
            self.close_when_idle(connection, now, limit)
            self.remove_idle([number], now)

    def let_end(self, connection: Connection, now: float) -> None:
        """Let an HTTP exchange end by itself, so that its connection can be reused."""
        if connection.state == "open":
            connection.become("closing")
            self._timers.set(("close", connection.number), now + END_LIMIT)
        else:
            self.remove(connection, now)

    def remove(
        self, connection: Connection, now: float, fault: Fault | None = None, *, close: bool = True
    ) -> list[Attempt]:
        """Remove a connection.

        Args:
            connection: The connection.
            now: When.
            fault: Why; None if it is no longer needed.
            close: Whether it must be closed; False if it is closed already.

        Returns:
            The attempts that ran on it.
        """
        number = connection.number
        if self._by_number.pop(number, None) is None:
            return []
        self._pool.remove(number)
        for kind in ("connect", "ping", "close"):
            self._timers.clear((kind, number))
        if close:
            self._emit(Close(number))
        self._trace.closed(connection, fault, now, by_host=not close)
        connection.become("closed")
        return connection.attempts()

    def remove_idle(self, numbers: Iterable[int], now: float) -> None:
        """Close the connections on which no attempt runs."""
        for number in numbers:
            connection = self._by_number.get(number)
            if connection is not None and connection.is_idle:
                self.remove(connection, now)
