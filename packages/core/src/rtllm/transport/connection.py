"""One socket and its one reader, which gives each frame to the attempt it belongs to."""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Collection, Iterator
from contextlib import suppress
from contextvars import Context
from typing import Protocol

import aiohttp

from rtllm.faults import Fault, Kind, from_close, from_error
from rtllm.transport.dial import FaultError, Socket
from rtllm.wire.frames import Frame, error_of, mapping, read

logger = logging.getLogger(__name__)

CLOSE_LIMIT = 2.0  # seconds
_REMEMBERED = 16  # responses whose late frames are told


class Receiver(Protocol):
    """What takes the frames of one response."""

    @property
    def number(self) -> int:
        """Grows in the order of sending."""

    @property
    def lane(self) -> str | None:
        """The lane it was sent on."""

    @property
    def created(self) -> bool:
        """Whether the service accepted the request."""

    @property
    def finished(self) -> bool:
        """Whether no more frames are due."""

    @property
    def ids(self) -> Collection[str]:
        """The ids by which a late frame of this response can be told."""

    def feed(self, frame: Frame) -> None:
        """Take a frame."""

    def fail(self, fault: Fault) -> None:
        """Take the news that nothing more will come."""


class Connection:
    """A socket with the attempts that run on it.

    Args:
        number: Its number in the fleet.
        socket: The open socket; owned from here on.
        on_lost: Called once when it can no longer be used, with its number.
        on_lanes_ignored: Called when the host proves to ignore lanes.
    """

    def __init__(
        self,
        number: int,
        socket: Socket,
        on_lost: Callable[[int], None],
        on_lanes_ignored: Callable[[], None],
    ) -> None:
        self.number = number
        self._socket = socket
        self._on_lost = on_lost
        self._on_lanes_ignored = on_lanes_ignored
        self._running: dict[str | None, deque[Receiver]] = {}
        self._any_event = False
        self._last_words: Fault | None = None
        self._lost = False
        self._cancelled = False
        self._idle = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._heard_at = self._loop.time()
        self._probe: asyncio.Task[None] | None = None
        self._past: deque[frozenset[str]] = deque(maxlen=_REMEMBERED)
        self._reader = self._loop.create_task(
            self._read(), name=f"rtllm reader {number}", context=Context()
        )

    @property
    def last_words(self) -> Fault | None:
        """What the service said, or the close told, before the connection was lost."""
        return self._last_words

    @property
    def is_mute(self) -> bool:
        """Whether no event ever came."""
        return not self._any_event

    @property
    def was_cancelled(self) -> bool:
        """Whether its reader was cancelled, as by an event loop that ends."""
        return self._cancelled

    @property
    def doubted(self) -> bool:
        """Whether it was asked for a sign of life and has given none yet."""
        return self._probe is not None

    def probe(self, since: float) -> None:
        """Ask for a sign of life if there was none for a while; waits for nothing.

        Args:
            since: A moment on the loop's clock; who was heard from later isn't asked.
        """
        if self._heard_at < since and not self.doubted and not self._lost:
            self._probe = self._loop.create_task(
                self._ping(), name=f"rtllm probe {self.number}", context=Context()
            )

    async def _ping(self) -> None:
        with suppress(TimeoutError, aiohttp.ClientError, OSError):
            async with asyncio.timeout(CLOSE_LIMIT):
                await self._socket.ping()

    def _heard(self) -> None:
        self._heard_at = self._loop.time()
        if self._probe is not None:
            self._probe.cancel()
            self._probe = None

    async def send(self, receiver: Receiver, data: bytes, limit: float) -> None:
        """Send a request; from here on its frames go to its receiver.

        Args:
            receiver: Who takes the frames.
            data: The encoded request.
            limit: Seconds until the socket must have taken it.

        Raises:
            FaultError: If the socket is dead or doesn't take it in time.
        """
        if self._lost or self._socket.closed:
            raise FaultError(Fault(Kind.DROPPED, "the connection was closed already"))
        self._running.setdefault(receiver.lane, deque()).append(receiver)
        self._idle.clear()
        try:
            async with asyncio.timeout(limit):
                await self._socket.send_frame(data, aiohttp.WSMsgType.TEXT)
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            message = (
                f"the connection didn't take the request: {str(error) or type(error).__name__}"
            )
            self._drop(receiver)
            self._lose(Fault(Kind.DROPPED, message))
            raise FaultError(Fault(Kind.DROPPED, message)) from error

    async def close_when_idle(self, limit: float) -> None:
        """Close once nothing runs here any more, or after a limit in seconds."""
        self._note_idle()
        with suppress(TimeoutError):
            async with asyncio.timeout(limit):
                await self._idle.wait()
        await self.close()

    async def close(self) -> None:
        """Close the socket within a limit; what still runs on it fails."""
        self._lose(Fault(Kind.CLOSED, "the client was closed"))
        with suppress(TimeoutError, aiohttp.ClientError, OSError):
            async with asyncio.timeout(CLOSE_LIMIT):
                await self._socket.close()
        tasks = [self._reader, *([self._probe] if self._probe is not None else [])]
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)

    # -- reading -----------------------------------------------------------------------------

    async def _read(self) -> None:
        fault = Fault(Kind.DROPPED, "the reader of the connection stopped")
        try:
            fault = await self._read_until_closed()
        except asyncio.CancelledError:
            self._cancelled = True
            raise
        except Exception as error:
            logger.exception("the reader of connection %d failed", self.number)
            fault = Fault(Kind.DROPPED, f"the reader failed: {type(error).__name__}")
        finally:
            self._lose(fault)

    async def _read_until_closed(self) -> Fault:
        while True:
            message = await self._socket.receive()
            self._heard()
            match message.type:
                case aiohttp.WSMsgType.PING:
                    with suppress(aiohttp.ClientError, OSError):  # the next receive tells why
                        await self._socket.pong(message.data)
                case aiohttp.WSMsgType.PONG:
                    continue
                case aiohttp.WSMsgType.TEXT | aiohttp.WSMsgType.BINARY:
                    frame = read(message.data)
                    if frame is not None:
                        self._route(frame)
                case aiohttp.WSMsgType.ERROR:
                    return Fault(Kind.DROPPED, f"the connection broke: {message.data}")
                case _:
                    reason = message.extra if isinstance(message.extra, str) else ""
                    code = self._socket.close_code
                    fault = from_close(code, reason, before_any_event=not self._any_event)
                    # Seen: hosts that accept the upgrade, then say why not, and close.
                    return fault if self._any_event else self._last_words or fault

    def _route(self, frame: Frame) -> None:
        queue = self._running.get(frame.lane)
        if not queue and frame.lane is None:
            if frame.is_error:
                self._connection_error(frame)
                return
            if frame.type == "response.created":
                queue = self._without_lanes()
        if not queue:
            logger.debug("connection %d: a frame that nobody waits for", self.number)
            return
        if self._is_late(frame):
            logger.debug("connection %d: a late frame of a response that is over", self.number)
            return
        self._any_event = True
        receiver = queue[0]
        receiver.feed(frame)
        if receiver.finished:
            self._past.append(frozenset(receiver.ids))
            self._drop(receiver)
            self._note_idle()

    def _is_late(self, frame: Frame) -> bool:
        """Whether a frame belongs to a response that ended on this connection.

        Deltas carry no response id, and a host without lanes no lane either: a frame that
        comes late would be taken for the next answer.
        """
        if not self._past:
            return False
        said: object = frame.item_id
        if said is None and frame.response:
            said = mapping(frame.response).get("id")
        elif said is None and frame.item:
            said = mapping(frame.item).get("id")
        return isinstance(said, str) and any(said in ids for ids in self._past)

    def _without_lanes(self) -> deque[Receiver] | None:
        """The host ignores lanes: what runs is answered in the order in which it was sent."""
        receivers = list(self._all())
        if not receivers:
            return None
        self._running = {None: deque(receivers)}
        self._on_lanes_ignored()
        return self._running[None]

    def _connection_error(self, frame: Frame) -> None:
        """An error that names no lane while the default one has nothing due."""
        fault = from_error(*error_of(frame))
        receivers = list(self._all())
        if not receivers:
            self._last_words = fault
        waiting = [r for r in receivers if not r.created]
        mixed_up = fault.kind is Kind.LANES_REFUSED and len(waiting) > 1
        if fault.kind is Kind.CONNECTION_LIMIT or mixed_up:
            # What runs already may run on until the close. Where lanes are refused, as many
            # errors follow as there were requests, and none says whose it is.
            self._lost = True
            self._on_lost(self.number)
        elif not waiting and len(receivers) == 1:
            waiting = receivers
        for receiver in waiting:
            receiver.fail(fault)
            self._drop(receiver)
        if receivers and not waiting and fault.kind is not Kind.CONNECTION_LIMIT:
            logger.warning(
                "connection %d: an error that names no lane: %s", self.number, fault.code
            )
        self._note_idle()

    def _drop(self, receiver: Receiver) -> None:
        """Give a receiver no more frames, wherever it waits by now."""
        for queue in self._running.values():
            with suppress(ValueError):
                queue.remove(receiver)

    def _note_idle(self) -> None:
        if not any(self._running.values()):
            self._idle.set()

    def _all(self) -> Iterator[Receiver]:
        """All receivers in the order in which they were sent."""
        receivers = [r for queue in self._running.values() for r in queue]
        yield from sorted(receivers, key=lambda r: r.number)

    def _lose(self, fault: Fault) -> None:
        if not self._lost:
            self._lost = True
            self._last_words = fault
            self._on_lost(self.number)
        receivers = list(self._all())
        self._running.clear()
        self._idle.set()
        for receiver in receivers:
            receiver.fail(fault)
