"""HTTP server of the simulator: routes, keys, handshakes."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Collection
from types import TracebackType
from typing import Self

from aiohttp import web

from rtllm.simulator.chat import ChatExchange
from rtllm.simulator.connection import ServerConnection
from rtllm.simulator.faults import ConnectPlan, FaultOption, FaultPlan, as_plan
from rtllm.simulator.generation import Pace, Split, words
from rtllm.simulator.handshake import Handshakes
from rtllm.simulator.journal import Journal
from rtllm.simulator.manners import MANNERS
from rtllm.simulator.memory import DropOn, Evicts, Remembers
from rtllm.simulator.models import KNOWN_MODELS
from rtllm.simulator.posted import Posted, refused, service_headers
from rtllm.simulator.posted_response import PostedResponse
from rtllm.simulator.refusal import RequestError
from rtllm.simulator.script import Reply, Script, echo, fixed
from rtllm.simulator.service import LaneMode, Options, ReasoningMode, Service


class Simulator:
    """A simulated Responses service on a local port, as a context manager.

    The same scripts answer over HTTP: ``POST /v1/responses``, streamed or not, and
    ``POST /v1/chat/completions``, also on Azure's URLs. ``GET /v1/responses/{id}`` returns
    stored responses.

    ::

        async with Simulator(script=fixed("Hello.")) as service:
            ...  # a client at service.base_url
            assert service.journal.entries[0].texts() == [("user", "Hi")]

    Requests that the service rejects are rejected with the service's texts. An exception in a
    script fails that response, and is raised again when the simulator closes.

    Args:
        script: The answers: a callable, or one answer for all requests.
        host: The address to listen on.
        port: The port to listen on; 0 for any free one.
        lanes: ``on`` as at OpenAI; ``off`` as on Azure: one response in flight and no
            ``stream_id``; ``refuse`` rejects ``stream_id`` but queues requests; ``ignore`` runs
            everything on one lane and never sends a ``stream_id``. All but ``on`` remember one
            response per connection.
        api_key: If set, any other key gets a 401.
        models: Models in addition to the public ones, such as deployments.
        time_to_first: Seconds before the first output.
        per_delta: Seconds before each delta.
        split: How texts are split into deltas.
        queued: Whether ``response.queued`` comes first.
        lifetime: Seconds until a connection has reached its limit.
        ping_interval: Seconds between the server's pings.
        ping_timeout: Seconds after a ping until an unresponsive peer's connection is closed (1011).
        max_active: Responses that run at once on a connection; more are queued.
        max_names: Distinct lane names in a connection's lifetime.
        max_frame: The size in bytes from which a client's frame closes the connection (1009).
        max_connections: WebSockets that may be open at once; further upgrades get a 429.
        idle: Seconds without a frame or a ping of the client, and without a running response, after
            which a connection is closed (1001).
        no_websocket: The status of every upgrade on a host without WebSocket: 404, 405 or 426, or
            403 without a body, as servers on Starlette answer. HTTP works as usual.
        no_responses: The status of every ``POST /responses`` on a host that has them on its
            WebSocket only, such as 404.
        one_model: Whether a connection is bound to the model of its first request; another model
            gets an error and a close (1008).
        model_in_query: Whether an upgrade must name the model in its query.
        drop_on: When a lane forgets its old response: at the start or the end of its next request.
        forgets_on_failure: Whether ``response.failed`` makes the connection forget everything, as
            at Vercel.
        remembers: What a connection keeps without ``store``: the newest response of each of its
            ``lanes`` (as documented for OpenAI), or of the ``connection``; ``everything``;
            ``everywhere``: every connection finds it; or ``nothing``.
        evicts: When an error evicts the parent of its request: on its ``own lane`` (as documented
            for OpenAI), on ``any lane``, or ``never``.
        stores: Whether ``store: true`` is obeyed; an account without data retention does not.
        keeps_incomplete: Whether incomplete responses are remembered like complete ones.
        reasoning: Whether models that reason return it. ``scripted``: if the script has it.
            ``given``: each of their replies begins with a reasoning item, unless the effort is
            ``none``; its encrypted content comes only if ``include`` asks for it. ``demanded``: in
            addition, a client that resends a call of the current turn without a parent must send
            its encrypted reasoning item before the call. The error text for that was seen for calls
            with an id; that calls without one are checked is assumed.
        phases: Whether messages without a scripted phase get one: ``commentary`` before a call,
            else ``final_answer``.
        keep: How many requests, connections and stored responses are kept; older ones are
            forgotten.
        fault: The faults of requests: a plan, one fault for all, or a list with one for each
            request in turn.
        on_connect: The fault of the n-th handshake, from 0.
        strict: Whether requests are checked; if not, only the parent is looked up.
        manners: How the host differs from OpenAI: names of `rtllm.simulator.MANNERS`.
        cache_minimum: The tokens that the beginning of a prompt must have to be cached.
        cache_lifetime: Seconds after which the prompt cache forgets an unused beginning.
    """

    def __init__(
        self,
        script: Script | Reply | str | None = None,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        lanes: LaneMode = "on",
        api_key: str | None = None,
        models: Collection[str] = (),
        time_to_first: float = 0.0,
        per_delta: float = 0.0,
        split: Split = words,
        queued: bool = False,
        lifetime: float = 3600.0,
        ping_interval: float = 20.0,
        ping_timeout: float = 60.0,
        max_active: int = 16,
        max_names: int = 32,
        max_frame: int = 16 * 2**20,
        max_connections: int | None = None,
        idle: float | None = None,
        no_websocket: int | None = None,
        no_responses: int | None = None,
        one_model: bool = False,
        model_in_query: bool = False,
        drop_on: DropOn = "start",
        forgets_on_failure: bool = False,
        remembers: Remembers = "lanes",
        evicts: Evicts = "own lane",
        stores: bool = True,
        keeps_incomplete: bool = False,
        reasoning: ReasoningMode = "scripted",
        phases: bool = False,
        keep: int = 10_000,
        fault: FaultOption = None,
        on_connect: ConnectPlan | None = None,
        strict: bool = True,
        manners: Collection[str] = (),
        cache_minimum: int = 0,
        cache_lifetime: float = math.inf,
    ) -> None:
        if unknown := set(manners) - set(MANNERS):
            raise ValueError(f"manners are {sorted(unknown)}; expected any of {MANNERS}")
        options = Options(
            lanes=lanes,
            models=models,
            pace=Pace(time_to_first, per_delta, split, queued),
            lifetime=lifetime,
            ping_interval=ping_interval,
            ping_timeout=ping_timeout,
            max_active=max_active,
            max_names=max_names,
            max_frame=max_frame,
            max_connections=max_connections,
            idle=idle,
            no_websocket=no_websocket,
            no_responses=no_responses,
            one_model=one_model,
            model_in_query=model_in_query,
            drop_on=drop_on,
            forgets_on_failure=forgets_on_failure,
            remembers=remembers,
            evicts=evicts,
            stores=stores,
            keeps_incomplete=keeps_incomplete,
            reasoning=reasoning,
            phases=phases,
            keep=keep,
            strict=strict,
            manners=tuple(manners),
            cache_minimum=cache_minimum,
            cache_lifetime=cache_lifetime,
        )
        self._service = Service(options, _as_script(script), as_plan(fault))
        self._host = host
        self._port = port
        self._handshakes = Handshakes(self._service, api_key, on_connect)
        self._connections: set[ServerConnection] = set()
        self._posts: set[asyncio.Task[object]] = set()
        self._runner: web.AppRunner | None = None

    def __repr__(self) -> str:
        where = self.base_url if self._runner is not None else "closed"
        return f"<Simulator {where}, {len(self._connections)} connections>"

    @property
    def base_url(self) -> str:
        """The API's root, for a client's ``base_url``."""
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"http://{host}:{self._port}/v1"

    @property
    def azure_endpoint(self) -> str:
        """The root of a simulated Azure resource: deployments with dated API versions."""
        return self.base_url.removesuffix("/v1")

    @property
    def websocket_url(self) -> str:
        """The WebSocket's URL."""
        return f"ws{self.base_url.removeprefix('http')}/responses"

    @property
    def journal(self) -> Journal:
        """The requests and their outcomes."""
        return self._service.journal

    @property
    def open_sockets(self) -> int:
        """Number of open TCP connections: WebSockets, and HTTP connections kept alive."""
        server = self._runner.server if self._runner is not None else None
        return len(server.connections) if server is not None else 0

    @property
    def remembered(self) -> set[str]:
        """Response ids that the open WebSocket connections can continue without ``store``."""
        return {held for c in self._connections for held in c.memory.held().values()}

    @property
    def script(self) -> Script:
        """The answers from now on."""
        return self._service.script

    @script.setter
    def script(self, script: Script | Reply | str) -> None:
        self._service.script = _as_script(script)

    @property
    def fault(self) -> FaultPlan:
        """The faults of requests from now on."""
        return self._service.fault

    @fault.setter
    def fault(self, fault: FaultOption) -> None:
        self._service.fault = as_plan(fault)

    @property
    def on_connect(self) -> ConnectPlan | None:
        """The faults of handshakes from now on."""
        return self._handshakes.on_connect

    @on_connect.setter
    def on_connect(self, plan: ConnectPlan | None) -> None:
        self._handshakes.on_connect = plan

    async def __aenter__(self) -> Self:
        app = web.Application(client_max_size=64 * 2**20)
        for root in ("/v1", "/openai/v1"):  # the second one as on Azure
            app.router.add_get(f"{root}/responses", self._responses)
            app.router.add_post(f"{root}/responses", self._post)
            app.router.add_get(f"{root}/responses/{{id}}", self._retrieve)
            app.router.add_get(f"{root}/models", self._models)
            app.router.add_post(f"{root}/chat/completions", self._chat)
        azure = "/openai/deployments/{deployment}/chat/completions"
        app.router.add_post(azure, self._azure_chat)
        app.router.add_post("/openai/responses", self._azure_post)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
        await self._runner.setup()
        site = web.TCPSite(self._runner, self._host, self._port)
        await site.start()
        self._port = self._runner.addresses[0][1]
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.aclose()
        if error is None and self._service.crashes:
            raise self._service.crashes[0]

    async def aclose(self) -> None:
        """Close every connection and the port; may be called again."""
        runner, self._runner = self._runner, None
        if runner is not None:
            await self.close_connections(1001)
            for post in self._posts:
                post.cancel()
            await runner.cleanup()

    async def close_connections(self, code: int = 1001, reason: str = "") -> None:
        """Close every open connection with a code."""
        await asyncio.gather(*(c.close(code, reason) for c in list(self._connections)))

    def abort_connections(self) -> None:
        """Reset every open connection."""
        for connection in list(self._connections):
            connection.abort()

    async def _models(self, request: web.Request) -> web.Response:
        if (refusal := self._handshakes.unauthorized(request)) is not None:
            return refusal
        names = sorted({*KNOWN_MODELS, *self._service.options.models})
        listed = [
            {"id": name, "object": "model", "created": 1_700_000_000, "owned_by": "openai"}
            for name in names
        ]
        return web.json_response({"object": "list", "data": listed})

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        return await self._run(ChatExchange(self._service, request, None), request)

    async def _post(self, request: web.Request) -> web.StreamResponse:
        if (status := self._service.options.no_responses) is not None:
            return refused(RequestError(f"Invalid URL (POST {request.path})", status=status))
        return await self._run(PostedResponse(self._service, request), request)

    async def _azure_chat(self, request: web.Request) -> web.StreamResponse:
        if "api-version" not in request.query:
            return _no_such_place()
        deployment = request.match_info["deployment"]
        return await self._run(ChatExchange(self._service, request, deployment), request)

    async def _azure_post(self, request: web.Request) -> web.StreamResponse:
        if "api-version" not in request.query:
            return _no_such_place()
        return await self._post(request)

    async def _run(self, posted: Posted, request: web.Request) -> web.StreamResponse:
        if (answer := self._handshakes.unauthorized(request)) is not None:
            return answer
        task = asyncio.current_task()
        if task is not None:
            self._posts.add(task)
            task.add_done_callback(self._posts.discard)
        return await posted.run()

    async def _retrieve(self, request: web.Request) -> web.Response:
        if (answer := self._handshakes.unauthorized(request)) is not None:
            return answer
        response_id = request.match_info["id"]
        whole = self._service.store.wholes.get(response_id)
        if whole is None:
            message = f"Response with id '{response_id}' not found."
            return refused(RequestError(message, status=404))
        return web.json_response(whole, headers=service_headers())

    async def _responses(self, request: web.Request) -> web.StreamResponse:
        record = self.journal.connect(request.headers, request.query)
        refusal, fault = await self._handshakes.decide(request, record.number)
        if refusal is not None:
            record.refused = refusal.status
            record.closed = True
            self.journal.changed()
            return refusal
        connection = ServerConnection(self._service, record)
        self._connections.add(connection)
        try:
            return await connection.serve(request, service_headers(), fault)
        finally:
            self._connections.discard(connection)


def _as_script(script: Script | Reply | str | None) -> Script:
    if script is None:
        return echo()
    return script if callable(script) else fixed(script)


def _no_such_place() -> web.Response:
    return refused(RequestError("Resource not found", code="404", status=404))
