"""The Responses API over HTTP: the way of hosts without a socket, and when a socket fails.

Only stored responses can be continued here.
"""

import asyncio
import weakref
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from dataclasses import replace
from typing import Any

import msgspec

from rtllm.conversations import Membership
from rtllm.dispatch import Dispatch, Placement
from rtllm.errors import ConfigError
from rtllm.faults import Fault, Kind
from rtllm.hosts import Endpoint
from rtllm.lanes import OVER_HTTP
from rtllm.transport.attempt import Attempt
from rtllm.transport.auth import Credentials
from rtllm.transport.booking import settle
from rtllm.transport.dial import FaultError
from rtllm.transport.http import HttpClients, HttpRequests, close, patient_http, timeouts
from rtllm.transport.route import Asked
from rtllm.transport.sse import frames_of, lines_of
from rtllm.turn import Limits, Turn
from rtllm.usage import Account, Books
from rtllm.wire.frames import Frame, read

_SOCKET_ONLY = ("type", "stream_id", "generate")


class HttpResponses:
    """The HTTP requests to the Responses API of one client on one event loop.

    Args:
        clients: Gives the openai clients; asked for one off the event loop.
        credentials: Asked at each request; None where the clients have their own.
        dispatch: Places the turns.
        books: Where attempts are counted.
        may_leave: Whether there is a socket to go back to, should the host not know this way.
    """

    def __init__(
        self,
        clients: weakref.ref[HttpClients],
        credentials: weakref.ref[Credentials] | None,
        dispatch: Dispatch,
        books: Books,
        may_leave: Callable[[], bool],
    ) -> None:
        self._clients = clients
        self._may_leave = may_leave
        self._trust = 0
        """How many failures in a row don't yet mean that this way leads nowhere."""
        self._credentials = credentials
        self._renewable = False
        self._dispatch = dispatch
        self._books = books
        self._loop = asyncio.get_running_loop()
        self._requests: dict[str | None, HttpRequests] = {}
        self._closed = False

    async def launch(
        self, asked: Asked, member: Membership, turn: Turn, *, whole: bool, bare: bool
    ) -> Attempt:
        """Begin to send a turn's request.

        Connecting and sending are one call of the client, so the wait for both is the wait
        for the first output; only the connection's own limit is told to the client.

        Raises:
            FaultError: If it couldn't be sent.
        """
        if self._closed:
            raise FaultError(_CLOSED)
        if asked.warm_up:
            raise FaultError(Fault(Kind.REFUSED, "a prompt can be prepared over a socket only"))
        headers, requests = await self._prepared(asked, turn)
        plan = self._dispatch.plan_over_http(member, asked.model, whole=whole, bare=bare)
        data = asked.frame(plan, None)
        body: dict[str, Any] = msgspec.json.decode(data)
        for name in _SOCKET_ONLY:
            body.pop(name, None)
        placement = Placement(
            member.conversation, member.context, asked.model, asked.stored, plan, OVER_HTTP
        )
        number = self._dispatch.next_attempt()
        attempt = Attempt(
            number,
            turn,
            placement,
            len(data),
            asked.record,
            lambda _: None,
            lambda ended: self._ended(ended, requests),
        )
        self._dispatch.take(number, placement, self._loop.time())
        limits = turn.limits
        extra = {"headers": {**headers, **asked.headers}, "query": dict(asked.query)}
        turn.sent(self._loop.time())
        requests.start(
            attempt,
            lambda client: _frames(client, body, extra, limits),
            lambda error: self._fault_of(error, limits, attempt),
            lambda fault: attempt.fail(fault or self._judged(_BROKEN_OFF, attempt, None)),
        )
        return attempt

    def abandon(self, attempt: Attempt, account: Account) -> None:
        """Cut an attempt off: nothing more is due, and its stream is closed."""
        if attempt.finished:
            return
        attempt.abandon(account)
        self._dispatch.abandon(attempt.number)
        for requests in self._requests.values():
            requests.abandon(attempt)

    async def _prepared(self, asked: Asked, turn: Turn) -> tuple[Mapping[str, str], HttpRequests]:
        """The headers of a request and the client that sends it, within the turn's limit."""
        proxy = asked.network.proxy
        try:
            async with asyncio.timeout_at(turn.deadline()[0]):
                headers = await self._headers()
                if proxy not in self._requests:
                    # Importing the SDK and reading the trust store take a while.
                    if (clients := self._clients()) is None:
                        raise FaultError(_CLOSED)
                    await asyncio.to_thread(clients.get, proxy)
                    self._requests.setdefault(proxy, HttpRequests(self._clients, proxy))
        except TimeoutError:
            raise FaultError(turn.ran_out()) from None
        if self._closed:  # while the client was made
            await self.aclose()
            raise FaultError(_CLOSED)
        return headers, self._requests[proxy]

    async def _headers(self) -> Mapping[str, str]:
        if self._credentials is None:
            return {}
        if (credentials := self._credentials()) is None:
            raise FaultError(_CLOSED)
        self._renewable = credentials.renewable
        try:
            return await credentials.for_handshake()
        except ConfigError as error:
            raise FaultError(Fault(Kind.UNAUTHORISED, str(error))) from error
        except Exception as error:  # noqa: BLE001 - the user's own code
            # The user's own provider: its message may hold a secret, its type doesn't.
            message = f"the api_key function raised {type(error).__name__}"
            raise FaultError(Fault(Kind.UNREACHABLE, message)) from None

    def _fault_of(self, error: Exception, limits: Limits, attempt: Attempt) -> Fault:
        from rtllm.transport.http_faults import fault_of  # noqa: PLC0415 - imports openai

        fault = self._judged(fault_of(error, limits, began=attempt.created), attempt, error)
        if fault.kind is Kind.UNAUTHORISED and self._renewable:
            return replace(fault, kind=Kind.TOKEN_REFUSED)
        return fault

    def _judged(self, fault: Fault, attempt: Attempt, error: Exception | None) -> Fault:
        """A fault, which may mean that this way leads nowhere; not at once if it led somewhere."""
        if attempt.created or not self._may_leave():
            return fault
        self._trust -= 1
        if self._trust >= 0:
            return fault
        not_here = fault.status in _NOT_HERE and not _speaks_the_api(error)
        if not_here or fault.kind in _NO_ANSWER:
            return replace(fault, kind=Kind.NO_HTTP)
        return fault

    def _ended(self, attempt: Attempt, requests: HttpRequests) -> None:
        if attempt.created:
            self._trust = TRUST
        requests.ended(attempt)
        settle(attempt, self._dispatch, self._books)

    def shut(self) -> None:
        """Take nothing new from now on."""
        self._closed = True

    async def aclose(self) -> None:
        """End what runs, and close the clients if they are ours, within a limit."""
        self.shut()
        for requests in self._requests.values():
            await requests.aclose()


_CLOSED = Fault(Kind.CLOSED, "the client was closed")
TRUST = 1
_NOT_HERE = (404, 405, 426, 501)
_NO_ANSWER = (Kind.DROPPED, Kind.UNREACHABLE)


def _speaks_the_api(error: Exception | None) -> bool:
    """Whether a refusal has a code: then the address is known, and something else is not."""
    return bool(getattr(error, "code", None))


_BROKEN_OFF = Fault(Kind.DROPPED, "the stream ended before the response's last event")


async def _frames(
    client: Any, body: dict[str, Any], extra: Mapping[str, Mapping[str, str]], limits: Limits
) -> AsyncGenerator[Frame]:
    """Send a request; what the service says of it, as frames of the socket would say it.

    The body goes as ``extra_body``, so that a field that this SDK's version doesn't know is
    sent all the same. The stream is read undecoded where the client can do that: the SDK's own
    decoding stops at the first line that isn't JSON, and takes longer.
    """
    import openai  # noqa: PLC0415 - slow to import, and here it is imported already

    settings: dict[str, Any] = {
        "model": body.pop("model"),
        "input": body.pop("input"),
        "stream": True,
        "extra_body": body,
        "extra_headers": extra["headers"],
        "extra_query": extra["query"],
        "timeout": openai.Timeout(**timeouts(limits)),
    }
    raw = getattr(client.responses, "with_streaming_response", None)
    if raw is None:
        events: AsyncIterator[Any] = await client.responses.create(**settings)
        try:
            async for event in events:
                if (frame := read(event.model_dump_json())) is not None:
                    yield frame
        finally:
            await close(events)
        return
    async with raw.create(**settings) as response:
        async for frame in frames_of(lines_of(response.iter_bytes()), response.headers):
            yield frame


def make_client(endpoint: Endpoint, proxy: str | None) -> Any:
    """An openai client for a host; keys come with each request.

    It follows no redirect, since headers of the user's would go along.
    """
    import openai  # noqa: PLC0415 - slow to import

    client = openai.AsyncOpenAI(
        api_key="sent with each request",
        base_url=endpoint.http_base,
        default_query=endpoint.query,
        max_retries=0,
        http_client=patient_http(proxy),
    )
    _ = client.responses  # imports what it needs
    return client
