"""HTTP side of the runtime: sends requests through openai clients and reads responses.

It makes no decisions. Each exchange has one task. A response that is no longer wanted can't be
drained over HTTP: its stream is closed, and its usage stays unknown.
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
from rtllm.providers.network import name_of, network_of
from rtllm.providers.openai_client import is_azure
from rtllm.retry.faults import CLIENT_CLOSED, Fault
from rtllm.retry.redaction import NO_SECRETS, Secrets, without_secrets
from rtllm.transport.facts import Facts
from rtllm.transport.tasks import NumberedTasks
from rtllm.transport.websocket_connect import FaultError, headers_of

logger = logging.getLogger(__name__)

CLOSE_LIMIT = 2.0
"""Seconds that closing a stream or a client may take."""


class HttpExchanges:
    """The HTTP exchanges of one runtime.

    Args:
        clients: Creates the openai clients; only the client of this library holds it.
        credentials: Called at each request; None if the openai clients have their own.
        facts: Receives the facts.
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
        self._creation = asyncio.Lock()

    def start(self, action: StartHttp) -> None:
        """Begin to send a request."""
        self._tasks.start(
            action.connection, f"rtllm http {action.attempt}", partial(self._run, action)
        )

    def close(self, number: int) -> None:
        """Cancel an exchange without waiting."""
        self._tasks.close(number)

    def warm(self, proxy: str | None = None) -> None:
        """Create the openai client for a proxy, unless it exists."""
        if (clients := self._clients()) is not None:
            self._note(clients, clients.get(proxy), proxy)

    async def aclose(self) -> None:
        """Cancel all exchanges and close the clients created here, each within a limit."""
        await self._tasks.close_all(CLOSE_LIMIT)
        clients, connections = self._clients(), self._connections
        self._connections = {}
        for proxy, connection in connections.items():
            is_owned = clients is not None and clients.is_owned
            await close(clients.made(proxy) if clients is not None and is_owned else connection)

    # -- one exchange --------------------------------------------------------------------------

    async def _run(self, action: StartHttp) -> None:
        """Send a request and read its response to the end."""
        self._facts.lost(action.connection, await self._exchange(action))

    async def _exchange(self, action: StartHttp) -> Fault | None:
        began, client = False, None
        try:
            headers: dict[str, str] = {}
            if self._credentials is not None:
                headers = await headers_of(self._credentials())
            client = await self._client(action.network.proxy)
            if (address := _address_of(client, action)) is not None:
                self._facts.asked(action.connection, address)
            self._facts.sent(action.attempt)
            async with aclosing(_pieces(client, action, headers)) as pieces:
                async for piece in pieces:
                    if began:
                        self._facts.received(action.connection, piece)
                    else:
                        began = True
                        self._facts.authenticated(action.connection, piece)
                        self._facts.connected(action.connection)
        except FaultError as error:
            return error.fault
        except Exception as error:  # noqa: BLE001 - the top of a task: reported as a fact
            from rtllm.transport.http_faults import fault_of  # noqa: PLC0415 - imports openai

            logger.debug("http %d: %s", action.attempt, type(error).__name__)
            return fault_of(
                error,
                action.connect_timeout,
                began=began,
                is_chat="messages" in action.body,
                refreshable=_has_token_provider(client),
                proxy=_proxy_of(client, error),
            )
        return None

    async def _client(self, proxy: str | None) -> Any:
        """Return the openai client, with its own retries off: the engine retries."""
        clients = self._clients()
        if clients is None:
            raise FaultError(CLIENT_CLOSED)
        client = clients.made(proxy)
        if client is None:
            client = await self._create(clients, proxy)
        self._note(clients, client, proxy)
        if getattr(client, "max_retries", None) == 0 or not hasattr(client, "with_options"):
            return client
        return client.with_options(max_retries=0)

    async def _create(self, clients: HttpClients, proxy: str | None) -> Any:
        """Create the openai client for a proxy, once for all the requests that wait for it."""
        async with self._creation:
            if (client := clients.made(proxy)) is not None:
                return client
            # Importing the SDK and loading the trust store take a while.
            return await asyncio.to_thread(clients.get, proxy)

    def _note(self, clients: HttpClients, client: Any, proxy: str | None) -> None:
        """Keep a reference to what must be closed if the client is garbage-collected.

        That is not the openai client, which may refer to its owner, but its inner HTTP client.
        *Seen*: it has this name in openai 1 to 3.
        """
        if clients.is_owned:
            self._connections[proxy] = getattr(client, "_client", client)


def _pieces(client: Any, action: StartHttp, headers: dict[str, str]) -> AsyncGenerator[Any]:
    if "messages" in action.body:
        return _chunks(client, action)
    return _body(client, action, headers)


async def _chunks(client: Any, action: StartHttp) -> AsyncGenerator[Any]:
    """Request a chat completion; yield its `Secrets` when it is answered, then its body's pieces.

    If the client supports it, the body is read undecoded, as in `_body`; else chunk by chunk.
    """
    settings = {**action.body, "stream": True, "timeout": _timeout(action)}
    raw = getattr(client.chat.completions, "with_streaming_response", None)
    if raw is not None:
        async with raw.create(**settings) as response:
            yield _secrets_of(response)
            async for piece in response.iter_bytes():
                yield piece
        return
    stream = await client.chat.completions.create(**settings)
    yield _secrets_of(getattr(stream, "response", None))
    try:
        async for chunk in stream:
            yield chunk
    finally:
        await close(stream)


async def _body(client: Any, action: StartHttp, headers: dict[str, str]) -> AsyncGenerator[Any]:
    """Request a response; yield its `Secrets` when it is answered, then the pieces of its body.

    The body is sent as ``extra_body``, so that fields unknown to this version of the SDK are sent
    too. If the client supports it, the response is read undecoded: the SDK's decoder stops at the
    first line that isn't JSON, and is slower.
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
        yield _secrets_of(getattr(events, "response", None))
        try:
            async for event in events:
                yield event.model_dump_json()
        finally:
            await close(events)
        return
    async with raw.create(**settings) as response:
        yield _secrets_of(response)
        async for piece in response.iter_bytes():
            yield piece


def _secrets_of(response: Any) -> Secrets:
    """Return the credentials of an answered request; none if the client does not tell them."""
    try:
        request = getattr(response, "http_request", None) or response.request
        return Secrets.of_request(str(request.url), request.headers)
    except (AttributeError, RuntimeError):  # raised by the HTTP client if there is no request
        return NO_SECRETS


def _timeout(action: StartHttp) -> Any:
    """Return limits for the HTTP client that don't end before the engine's own."""
    import openai  # noqa: PLC0415 - slow to import, and here it is imported already

    return openai.Timeout(timeout=action.total_timeout, connect=action.connect_timeout)


async def close(thing: Any) -> None:
    """Close a stream or a client within a limit, ignoring its errors."""
    closing = getattr(thing, "close", None) or getattr(thing, "aclose", None)
    if closing is None:
        return
    with suppress(Exception):
        async with asyncio.timeout(CLOSE_LIMIT):
            waiting = closing()
            if inspect.isawaitable(waiting):
                await waiting


def _address_of(client: Any, action: StartHttp) -> str | None:
    """Return the address that a client will ask, with the method."""
    base = getattr(client, "base_url", None)
    if base is None:
        return None
    url = without_secrets(str(base)).rstrip("/")
    if "messages" not in action.body:
        return f"POST {url}/responses"
    if is_azure(client) and "/deployments/" not in url:
        url += f"/deployments/{action.body.get('model')}"
    return f"POST {url}/chat/completions"


def _proxy_of(client: Any, error: Exception) -> str | None:
    """Return the host and port of the proxy that a failed request used, if any."""
    try:
        url = str(error.request.url)  # type: ignore[attr-defined]  # the SDK's errors have it
    except (AttributeError, RuntimeError):  # raised by the HTTP client if there is no request
        return None
    network = network_of(client, url)
    return name_of(network.proxy) if network is not None and network.proxy else None


def _has_token_provider(client: Any) -> bool:
    """Whether a client requests a new key for each request, as the SDK's do with a provider."""
    names = ("_azure_ad_token_provider", "_api_key_provider")
    return any(callable(getattr(client, name, None)) for name in names)
