"""The common part of every POST: its body, its journal entry, its end."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

from aiohttp import web

from rtllm.simulator import shapes
from rtllm.simulator.error_frame import ErrorFrame
from rtllm.simulator.faults import (
    RefuseHandshake,
    RefuseRequest,
)
from rtllm.simulator.generation import new_id
from rtllm.simulator.journal import Entry, Outcome
from rtllm.simulator.refusal import RequestError
from rtllm.simulator.script import Api
from rtllm.simulator.service import Service

_LOOK_EVERY = 0.01  # seconds; a waiting handler is not notified when the client disconnects


class EndedError(Exception):
    """The exchange has ended early; the journal has the outcome."""


class AnswerError(Exception):
    """The request gets this response instead of a normal one."""

    def __init__(self, response: web.Response) -> None:
        super().__init__()
        self.response = response


class Posted(ABC):
    """One POST, from its body to the last byte of the response.

    Args:
        service: The service.
        request: The HTTP request.
        api: The API that was used.
    """

    def __init__(self, service: Service, request: web.Request, api: Api) -> None:
        self._service = service
        self._request = request
        self._api: Api = api
        self._entry: Entry | None = None
        self._stream: web.StreamResponse | None = None

    async def run(self) -> web.StreamResponse:
        """Answer the request, or end early if the client disconnects."""
        work = asyncio.create_task(self._answer())
        gone = asyncio.create_task(self._gone())
        try:
            await asyncio.wait({work, gone}, return_when=asyncio.FIRST_COMPLETED)
            if work.done():
                return work.result()
            return self._ended_stream()
        finally:
            work.cancel()
            gone.cancel()
            await asyncio.gather(work, gone, return_exceptions=True)
            self._end("dropped")

    async def _gone(self) -> None:
        while (transport := self._request.transport) is not None and not transport.is_closing():  # noqa: ASYNC110
            await asyncio.sleep(_LOOK_EVERY)

    async def _answer(self) -> web.StreamResponse:
        data = await self._request.read()
        try:
            body = _parsed(data)
        except RequestError as error:
            return refused(error)
        self._entry = entry = self._service.journal.add_posted(
            self._api, body, len(data), self._request.headers, self._request.query
        )
        entry.outcome = "running"
        self._service.journal.changed(entry)
        try:
            return await self._respond(entry)
        except AnswerError as answer:
            return answer.response
        except (EndedError, ConnectionError):
            self._end("dropped")
            return self._ended_stream()

    @abstractmethod
    async def _respond(self, entry: Entry) -> web.StreamResponse:
        """Answer a request whose body is a JSON object."""

    def _end(self, outcome: Outcome, code: str | None = None, message: str | None = None) -> None:
        if self._entry is not None:
            self._service.journal.end(self._entry, outcome, code, message)

    async def _open_stream(self) -> web.StreamResponse:
        """Begin the response as a stream of server-sent events, unless it has begun."""
        if self._stream is None:
            self._stream = web.StreamResponse(
                headers={
                    **service_headers(),
                    "Content-Type": "text/event-stream; charset=utf-8",
                    "Cache-Control": "no-cache",
                }
            )
            await self._stream.prepare(self._request)
        return self._stream

    async def _write(self, data: bytes) -> None:
        if self._stream is not None:
            await self._stream.write(data)

    async def _finish_early(self) -> None:
        """End the body normally; before it began, end the connection."""
        if self._stream is not None:
            await self._stream.write_eof()
        else:
            self._hang_up()

    def _ended_stream(self) -> web.StreamResponse:
        """Return the partial response, for a client that has disconnected."""
        # By identity: a stream is a mapping, and in aiohttp 3.11 an empty one is falsy.
        return web.Response(status=499) if self._stream is None else self._stream

    def _hang_up(self) -> None:
        """End the connection without ending the body."""
        if (transport := self._request.transport) is not None:
            transport.close()


def service_headers() -> dict[str, str]:
    """Return the headers of every response of the service."""
    return {
        "x-request-id": new_id("req"),
        "openai-version": "2020-10-01",
        "x-ratelimit-limit-requests": "10000",
        "x-ratelimit-remaining-requests": "9999",
        "x-ratelimit-reset-requests": "6ms",
        "x-ratelimit-limit-tokens": "2000000",
        "x-ratelimit-remaining-tokens": "1999900",
        "x-ratelimit-reset-tokens": "3ms",
    }


def refused(error: RequestError) -> web.Response:
    """Create a rejection over HTTP."""
    return web.json_response(
        {"error": error.body()}, status=error.status, headers=service_headers()
    )


def scripted(fault: ErrorFrame) -> web.Response:
    """Create a scripted error over HTTP."""
    frame = fault.frame(None)
    error = frame.get("error", {"message": fault.message, "type": fault.kind, "code": fault.code})
    headers = {**service_headers(), **(fault.headers or {})}
    return web.json_response({"error": error}, status=fault.status or 500, headers=headers)


def plain(fault: RefuseRequest | RefuseHandshake) -> web.Response:
    """Create a scripted rejection, unchanged: proxies answer with HTML or text."""
    headers = {**service_headers(), **(fault.headers or {})}
    if isinstance(fault.body, Mapping):
        return web.json_response(dict(fault.body), status=fault.status, headers=headers)
    headers.setdefault("Content-Type", "text/html")
    return web.Response(text=fault.body, status=fault.status, headers=headers)


def _parsed(data: bytes) -> dict[str, Any]:
    try:
        body = shapes.parsed(data)
    except ValueError:
        body = None
    if not isinstance(body, dict):
        raise RequestError("We could not parse the JSON body of your request.")
    return body
