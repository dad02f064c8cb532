"""The client of the Responses API."""

import weakref
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, Literal, Self

from rtllm.client.base import BaseClient
from rtllm.client.checks import check_settings
from rtllm.content.prices import Prices, Pricing
from rtllm.content.request import Network, Request
from rtllm.content.usage_ledger import UsageLedger
from rtllm.context.prompt_cache import CacheReports
from rtllm.engine.connection import Opening
from rtllm.engine.engine import Engine
from rtllm.engine.options import Chaining, EngineOptions, HostKnowledge
from rtllm.engine.report import TurnReport
from rtllm.errors import ConfigError
from rtllm.providers.config import ProviderConfig
from rtllm.providers.credentials import Credentials
from rtllm.providers.dialects import checked_points
from rtllm.providers.environment import chaining_is_off
from rtllm.providers.hosts import Endpoint, HostProfile, profile_named
from rtllm.providers.http_clients import HttpClients, MakeClient, make_client
from rtllm.providers.network import (
    PROXY_OF_CLIENT,
    NetworkConfig,
    checked_proxy,
    network_of,
)
from rtllm.providers.price_library import is_loaded, look_up
from rtllm.scheduling.connection_pool import MAX_CONNECTIONS
from rtllm.trace.listeners import TraceListeners
from rtllm.transport.runtime import Runtime

Lanes = bool | Literal["auto"]
"""Whether a connection runs several responses at once; "auto": on hosts known to support it."""
FallbackProtocol = Literal["http"] | None
"""What to use if the WebSocket fails; None: the turn fails."""


class Client(BaseClient):
    """A client of the Responses API on one host, for any number of concurrent conversations.

    One client works on every event loop it is used on, and reopens after it was closed.

    Args:
        endpoint: The host's address.
        credentials: The key or token provider that authenticates handshakes.
        lanes: Whether to use lanes; "auto" uses what is known about the host.
        warm_connections: How many warm connections to keep on a host without lanes.
        max_connections: The limit of connections on one event loop. When it is reached, requests
            wait for a connection, within their limit for connecting, and a warning is logged.
        rebuild: Whether a connection that replaces an old one gets, in the background, the contexts
            that only the old one remembers. That costs their input tokens once in each lifetime of
            a connection. Without it the next turn of each conversation sends its full context.
        websocket: Whether to use the WebSocket. Without it requests go over HTTP, where only stored
            responses can be continued.
        fallback: What to use when the WebSocket fails: the host has none, it keeps failing, or a
            request exceeds its frame limit. None to fail instead.
        profile: The host's properties if its address does not tell them: a profile, or the name of
            a known host (``docs/hosts.md``).
        chaining: Whether to continue earlier responses. "auto" if the host stores them; with
            ``RTLLM_CHAINING=off`` in the environment "auto" means False.
        dialect: How the host wants requests encoded, by the points of ``docs/hosts.md``, if its
            name does not tell and learning it from a rejected request is not wanted.
        http_client: An ``AsyncOpenAI`` of the user's, or an object with the same interface, for
            requests over HTTP; its proxy and its TLS settings are those of the WebSocket too. It is
            never closed here. None to create one with these credentials.
        make_http_client: Creates such a client for the proxy in a request's network settings, or
            None; it is closed here.
        proxy: The URL of an HTTP proxy for the connections. With `http_client` only the WebSocket
            uses it. Default: that of `http_client`, of `Request.network`, or ``HTTPS_PROXY``.
        prices: Prices of your own, for hosts and models that the price library doesn't know.
        cache_report: Whether the reports explain how much of the prompt came from the service's
            cache, and what broke it; "texts" also quotes the changed text.
        on_turn: Called with the report of each turn.
        on_trace: A listener of the trace events, or several (``docs/tracing.md``).
        label: A name for the calls of this client, for reports, traces and logs.
        usage_ledger: The ledger to record attempts in, shared with other clients. None for a ledger
            of its own.

    Raises:
        ConfigError: If a setting is not valid.
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
        make_http_client: MakeClient | None = None,
        proxy: str | None = None,
        prices: Prices | None = None,
        cache_report: CacheReports = False,
        on_turn: Callable[[TurnReport], None] | None = None,
        on_trace: TraceListeners = None,
        label: str | None = None,
        usage_ledger: UsageLedger | None = None,
    ) -> None:
        check_settings(
            lanes=lanes,
            warm_connections=warm_connections,
            max_connections=max_connections,
            rebuild=rebuild,
            websocket=websocket,
            fallback=fallback,
            chaining=chaining,
            prices=prices,
            cache_report=cache_report,
        )
        if profile is not None:
            endpoint = replace(endpoint, profile=profile_named(profile))
        profile = endpoint.profile
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
                pricing=Pricing(prices, look_up, is_loaded),
                cache_report=cache_report,
                server=endpoint.server,
            ),
            HostKnowledge(profile.name, lanes=uses_lanes, dialect=checked_points(dialect)),
            on_turn,
            usage_ledger,
            on_trace,
            label,
        )
        self.endpoint = endpoint
        self._credentials = credentials
        self._http_client = http_client
        self._make_http_client = make_http_client
        self._network = self._network_config(checked_proxy(proxy))
        if proxy and http_client is not None and not websocket:
            raise ConfigError(PROXY_OF_CLIENT)

    @classmethod
    def of_provider(
        cls,
        provider: ProviderConfig,
        *,
        headers: Mapping[str, str] | None = None,
        query: Mapping[str, str] | None = None,
        **options: Any,
    ) -> Self:
        """Create a client of a provider configuration.

        Args:
            provider: The address and credentials; see `rtllm.adapters.resolve_provider`.
            headers: Additional headers of the handshakes.
            query: Additional query parameters of the handshakes.
            **options: The other keywords of the constructor.

        Raises:
            ConfigError: If the key is missing, or a setting is not valid.
        """
        is_special = provider.client is None and provider.make_client is not None
        return cls(
            *provider.socket(headers or {}, query or {}),
            http_client=provider.client,
            make_http_client=provider.http if is_special else None,
            proxy=provider.proxy,
            **options,
        )

    def _network_config(self, proxy: str | None) -> NetworkConfig:
        passed_client = self._http_client
        if passed_client is None:
            return NetworkConfig(proxy)
        found = network_of(passed_client, f"{self.endpoint.http_base}/responses") or NetworkConfig()
        return replace(found, proxy=proxy) if proxy else found

    async def warm_up(self, request: Request) -> None:
        """Let the service process a prompt ahead, so that first turns send only what is new.

        Its input tokens are counted (`UsageSnapshot.warm_up`). It is worth it if the same system
        texts begin many conversations, or if the first turn must be fast.

        Args:
            request: A request with the system texts, tools and settings of later requests.

        Raises:
            TurnError: If the service rejects or fails it.
        """
        with self.ask(replace(request, warm_up=True)) as stream:
            async for _ in stream:
                pass

    def prewarm(self, model: str, network: Network | None = None, limit: float = 10.0) -> None:
        """Begin to open a connection if none is warm. Needs a running event loop.

        Args:
            model: The model that will be used.
            network: What to open it with.
            limit: Seconds for the connection.
        """
        self._runtime().warm(Opening(model, network or Network(), limit))

    def _open(self, engine: Engine) -> Runtime:
        passed_client, make_client = self._http_client, self._make_http_client
        make: MakeClient = make_client or partial(_make_client, self.endpoint, self._network)
        if passed_client is not None:
            make = lambda _: passed_client  # noqa: E731
        with_own_key = passed_client is not None or make_client is not None
        clients = HttpClients(make, is_owned=passed_client is None)
        credentials = weakref.ref(self._credentials)
        runtime = Runtime(
            engine,
            self._usage_ledger,
            weakref.ref(clients),
            credentials,
            None if with_own_key else credentials,
            self.endpoint,
            self._network,
            weakref.ref(self._trace),
        )
        self._http_clients[runtime] = clients
        return runtime


def _make_client(endpoint: Endpoint, network: NetworkConfig, proxy: str | None) -> object:
    return make_client(endpoint, network.proxy_for(endpoint.http_base, proxy))
