"""Chat Completions through an openai client: one HTTP request for each attempt.

Nothing is chained here, and a cut answer can't run out unheard: its stream is closed, and
its usage stays unknown.
"""

import asyncio
import inspect
import itertools
import logging
import ssl
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from contextvars import Context
from dataclasses import replace
from typing import Any

import msgspec
import openai

from rtllm.chain import Anchor, Plan, State
from rtllm.conversations import Conversation, Conversations
from rtllm.dispatch import Placement
from rtllm.faults import Fault, Kind, silent
from rtllm.fleet import Seat
from rtllm.transport.attempt import Attempt
from rtllm.transport.dial import FaultError
from rtllm.transport.pool import Asked
from rtllm.turn import Limits, Turn
from rtllm.usage import Account, Books
from rtllm.wire.chat import ChatAssembler, from_body

logger = logging.getLogger(__name__)

CLOSE_LIMIT = 2.0  # seconds

_NOT_THE_BODY = ("extra_headers", "extra_query", "extra_body")


class ChatRoute:
    """The chat completions of one client on one event loop.

    Args:
        make_client: Gives an ``AsyncOpenAI`` or what is shaped like one; called once, when it
            is needed first.
        owned: Whether that client is ours to close.
        books: Where attempts are counted.
    """

    def __init__(self, make_client: Callable[[], Any], books: Books, *, owned: bool) -> None:
        self._make_client = make_client
        self._owned = owned
        self._books = books
        self._client: Any = None
        self._loop = asyncio.get_running_loop()
        self._conversations = Conversations(lambda _: None)
        self._numbers = itertools.count(1)
        self._running: dict[int, Attempt] = {}
        self._readers: dict[int, asyncio.Task[None]] = {}
        self._closed = False

    @property
    def newest_connection(self) -> int:
        """No connection is known: which one is used, the HTTP client knows alone."""
        return -1

    def conversation_of(self, asked: Asked) -> Conversation:
        """The conversation that a request belongs to."""
        return self._conversations.find(asked.outline, asked.model)

    async def launch(
        self,
        asked: Asked,
        conversation: Conversation,
        turn: Turn,
        *,
        whole: bool,
        avoid: set[int],
    ) -> Attempt:
        """Begin to send a turn's request; it is whole always, over whichever connection.

        Connecting and sending are one call of the client, so the wait for both is the wait
        for the first output; only the connection's own limit is told to the client.

        Raises:
            FaultError: If the route is closed, or no client could be made.
        """
        if self._closed:
            raise FaultError(Fault(Kind.CLOSED, "the client was closed"))
        body = asked.completion()
        context = asked.outline
        plan = Plan(None, context.items, lead_in_field=False, why_whole="no chaining here")
        seat = Seat(0, None, is_open=True)
        placement = Placement(conversation, context, asked.model, asked.stored, plan, seat)
        assembler = ChatAssembler()
        attempt = Attempt(
            next(self._numbers),
            turn,
            placement,
            _size(body),
            asked.record,
            lambda _: None,
            self._ended,
            assembler,
        )
        turn.sent(self._loop.time())
        self._running[attempt.number] = attempt
        reader = self._loop.create_task(
            self._read(attempt, assembler, body, turn.limits),
            name=f"rtllm chat {attempt.number}",
            context=Context(),
        )
        self._readers[attempt.number] = reader
        reader.add_done_callback(lambda _: self._readers.pop(attempt.number, None))
        return attempt

    def abandon(self, attempt: Attempt, account: Account) -> None:
        """Cut an attempt off: nothing more is due, and its stream is closed."""
        if attempt.finished:
            return
        attempt.abandon(account)
        attempt.fail(Fault(Kind.DROPPED, "nobody waits for this answer any more"))
        if (reader := self._readers.get(attempt.number)) is not None:
            reader.cancel()

    def refused_lanes(self) -> None:
        """There are none here."""

    def missed(self, attempt: Attempt) -> None:
        """Nothing is continued here."""

    def _ended(self, attempt: Attempt) -> None:
        """Book an attempt, and remember what it came to."""
        self._running.pop(attempt.number, None)
        ended = attempt.ended
        if ended is not None and attempt.fault is None and ended.outcome == "completed":
            self._remember(attempt, ended.response_id or "")
        failed = attempt.fault is not None or ended is None or ended.outcome == "empty"
        account: Account = attempt.abandoned or ("failed" if failed else "answered")
        self._books.enter(account, ended.usage if ended is not None else None)

    def _remember(self, attempt: Attempt, response_id: str) -> None:
        """Note the state behind an answer: nothing continues it, but it tells conversations."""
        recorded = attempt.record(attempt.assembler.output())
        if recorded is None:
            return
        placement = attempt.placement
        state = State.of(placement.context, recorded)
        anchor = Anchor(
            response_id,
            placement.model,
            state,
            lead_in_field=False,
            home=placement.home,
            stored=False,
            order=attempt.number,
        )
        placement.conversation.ledger.record(anchor)

    # -- reading ---------------------------------------------------------------------------

    async def _read(
        self, attempt: Attempt, assembler: ChatAssembler, body: dict[str, Any], limits: Limits
    ) -> None:
        try:
            await self._stream(attempt, assembler, body, limits)
            if not attempt.finished:
                attempt.take(*assembler.finish())
        except Exception as error:  # noqa: BLE001 - the top of a task: a fact for the turn
            logger.debug("chat %d: %s", attempt.number, type(error).__name__)
            if attempt.finished:
                return
            if assembler.finished:  # only the usage is lost
                attempt.take(*assembler.finish())
            else:
                attempt.fail(self._fault(error, assembler, limits))

    async def _stream(
        self, attempt: Attempt, assembler: ChatAssembler, body: dict[str, Any], limits: Limits
    ) -> None:
        completions = self._ready_client().chat.completions
        stream = await completions.create(**body, stream=True, timeout=_timeout(limits))
        assembler.accepted()
        try:
            async with asyncio.timeout(None) as rest:
                async for chunk in stream:
                    if not attempt.finished:
                        attempt.feed(chunk)
                    if attempt.fault is not None:
                        return
                    if attempt.finished and rest.when() is None:
                        # read to its end, the connection can be used again
                        rest.reschedule(self._loop.time() + CLOSE_LIMIT)
        finally:
            await _close(stream)

    def warm(self) -> None:
        """Make the client, if it isn't made yet."""
        if self._client is None and not self._closed:
            self._client = self._make_client()

    def _ready_client(self) -> Any:
        """The client, which must not retry by itself: this library does."""
        self.warm()
        client = self._client
        if getattr(client, "max_retries", None) == 0 or not hasattr(client, "with_options"):
            return client
        return client.with_options(max_retries=0)

    def _fault(self, error: Exception, assembler: ChatAssembler, limits: Limits) -> Fault:
        fault = fault_of(error, limits, began=assembler.created)
        if fault.kind is Kind.UNAUTHORISED and _has_token_provider(self._client):
            return replace(fault, kind=Kind.TOKEN_REFUSED)
        return fault

    async def aclose(self) -> None:
        """End what runs, and close the client if it is ours, within a limit."""
        self._closed = True
        for attempt in list(self._running.values()):
            attempt.fail(Fault(Kind.CLOSED, "the client was closed"))
        readers = list(self._readers.values())
        for reader in readers:
            reader.cancel()
        if readers:
            await asyncio.wait(readers, timeout=CLOSE_LIMIT)
        client, self._client = self._client, None
        if client is not None and self._owned:
            await _close(client)


def _has_token_provider(client: Any) -> bool:
    """Whether a client asks for its key anew with each request, as the SDK's do then."""
    names = ("_azure_ad_token_provider", "_api_key_provider")
    return any(callable(getattr(client, name, None)) for name in names)


def _size(body: Mapping[str, Any]) -> int:
    said = {name: value for name, value in body.items() if name not in _NOT_THE_BODY}
    return len(msgspec.json.encode(said, enc_hook=str))


def _timeout(limits: Limits) -> openai.Timeout:
    """Limits for the HTTP client that don't come before the turn's own."""
    return openai.Timeout(limits.whole, connect=limits.connect)


async def _close(thing: Any) -> None:
    """Close a stream or a client within a limit; what goes wrong there helps nobody."""
    close = getattr(thing, "close", None) or getattr(thing, "aclose", None)
    if close is None:
        return
    with suppress(Exception):
        async with asyncio.timeout(CLOSE_LIMIT):
            closing = close()
            if inspect.isawaitable(closing):
                await closing


# -- what an exception means -----------------------------------------------------------------


def fault_of(error: Exception, limits: Limits, *, began: bool) -> Fault:
    """Name what the openai client raised.

    Args:
        error: The exception.
        limits: What the turn waits for, since the client was told of the connection's limit.
        began: Whether the service had answered with a stream.
    """
    match error:
        case openai.APIStatusError():
            return _refusal(error)
        case openai.APIConnectionError():
            return _lost(error, limits, began=began)
        case openai.APIError():  # an error instead of a chunk
            body = error.body if isinstance(error.body, Mapping) else {"message": error.message}
            return from_body(body, None, begun=True)
        case openai.OpenAIError() | TypeError():  # what the client was made of, or given
            return Fault(Kind.REFUSED, str(error))
        case _ if began or _names(error) & _HTTP_ERRORS:
            return _lost(error, limits, began=began)
        case _:
            # The user's own code, such as a token's provider: its message may hold a secret.
            message = f"the request couldn't be made: {type(error).__name__}"
            return Fault(Kind.UNREACHABLE, message)


def _refusal(error: openai.APIStatusError) -> Fault:
    body = dict(error.body) if isinstance(error.body, Mapping) else {}
    if not body.get("message") and not body.get("detail"):
        body["message"] = f"the service answered with status {error.status_code}"
    return from_body(body, error.status_code, dict(error.response.headers))


# Told by name: the SDK works with httpx2, with httpx too, and imports neither for its users.
_HTTP_ERRORS = frozenset({"TransportError", "RequestError", "TimeoutException"})
_NO_CONNECTION = frozenset({"ConnectError", "ProxyError", "UnsupportedProtocol"})
_BROKEN = frozenset({"ReadError", "WriteError", "CloseError", "RemoteProtocolError"})


def _lost(error: Exception, limits: Limits, *, began: bool) -> Fault:
    """Name the end of a connection by what the HTTP client raised beneath."""
    beneath = list(_beneath(error))
    names = frozenset[str]().union(*map(_names, beneath))
    said = next((str(e) for e in reversed(beneath) if str(e)), type(error).__name__)
    if any(isinstance(e, ssl.SSLCertVerificationError) for e in beneath):
        return Fault(Kind.FORBIDDEN, f"no trusted connection: {said}")
    if "ConnectTimeout" in names:
        return silent("a connection", limits.connect)
    if "TimeoutException" in names or isinstance(error, openai.APITimeoutError):
        return Fault(Kind.SILENT, "the HTTP client's own limit ran out", "timeout")
    if names & _NO_CONNECTION or not (began or names & _BROKEN):
        return Fault(Kind.UNREACHABLE, f"no connection: {said}")
    return Fault(Kind.DROPPED, f"the connection broke: {said}")


def _beneath(error: BaseException) -> Iterator[BaseException]:
    """An exception and those that it came from."""
    found: BaseException | None = error
    for _ in range(8):
        if found is None:
            return
        yield found
        found = found.__cause__ or found.__context__


def _names(error: BaseException) -> frozenset[str]:
    return frozenset(kind.__name__ for kind in type(error).__mro__)
