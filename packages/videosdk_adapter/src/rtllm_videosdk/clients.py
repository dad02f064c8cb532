"""The core's clients of one LLM: one for each protocol, and for each set of headers and query."""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from weakref import WeakSet

from rtllm import (
    Chaining,
    ChatClient,
    Client,
    FallbackProtocol,
    HostProfile,
    Lanes,
    TraceListeners,
    TurnReport,
    UsageLedger,
    UsageSnapshot,
)
from rtllm.adapters import ProviderConfig, check_settings

_KEPT = 4


@dataclass(frozen=True, slots=True)
class ConnectionSettings:
    """Options of the connections; see `OpenAILLM`.

    Raises:
        ConfigError: If one is not valid.
    """

    lanes: Lanes
    warm_connections: int
    max_connections: int
    fallback: FallbackProtocol
    host_profile: HostProfile | str | None
    rebuild: bool
    websocket: bool
    chaining: Chaining = "auto"
    dialect: Mapping[str, str] | None = None

    def __post_init__(self) -> None:
        check_settings(
            use_websocket=self.websocket,
            lanes=self.lanes,
            warm_connections=self.warm_connections,
            max_connections=self.max_connections,
            fallback=self.fallback,
            host_profile=self.host_profile,
            chaining=self.chaining,
            rebuild=self.rebuild,
        )


class Clients:
    """Creates clients when they are needed. They share a usage ledger, which outlives them.

    Args:
        provider: The provider configuration.
        connection_settings: The options of the connections.
        on_turn: Called with the report of each turn.
        on_trace: The listeners of trace events.
        label: The name of their calls.
    """

    def __init__(
        self,
        provider: ProviderConfig,
        connection_settings: ConnectionSettings,
        *,
        on_turn: Callable[[TurnReport], None] | None,
        on_trace: TraceListeners,
        label: str | None,
    ) -> None:
        self.provider = provider
        self._connection_settings = connection_settings
        self._on_turn = on_turn
        self._on_trace = on_trace
        self._label = label
        self._sockets: OrderedDict[tuple[Any, ...], Client] = OrderedDict()
        self._http: ChatClient | None = None
        self._retired: WeakSet[Client | ChatClient] = WeakSet()
        self._usage_ledger = UsageLedger()

    def __repr__(self) -> str:
        return "Clients(…)"

    @property
    def websocket(self) -> bool:
        """Whether the Responses API is used over its WebSocket."""
        return self._connection_settings.websocket

    @property
    def usage(self) -> UsageSnapshot:
        """Tokens so far, of all clients."""
        return self._usage_ledger.snapshot()

    def socket(self, headers: Mapping[str, str], query: Mapping[str, str]) -> Client:
        """Return the client whose handshakes have these headers and this query.

        Raises:
            ConfigError: If there is no key, or the address is not valid.
        """
        key = (tuple(sorted(headers.items())), tuple(sorted(query.items())))
        client = self._sockets.get(key)
        if client is None:
            where, credentials = self.provider.socket(headers, query)
            connection_settings = self._connection_settings
            client = self._sockets[key] = Client(
                where,
                credentials,
                lanes=connection_settings.lanes,
                warm_connections=connection_settings.warm_connections,
                max_connections=connection_settings.max_connections,
                rebuild=connection_settings.rebuild,
                fallback=connection_settings.fallback,
                profile=connection_settings.host_profile,
                chaining=connection_settings.chaining,
                dialect=connection_settings.dialect,
                websocket=connection_settings.websocket,
                http_client=self.provider.client,
                make_http_client=self._make_http_client(),
                proxy=self.provider.proxy,
                on_turn=self._on_turn,
                on_trace=self._on_trace,
                label=self._label,
                usage_ledger=self._usage_ledger,
            )
            if len(self._sockets) > _KEPT:
                _, oldest = self._sockets.popitem(last=False)
                self._retire(oldest)
        self._sockets.move_to_end(key)
        return client

    def model_of(self, deployment: str) -> str | None:
        """Return the model that responds to the name of a deployment on Azure, if known."""
        if not self.provider.host.startswith("azure"):
            return None
        known = (client.model_of(deployment) for client in self._current())
        return next((model for model in known if model is not None), None)

    def _make_http_client(self) -> Callable[[str | None], object] | None:
        """Return the factory of the Responses API's HTTP client, if it is a special one."""
        provider = self.provider
        is_special = provider.client is None and provider.make_client is not None
        return provider.http if is_special else None

    def http(self) -> ChatClient:
        """Return the client of Chat Completions; headers and query are sent with each request.

        Raises:
            ConfigError: If a proxy is set that it can't use.
        """
        if self._http is None:
            self.provider.check_http()
            own_client = self.provider.client
            self._http = ChatClient(
                own_client,
                make_client=self.provider.http if own_client is None else None,
                profile=self._connection_settings.host_profile or self.provider.profile,
                dialect=self._connection_settings.dialect,
                on_turn=self._on_turn,
                on_trace=self._on_trace,
                label=self._label,
                usage_ledger=self._usage_ledger,
            )
        return self._http

    def set_provider(self, provider: ProviderConfig) -> None:
        """Use another address or key, from the next request on."""
        self.provider = provider
        self._retire_all()

    def _current(self) -> list[Client | ChatClient]:
        http = [self._http] if self._http is not None else []
        return [*self._sockets.values(), *http]

    def _retire_all(self) -> None:
        old = self._current()
        self._sockets.clear()
        self._http = None
        for client in old:
            self._retire(client)

    def _retire(self, client: Client | ChatClient) -> None:
        """Send a client no more requests; it closes once its running responses are over."""
        self._retired.add(client)
        client.close_when_idle()

    async def aclose(self) -> None:
        """Close everything of the running loop at once; the next request opens new connections."""
        clients = {*self._current(), *self._retired}
        await asyncio.gather(*(client.aclose() for client in clients))
