"""Clients: all that an adapter sees of the core's I/O."""

import asyncio
import inspect
import logging
import os
import secrets
import weakref
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Literal

from rtllm.answer import Answer
from rtllm.dialects import checked_points
from rtllm.engine.connection import Opening
from rtllm.engine.engine import Engine
from rtllm.engine.options import Chaining, EngineOptions, HostKnowledge
from rtllm.engine.prepared import PreparedRequest, prepare
from rtllm.engine.snapshot import ConnectionSnapshot
from rtllm.errors import ConfigError
from rtllm.fleet import MAX_CONNECTIONS
from rtllm.hosts import Endpoint, HostProfile, profile_named
from rtllm.leaving import ABANDONED_LIMIT, Leaving
from rtllm.report import TurnReport
from rtllm.request import Network, Request
from rtllm.transport.auth import Credentials
from rtllm.transport.http import HttpClients, MakeClient, make_client
from rtllm.transport.preload import preload_chat
from rtllm.transport.runtime import Runtime
from rtllm.usage import Books, Snapshot
from rtllm.wire.chat import parameters

logger = logging.getLogger(__name__)

Lanes = bool | Literal["auto"]
FallsBack = Literal["http"] | None
_OFF = ("off", "0", "false", "no")


class _Asked(ABC):
    """What every client does, whichever way its requests take.

    Whoever owns a client lends it functions: `on_turn`, a key's or token's provider, a client
    with such providers. They may lead back to the client, as methods of an agent that owns it
    do. So only the client holds them, and its answers while they run: runtimes and all that the
    event loop holds know them by weak references, and a client that is dropped is freed.
    """

    def __init__(
        self,
        options: EngineOptions,
        knowledge: HostKnowledge,
        on_turn: Callable[[TurnReport], None] | None,
        books: Books | None,
    ) -> None:
        if inspect.iscoroutinefunction(on_turn):
            raise ConfigError("on_turn is async; expected a plain function, which is not awaited")
        self._options = options
        self._knowledge = knowledge
        self._on_turn = on_turn
        self._books = Books() if books is None else books
        self._engines: dict[asyncio.AbstractEventLoop, Engine] = {}
        self._runtimes: dict[asyncio.AbstractEventLoop, Runtime] = {}
        self._http_clients: weakref.WeakKeyDictionary[Runtime, HttpClients] = (
            weakref.WeakKeyDictionary()
        )
        self._leaving = Leaving(self._runtimes)
        # A client that is dropped must not leave its sockets open, whatever else still runs.
        # Its answers hold it, so none of them runs then: nothing is waited for.
        weakref.finalize(self, self._leaving.begin, 0.0).atexit = False

    @property
    def usage(self) -> Snapshot:
        """Tokens so far, those of cut, failed and superseded attempts included."""
        return self._books.snapshot()

    @property
    def connections(self) -> tuple[ConnectionSnapshot, ...]:
        """The connections and HTTP requests of the running event loop, the oldest first."""
        runtime = self._runtimes.get(asyncio.get_running_loop())
        return runtime.connections if runtime is not None else ()

    def ask(self, request: Request) -> Answer:
        """Take a request; nothing is sent until the answer is read.

        Raises:
            EmptyContext: If there is nothing to answer.
        """
        return self._ask(prepare(request, self._knowledge.keeps_id))

    def _ask(self, prepared: PreparedRequest) -> Answer:
        counted = self._leaving.answer()

        def begin() -> Runtime:
            runtime = self._runtime()
            counted.began()
            return runtime

        def end(report: TurnReport) -> None:
            counted.ended()
            self._tell(report)

        return Answer(prepared, begin, end)

    def check(self, request: Request) -> None:
        """Refuse what `ask` would, for a request that isn't whole yet.

        Raises:
            EmptyContext: If there is nothing to answer.
            ConfigError: If a setting can't be sent.
        """
        prepare(request, self._knowledge.keeps_id)

    async def aclose(self) -> None:
        """Close the connections of the running loop; the next request opens new ones."""
        await self._leaving.close()

    def abandon(self, limit: float = ABANDONED_LIMIT) -> None:
        """Close the connections on every event loop as soon as no answer runs there.

        For a client that gets no further requests; those that it has taken go on, also one
        whose answer nobody reads yet. Waits for nothing, and may be called in any thread and
        at any time, as by the garbage collector. `aclose` closes at once even then.

        Args:
            limit: Seconds after which answers that still run are ended with an error.
        """
        self._leaving.begin(limit)

    def _runtime(self) -> Runtime:
        """The runtime of the running event loop."""
        loop = asyncio.get_running_loop()
        runtime = self._runtimes.get(loop)
        if runtime is None:
            for ended in [other for other in self._runtimes if other.is_closed()]:
                self._runtimes.pop(ended, None)
            runtime = self._runtimes[loop] = self._open(self._engine(loop))
        return runtime

    def _engine(self, loop: asyncio.AbstractEventLoop) -> Engine:
        """The engine of an event loop: what it knows of the host outlives its runtimes."""
        self._engines = {k: v for k, v in self._engines.items() if not k.is_closed()}
        if loop not in self._engines:
            # A loop's marks are its own; the seed only spreads the waits of many processes.
            marks = secrets.token_hex(8)
            options = replace(self._options, marks=marks, seed=marks)
            self._engines[loop] = Engine(options, self._knowledge)
        return self._engines[loop]

    @abstractmethod
    def _open(self, engine: Engine) -> Runtime:
        """Make the runtime of the running event loop."""

    def _tell(self, report: TurnReport) -> None:
        """Log a turn and give its report to who wants it."""
        logger.info(
            "conversation %d: %s, %s, %d items, %d bytes, %d attempts, response %s",
            report.conversation,
            report.outcome,
            "chained" if report.chained else f"whole ({report.why_whole})",
            report.items_sent,
            report.bytes_sent,
            report.attempts,
            report.response_id,
        )
        if self._on_turn is None:
            return
        try:
            self._on_turn(report)
        except Exception:
            logger.exception("on_turn raised")


class Client(_Asked):
    """A client of one host, for any number of conversations at once.

    It works on every event loop it is used on, and opens again after it was closed.

    Args:
        endpoint: Where the host is.
        credentials: What a handshake proves its right with.
        lanes: Whether to use lanes; "auto" goes by what is known of the host.
        warm_connections: How many warm connections to keep on a host without lanes.
        max_connections: How many connections an event loop may have at once. Beyond it requests
            wait for one, within their limit for connecting, and a warning tells of it.
        rebuild: Whether the states that only an old connection remembers are prepared on the
            one that takes its place, in the background. That costs their input tokens once in
            each lifetime of a connection; without it the next turn sends its context whole.
        websocket: Whether to use the socket at all; without it requests go over HTTP, where
            only stored answers can be continued.
        fallback: What a request takes that the socket can't carry: a host without a socket, a
            socket that keeps failing, a request above the frame limit. None: nothing, it fails.
        profile: What the host is like, where that isn't known from its address: a profile, or
            the name of a known host's (`rtllm.hosts.PROFILES`).
        chaining: Whether earlier responses are continued. "auto": where the host keeps them;
            ``RTLLM_CHAINING=off`` means False for every client whose user didn't say.
        dialect: What the host wants said otherwise (`rtllm.dialects.POINTS`), where it isn't
            known from its name and shall not cost a refusal.
        http_client: An ``AsyncOpenAI`` of the user's, or what is shaped like one, for requests
            over HTTP; never closed here. None: one of our own, with these credentials.
        make_http_client: Makes such a client, to be closed here.
        on_turn: Called with the report of each turn.
        books: Where its attempts are counted, with those of other clients. None: alone.

    Raises:
        ConfigError: If `fallback` is neither ``"http"`` nor None, `max_connections` is not
            positive, or no host has such a name.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        credentials: Credentials,
        *,
        lanes: Lanes = "auto",
        warm_connections: int = 1,
        max_connections: int = MAX_CONNECTIONS,
        rebuild: bool = False,
        websocket: bool = True,
        fallback: FallsBack = "http",
        profile: HostProfile | str | None = None,
        chaining: Chaining = "auto",
        dialect: Mapping[str, str] | None = None,
        http_client: object | None = None,
        make_http_client: Callable[[], object] | None = None,
        on_turn: Callable[[TurnReport], None] | None = None,
        books: Books | None = None,
    ) -> None:
        if fallback not in ("http", None):
            raise ConfigError(f"fallback is {fallback!r}; expected 'http' or None")
        if max_connections < 1:
            raise ConfigError(f"max_connections is {max_connections!r}; expected 1 or more")
        if profile is not None:
            endpoint = replace(endpoint, profile=profile_named(profile))
        profile = endpoint.profile
        if chaining not in (True, False, "auto"):
            raise ConfigError(f"chaining is {chaining!r}; expected True, False or 'auto'")
        if lanes not in (True, False, "auto"):
            raise ConfigError(f"lanes is {lanes!r}; expected True, False or 'auto'")
        if chaining == "auto" and os.environ.get("RTLLM_CHAINING", "").lower() in _OFF:
            chaining = False
        uses_lanes = profile.lanes if lanes == "auto" else lanes
        super().__init__(
            EngineOptions(
                profile,
                websocket=websocket,
                http_fallback=fallback == "http",
                warm_connections=warm_connections,
                max_connections=max_connections,
                rebuild=rebuild,
                refreshable=credentials.renewable,
                chaining=chaining,
            ),
            HostKnowledge(profile.name, lanes=uses_lanes, dialect=checked_points(dialect)),
            on_turn,
            books,
        )
        self.endpoint = endpoint
        self._credentials = credentials
        self._http_client = http_client
        self._make_http_client = make_http_client

    async def warm_up(self, request: Request) -> None:
        """Let the service prepare a prompt, so that first turns send only what is new.

        Its input tokens count (`usage.Snapshot.warm_up`). Worth it where the same system texts
        begin many conversations, or the first turn must be quick.

        Args:
            request: With the system texts, the tools and the settings of later requests.

        Raises:
            TurnError: If the service doesn't do it.
        """
        with self.ask(replace(request, warm_up=True)) as answer:
            async for _ in answer:
                pass

    def prewarm(self, model: str, network: Network, limit: float = 10.0) -> None:
        """Begin to open a connection, if none is warm. Needs a running event loop.

        Args:
            model: The model that will be asked.
            network: What to open it with.
            limit: Seconds for the connection.
        """
        self._runtime().warm(Opening(model, network, limit))

    def _open(self, engine: Engine) -> Runtime:
        theirs, make_theirs = self._http_client, self._make_http_client
        make: MakeClient = partial(make_client, self.endpoint)
        if theirs is not None:
            make = lambda _: theirs  # noqa: E731
        elif make_theirs is not None:
            make = lambda _: make_theirs()  # noqa: E731
        with_own_key = theirs is not None or make_theirs is not None
        clients = HttpClients(make, owned=theirs is None)
        credentials = weakref.ref(self._credentials)
        runtime = Runtime(
            engine,
            self._books,
            weakref.ref(clients),
            credentials,
            None if with_own_key else credentials,
            self.endpoint,
        )
        self._http_clients[runtime] = clients
        return runtime


class ChatClient(_Asked):
    """A client that asks over Chat Completions, for models and hosts without Responses.

    It takes the same requests, `Request.settings` by their names in the Responses API
    included; what Chat Completions doesn't know is a `ConfigError` when it is asked. Settings
    may also hold Chat's own fields, and ``extra_body``, ``extra_headers`` and ``extra_query``.
    Nothing is chained, so every turn sends its whole context; `Request.network` has no say,
    and `Request.hold_calls` makes no difference: calls come at the end here.

    It works on every event loop it is used on, and opens again after it was closed; a client
    of the user's works wherever it works by itself.

    Args:
        client: An ``AsyncOpenAI`` of the user's, or what is shaped like one; never closed.
        make_client: Gives a client for an event loop, to be closed here; instead of `client`.
        profile: What the host is like, or a known host's name. None: nothing is known.
        dialect: What the host wants said otherwise, as with `Client`.
        on_turn: Called with the report of each turn.
        books: Where its attempts are counted, with those of other clients. None: alone.

    Raises:
        ConfigError: If both or neither of the two are given.
    """

    def __init__(
        self,
        client: object | None = None,
        *,
        make_client: Callable[[], object] | None = None,
        profile: HostProfile | str | None = None,
        dialect: Mapping[str, str] | None = None,
        on_turn: Callable[[TurnReport], None] | None = None,
        books: Books | None = None,
    ) -> None:
        if (client is None) is (make_client is None):
            raise ConfigError("expected either client or make_client, not both and not neither")
        known = HostProfile("chat") if profile is None else profile_named(profile)
        super().__init__(
            EngineOptions(replace(known, memory="none"), api="chat", websocket=False),
            HostKnowledge(known.name, lanes=False, dialect=checked_points(dialect)),
            on_turn,
            books,
        )
        preload_chat()
        self._client = client
        self._make_client = make_client

    def ask(self, request: Request) -> Answer:
        """Take a request; nothing is sent until the answer is read.

        Raises:
            EmptyContext: If there is nothing to answer.
            ConfigError: If it holds what Chat Completions doesn't know.
        """
        parameters(request.settings, request.tools)
        return super().ask(request)

    def check(self, request: Request) -> None:
        """Refuse what `ask` would, for a request that isn't whole yet.

        Raises:
            EmptyContext: If there is nothing to answer.
            ConfigError: If it holds what Chat Completions doesn't know.
        """
        parameters(request.settings, request.tools)
        super().check(request)

    def prewarm(self, model: str, network: Network | None = None, limit: float = 10.0) -> None:
        """Make the client of the running event loop, which takes a while by itself.

        Nothing is sent, for nothing that is free of charge would open its connection too; the
        arguments are those of `Client.prewarm` and have no say.
        """
        self._runtime().warm_http()

    def _open(self, engine: Engine) -> Runtime:
        theirs, make = self._client, self._make_client
        clients = HttpClients(lambda _: theirs if make is None else make(), owned=make is not None)
        runtime = Runtime(engine, self._books, weakref.ref(clients))
        self._http_clients[runtime] = clients
        return runtime
