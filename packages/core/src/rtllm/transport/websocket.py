"""WebSocket side of the runtime: reads frames from open sockets and writes them.

`rtllm.transport.websocket_connect` opens the sockets. Nothing is decided here. Each connection has
one task that opens it and then reads, and one that writes, so that writing a large frame does not
delay reading.
"""

import asyncio
import logging
import weakref
from collections import deque
from collections.abc import Callable
from contextlib import AsyncExitStack, suppress
from contextvars import Context
from functools import partial

import aiohttp

from rtllm.engine.actions import Connect, Send
from rtllm.providers.credentials import Credentials
from rtllm.providers.hosts import Endpoint
from rtllm.providers.network import NetworkConfig
from rtllm.retry.faults import Fault, connection_broke, from_close, not_opened, not_written
from rtllm.retry.redaction import Secrets, without_secrets
from rtllm.transport.facts import Facts
from rtllm.transport.tasks import NumberedTasks
from rtllm.transport.websocket_connect import FaultError, Socket, WebSocketOpener

logger = logging.getLogger(__name__)

CLOSE_LIMIT = 2.0
"""Seconds that closing a connection may take."""


class _Writer:
    """Writes frames on one socket, in order.

    Args:
        socket: The open socket.
        on_sent: Called with the number of each attempt whose request was written.
        on_failure: Called when a write fails.
    """

    def __init__(
        self, socket: Socket, on_sent: Callable[[int], None], on_failure: Callable[[Fault], None]
    ) -> None:
        self._socket = socket
        self._on_sent = on_sent
        self._on_failure = on_failure
        self._queue: deque[Send | aiohttp.WSMessage | None] = deque()
        self._filled = asyncio.Event()

    def put(self, frame: Send | aiohttp.WSMessage | None) -> None:
        """Queue a request, a pong for a ping (a message), or a ping (None)."""
        self._queue.append(frame)
        self._filled.set()

    async def run(self) -> None:
        """Write until a write fails, which is reported, or until cancelled."""
        try:
            while True:
                await self._filled.wait()
                while self._queue:
                    await self._write(self._queue.popleft())
                self._filled.clear()
        except (aiohttp.ClientError, OSError, RuntimeError) as error:
            self._on_failure(not_written(str(error) or type(error).__name__))

    async def _write(self, frame: Send | aiohttp.WSMessage | None) -> None:
        if frame is None:
            await self._socket.ping()
        elif isinstance(frame, Send):
            await self._socket.send_frame(frame.data, aiohttp.WSMsgType.TEXT)
            self._on_sent(frame.attempt)
        else:
            await self._socket.pong(frame.data)


class WebSockets:
    """The WebSockets of one runtime.

    Args:
        endpoint: The host's address.
        credentials: Called at each handshake; only the client holds them.
        facts: Receives the facts.
        network: The network settings of the connections.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        credentials: weakref.ref[Credentials],
        facts: Facts,
        network: NetworkConfig,
    ) -> None:
        self._endpoint = endpoint
        self._opener = WebSocketOpener(credentials, network)
        self._facts = facts
        self._loop = asyncio.get_running_loop()
        self._tasks = NumberedTasks(facts)
        self._writers: dict[int, _Writer] = {}

    def connect(self, action: Connect) -> None:
        """Begin to open a connection."""
        self._tasks.start(
            action.connection,
            f"rtllm connection {action.connection}",
            partial(self._run, action),
        )

    def send(self, action: Send) -> None:
        """Write a request after the frames that are already queued."""
        if (writer := self._writers.get(action.connection)) is not None:
            writer.put(action)

    def ping(self, number: int) -> None:
        """Send a ping."""
        if (writer := self._writers.get(number)) is not None:
            writer.put(None)

    def close(self, number: int) -> None:
        """Close a connection, or stop opening it, without waiting."""
        self._tasks.close(number)

    async def aclose(self) -> None:
        """Close everything, each within a limit."""
        await self._tasks.close_all()

    # -- one connection ------------------------------------------------------------------------

    async def _run(self, action: Connect) -> None:
        """Open a connection and read it until its end."""
        async with AsyncExitStack() as closing:
            opened = await self._open(action, closing)
            if opened is not None:
                await self._serve(action.connection, *opened)

    async def _open(
        self, action: Connect, closing: AsyncExitStack
    ) -> tuple[Socket, Secrets] | None:
        try:
            url = self._endpoint.for_model(action.model)
            self._facts.asked(action.connection, f"WebSocket {without_secrets(url)}")
            return await self._opener.open(url, action.network, closing)
        except FaultError as error:
            fault = error.fault
        except Exception as error:
            logger.exception("connection %d could not be opened", action.connection)
            fault = not_opened(error)
        self._facts.connect_failed(action.connection, fault)
        return None

    async def _serve(self, number: int, socket: Socket, secrets: Secrets) -> None:
        def failed(fault: Fault) -> None:
            self._facts.lost(number, fault)
            self.close(number)

        writer = _Writer(socket, self._facts.sent, failed)
        self._writers[number] = writer
        writing = self._loop.create_task(
            writer.run(), name=f"rtllm writer {number}", context=Context()
        )
        try:
            self._facts.authenticated(number, secrets)
            self._facts.connected(number)
            fault = await self._read(number, socket, writer)
            self._facts.lost(number, secrets.redact(fault))
        finally:
            del self._writers[number]
            writing.cancel()
            with suppress(TimeoutError, aiohttp.ClientError, OSError):
                async with asyncio.timeout(CLOSE_LIMIT):
                    await socket.close()
            await asyncio.wait([writing])

    async def _read(self, number: int, socket: Socket, writer: _Writer) -> Fault:
        """Report what arrives; return why the connection ended."""
        facts = self._facts
        while True:
            message = await socket.receive()
            match message.type:
                case aiohttp.WSMsgType.TEXT | aiohttp.WSMsgType.BINARY:
                    facts.received(number, message.data)
                case aiohttp.WSMsgType.PING:
                    facts.heard(number)
                    writer.put(message)
                case aiohttp.WSMsgType.PONG:
                    facts.heard(number)
                case aiohttp.WSMsgType.ERROR:
                    return connection_broke(str(message.data))
                case _:
                    reason = message.extra if isinstance(message.extra, str) else ""
                    return from_close(socket.close_code, reason)
