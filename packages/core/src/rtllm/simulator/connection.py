"""One WebSocket of the simulator: reads frames, separates lanes, ends after its lifetime."""

from __future__ import annotations

import asyncio
import logging
import re
import socket
import struct
from collections.abc import Mapping
from typing import Any, TypeAlias

import msgspec
from aiohttp import WSMsgType, web

from rtllm.simulator import refusal, shapes
from rtllm.simulator.error_frame import ErrorFrame
from rtllm.simulator.exchange import Exchange
from rtllm.simulator.faults import (
    AcceptThen,
    RefuseRequest,
)
from rtllm.simulator.generation import Event
from rtllm.simulator.journal import ConnectionEntry, Entry
from rtllm.simulator.refusal import RequestError
from rtllm.simulator.service import Service, error_event

_log = logging.getLogger(__name__)

_STREAM_ID = re.compile(r"[A-Za-z0-9_.-]{1,256}")
# aiohttp's own limit is far higher, so that this module closes with 1009.
_RECEIVE_LIMIT = 128 * 2**20
_CLOSE_TIMEOUT = 1.0


# The requests of one lane, with the ``stream_id`` of their events, wait for each other.
_Queue: TypeAlias = asyncio.Queue[tuple[Entry, str | None]]


class ServerConnection:
    """A client's WebSocket.

    Args:
        service: The service that all connections share.
        record: This connection's journal entry.
    """

    def __init__(self, service: Service, record: ConnectionEntry) -> None:
        self._service = service
        self._options = service.options
        self._record = record
        self._lanes: dict[str | None, _Queue] = {}
        self._model: object = None
        self._active = asyncio.Semaphore(self._options.max_active)
        self._tasks: list[asyncio.Task[None]] = []
        self._closing: asyncio.Task[None] | None = None
        self._muted = False
        self._pongs = True
        self._pong = asyncio.Event()
        self._heard = asyncio.Event()
        self._request: web.BaseRequest | None = None
        self._send_lock = asyncio.Lock()
        self._socket = web.WebSocketResponse(
            autoping=False, max_msg_size=_RECEIVE_LIMIT, timeout=_CLOSE_TIMEOUT
        )
        self.memory = service.memory()

    async def serve(
        self, request: web.Request, headers: dict[str, str], fault: AcceptThen | None
    ) -> web.WebSocketResponse:
        """Accept the upgrade, and answer requests until the connection ends."""
        self._request = request
        self._socket.headers.update(headers)
        await self._socket.prepare(request)
        self._record.open = True
        self._service.journal.changed()
        self._start(self._limit_lifetime())
        self._start(self._keep_alive())
        if self._options.idle is not None:
            self._start(self._limit_idleness(self._options.idle))
        try:
            if fault is not None:
                await self._greet_badly(fault)
            await self._read()
        except ConnectionError:
            pass  # the peer disconnected during an answer
        finally:
            await self._finish()
        return self._socket

    async def _greet_badly(self, fault: AcceptThen) -> None:
        if fault.error is not None:
            await self.send(fault.error.frame(None))
        if fault.abort:
            self.abort()
        elif fault.close is not None:
            self._begin_close(fault.close, fault.reason)

    async def _read(self) -> None:
        async for message in self._socket:
            self._pong.set()  # any data shows that the peer is alive
            if message.type is not WSMsgType.PONG:  # a pong for our own ping does not count as use
                self._heard.set()
            match message.type:
                case WSMsgType.TEXT:
                    await self._receive(message.data.encode())
                case WSMsgType.BINARY:
                    await self._receive(message.data)
                case WSMsgType.PING if self._pongs:
                    await self._socket.pong(message.data)

    async def _finish(self) -> None:
        """Cancel and close everything that belongs to this connection."""
        if self._closing is not None:
            await asyncio.wait([self._closing], timeout=2 * _CLOSE_TIMEOUT)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for entry in self._service.journal.entries:
            if entry.connection == self._record.number:
                self._service.journal.end(entry, "dropped")
        self._record.open = False
        self._record.closed = True
        self._record.close_code = self._socket.close_code
        self._service.journal.changed()

    def _start(self, work: Any) -> asyncio.Task[None]:
        task: asyncio.Task[None] = asyncio.create_task(work)
        self._tasks.append(task)
        return task

    # What comes in.

    async def _receive(self, frame: bytes) -> None:
        if self._closing is not None:
            return
        if len(frame) >= self._options.max_frame:
            await self.close(1009, "message too big")
            return
        try:
            body = _parsed(frame)
        except RequestError as error:
            await self.send(error_event(error, None))
            return
        await self._accept(body, len(frame))

    async def _accept(self, body: dict[str, Any], size: int) -> None:
        stream_id = body.get("stream_id")
        entry = self._service.journal.add(
            self._record.number, stream_id if isinstance(stream_id, str) else None, body, size
        )
        try:
            lane, tag = self._route(entry)
        except RequestError as error:
            self._service.journal.end(entry, "refused", error.code, error.message)
            named = error.code == "websocket_stream_limit_reached"
            await self.send(error_event(error, entry.lane if named else None))
            return
        if self._is_other_model(body.get("model")):
            await self._refuse_model(entry, tag)
            return
        self._lane(lane).put_nowait((entry, tag))

    def _is_other_model(self, model: object) -> bool:
        if self._model is None:
            self._model = model
        return self._options.one_model and model != self._model

    async def _refuse_model(self, entry: Entry, tag: str | None) -> None:
        error = RequestError(
            f"This connection serves the model '{self._model}' only.",
            code="model_mismatch",
            param="model",
        )
        self._service.journal.end(entry, "refused", error.code, error.message)
        await self.refuse(error, tag)
        await self.close(1008, "model mismatch")

    def _route(self, entry: Entry) -> tuple[str | None, str | None]:
        """Find the lane of a request, and the ``stream_id`` of its events."""
        mode, body = self._options.lanes, entry.body
        if mode == "ignore":
            return None, None
        if mode in {"off", "refuse"} and "stream_id" in body:
            raise refusal.unknown_parameter("stream_id")
        if mode == "off" and self._is_busy(entry):
            raise RequestError(
                "A response is already in flight on this connection.",
                code="response_already_in_flight",
                status=409,
            )
        if "stream_id" not in body:
            return None, None
        return self._named(body["stream_id"])

    def _is_busy(self, newest: Entry | None = None) -> bool:
        return any(
            not entry.is_over
            for entry in self._service.journal.entries
            if entry.connection == self._record.number and entry is not newest
        )

    def _named(self, stream_id: object) -> tuple[str, str]:
        if not isinstance(stream_id, str) or not _STREAM_ID.fullmatch(stream_id):
            raise RequestError(
                "Invalid 'stream_id': expected a string of 1 to 256 letters, digits, '_', '.' "
                "or '-'.",
                code="invalid_stream_id",
                param="stream_id",
            )
        names = {name for name in self._lanes if name is not None}
        if stream_id not in names and len(names) >= self._options.max_names:
            raise RequestError(
                f"This WebSocket connection has reached its limit of {self._options.max_names} "
                "distinct stream ids.",
                code="websocket_stream_limit_reached",
                param="stream_id",
            )
        return stream_id, stream_id

    def _lane(self, name: str | None) -> _Queue:
        if name not in self._lanes:
            self._lanes[name] = asyncio.Queue()
            self._start(self._work(name, self._lanes[name]))
        return self._lanes[name]

    async def _work(self, name: str | None, queue: _Queue) -> None:
        """Answer the requests of a lane one after another."""
        while True:
            entry, tag = await queue.get()
            try:
                async with self._active:
                    await Exchange(self._service, self, entry, name, tag).run()
                self._heard.set()
            except ConnectionError:
                return
            except Exception as error:  # noqa: BLE001 - the top of a task
                _log.exception("The simulator itself failed; the connection is closed.")
                self._service.crashes.append(error)
                self._begin_close(1011, "internal error")
                return

    # What goes out.

    async def begin(self) -> None:
        """Do nothing: on a WebSocket nothing is sent before the first event."""

    async def send(self, event: Event) -> None:
        """Send an event, unless the connection is muted."""
        await self.send_raw(msgspec.json.encode(event).decode())

    async def keep_alive(self, tag: str | None) -> None:
        """Send an event of an unknown type."""
        await self.send({"type": "codex.keepalive", **_named_lane(tag)})

    async def refuse(self, error: RequestError, tag: str | None) -> None:
        """Send the rejection as an error frame."""
        await self.send(error_event(error, tag))

    async def answer(self, fault: RefuseRequest, tag: str | None) -> None:
        """Send an HTTP error as an error frame, as gateways do."""
        body = fault.body if isinstance(fault.body, Mapping) else {"error": {"message": fault.body}}
        headers = {} if fault.headers is None else {"headers": dict(fault.headers)}
        await self.send(
            {"type": "error", "status": fault.status, **body, **headers, **_named_lane(tag)}
        )

    async def fail(self, fault: ErrorFrame, tag: str | None, sequence_number: int) -> None:
        """Send a scripted error frame; close the connection if the fault requires it."""
        await self.send(fault.frame(tag, sequence_number))
        if fault.then_close is not None:
            await self.close(fault.then_close)

    async def send_raw(self, frame: str | bytes) -> None:
        """Send a frame without interleaving frames of other lanes."""
        if self._muted:
            return
        async with self._send_lock:
            if self._socket.closed or self._closing is not None:
                raise ConnectionResetError("the socket is closed")
            if isinstance(frame, str):
                await self._socket.send_str(frame)
            else:
                await self._socket.send_bytes(frame)

    def mute(self, *, pongs: bool) -> None:
        """Stop sending events; pings are still answered, or nothing is."""
        self._muted = True
        self._pongs = pongs

    async def _keep_alive(self) -> None:
        """Send pings, and close the connection if the peer doesn't read."""
        while True:
            await asyncio.sleep(self._options.ping_interval)
            if not self._pongs:
                return
            self._pong.clear()
            try:
                await self._socket.ping()
                async with asyncio.timeout(self._options.ping_timeout):
                    await self._pong.wait()
            except ConnectionError:
                return
            except TimeoutError:
                self._begin_close(1011, "keepalive ping timeout")
                return

    async def _limit_lifetime(self) -> None:
        await asyncio.sleep(self._options.lifetime)
        minutes = self._options.lifetime / 60
        error = RequestError(
            f"Responses websocket connection limit reached ({minutes:g} minutes). "
            "Create a new websocket connection to continue.",
            code="websocket_connection_limit_reached",
        )
        await self.send(error_event(error, None))
        self._begin_close(1000, "connection limit reached")

    async def _limit_idleness(self, longest: float) -> None:
        """Close the connection after a time without use."""
        while True:
            self._heard.clear()
            try:
                async with asyncio.timeout(longest):
                    await self._heard.wait()
            except TimeoutError:
                if not self._is_busy():
                    self._begin_close(1001, "idle")
                    return

    async def close(self, code: int, reason: str = "") -> None:
        """Close the connection with a closing handshake; the reader then ends everything."""
        await asyncio.shield(self._begin_close(code, reason))

    def _begin_close(self, code: int, reason: str = "") -> asyncio.Task[None]:
        # In a task of its own, because the caller may be cancelled before the frame is sent.
        if self._closing is None:
            self._closing = asyncio.create_task(self._close(code, reason))
        return self._closing

    async def _close(self, code: int, reason: str) -> None:
        await self._socket.close(code=code, message=reason.encode())

    def hang_up(self) -> None:
        """End the TCP connection without a closing handshake."""
        if self._request is not None and self._request.transport is not None:
            self._request.transport.close()

    def abort(self) -> None:
        """Reset the TCP connection: no close frame, not even a FIN."""
        if self._request is not None:
            reset(self._request.transport)


def reset(transport: asyncio.Transport | None) -> None:
    """End a TCP connection without even a FIN."""
    if transport is None:
        return
    raw = transport.get_extra_info("socket")
    if raw is not None:
        linger = struct.pack("ii", 1, 0)  # on, zero seconds: closing sends RST
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    transport.abort()


def _named_lane(tag: str | None) -> dict[str, str]:
    return {} if tag is None else {"stream_id": tag}


def _parsed(frame: bytes) -> dict[str, Any]:
    """Parse a client frame as a ``response.create``."""
    try:
        body = shapes.parsed(frame)
    except ValueError:
        raise RequestError(
            "We could not parse the JSON body of your message. It was not valid JSON.",
            code="invalid_json",
        ) from None
    if not isinstance(body, dict):
        raise refusal.invalid_type("event", "an object", body)
    if "type" not in body:
        raise refusal.missing_parameter("type")
    if body["type"] != "response.create":
        raise refusal.invalid_value("type", body["type"], ("response.create",))
    return body
