"""The sockets of one event loop: opened, exchanged, left and closed as the fleet says."""

import asyncio
import logging
import weakref
from collections.abc import Callable
from contextvars import Context
from dataclasses import dataclass

from rtllm.dispatch import Dispatch
from rtllm.faults import Fault, Kind
from rtllm.hosts import Endpoint
from rtllm.request import Network
from rtllm.transport.auth import Credentials
from rtllm.transport.connection import Connection
from rtllm.transport.dial import Dialer, FaultError
from rtllm.turn import Turn

logger = logging.getLogger(__name__)

DRAIN_LIMIT = 60.0
"""Seconds that a cut answer may take to run out before it is given up."""
EXCHANGE_LIMIT = 180.0
"""Seconds that answers may take to end on a connection that has another in its place."""


@dataclass(frozen=True, slots=True)
class Opening:
    """What a connection is opened with, and another one in its place.

    Attributes:
        model: The model that will be asked.
        network: What to connect with.
        limit: Seconds for the connection.
    """

    model: str
    network: Network
    limit: float


class Sockets:
    """The sockets of one client on one event loop.

    Args:
        endpoint: Where to connect.
        credentials: Asked at each handshake; the client alone holds them.
        dispatch: Knows what the connections are for.
        spare: How many warm connections to keep.
        on_lanes_ignored: Called when the host proves to ignore lanes.
        on_exchanged: Called with the numbers of an old connection and of the open one in its
            place; who is called retires the old one.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        credentials: weakref.ref[Credentials],
        dispatch: Dispatch,
        *,
        spare: int,
        on_lanes_ignored: Callable[[], None],
        on_exchanged: Callable[[int, int], None],
    ) -> None:
        self._endpoint = endpoint
        self._spare = spare
        self._on_lanes_ignored = on_lanes_ignored
        self._on_exchanged = on_exchanged
        self._loop = asyncio.get_running_loop()
        self._dialer = Dialer(credentials)
        self._fleet = dispatch.fleet
        self._connections: dict[int, Connection] = {}
        self._opening: dict[int, asyncio.Task[Connection | Fault]] = {}
        self._openings: dict[int, Opening] = {}
        self._upkeep: asyncio.TimerHandle | None = None
        self._leaving: dict[asyncio.Task[None], Connection] = {}
        self.closed = False

    @property
    def newest(self) -> int:
        """The number of the newest connection that is open."""
        return max(self._connections, default=0)

    def __getitem__(self, number: int) -> Connection:
        """An open connection."""
        return self._connections[number]

    def is_mute(self, number: int) -> bool:
        """Whether a connection is open and never said a word."""
        connection = self._connections.get(number)
        return connection is not None and connection.is_mute

    @property
    def doubted(self) -> set[int]:
        """The numbers of connections that owe a sign of life."""
        return {number for number, c in self._connections.items() if c.doubted}

    def probe(self, since: float) -> None:
        """Ask those connections for a sign of life that gave none since a moment."""
        for connection in self._connections.values():
            connection.probe(since)

    def open(self, opening: Opening) -> int:
        """Begin to open a connection; returns its number."""
        number = self._fleet.opening(opening.model)
        self._openings[number] = opening
        self._opening[number] = self._loop.create_task(
            self._dial(number, opening),
            name=f"rtllm dial {number}",
            context=Context(),
        )
        return number

    def keep_spares(self, opening: Opening, at_least: int = 0) -> None:
        """Begin to open the warm connections that are missing."""
        if not self.closed:
            for _ in range(self._fleet.spares_missing(max(self._spare, at_least))):
                self.open(opening)

    def try_out(self, opening: Opening, told: Callable[[Fault | None], None]) -> None:
        """Open a connection beside a turn that doesn't wait for it, and tell what came of it."""

        def tried(task: asyncio.Task[Connection | Fault]) -> None:
            if not task.cancelled():
                dialled = task.result()
                told(dialled if isinstance(dialled, Fault) else None)

        self._opening[self.open(opening)].add_done_callback(tried, context=Context())

    async def _dial(self, number: int, opening: Opening) -> Connection | Fault:
        fault = Fault(Kind.CLOSED, "the client was closed")
        try:
            url = self._endpoint.for_model(opening.model)
            socket = await self._dialer.dial(url, opening.network, opening.limit)
        except FaultError as error:
            fault = error.fault
        except Exception as error:
            logger.exception("connection %d couldn't be opened", number)
            fault = Fault(Kind.UNREACHABLE, f"no connection: {type(error).__name__}")
        else:
            connection = Connection(number, socket, self._lost, self._on_lanes_ignored)
            self._connections[number] = connection
            self._fleet.opened(number, self._loop.time())
            self._look_after()
            return connection
        finally:
            self._opening.pop(number, None)
            if number not in self._connections:
                self._fleet.lost(number)
                self._openings.pop(number, None)
        logger.debug("connection %d couldn't be opened: %s", number, fault.kind.name)
        return fault

    async def opened(self, number: int, turn: Turn) -> None:
        """Wait until a connection is open, within the turn's limit."""
        task = self._opening.get(number)
        if task is None:
            self._fleet.lost(number)  # it can't come to be any more
            raise FaultError(Fault(Kind.UNREACHABLE, "the connection was never opened"), number)
        self._fleet.wait_for(number, +1)
        try:
            async with asyncio.timeout_at(turn.deadline()[0]):
                dialled = await asyncio.shield(task)
        except TimeoutError:
            raise FaultError(turn.ran_out(), number) from None
        except asyncio.CancelledError:
            if not task.cancelled():
                raise  # it is the turn that was cancelled
            raise FaultError(Fault(Kind.CLOSED, "the client was closed")) from None
        finally:
            self._fleet.wait_for(number, -1)
        if isinstance(dialled, Fault):
            raise FaultError(dialled, number)
        if dialled.last_words is not None and number not in self._connections:
            raise FaultError(dialled.last_words, number)

    # -- upkeep ------------------------------------------------------------------------------

    def _look_after(self) -> None:
        """Exchange old connections, close unused ones, and look again when more is due."""
        if self._upkeep is not None:
            self._upkeep.cancel()
            self._upkeep = None
        if self.closed:
            return
        due = self._fleet.upkeep(self._loop.time())
        for number in due.close:
            logger.debug("connection %d is closed: nobody used it", number)
            self.retire(number)
        for number in due.exchange:
            self._exchange(number)
        if due.next_at is not None:
            self._upkeep = self._loop.call_at(due.next_at, self._look_after, context=Context())

    def _exchange(self, number: int) -> None:
        """Open a connection in the place of an old one, which is left once the new one is open."""

        def opened(task: asyncio.Task[Connection | Fault]) -> None:
            if task.cancelled() or isinstance(task.result(), Fault):
                return  # upkeep names the old one again
            logger.debug("connection %d takes the place of %d", new, number)
            self._on_exchanged(number, new)

        new = self.open(self._openings[number])
        self._opening[new].add_done_callback(opened, context=Context())

    def _lost(self, number: int) -> None:
        """A connection can no longer be used; it tells its attempts itself."""
        was_used = self._fleet.was_used(number)
        self._fleet.lost(number)
        opening = self._openings.pop(number, None)
        connection = self._connections.pop(number, None)
        if connection is not None:
            self._leave(connection, DRAIN_LIMIT)
        ends = connection is not None and connection.was_cancelled
        if was_used and opening is not None and not ends:
            # The caller's next turn finds one open. One that carried nothing has no successor,
            # or a host that closes each connection at once would be dialled for ever.
            self.keep_spares(opening)

    def retire(self, number: int, limit: float = DRAIN_LIMIT) -> None:
        """Use a connection for nothing new, and close it when nothing runs on it.

        Args:
            number: Which.
            limit: Seconds that what runs on it may take; 0 closes it at once.
        """
        self._fleet.lost(number)
        self._openings.pop(number, None)
        connection = self._connections.pop(number, None)
        if connection is not None:
            self._leave(connection, limit)

    def _leave(self, connection: Connection, limit: float) -> None:
        task = self._loop.create_task(
            connection.close_when_idle(limit) if limit else connection.close(),
            name=f"rtllm close {connection.number}",
            context=Context(),
        )
        self._leaving[task] = connection
        task.add_done_callback(self._leaving.pop, context=Context())

    def shut(self) -> None:
        """Use none of the sockets any more: what is asked while they close finds others."""
        self.closed = True
        for number in (*self._connections, *self._opening):
            self._fleet.lost(number)

    async def aclose(self) -> None:
        """Close everything within a limit; turns that still run end with an error."""
        self.shut()
        self._look_after()
        opening = list(self._opening.values())
        for task in opening:
            task.cancel()
        await asyncio.gather(*opening, return_exceptions=True)
        connections = [*self._connections.values(), *self._leaving.values()]
        await asyncio.gather(*(connection.close() for connection in connections))
        await asyncio.gather(*self._leaving, return_exceptions=True)
        await self._dialer.aclose()
