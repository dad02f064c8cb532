"""The core's clients of one LLM: one for each way, and for each set of headers and query."""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from rtllm import ChatClient, Client, FallsBack, HostProfile, Lanes, Reach, Snapshot, TurnReport

logger = logging.getLogger(__name__)

_KEPT = 4


@dataclass(frozen=True, slots=True)
class Links:
    """How connections are used; see `OpenAILLM`."""

    lanes: Lanes
    spare: int
    fallback: FallsBack
    host_profile: HostProfile | str | None
    rebuild: bool
    websocket: bool


class Clients:
    """Opens clients as they are needed. Their books go on when they are closed.

    Args:
        reach: Where the service is.
        links: How connections are used.
        on_turn: Called with the report of each turn.
    """

    def __init__(
        self,
        reach: Reach,
        links: Links,
        *,
        on_turn: Callable[[TurnReport], None] | None,
    ) -> None:
        self.reach = reach
        self._links = links
        self._on_turn = on_turn
        self._sockets: OrderedDict[tuple[Any, ...], Client] = OrderedDict()
        self._http: ChatClient | None = None
        self._retired: list[Client | ChatClient] = []
        self._closing: set[asyncio.Task[None]] = set()
        self._loop: asyncio.AbstractEventLoop | None = None

    def __repr__(self) -> str:
        return "Clients(…)"

    @property
    def websocket(self) -> bool:
        """Whether the Responses API is asked over its socket."""
        return self._links.websocket

    @property
    def usage(self) -> Snapshot:
        """Tokens so far, over all clients."""
        total = Snapshot()
        http = [self._http] if self._http is not None else []
        clients: list[Client | ChatClient] = [*self._sockets.values(), *http, *self._retired]
        for client in clients:
            total = _sum(total, client.usage)
        return total

    def socket(self, headers: Mapping[str, str], query: Mapping[str, str]) -> Client:
        """The client whose handshakes carry these headers and this query.

        Raises:
            ConfigError: If there is no key, or the address can't be used.
        """
        self._note_loop()
        key = (tuple(sorted(headers.items())), tuple(sorted(query.items())))
        client = self._sockets.get(key)
        if client is None:
            where, credentials = self.reach.socket(headers, query)
            links = self._links
            client = self._sockets[key] = Client(
                where,
                credentials,
                lanes=links.lanes,
                spare=links.spare,
                rebuild=links.rebuild,
                fallback=links.fallback,
                profile=links.host_profile,
                websocket=links.websocket,
                http_client=self.reach.client,
                make_http_client=self._make_http_client(),
                on_turn=self._on_turn,
            )
            if len(self._sockets) > _KEPT:
                _, oldest = self._sockets.popitem(last=False)
                self._retire(oldest)
        self._sockets.move_to_end(key)
        return client

    def _make_http_client(self) -> Callable[[], object] | None:
        """What makes a client of ours for the Responses API over HTTP, where that is special."""
        reach = self.reach
        return reach.http if reach.client is None and reach.make_client is not None else None

    def http(self) -> ChatClient:
        """The client for Chat Completions; headers and query travel with each request."""
        self._note_loop()
        if self._http is None:
            lent = self.reach.client
            if lent is not None:
                self._http = ChatClient(lent, on_turn=self._on_turn)
            else:
                self._http = ChatClient(make_client=self.reach.http, on_turn=self._on_turn)
        return self._http

    def reach_with(self, reach: Reach) -> None:
        """Go elsewhere, or with another key, from the next request on."""
        self.reach = reach
        self._retire_all()

    def abandon(self) -> None:
        """Close everything soon: the LLM was dropped without `aclose`.

        The garbage collector calls this, in any thread and at any time.
        """
        if self._loop is not None and not self._loop.is_closed():
            with suppress(RuntimeError):  # it was closed meanwhile, and its sockets with it
                self._loop.call_soon_threadsafe(self._retire_all)

    def _note_loop(self) -> None:
        with suppress(RuntimeError):  # none runs
            self._loop = asyncio.get_running_loop()

    def _retire_all(self) -> None:
        http = [self._http] if self._http is not None else []
        old: list[Client | ChatClient] = [*self._sockets.values(), *http]
        self._sockets.clear()
        self._http = None
        for client in old:
            self._retire(client)

    def _retire(self, client: Client | ChatClient) -> None:
        """Close a client in the background, and keep its books."""
        self._retired.append(client)
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            return
        task = loop.create_task(client.aclose(), name="rtllm retired client")
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    async def aclose(self) -> None:
        """Close everything of the running loop; the next request opens new connections."""
        http = [self._http] if self._http is not None else []
        clients: list[Client | ChatClient] = [*self._sockets.values(), *http]
        for client in clients:
            await client.aclose()
        loop = asyncio.get_running_loop()
        closing = [task for task in self._closing if task.get_loop() is loop]
        if closing:
            await asyncio.wait(closing)


def _sum(one: Snapshot, other: Snapshot) -> Snapshot:
    return Snapshot(
        answered=one.answered + other.answered,
        cut=one.cut + other.cut,
        failed=one.failed + other.failed,
        superseded=one.superseded + other.superseded,
        warm_up=one.warm_up + other.warm_up,
    )
