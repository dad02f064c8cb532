"""Wire: the connections and HTTP exchanges of one run, carried by the library's own transport.

Frames are read and responses decoded as in a client, but nothing is retried: a fault is a result.
"""

import asyncio
import itertools
import weakref
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

from rtllm.codec import frames
from rtllm.codec.responses_decoder import ResponsesDecoder
from rtllm.codec.sse import SseResponsesDecoder
from rtllm.content.events import Event, TextDelta
from rtllm.content.request import Network
from rtllm.doctor.judgements.replies import HostReply
from rtllm.doctor.target import Target
from rtllm.engine.actions import Connect, Send, StartHttp
from rtllm.retry.faults import ANSWER_BROKEN_OFF, CANCELLED, Fault, Wait, timed_out
from rtllm.retry.redaction import NO_SECRETS, Secrets
from rtllm.transport.http import HttpExchanges
from rtllm.transport.websocket import WebSockets
from rtllm.transport.websocket_connect import FaultError

CONNECT_LIMIT = 7.0
"""Seconds for opening a connection."""
ACCEPT_LIMIT = 7.0
"""Seconds until the first event of the first request: together within 15 seconds."""
ANSWER_LIMIT = 60.0
"""Seconds for a whole response."""
PING_EVERY = 20.0
"""Seconds between pings of a quiet connection, as a client sends them."""


class PendingRequest:
    """One request, and what came of it so far.

    Attributes:
        lane: The lane that it was sent on.
        secrets: The credentials that its host was sent.
    """

    def __init__(self, lane: str | None, decoder: ResponsesDecoder) -> None:
        self.lane = lane
        self.secrets = NO_SECRETS
        self._decoder = decoder
        self._text = ""
        self._fault: Fault | None = None
        self._tagged = True
        self._changed = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._began = self._loop.time()
        self._seconds: float | None = None

    @property
    def over(self) -> bool:
        """Whether its response has ended."""
        return self._fault is not None or self._decoder.ended is not None

    @property
    def text(self) -> str:
        """The text so far."""
        return self._text

    def feed(self, piece: Any, *, lane: str | None) -> None:
        """Take a frame, or a piece of an HTTP response."""
        self._tagged = self._tagged and lane == self.lane
        events, fault = self._decoder.feed(piece)
        self._take(events, fault)

    def finish(self, fault: Fault | None) -> None:
        """Take the end of the connection or of the HTTP response."""
        if fault is None and isinstance(self._decoder, SseResponsesDecoder):
            self._take(*self._decoder.finish())
        if not self.over:
            self._fault = fault or ANSWER_BROKEN_OFF
        self._changed.set()

    def _take(self, events: Sequence[Event], fault: Fault | None) -> None:
        self._text += "".join(each.text for each in events if isinstance(each, TextDelta))
        if self._text and self._seconds is None:
            self._seconds = self._loop.time() - self._began
        if fault is not None:
            self._fault = self._fault or self.secrets.redact(fault)
        self._changed.set()

    async def wait_until_begun(self) -> None:
        """Wait until the host works on it, or it is over."""
        await self._until(lambda: self._decoder.in_progress, ANSWER_LIMIT)

    async def wait_for_text(self) -> None:
        """Wait until it has text, or it is over."""
        await self._until(lambda: bool(self._text), ANSWER_LIMIT)

    async def wait_for_reply(self, accept: float = ANSWER_LIMIT) -> HostReply:
        """Wait until it is over.

        Args:
            accept: Seconds until the host must have accepted it.
        """
        await self._until(lambda: self._decoder.created, accept)
        await self._until(lambda: False, ANSWER_LIMIT, "the whole turn")
        return HostReply(
            self._decoder.response_id,
            self._decoder.parent,
            self._text,
            self._decoder.ended,
            self._fault,
            self._tagged,
            self._seconds,
        )

    async def _until(
        self, condition: Callable[[], bool], limit: float, wait: Wait = "the first output"
    ) -> None:
        try:
            async with asyncio.timeout(limit):
                while not (self.over or condition()):
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            self._fault = timed_out(wait, limit)


@dataclass(frozen=True, slots=True)
class _Channel:
    """A connection, or one HTTP exchange, and the requests on it."""

    is_websocket: bool
    requests: list[PendingRequest] = field(default_factory=list)


class Wire:
    """The connections and HTTP exchanges of one run, as a context manager that closes all.

    Args:
        target: The host.

    Attributes:
        requests: All requests so far.
    """

    def __init__(self, target: Target) -> None:
        self._target = target
        self.requests: list[PendingRequest] = []
        self._channels: dict[int, _Channel] = {}
        self._lost: dict[int, Fault] = {}
        self._secrets: dict[int, Secrets] = {}
        self._opening: dict[int, asyncio.Future[None]] = {}
        self._numbers = itertools.count(1)
        credentials = weakref.ref(target.credentials)
        self._sockets = WebSockets(target.endpoint, credentials, self, target.network)
        self._http = HttpExchanges(
            weakref.ref(target.clients), None if target.has_own_key else credentials, self
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            await self._sockets.aclose()
        finally:
            await self._http.aclose()

    async def connect(self) -> int:
        """Open a connection; return its number.

        Raises:
            FaultError: If it can't be opened in time.
        """
        number = next(self._numbers)
        self._opening[number] = opening = asyncio.get_running_loop().create_future()
        self._sockets.connect(Connect(number, self._target.model, Network()))
        try:
            async with asyncio.timeout(CONNECT_LIMIT):
                await opening
        except TimeoutError:
            self._sockets.close(number)
            raise FaultError(timed_out("a connection", CONNECT_LIMIT)) from None
        return number

    def send(
        self, number: int, frame: bytes, lane: str | None, *, is_request: bool = True
    ) -> PendingRequest:
        """Send a request on a connection.

        Args:
            number: The connection.
            frame: The encoded request.
            lane: Its lane; None for the default one.
            is_request: Whether it counts as a request.
        """
        request = PendingRequest(lane, ResponsesDecoder())
        request.secrets = self._secrets.get(number, NO_SECRETS)
        if is_request:
            self._count(request)
        channel = self._channels.get(number)
        if channel is not None:
            channel.requests.append(request)
        else:
            request.finish(self._lost.get(number, CANCELLED))
        self._sockets.send(Send(number, len(self.requests), frame))
        return request

    async def prepare_http(self) -> None:
        """Create the HTTP client, whose import is slow and must not count as the host's time."""
        # A client of the user's may fail here; then the request reports why.
        with suppress(Exception):
            await asyncio.to_thread(self._target.clients.get)

    async def keep_open(self, number: int, limit: float) -> bool:
        """Keep a connection open without requests, as a client does; return whether it stays open.

        Args:
            number: The connection.
            limit: Seconds to wait.
        """
        loop = asyncio.get_running_loop()
        until = loop.time() + limit
        while number in self._channels and loop.time() < until:
            await asyncio.sleep(min(PING_EVERY, until - loop.time()))
            self._sockets.ping(number)
        return number in self._channels

    def why_lost(self, number: int) -> Fault | None:
        """Return why a connection was lost; None if it was not."""
        return self._lost.get(number)

    def post(self, body: dict[str, Any]) -> PendingRequest:
        """Send a request over HTTP."""
        number = next(self._numbers)
        request = self._count(PendingRequest(None, SseResponsesDecoder()))
        self._channels[number] = _Channel(is_websocket=False, requests=[request])
        self._http.start(
            StartHttp(
                number,
                len(self.requests),
                body,
                Network(),
                {},
                {},
                connect_timeout=CONNECT_LIMIT,
                total_timeout=ANSWER_LIMIT,
            )
        )
        return request

    def _count(self, request: PendingRequest) -> PendingRequest:
        self.requests.append(request)
        return request

    def close_connections(self) -> None:
        """Close the open connections, without waiting; new ones may be opened."""
        for number, channel in list(self._channels.items()):
            if channel.is_websocket:
                del self._channels[number]
                self._sockets.close(number)

    # -- facts ---------------------------------------------------------------------------------

    def asked(self, number: int, address: str) -> None:
        """Ignore the address, which the report names by itself."""

    def connected(self, number: int) -> None:
        """Note that a connection is open."""
        self._channels.setdefault(number, _Channel(is_websocket=True))
        opening = self._opening.pop(number, None)
        if opening is not None and not opening.done():
            opening.set_result(None)

    def authenticated(self, number: int, secrets: Secrets) -> None:
        """Keep the credentials that the host was sent, which its errors may repeat."""
        self._secrets[number] = secrets
        channel = self._channels.get(number)
        for request in channel.requests if channel is not None else ():
            request.secrets = secrets

    def connect_failed(self, number: int, fault: Fault) -> None:
        """Note that a connection could not be opened."""
        opening = self._opening.pop(number, None)
        if opening is not None and not opening.done():
            opening.set_exception(FaultError(fault))

    def received(self, number: int, data: Any) -> None:
        """Pass a frame, or a piece of an HTTP response, to the request that it belongs to."""
        channel = self._channels.get(number)
        if channel is None:
            return
        frame = frames.read(data) if channel.is_websocket else data
        lane = frame.lane if isinstance(frame, frames.Frame) else None
        running = [each for each in channel.requests if not each.over]
        owner = next((each for each in running if each.lane == lane), None)
        if owner is None and lane is None:  # a host that ignores lanes answers in order
            owner = next(iter(running), None)
        if owner is not None and frame is not None:
            owner.feed(frame, lane=lane)

    def sent(self, attempt: int) -> None:
        """Do nothing: only answers count."""

    def heard(self, number: int) -> None:
        """Do nothing: each wait has a limit of its own."""

    def lost(self, number: int, fault: Fault | None) -> None:
        """Note that a connection or an exchange is over."""
        if fault is not None:
            self._lost[number] = fault
        channel = self._channels.pop(number, None)
        for request in channel.requests if channel is not None else ():
            request.finish(fault)

    def loop_ends(self) -> None:
        """Do nothing: the run itself is cancelled."""
