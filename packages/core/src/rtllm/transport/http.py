"""HTTP requests in flight: each is read by a task of its own and cut off when nobody waits.

A cut answer can't run out unheard here: its stream is closed, and its usage stays unknown.
"""

import asyncio
import inspect
import logging
import weakref
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing, suppress
from contextvars import Context
from dataclasses import replace
from typing import Any

from rtllm.faults import Fault, Kind
from rtllm.transport.attempt import Attempt
from rtllm.turn import Limits

logger = logging.getLogger(__name__)

CLOSE_LIMIT = 2.0  # seconds

Pieces = Callable[[Any], AsyncGenerator[Any]]
"""Sends a request with a client, and gives the pieces of its answer."""


MakeClient = Callable[[str | None], Any]
"""Gives an ``AsyncOpenAI``, or what is shaped like one, for the address of a proxy or None."""


class HttpClients:
    """The openai clients of one route: one for each proxy, made when it is needed first.

    They may hold functions of whoever owns this library's client, such as a token provider. So
    that client alone holds this object: a route, which its finalizer and the event loop reach,
    knows it by a weak reference.

    Args:
        make: Gives a client.
        owned: Whether those clients are ours to close.
    """

    def __init__(self, make: MakeClient, *, owned: bool) -> None:
        self._make = make
        self._made: dict[str | None, Any] = {}
        self.owned = owned

    def get(self, proxy: str | None = None) -> Any:
        """The client for a proxy."""
        if proxy not in self._made:
            self._made.setdefault(proxy, self._make(proxy))
        return self._made[proxy]

    def made(self, proxy: str | None) -> Any:
        """The client for a proxy, None if it isn't made yet."""
        return self._made.get(proxy)


class HttpRequests:
    """The HTTP requests of one client on one event loop, through an openai client.

    Args:
        clients: Gives that client.
        proxy: The address of a proxy.
    """

    def __init__(self, clients: weakref.ref[HttpClients], proxy: str | None = None) -> None:
        self._clients = clients
        self._proxy = proxy
        self._connections: Any = None
        self._loop = asyncio.get_running_loop()
        self._running: dict[int, Attempt] = {}
        self._readers: dict[int, asyncio.Task[None]] = {}
        self.closed = False

    def start(
        self,
        attempt: Attempt,
        pieces: Pieces,
        fault_of: Callable[[Exception], Fault],
        at_end: Callable[[Fault | None], None],
    ) -> None:
        """Send an attempt's request and begin to read its answer.

        Args:
            attempt: What takes the pieces.
            pieces: Sends the request and gives them.
            fault_of: Names an exception of the client's.
            at_end: Called if the stream is over and the attempt isn't, with what went wrong.
        """
        clients = self._clients()
        if clients is None:  # the client was dropped, and with it the reader of this attempt
            attempt.fail(Fault(Kind.CLOSED, "the client was closed"))
            return
        self._running[attempt.number] = attempt
        reader = self._loop.create_task(
            self._read(clients, attempt, pieces, fault_of, at_end),
            name=f"rtllm http {attempt.number}",
            context=Context(),
        )
        self._readers[attempt.number] = reader
        reader.add_done_callback(lambda _: self._readers.pop(attempt.number, None))

    def ended(self, attempt: Attempt) -> None:
        """Nothing more is due of an attempt."""
        self._running.pop(attempt.number, None)

    def abandon(self, attempt: Attempt) -> None:
        """Cut an attempt off: nothing more is due, and its stream is closed."""
        attempt.fail(Fault(Kind.DROPPED, "nobody waits for this answer any more"))
        if (reader := self._readers.get(attempt.number)) is not None:
            reader.cancel()

    async def _read(
        self,
        clients: HttpClients,
        attempt: Attempt,
        pieces: Pieces,
        fault_of: Callable[[Exception], Fault],
        at_end: Callable[[Fault | None], None],
    ) -> None:
        try:
            async with aclosing(pieces(self._ready_client(clients))) as stream:
                await self._feed(attempt, stream)
        except Exception as error:  # noqa: BLE001 - the top of a task: a fact for the turn
            logger.debug("http %d: %s", attempt.number, type(error).__name__)
            if not attempt.finished:
                at_end(_fault(fault_of(error), clients.made(self._proxy)))
        else:
            if not attempt.finished:
                at_end(None)

    async def _feed(self, attempt: Attempt, stream: AsyncGenerator[Any]) -> None:
        async with asyncio.timeout(None) as rest:
            async for piece in stream:
                if not attempt.finished:
                    attempt.feed(piece)
                if attempt.fault is not None:
                    return
                if attempt.finished and rest.when() is None:
                    # read to its end, the connection can be used again
                    rest.reschedule(self._loop.time() + CLOSE_LIMIT)

    def warm(self) -> None:
        """Make the client, if it isn't made yet."""
        clients = self._clients()
        if clients is not None and not self.closed:
            self._client(clients)

    def _client(self, clients: HttpClients) -> Any:
        client = clients.get(self._proxy)
        if clients.owned:
            # What is closed if the client is dropped: not the openai client, which may lead to
            # the owner, but the HTTP client below it. *Seen*: it is called so in openai 1 to 3.
            self._connections = getattr(client, "_client", client)
        return client

    def _ready_client(self, clients: HttpClients) -> Any:
        """The client, which must not retry by itself: this library does."""
        client = self._client(clients)
        if getattr(client, "max_retries", None) == 0 or not hasattr(client, "with_options"):
            return client
        return client.with_options(max_retries=0)

    async def aclose(self) -> None:
        """End what runs, and close the client if it is ours, within a limit."""
        self.closed = True
        for attempt in list(self._running.values()):
            attempt.fail(Fault(Kind.CLOSED, "the client was closed"))
        readers = list(self._readers.values())
        for reader in readers:
            reader.cancel()
        if readers:
            await asyncio.wait(readers, timeout=CLOSE_LIMIT)
        clients, connections = self._clients(), self._connections
        self._connections = None
        if clients is not None and clients.owned:
            await close(clients.made(self._proxy))
        elif connections is not None:
            await close(connections)


def patient_http(proxy: str | None = None) -> Any:
    """An HTTP client that keeps connections over the pauses of a conversation."""
    import openai  # noqa: PLC0415 - slow to import

    limits = type(openai.DEFAULT_CONNECTION_LIMITS)(
        max_connections=50, max_keepalive_connections=50, keepalive_expiry=120
    )
    # Redirects aren't followed: the caller's words and the user's headers would go along.
    return openai.DefaultAsyncHttpxClient(limits=limits, proxy=proxy, follow_redirects=False)


def timeouts(limits: Limits) -> dict[str, float]:
    """Limits for the HTTP client that don't come before the turn's own, in seconds."""
    return {"timeout": limits.whole, "connect": limits.connect}


async def close(thing: Any) -> None:
    """Close a stream or a client within a limit; what goes wrong there helps nobody."""
    closing = getattr(thing, "close", None) or getattr(thing, "aclose", None)
    if closing is None:
        return
    with suppress(Exception):
        async with asyncio.timeout(CLOSE_LIMIT):
            waiting = closing()
            if inspect.isawaitable(waiting):
                await waiting


def _fault(fault: Fault, client: Any) -> Fault:
    if fault.kind is Kind.UNAUTHORISED and _has_token_provider(client):
        return replace(fault, kind=Kind.TOKEN_REFUSED)
    return fault


def _has_token_provider(client: Any) -> bool:
    """Whether a client asks for its key anew with each request, as the SDK's do then."""
    names = ("_azure_ad_token_provider", "_api_key_provider")
    return any(callable(getattr(client, name, None)) for name in names)
