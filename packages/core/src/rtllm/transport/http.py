"""The HTTP side of the runtime: sends requests through openai clients and reads the answers.

Nothing is decided here. Each exchange has one task. An answer that is not wanted any more can't
run out unheard here: its stream is closed, and its usage stays unknown.
"""

import asyncio
import inspect
import logging
import weakref
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, suppress
from functools import partial
from typing import Any

from rtllm.engine.actions import StartHttp
from rtllm.providers.credentials import Credentials
from rtllm.providers.http_clients import HttpClients
from rtllm.retry.faults import CLIENT_CLOSED, Fault
from rtllm.transport.facts import Facts
from rtllm.transport.handshake import FaultError, headers_of
from rtllm.transport.tasks import NumberedTasks

logger = logging.getLogger(__name__)

CLOSE_LIMIT = 2.0
"""Seconds that closing a stream or a client may take."""


class HttpExchanges:
    """The HTTP exchanges of one runtime.

    Args:
        clients: Gives the openai clients; a client of this library alone holds it.
        credentials: Asked at each request; None if the openai clients have their own.
        facts: What is told of all that happens.
    """

    def __init__(
        self,
        clients: weakref.ref[HttpClients],
        credentials: weakref.ref[Credentials] | None,
        facts: Facts,
    ) -> None:
        self._clients = clients
        self._credentials = credentials
        self._facts = facts
        self._tasks = NumberedTasks(facts)
        self._connections: dict[str | None, Any] = {}

    def start(self, action: StartHttp) -> None:
        """Begin to send a request."""
        self._tasks.start(
            action.connection, f"rtllm http {action.attempt}", partial(self._run, action)
        )

    def close(self, number: int) -> None:
        """Stop an exchange; waits for nothing."""
        self._tasks.close(number)

    def warm(self) -> None:
        """Make the openai client, if it is not made yet."""
        if (clients := self._clients()) is not None:
            self._note(clients, clients.get(), None)

    async def aclose(self) -> None:
        """Stop all exchanges and close the clients that are ours, each within a limit."""
        await self._tasks.close_all(CLOSE_LIMIT)
        clients, connections = self._clients(), self._connections
        self._connections = {}
        for proxy, connection in connections.items():
            owned = clients is not None and clients.owned
            await close(clients.made(proxy) if clients is not None and owned else connection)

    # -- one exchange --------------------------------------------------------------------------

    async def _run(self, action: StartHttp) -> None:
        """Send a request and read its answer to the end."""
        self._facts.lost(action.connection, await self._exchange(action))

    async def _exchange(self, action: StartHttp) -> Fault | None:
        began, client = False, None
        try:
            headers: dict[str, str] = {}
            if self._credentials is not None:
                headers = await headers_of(self._credentials())
            client = await self._client(action.network.proxy)
            self._facts.sent(action.attempt)
            async with aclosing(_pieces(client, action, headers)) as pieces:
                async for piece in pieces:
                    if not began:
                        began = True
                        self._facts.connected(action.connection)
                    if piece is not None:
                        self._facts.received(action.connection, piece)
        except FaultError as error:
            return error.fault
        except Exception as error:  # noqa: BLE001 - the top of a task: a fact for the engine
            from rtllm.transport.http_faults import fault_of  # noqa: PLC0415 - imports openai

            logger.debug("http %d: %s", action.attempt, type(error).__name__)
            return fault_of(
                error,
                action.connect_timeout,
                began=began,
                is_chat="messages" in action.body,
                refreshable=_has_token_provider(client),
            )
        return None

    async def _client(self, proxy: str | None) -> Any:
        """The openai client, which must not retry by itself: the engine does."""
        clients = self._clients()
        if clients is None:
            raise FaultError(CLIENT_CLOSED)
        client = clients.made(proxy)
        if client is None:  # importing the SDK and reading the trust store take a while
            client = await asyncio.to_thread(clients.get, proxy)
        self._note(clients, client, proxy)
        if getattr(client, "max_retries", None) == 0 or not hasattr(client, "with_options"):
            return client
        return client.with_options(max_retries=0)

    def _note(self, clients: HttpClients, client: Any, proxy: str | None) -> None:
        """Keep what must be closed if the client is dropped.

        Not the openai client, which may lead to the owner, but the HTTP client below it. *Seen*:
        it is called so in openai 1 to 3.
        """
        if clients.owned:
            self._connections[proxy] = getattr(client, "_client", client)


def _pieces(client: Any, action: StartHttp, headers: dict[str, str]) -> AsyncGenerator[Any]:
    if "messages" in action.body:
        return _chunks(client, action)
    return _body(client, action, headers)


async def _chunks(client: Any, action: StartHttp) -> AsyncGenerator[Any]:
    """Ask for a chat completion; first None when it is answered, then the pieces of its body.

    It is read undecoded where the client can do that, as `_body` does it; else by its chunks.
    """
    settings = {**action.body, "stream": True, "timeout": _timeout(action)}
    raw = getattr(client.chat.completions, "with_streaming_response", None)
    if raw is not None:
        async with raw.create(**settings) as response:
            yield None
            async for piece in response.iter_bytes():
                yield piece
        return
    stream = await client.chat.completions.create(**settings)
    yield None
    try:
        async for chunk in stream:
            yield chunk
    finally:
        await close(stream)


async def _body(client: Any, action: StartHttp, headers: dict[str, str]) -> AsyncGenerator[Any]:
    """Ask for a response; first None when it is answered, then the pieces of its body.

    The request's body goes as ``extra_body``, so that a field that this SDK's version doesn't
    know is sent all the same. The answer is read undecoded where the client can do that: the
    SDK's own decoding stops at the first line that isn't JSON, and takes longer.
    """
    body = dict(action.body)
    settings: dict[str, Any] = {
        "model": body.pop("model"),
        "input": body.pop("input"),
        "stream": True,
        "extra_body": body,
        "extra_headers": {**headers, **action.headers},
        "extra_query": dict(action.query),
        "timeout": _timeout(action),
    }
    raw = getattr(client.responses, "with_streaming_response", None)
    if raw is None:
        events: AsyncIterator[Any] = await client.responses.create(**settings)
        yield None
        try:
            async for event in events:
                yield event.model_dump_json()
        finally:
            await close(events)
        return
    async with raw.create(**settings) as response:
        yield None
        async for piece in response.iter_bytes():
            yield piece


def _timeout(action: StartHttp) -> Any:
    """Limits for the HTTP client that don't come before the engine's own."""
    import openai  # noqa: PLC0415 - slow to import, and here it is imported already

    return openai.Timeout(timeout=action.total_timeout, connect=action.connect_timeout)


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


def _has_token_provider(client: Any) -> bool:
    """Whether a client asks for its key anew with each request, as the SDK's do then."""
    names = ("_azure_ad_token_provider", "_api_key_provider")
    return any(callable(getattr(client, name, None)) for name in names)
