"""``POST /v1/responses``: an exchange over HTTP, streamed or as one object."""

from __future__ import annotations

from typing import Any

import msgspec
from aiohttp import web

from rtllm.simulator.connection import reset
from rtllm.simulator.error_frame import ErrorFrame
from rtllm.simulator.exchange import Exchange
from rtllm.simulator.faults import (
    RefuseRequest,
)
from rtllm.simulator.generation import Event
from rtllm.simulator.journal import Entry
from rtllm.simulator.posted import Posted, plain, refused, scripted, service_headers
from rtllm.simulator.refusal import RequestError
from rtllm.simulator.service import Service


class PostedResponse(Posted):
    """Answers one HTTP request, as the line of its exchange.

    Over HTTP only the store is remembered: the memory of a connection begins and ends with the
    request.

    Args:
        service: The service.
        request: The HTTP request.
    """

    def __init__(self, service: Service, request: web.Request) -> None:
        super().__init__(service, request, "responses")
        self.memory = service.memory()
        self._refusal: web.Response | None = None
        self._response: dict[str, Any] | None = None
        self._streams = False
        self._muted = False

    async def _respond(self, entry: Entry) -> web.StreamResponse:
        self._streams = entry.body.get("stream") is True
        await Exchange(self._service, self, entry, None, None).run()
        if self._refusal is not None:
            return self._refusal
        if self._stream is not None:
            await self._stream.write_eof()
            return self._stream
        if self._response is None or entry.outcome == "dropped":
            return web.Response(status=499)  # the client has disconnected
        # Assumed: a failed response is a normal HTTP response, with its status and error.
        return web.json_response(self._response, headers=service_headers())

    async def begin(self) -> None:
        """Send the headers of a streamed response."""
        if self._streams:
            await self._open_stream()

    async def send(self, event: Event) -> None:
        """Send an event, or keep its response object until the end."""
        self._response = event.get("response", self._response)
        await self._send_data(msgspec.json.encode(event), event.get("type"))

    async def send_raw(self, frame: str | bytes) -> None:
        """Send text as the data of an event without a name."""
        await self._send_data(frame if isinstance(frame, bytes) else frame.encode())

    async def _send_data(self, data: bytes, kind: str | None = None) -> None:
        if not self._streams or self._muted:
            return
        await self._open_stream()
        name = "" if kind is None else f"event: {kind}\n"
        await self._write(b"%bdata: %b\n\n" % (name.encode(), data))

    async def keep_alive(self, tag: str | None) -> None:
        """Send a comment, which readers of server-sent events ignore."""
        if self._streams and not self._muted:
            await self._open_stream()
            await self._write(b": keepalive\n\n")

    async def refuse(self, error: RequestError, tag: str | None) -> None:
        """Answer with the rejection's own status."""
        self._refusal = refused(error)

    async def answer(self, fault: RefuseRequest, tag: str | None) -> None:
        """Answer with a scripted response only."""
        self._refusal = plain(fault)

    async def fail(self, fault: ErrorFrame, tag: str | None, sequence_number: int) -> None:
        """Send an error: as an HTTP status before the response began, else as the last event."""
        if self._stream is not None:
            await self.send(fault.frame(None, sequence_number, live="b"))
            return
        self._refusal = scripted(fault)

    async def close(self, code: int, reason: str = "") -> None:
        """End the body normally; before it began, end the connection."""
        await self._finish_early()

    def hang_up(self) -> None:
        """End the connection in the middle of the body."""
        self._hang_up()

    def abort(self) -> None:
        """Reset the connection."""
        reset(self._request.transport)

    def mute(self, *, pongs: bool) -> None:
        """Stop sending."""
        self._muted = True
