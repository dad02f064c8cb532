"""The client of the Responses API."""

import weakref
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Literal

from rtllm.client.base import BaseClient
from rtllm.content.request import Network, Request
from rtllm.content.usage import UsageLedger
from rtllm.engine.connection import Opening
from rtllm.engine.engine import Engine
from rtllm.engine.options import Chaining, EngineOptions, HostKnowledge
from rtllm.engine.report import TurnReport
from rtllm.errors import ConfigError
from rtllm.providers.credentials import Credentials
from rtllm.providers.dialects import checked_points
from rtllm.providers.environment import chaining_is_off
from rtllm.providers.hosts import Endpoint, HostProfile, profile_named
from rtllm.providers.http_clients import HttpClients, MakeClient, make_client
from rtllm.scheduling.connection_pool import MAX_CONNECTIONS
from rtllm.transport.runtime import Runtime

Lanes = bool | Literal["auto"]
FallbackProtocol = Literal["http"] | None


class Client(BaseClient):
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
            the name of a known host's (`rtllm.providers.hosts.PROFILES`).
        chaining: Whether earlier responses are continued. "auto": where the host keeps them;
            ``RTLLM_CHAINING=off`` means False for every client whose user didn't say.
        dialect: What the host wants said otherwise (`rtllm.providers.dialects.POINTS`), where it
            isn't known from its name and must not cost a refusal.
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
        fallback: FallbackProtocol = "http",
        profile: HostProfile | str | None = None,
        chaining: Chaining = "auto",
        dialect: Mapping[str, str] | None = None,
        http_client: object | None = None,
        make_http_client: Callable[[], object] | None = None,
        on_turn: Callable[[TurnReport], None] | None = None,
        books: UsageLedger | None = None,
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
        if chaining == "auto" and chaining_is_off():
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
