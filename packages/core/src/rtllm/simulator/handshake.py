"""Admission of requests: keys, and upgrades to a WebSocket."""

from __future__ import annotations

import asyncio

from aiohttp import web

from rtllm.simulator.faults import (
    AcceptThen,
    ConnectPlan,
    DelayHandshake,
    HandshakeFault,
    RefuseHandshake,
)
from rtllm.simulator.posted import plain, refused
from rtllm.simulator.refusal import RequestError
from rtllm.simulator.service import Service


class Handshakes:
    """Accepts or rejects requests before their bodies are read.

    Args:
        service: The service.
        api_key: The only valid key, None for any.
        on_connect: The faults of upgrades.
    """

    def __init__(
        self, service: Service, api_key: str | None, on_connect: ConnectPlan | None
    ) -> None:
        self._service = service
        self._api_key = api_key
        self.on_connect = on_connect

    def unauthorized(self, request: web.Request) -> web.Response | None:
        """Return a rejection if the key is wrong."""
        given = request.headers.get("Authorization", "")
        if key := request.headers.get("api-key"):  # as on Azure
            given = f"Bearer {key}"
        if self._api_key is None or given == f"Bearer {self._api_key}":
            return None
        if not given:
            error = RequestError(
                "You didn't provide an API key. You need to provide your API key in an "
                "Authorization header using Bearer auth (i.e. Authorization: Bearer YOUR_KEY).",
                status=401,
            )
            return refused(error)
        return refused(
            RequestError("Incorrect API key provided.", code="invalid_api_key", status=401)
        )

    async def decide(
        self, request: web.Request, number: int
    ) -> tuple[web.Response | None, AcceptThen | None]:
        """Decide about an upgrade: return an HTTP rejection, or a fault to apply, or neither."""
        fault = await self._fault(number)
        if isinstance(fault, RefuseHandshake):
            return plain(fault), None
        if (refusal := self.unauthorized(request)) is not None:
            return refusal, None
        return self._unwelcome(request), fault

    def _unwelcome(self, request: web.Request) -> web.Response | None:
        options = self._service.options
        if options.no_websocket == 403:
            return web.Response(status=403)  # seen: Starlette (transformers 5.19), without a route
        if options.no_websocket is not None:
            error = RequestError(f"Invalid URL (GET {request.path})", status=options.no_websocket)
            return refused(error)
        if request.headers.get("Upgrade", "").lower() != "websocket":
            error = RequestError("This endpoint expects a WebSocket upgrade or a POST.", status=405)
            return refused(error)
        if options.model_in_query and "model" not in request.query:
            # Assumed: the answer of a web framework to an upgrade without a required parameter.
            return web.Response(status=403)
        limit = options.max_connections
        if limit is not None and len(self._service.journal.open_connections) >= limit:
            error = RequestError(
                f"Too many WebSocket connections; the limit is {limit}.",
                code="rate_limit_exceeded",
                status=429,
                kind="rate_limit_error",
            )
            return refused(error)
        return None

    async def _fault(self, number: int) -> RefuseHandshake | AcceptThen | None:
        fault: HandshakeFault | None = self.on_connect(number) if self.on_connect else None
        if not isinstance(fault, DelayHandshake):
            return fault
        if isinstance(fault.until, asyncio.Event):
            await fault.until.wait()
        else:
            await asyncio.sleep(fault.until)
        return fault.then
