"""The core's clients of one LLM: one for each protocol, and for each set of headers and query."""

import asyncio
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any
from weakref import WeakSet

from rtllm.adapters.connection_options import ConnectionOptions
from rtllm.client.chat_client import ChatClient
from rtllm.client.client import Client
from rtllm.content.usage_ledger import UsageLedger, UsageSnapshot
from rtllm.providers.config import ProviderConfig

_KEPT = 4


class Clients:
    """The clients of one LLM, whose requests may have headers and a query of their own.

    They are created when they are needed. They share a usage ledger, which outlives them.

    Args:
        provider: The address and credentials.
        connection: The options of the connections.

    Attributes:
        provider: The address and credentials of the next request; see `set_provider`.
    """

    def __init__(self, provider: ProviderConfig, connection: ConnectionOptions) -> None:
        self.provider = provider
        self._connection = connection
        self._sockets: OrderedDict[tuple[Any, ...], Client] = OrderedDict()
        self._http: ChatClient | None = None
        self._retired: WeakSet[Client | ChatClient] = WeakSet()
        self._usage_ledger = UsageLedger()

    def __repr__(self) -> str:
        return f"Clients({len(self._current())} of {self.provider.host})"

    @property
    def websocket(self) -> bool:
        """Whether the Responses API is used over its WebSocket."""
        return self._connection.use_websocket

    @property
    def usage(self) -> UsageSnapshot:
        """Tokens and their cost so far, of all clients."""
        return self._usage_ledger.snapshot(self._connection.pricing)

    def socket(self, headers: Mapping[str, str], query: Mapping[str, str]) -> Client:
        """Return the client whose handshakes have these headers and this query.

        Raises:
            ConfigError: If there is no key, or the address is not valid.
        """
        key = (tuple(sorted(headers.items())), tuple(sorted(query.items())))
        client = self._sockets.get(key)
        if client is None:
            client = self._sockets[key] = self._connection.client(
                self.provider, headers=headers, query=query, usage_ledger=self._usage_ledger
            )
            if len(self._sockets) > _KEPT:
                _, oldest = self._sockets.popitem(last=False)
                self._retire(oldest)
        self._sockets.move_to_end(key)
        return client

    def model_of(self, deployment: str) -> str | None:
        """Return the model that responds to the name of a deployment, if known."""
        known = (client.model_of(deployment) for client in self._current())
        return next((model for model in known if model is not None), None)

    def http(self) -> ChatClient:
        """Return the client of Chat Completions; headers and query are sent with each request.

        Raises:
            ConfigError: If a proxy is set that it can't use.
        """
        if self._http is None:
            self._http = self._connection.chat_client(
                self.provider, usage_ledger=self._usage_ledger
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
