"""A TCP relay in front of a server: what networks do to bytes.

It knows nothing of HTTP or WebSocket. Each accepted connection is a *link* with two *flows*,
``up`` to the server and ``down`` to the client. Delay and rate are set for all links or for
one; a link can be reset, closed, stalled or made half-open, at once or when so many bytes
have passed in a direction, also in mid-frame.

::

    async with Simulator() as service, Relay(service.base_url) as relay:
        relay.on_link = lambda link: link.down.cut(600, "reset")
        ...  # a client at relay.base_url
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
from collections.abc import Callable
from types import TracebackType
from typing import Literal, Self, TypeAlias
from urllib.parse import urlsplit

End: TypeAlias = Literal["reset", "close", "swallow", "stall"]
"""How a link goes bad.

``reset``: RST to both sides, no FIN. ``close``: FIN to both, after what has passed.
``swallow``: half-open; bytes, FIN and RST of either side vanish, without an error.
``stall``: nothing is read any more, so that the senders' buffers fill up.
"""

_PATIENCE = 20.0  # seconds that a wait for the network may take in a test
_BITE = 65536
_IN_FLIGHT = 256  # pieces; beyond, the sender feels the rate
_TICK = 0.02  # seconds of a throttled flow that go in one piece


class Flow:
    """One direction of a link.

    Attributes:
        delay: Seconds that each piece takes.
        rate: Bytes a second, None for no limit.
        passed: Bytes handed on so far.
    """

    def __init__(self, link: Link, delay: float, rate: float | None) -> None:
        self.delay = delay
        self.rate = rate
        self.passed = 0
        self._link = link
        self._cut_at: int | None = None
        self._cut_how: End = "reset"
        self._swallows = False
        self._reads = asyncio.Event()
        self._reads.set()
        self._progress = asyncio.Event()

    def cut(self, at: int, how: End = "reset") -> None:
        """Let the link go bad when exactly so many bytes have passed in this direction.

        Args:
            at: Bytes since the link began; if more have passed already, it happens with the
                next ones.
            how: What happens then.
        """
        self._cut_at, self._cut_how = at, how

    def swallow(self) -> None:
        """Forward nothing more, without an error to either side."""
        self._swallows = True

    def stall(self) -> None:
        """Stop reading until ``resume``."""
        self._reads.clear()

    def resume(self) -> None:
        """Read on after ``stall``."""
        self._reads.set()

    async def wait_passed(self, count: int) -> None:
        """Wait until so many bytes have passed.

        Raises:
            TimeoutError: If they don't come.
        """
        async with asyncio.timeout(_PATIENCE):
            while self.passed < count:
                self._progress.clear()
                await self._progress.wait()

    async def forward(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        """Hand on in order, until the source ends."""
        pieces: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(_IN_FLIGHT)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._take(source, pieces))
            tasks.create_task(self._deliver(pieces, sink))

    async def _take(
        self, source: asyncio.StreamReader, pieces: asyncio.Queue[tuple[float, bytes]]
    ) -> None:
        loop = asyncio.get_running_loop()
        free_at = loop.time()
        while True:
            await self._reads.wait()
            bite = _BITE if self.rate is None else max(1, int(self.rate * _TICK))
            data = await source.read(bite)
            if self.rate is not None:
                free_at = max(free_at, loop.time()) + len(data) / self.rate
            await pieces.put((max(free_at, loop.time()) + self.delay, data))
            if not data:
                return

    async def _deliver(
        self, pieces: asyncio.Queue[tuple[float, bytes]], sink: asyncio.StreamWriter
    ) -> None:
        loop = asyncio.get_running_loop()
        while True:
            due, data = await pieces.get()
            if due > loop.time():
                await asyncio.sleep(due - loop.time())
            await self._reads.wait()  # a piece may have been read before the stall
            if not data:
                break
            left = None if self._cut_at is None else max(0, self._cut_at - self.passed)
            is_cut = left is not None and left <= len(data)
            await self._hand_on(data[:left] if is_cut else data, sink)
            if is_cut:
                self._cut_at = None
                self._link.end(self._cut_how)
        if not self._swallows:
            sink.close()

    async def _hand_on(self, data: bytes, sink: asyncio.StreamWriter) -> None:
        if self._swallows or not data:
            return
        sink.write(data)
        await sink.drain()
        self.passed += len(data)
        self._progress.set()


class Link:
    """One accepted connection, and the one to the server that belongs to it.

    Attributes:
        number: From 0.
        up: From the client to the server.
        down: From the server to the client.
        over: Set when both connections are gone.
    """

    def __init__(self, number: int, delays: tuple[float, float], rate: float | None) -> None:
        self.number = number
        self.up = Flow(self, delays[0], rate)
        self.down = Flow(self, delays[1], rate)
        self.over = asyncio.Event()
        self._ended: End | None = None
        self._writers: list[asyncio.StreamWriter] = []

    def __repr__(self) -> str:
        state = self._ended or ("over" if self.over.is_set() else "open")
        return f"<Link {self.number} {state}, {self.up.passed} B up, {self.down.passed} B down>"

    def end(self, how: End = "reset") -> None:
        """Let the link go bad now; see ``End``."""
        self._ended = how
        match how:
            case "reset":
                for writer in self._writers:
                    reset(writer)
            case "close":
                for writer in self._writers:
                    writer.close()
            case "swallow":
                self.up.swallow()
                self.down.swallow()
            case "stall":
                self.up.stall()
                self.down.stall()

    async def serve(
        self,
        client: tuple[asyncio.StreamReader, asyncio.StreamWriter],
        target: tuple[str, int],
        on_link: Callable[[Link], object] | None,
    ) -> None:
        """Forward until both sides are gone."""
        self._writers.append(client[1])
        try:
            if on_link is not None:
                on_link(self)
            server = await asyncio.open_connection(*target)
            self._writers.append(server[1])
            if self._ended in {"reset", "close"}:
                return
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._run(self.up, client[0], server[1]))
                tasks.create_task(self._run(self.down, server[0], client[1]))
        except OSError:
            self.end("reset")  # no server
        finally:
            for writer in self._writers:
                writer.close()
            self.over.set()

    async def _run(
        self, flow: Flow, source: asyncio.StreamReader, sink: asyncio.StreamWriter
    ) -> None:
        try:
            await flow.forward(source, sink)
        except* OSError:
            if self._ended is None:
                self.end("reset")  # one side was reset, so the other is, too
        if self._ended == "swallow":
            await asyncio.Event().wait()  # the other side must not learn of it


class Relay:
    """Listens on a free port and forwards to a server.

    Args:
        target: The server's base URL, ``http://…``.
        delay: Seconds each way, or a pair: up, down.
        rate: Bytes a second each way, None for no limit.
        tls: Makes the relay a TLS front: clients come by ``https``, the server is still
            reached in plain. See ``network.certificates``.
        on_link: Called with each link before anything is forwarded.

    Attributes:
        links: All links so far, in order.
    """

    def __init__(
        self,
        target: str,
        *,
        delay: float | tuple[float, float] = 0.0,
        rate: float | None = None,
        tls: ssl.SSLContext | None = None,
        on_link: Callable[[Link], object] | None = None,
    ) -> None:
        parts = urlsplit(target)
        self._target = (parts.hostname or "127.0.0.1", parts.port or 80)
        self._path = parts.path
        self._tls = tls
        self._server: asyncio.Server | None = None
        self._port = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._arrival = asyncio.Event()
        self.delay = delay
        self.rate = rate
        self.on_link = on_link
        self.links: list[Link] = []

    def aim(self, target: str) -> None:
        """Forward new links to another server; open links keep theirs."""
        parts = urlsplit(target)
        self._target = (parts.hostname or "127.0.0.1", parts.port or 80)

    @property
    def base_url(self) -> str:
        """The base URL to use instead of the server's own."""
        return f"http{'s' if self._tls else ''}://127.0.0.1:{self._port}{self._path}"

    @property
    def websocket_url(self) -> str:
        """The address of the socket, as the simulator names its own."""
        return f"ws{self.base_url.removeprefix('http')}/responses"

    @property
    def open_links(self) -> list[Link]:
        """The links that are not over."""
        return [link for link in self.links if not link.over.is_set()]

    async def link(self, number: int = 0) -> Link:
        """Wait for the link with this number.

        Raises:
            TimeoutError: If no client connects.
        """
        async with asyncio.timeout(_PATIENCE):
            while len(self.links) <= number:
                self._arrival.clear()
                await self._arrival.wait()
        return self.links[number]

    def end(self, how: End = "reset") -> None:
        """Let every open link go bad; see ``End``."""
        for link in self.open_links:
            link.end(how)

    async def refuse(self) -> None:
        """Refuse connections from now on; open links stay."""
        server, self._server = self._server, None
        if server is not None:
            server.close()

    async def accept(self) -> None:
        """Accept connections, again on the same port after ``refuse``."""
        if self._server is None:
            self._server = await asyncio.start_server(
                self._begin, "127.0.0.1", self._port, ssl=self._tls
            )
            self._port = self._server.sockets[0].getsockname()[1]

    async def __aenter__(self) -> Self:
        await self.accept()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.refuse()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _begin(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        delays = self.delay if isinstance(self.delay, tuple) else (self.delay, self.delay)
        link = Link(len(self.links), delays, self.rate)
        self.links.append(link)
        self._arrival.set()
        task = asyncio.create_task(link.serve((reader, writer), self._target, self.on_link))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def reset(writer: asyncio.StreamWriter) -> None:
    """End a TCP connection by RST. What the peer hasn't read yet may be lost."""
    raw = writer.get_extra_info("socket")
    if raw is not None and raw.fileno() >= 0:
        linger = struct.pack("ii", 1, 0)  # on, zero seconds
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    writer.transport.abort()
