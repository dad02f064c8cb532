"""The connections of one event loop: opens, sends, drains and closes as the fleet says."""

import asyncio
import itertools
import logging
from collections.abc import Callable
from contextvars import Context
from typing import Any, Protocol

from rtllm.chain import Outline, Plan
from rtllm.conversations import Conversation
from rtllm.dispatch import Dispatch, Placement
from rtllm.faults import Fault, Kind
from rtllm.hosts import Endpoint
from rtllm.items import Item
from rtllm.transport.attempt import Attempt, Record
from rtllm.transport.auth import Credentials
from rtllm.transport.connection import Connection
from rtllm.transport.dial import Dialer, FaultError, Network
from rtllm.turn import Turn
from rtllm.usage import Account, Books

logger = logging.getLogger(__name__)

DRAIN_LIMIT = 60.0
"""Seconds that a cut answer may take to run out before it is given up."""


class Asked(Protocol):
    """What the pool must know of a request."""

    @property
    def outline(self) -> Outline:
        """The legal context."""

    @property
    def model(self) -> str:
        """The model that shall answer."""

    @property
    def stored(self) -> bool:
        """Whether the service shall store the answer."""

    @property
    def network(self) -> Network:
        """What to open connections with."""

    @property
    def warm_up(self) -> bool:
        """Whether the service shall only prepare the context."""

    def frame(self, plan: Plan, lane: str | None) -> bytes:
        """Encode the request as planned."""

    def completion(self) -> dict[str, Any]:
        """Encode the request for Chat Completions."""

    def record(self, output: tuple[Item, ...]) -> tuple[Item, ...] | None:
        """The items that the framework will record for an output, None if it can't."""


class Pool:
    """The connections of one client on one event loop.

    Args:
        endpoint: Where to connect.
        credentials: Asked at each handshake.
        books: Where attempts are counted.
        lanes: Whether the host takes lanes, as far as is known.
        spare: How many warm connections to keep on a host without lanes.
        on_lanes_gone: Called when the host proves to have no lanes.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        credentials: Credentials,
        books: Books,
        *,
        lanes: bool,
        spare: int,
        on_lanes_gone: Callable[[], None],
    ) -> None:
        self._endpoint = endpoint
        self._books = books
        self._spare = spare
        self._on_lanes_gone = on_lanes_gone
        self._loop = asyncio.get_running_loop()
        self._dialer = Dialer(credentials)
        self._dispatch = Dispatch(lanes=lanes)
        self._fleet = self._dispatch.fleet
        self._connections: dict[int, Connection] = {}
        self._opening: dict[int, asyncio.Task[Connection | Fault]] = {}
        self._leaving: dict[asyncio.Task[None], Connection] = {}
        self._numbers = itertools.count(1)
        self._closed = False

    @property
    def newest_connection(self) -> int:
        """The number of the newest connection that is open."""
        return max(self._connections, default=0)

    # -- turns -------------------------------------------------------------------------------

    def conversation_of(self, asked: Asked) -> Conversation:
        """The conversation that a request belongs to."""
        if asked.warm_up:
            return self._dispatch.warming(asked.outline)
        return self._dispatch.conversation_of(asked.outline, asked.model)

    async def launch(
        self,
        asked: Asked,
        conversation: Conversation,
        turn: Turn,
        *,
        whole: bool,
        avoid: set[int],
    ) -> Attempt:
        """Send a turn's request where it costs least.

        Args:
            asked: The request.
            conversation: The conversation it belongs to.
            turn: The turn, which says how long to wait.
            whole: Whether to send the whole context even if a part of it is known.
            avoid: Connections not to use.

        Returns:
            The attempt, whose events follow.

        Raises:
            FaultError: If it couldn't be sent.
        """
        while True:
            if self._closed:
                raise FaultError(Fault(Kind.CLOSED, "the client was closed"))
            plan, seat = self._dispatch.place(
                conversation,
                asked.outline,
                asked.model,
                self._loop.time(),
                whole=whole,
                avoid=avoid,
            )
            if seat is not None and seat.is_open:
                break
            if seat is None:
                number = self._open(asked.model, asked.network, turn.limits.connect)
            else:
                number = seat.connection
            await self._opened(number, turn)
        # Nothing is awaited from here to the sending, so the decision stays true.
        frame = asked.frame(plan, seat.lane)
        if len(frame) > self._endpoint.profile.max_frame:
            raise FaultError(_too_large(len(frame), self._endpoint.profile.max_frame))
        placement = Placement(conversation, asked.outline, asked.model, asked.stored, plan, seat)
        attempt = self._take(placement, turn, len(frame), asked.record)
        self._keep_spares(asked, turn.limits.connect)
        turn.sent(self._loop.time())
        try:
            await self._connections[seat.connection].send(attempt, frame, turn.limits.base)
        except FaultError as error:
            attempt.fail(error.fault)
            raise
        except asyncio.CancelledError:
            self.abandon(attempt, "cut")  # what was begun counts as sent
            raise
        return attempt

    def _take(self, placement: Placement, turn: Turn, size: int, record: Record) -> Attempt:
        number = next(self._numbers)
        attempt = Attempt(number, turn, placement, size, record, self._in_progress, self._ended)
        self._dispatch.take(number, placement, self._loop.time())
        for surplus in self._fleet.surplus():
            self._retire(surplus)
        return attempt

    def abandon(self, attempt: Attempt, account: Account) -> None:
        """Let an attempt run out in the background; waits for nothing."""
        if attempt.finished:
            return
        attempt.abandon(account)
        self._fleet.abandon(attempt.number)
        attempt.drain_limit = self._loop.call_later(DRAIN_LIMIT, self._give_up, attempt)

    def refused_lanes(self) -> None:
        """The host has no lanes: use none from now on."""
        self._fleet.without_lanes()
        self._on_lanes_gone()

    def missed(self, attempt: Attempt) -> None:
        """The service no longer knows what an attempt continued."""
        self._dispatch.missed(attempt.placement)

    # -- what happens to attempts ------------------------------------------------------------

    def _in_progress(self, attempt: Attempt) -> None:
        self._fleet.in_progress(attempt.number)

    def _ended(self, attempt: Attempt) -> None:
        """Book an attempt, and remember what it came to."""
        ended = attempt.ended
        response_id = None
        warm_up = attempt.placement.warm_up
        whole = ("completed", "empty") if warm_up else ("completed",)
        if ended is not None and attempt.fault is None and ended.outcome in whole:
            response_id = ended.response_id
        recorded = None if response_id is None else attempt.record(attempt.assembler.output())
        self._dispatch.ended(attempt.number, response_id, recorded)
        failed = attempt.fault is not None or ended is None or ended.outcome == "empty"
        account: Account = attempt.abandoned or ("failed" if failed else "answered")
        if warm_up:
            account = "warm-up"
        self._books.enter(account, ended.usage if ended is not None else None)

    def _give_up(self, attempt: Attempt) -> None:
        """A cut answer doesn't end: its connection goes, as soon as no turn needs it."""
        number = attempt.placement.seat.connection
        if attempt.finished:
            return
        if self._fleet.runs_only_drains(number):
            logger.info("connection %d is given up: a cut answer doesn't end", number)
            self._retire(number, at_once=True)
        else:
            attempt.drain_limit = self._loop.call_later(DRAIN_LIMIT, self._give_up, attempt)

    # -- connections -------------------------------------------------------------------------

    def _open(self, model: str, network: Network, limit: float) -> int:
        """Begin to open a connection; returns its number."""
        number = self._fleet.opening()
        self._opening[number] = self._loop.create_task(
            self._dial(number, model, network, limit),
            name=f"rtllm dial {number}",
            context=Context(),
        )
        return number

    def warm(self, model: str, network: Network, limit: float) -> None:
        """Begin to open a connection if none is spare."""
        if not self._closed and self._fleet.spares_missing(1):
            self._open(model, network, limit)

    async def _dial(
        self, number: int, model: str, network: Network, limit: float
    ) -> Connection | Fault:
        fault = Fault(Kind.CLOSED, "the client was closed")
        try:
            url = self._endpoint.for_model(model)
            socket = await self._dialer.dial(url, network, limit)
        except FaultError as error:
            fault = error.fault
        except Exception as error:
            logger.exception("connection %d couldn't be opened", number)
            fault = Fault(Kind.UNREACHABLE, f"no connection: {type(error).__name__}")
        else:
            connection = Connection(number, socket, self._lost, self.refused_lanes)
            self._connections[number] = connection
            self._fleet.opened(number)
            return connection
        finally:
            self._opening.pop(number, None)
            if number not in self._connections:
                self._fleet.lost(number)
        logger.debug("connection %d couldn't be opened: %s", number, fault.kind.name)
        return fault

    async def _opened(self, number: int, turn: Turn) -> None:
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

    def _keep_spares(self, asked: Asked, limit: float) -> None:
        for _ in range(self._fleet.spares_missing(self._spare)):
            self._open(asked.model, asked.network, limit)

    def _lost(self, number: int) -> None:
        """A connection can no longer be used; it tells its attempts itself."""
        self._fleet.lost(number)
        connection = self._connections.pop(number, None)
        if connection is not None:
            self._leave(connection)

    def _retire(self, number: int, *, at_once: bool = False) -> None:
        """Use a connection for nothing new, and close it when nothing runs on it."""
        self._fleet.lost(number)
        connection = self._connections.pop(number, None)
        if connection is not None:
            self._leave(connection, at_once=at_once)

    def _leave(self, connection: Connection, *, at_once: bool = False) -> None:
        task = self._loop.create_task(
            connection.close() if at_once else connection.close_when_idle(DRAIN_LIMIT),
            name=f"rtllm close {connection.number}",
            context=Context(),
        )
        self._leaving[task] = connection
        task.add_done_callback(self._leaving.pop)

    async def aclose(self) -> None:
        """Close everything within a limit; turns that still run end with an error."""
        self._closed = True
        opening = list(self._opening.values())
        for task in opening:
            task.cancel()
        await asyncio.gather(*opening, return_exceptions=True)
        connections = [*self._connections.values(), *self._leaving.values()]
        await asyncio.gather(*(connection.close() for connection in connections))
        await asyncio.gather(*self._leaving, return_exceptions=True)
        await self._dialer.aclose()


def _too_large(size: int, limit: int) -> Fault:
    message = f"the request has {size} bytes, more than the {limit} that the host takes in a frame"
    return Fault(Kind.TOO_LARGE, message)
