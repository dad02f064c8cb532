"""The turns of one event loop on its sockets: placed, sent, drained and remembered."""

import asyncio
import logging
import weakref
from collections.abc import Callable
from contextvars import Context

from rtllm.conversations import CONVERSATIONS, Conversation, Membership
from rtllm.dispatch import Dispatch, Placement
from rtllm.events import Ended
from rtllm.faults import Fault, Kind
from rtllm.hosts import Endpoint
from rtllm.request import Record
from rtllm.transport.attempt import Attempt
from rtllm.transport.auth import Credentials
from rtllm.transport.booking import settle
from rtllm.transport.dial import FaultError
from rtllm.transport.route import Asked
from rtllm.transport.sockets import DRAIN_LIMIT, EXCHANGE_LIMIT, Opening, Sockets
from rtllm.turn import Limits, Retry, Turn
from rtllm.usage import Account, Books

logger = logging.getLogger(__name__)


class Pool:
    """The turns of one client on one event loop.

    Readers and timers hold it, and the event loop holds those: nothing here may lead to the
    client, or a client that is dropped would stay.

    Args:
        endpoint: Where to connect.
        credentials: Asked at each handshake; the client alone holds them.
        dispatch: Places the turns.
        books: Where attempts are counted.
        spare: How many warm connections to keep on a host without lanes.
        rebuild: Whether the last states of a connection are prepared on the one that takes its
            place, where nothing else remembers them; that costs their input tokens.
        on_lanes_gone: Called when the host proves to have no lanes.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        credentials: weakref.ref[Credentials],
        dispatch: Dispatch,
        books: Books,
        *,
        spare: int,
        rebuild: bool,
        on_lanes_gone: Callable[[], None],
    ) -> None:
        self._books = books
        held = credentials()
        self.renewable = held is not None and held.renewable
        """Whether the next connection may prove its right with another key."""
        self._max_frame = endpoint.profile.max_frame
        self._on_lanes_gone = on_lanes_gone
        self._loop = asyncio.get_running_loop()
        self._dispatch = dispatch
        self._fleet = dispatch.fleet
        self._sockets = Sockets(
            endpoint,
            credentials,
            dispatch,
            spare=spare,
            on_lanes_ignored=self.refused_lanes,
            on_exchanged=self._exchanged,
        )
        self._asked: dict[int, Asked] | None = {} if rebuild else None
        self._rebuilding: set[asyncio.Task[None]] = set()
        self.on_answered: Callable[[], None] = _nothing
        """Called when an answer came to its end."""

    @property
    def newest_connection(self) -> int:
        """The number of the newest connection that is open."""
        return self._sockets.newest

    # -- turns -------------------------------------------------------------------------------

    async def launch(
        self,
        asked: Asked,
        member: Membership,
        turn: Turn,
        *,
        whole: bool,
        bare: bool,
        avoid: set[int],
    ) -> Attempt:
        """Send a turn's request where it costs least.

        Args:
            asked: The request.
            member: The conversation it belongs to.
            turn: The turn, which says how long to wait.
            whole: Whether to send the whole context even if a part of it is known.
            bare: Whether to leave out what the framework doesn't record.
            avoid: Connections not to use.

        Returns:
            The attempt, whose events follow.

        Raises:
            FaultError: If it couldn't be sent.
        """
        while True:
            if self._sockets.closed:
                raise FaultError(Fault(Kind.CLOSED, "the client was closed"))
            plan, seat = self._dispatch.place(
                member,
                asked.model,
                self._loop.time(),
                whole=whole,
                bare=bare,
                avoid=avoid | self._sockets.doubted,
            )
            if seat is not None and seat.is_open:
                break
            if seat is None:
                number = self._sockets.open(_opening_of(asked, turn))
            else:
                number = seat.connection
            await self._sockets.opened(number, turn)
        # Nothing is awaited from here to the sending, so the decision stays true.
        frame = asked.frame(plan, seat.lane)
        if len(frame) > self._max_frame:
            raise FaultError(_too_large(len(frame), self._max_frame))
        placement = Placement(
            member.conversation,
            member.context,
            asked.model,
            asked.stored,
            plan,
            seat,
            generates=not asked.warm_up,
        )
        if self._asked is not None and not asked.warm_up:
            self._asked.pop(member.conversation.number, None)
            self._asked[member.conversation.number] = asked.detached()
            if len(self._asked) > CONVERSATIONS:
                del self._asked[next(iter(self._asked))]
        attempt = self._take(placement, turn, len(frame), asked.record)
        self._sockets.keep_spares(_opening_of(asked, turn))
        await self._send(attempt, turn, frame)
        return attempt

    async def _send(self, attempt: Attempt, turn: Turn, frame: bytes) -> None:
        turn.sent(self._loop.time())
        connection = self._sockets[attempt.placement.seat.connection]
        try:
            await connection.send(attempt, frame, turn.limits.base)
        except FaultError as error:
            attempt.fail(error.fault)
            raise
        except asyncio.CancelledError:
            self.abandon(attempt, "cut")  # what was begun counts as sent
            raise

    def _take(self, placement: Placement, turn: Turn, size: int, record: Record) -> Attempt:
        number = self._dispatch.next_attempt()
        attempt = Attempt(number, turn, placement, size, record, self._in_progress, self._ended)
        self._dispatch.take(number, placement, self._loop.time())
        for surplus in self._fleet.surplus():
            self._sockets.retire(surplus)
        return attempt

    def abandon(self, attempt: Attempt, account: Account) -> None:
        """Let an attempt run out in the background; waits for nothing."""
        if attempt.finished:
            return
        attempt.abandon(account)
        self._dispatch.abandon(attempt.number)
        if attempt.ran_out:
            # A connection may be dead without a word: no turn shall wait for it once more.
            self._sockets.probe(self._loop.time() - attempt.gap / 2)
        self._limit_drain(attempt)

    def refused_lanes(self) -> None:
        """The host has no lanes: use none from now on."""
        self._fleet.without_lanes()
        self._on_lanes_gone()

    def is_mute(self, attempt: Attempt) -> bool:
        """Whether nothing ever came over the connection of an attempt."""
        return self._sockets.is_mute(attempt.placement.seat.connection)

    def was_too_large(self, attempt: Attempt) -> None:
        """The host closed at a frame: no such large one goes to it again."""
        self._max_frame = min(self._max_frame, attempt.size - 1)

    # -- what happens to attempts ------------------------------------------------------------

    def _in_progress(self, attempt: Attempt) -> None:
        self._fleet.in_progress(attempt.number)

    def _ended(self, attempt: Attempt) -> None:
        settle(attempt, self._dispatch, self._books)
        if attempt.fault is None:
            self.on_answered()

    def _give_up(self, attempt: Attempt) -> None:
        """A cut answer doesn't end: its connection goes, as soon as no turn needs it."""
        number = attempt.placement.seat.connection
        if attempt.finished:
            return
        if self._fleet.runs_only_drains(number):
            logger.info("connection %d is given up: a cut answer doesn't end", number)
            self._sockets.retire(number, limit=0.0)
        else:
            self._limit_drain(attempt)

    def _limit_drain(self, attempt: Attempt) -> None:
        # Without a context of its own the timer would keep the caller's, and so its agent.
        attempt.drain_limit = self._loop.call_later(
            DRAIN_LIMIT, self._give_up, attempt, context=Context()
        )

    # -- connections -------------------------------------------------------------------------

    def warm(self, opening: Opening) -> None:
        """Begin to open a connection if none is spare."""
        self._sockets.keep_spares(opening, at_least=1)

    def try_out(self, opening: Opening, told: Callable[[Fault | None], None]) -> None:
        """Open a connection beside a turn that doesn't wait for it, and tell what came of it."""
        self._sockets.try_out(opening, told)

    def _exchanged(self, old: int, new: int) -> None:
        """An open connection takes the place of an old one."""
        if self._asked is None:
            self._leave(old, new)
            return
        task = self._loop.create_task(
            self._rebuild(old, new), name=f"rtllm rebuild {new}", context=Context()
        )
        self._rebuilding.add(task)
        task.add_done_callback(self._rebuilding.discard)

    def _leave(self, old: int, new: int) -> None:
        self._dispatch.exchanged(old, new)
        self._sockets.retire(old, limit=EXCHANGE_LIMIT)

    async def _rebuild(self, old: int, new: int) -> None:
        """Let a new connection take in what only the old one remembers, then leave that."""
        try:
            for conversation in self._dispatch.rebuildable(old, self._loop.time()):
                await self._prepare(conversation, new)
        except FaultError as error:
            logger.info("connection %d isn't prepared: %s", new, error.fault.message)
        finally:
            self._leave(old, new)

    async def _prepare(self, conversation: Conversation, new: int) -> None:
        """Send a conversation's last state whole, so that the next turn continues it."""
        asked = (self._asked or {}).get(conversation.number)
        placement = self._dispatch.rebuilding(conversation, new, self._loop.time())
        if asked is None or placement is None:
            return
        frame = asked.frame(placement.plan, placement.seat.lane, generate=False)
        if len(frame) > self._max_frame:
            return
        turn = Turn(Limits(), Retry(budget=0), self._loop.time())
        attempt = self._take(placement, turn, len(frame), lambda _: ())
        await self._send(attempt, turn, frame)
        while not isinstance(event := await attempt.next(), Ended):
            if isinstance(event, Fault):
                self.abandon(attempt, "warm-up")
                raise FaultError(event)

    def shut(self) -> None:
        """Use none of the sockets any more: what is asked while they close finds others."""
        self._sockets.shut()

    async def aclose(self) -> None:
        """Close everything within a limit; turns that still run end with an error."""
        self.shut()
        for task in list(self._rebuilding):
            task.cancel()
        await asyncio.gather(*self._rebuilding, return_exceptions=True)
        await self._sockets.aclose()


def _opening_of(asked: Asked, turn: Turn) -> Opening:
    return Opening(asked.model, asked.network, turn.limits.connect)


def _nothing() -> None:
    """Nobody listens."""


def _too_large(size: int, limit: int) -> Fault:
    message = f"the request has {size} bytes, more than the {limit} that the host takes in a frame"
    return Fault(Kind.TOO_LARGE, message)
