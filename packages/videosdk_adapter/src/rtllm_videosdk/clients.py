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
    ProviderConfig,
    TurnReport,
    UsageLedger,
    UsageSnapshot,
)

_KEPT = 4


@dataclass(frozen=True, slots=True)
class Links:
    """Options of the connections; see `OpenAILLM`."""

    lanes: Lanes
    warm_connections: int
    max_connections: int
    fallback: FallbackProtocol
    host_profile: HostProfile | str | None
    rebuild: bool
    websocket: bool
    chaining: Chaining = "auto"
    dialect: Mapping[str, str] | None = None


class Clients:
    """Creates clients when they are needed. They share a usage ledger, which outlives them.

    Args:
        reach: The provider configuration.
        links: The options of the connections.
        on_turn: Called with the report of each turn.
    """

    def __init__(
        self,
        reach: ProviderConfig,
        links: Links,
        *,
        on_turn: Callable[[TurnReport], None] | None,
    ) -> None:
        self.reach = reach
        self._links = links
        self._on_turn = on_turn
        self._sockets: OrderedDict[tuple[Any, ...], Client] = OrderedDict()
        self._http: ChatClient | None = None
        self._retired: WeakSet[Client | ChatClient] = WeakSet()
        self._books = UsageLedger()

    def __repr__(self) -> str:
        return "Clients(…)"

    @property
    def websocket(self) -> bool:
        """Whether the Responses API is used over its WebSocket."""
        return self._links.websocket

    @property
    def usage(self) -> UsageSnapshot:
        """Tokens so far, of all clients."""
        return self._books.snapshot()

    def socket(self, headers: Mapping[str, str], query: Mapping[str, str]) -> Client:
        """Return the client whose handshakes have these headers and this query.

        Raises:
            ConfigError: If there is no key, or the address is not valid.
        """
        key = (tuple(sorted(headers.items())), tuple(sorted(query.items())))
        client = self._sockets.get(key)
        if client is None:
            where, credentials = self.reach.socket(headers, query)
            links = self._links
            client = self._sockets[key] = Client(
                where,
                credentials,
                lanes=links.lanes,
                warm_connections=links.warm_connections,
                max_connections=links.max_connections,
                rebuild=links.rebuild,
                fallback=links.fallback,
                profile=links.host_profile,
                chaining=links.chaining,
                dialect=links.dialect,
                websocket=links.websocket,
                http_client=self.reach.client,
                make_http_client=self._make_http_client(),
                proxy=self.reach.proxy,
                on_turn=self._on_turn,
                books=self._books,
            )
            if len(self._sockets) > _KEPT:
                _, oldest = self._sockets.popitem(last=False)
                self._retire(oldest)
        self._sockets.move_to_end(key)
        return client

    def model_of(self, deployment: str) -> str | None:
        """Return the model that responds to the name of a deployment on Azure, if known."""
        if not self.reach.host.startswith("azure"):
            return None
        known = (client.model_of(deployment) for client in self._current())
        return next((model for model in known if model is not None), None)

    def _make_http_client(self) -> Callable[[str | None], object] | None:
        """Return the factory of the Responses API's HTTP client, if it is a special one."""
        reach = self.reach
        return reach.http if reach.client is None and reach.make_client is not None else None

    def http(self) -> ChatClient:
        """Return the client of Chat Completions; headers and query are sent with each request.

        Raises:
            ConfigError: If a proxy is set that it can't use.
        """
        if self._http is None:
            self.reach.check_http()
            lent = self.reach.client
            self._http = ChatClient(
                lent,
                make_client=self.reach.http if lent is None else None,
                profile=self._links.host_profile or self.reach.profile,
                dialect=self._links.dialect,
                on_turn=self._on_turn,
                books=self._books,
            )
        return self._http

    def reach_with(self, reach: ProviderConfig) -> None:
        """Use another address or key, from the next request on."""
        self.reach = reach
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
        client.abandon()

    async def aclose(self) -> None:
        """Close everything of the running loop at once; the next request opens new connections."""
        clients = {*self._current(), *self._retired}
        await asyncio.gather(*(client.aclose() for client in clients))
