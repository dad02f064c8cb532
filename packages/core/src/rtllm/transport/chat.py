"""Chat Completions: every turn sends its whole context, and nothing is chained."""

import asyncio
import itertools
import weakref
from collections.abc import AsyncGenerator, Mapping
from typing import Any

import msgspec
import openai

from rtllm.chain import Anchor, Origin, Plan, State
from rtllm.conversations import Conversations, Membership
from rtllm.dispatch import Placement
from rtllm.faults import Fault, Kind
from rtllm.lanes import OVER_HTTP
from rtllm.transport.attempt import Attempt
from rtllm.transport.dial import FaultError
from rtllm.transport.http import HttpClients, HttpRequests, close, timeouts
from rtllm.transport.http_faults import fault_of
from rtllm.transport.route import Asked
from rtllm.turn import Limits, Turn
from rtllm.usage import Account, Books
from rtllm.wire.chat_chunks import ChatAssembler, from_body

_NOT_THE_BODY = ("extra_headers", "extra_query", "extra_body")


class ChatRoute:
    """The chat completions of one client on one event loop.

    Args:
        clients: Gives the openai client.
        books: Where attempts are counted.
    """

    falls_back = False
    renewable = False  # the client asks its own provider, and faults tell of it

    def __init__(self, clients: weakref.ref[HttpClients], books: Books) -> None:
        self._requests = HttpRequests(clients)
        self._books = books
        self._loop = asyncio.get_running_loop()
        self._conversations = Conversations(lambda _: None)
        self._numbers = itertools.count(1)

    @property
    def newest_connection(self) -> int:
        """No connection is known: which one is used, the HTTP client knows alone."""
        return -1

    def join(self, asked: Asked) -> Membership:
        """Find the conversation that a request belongs to, or begin one."""
        return self._conversations.join(asked.outline, self._loop.time(), asked.conversation)

    def mark_of(self, attempt: Attempt) -> None:
        """Nothing is continued here."""

    async def launch(
        self,
        asked: Asked,
        member: Membership,
        turn: Turn,
        *,
        whole: bool,
        bare: bool,
        over_http: bool,
        avoid: set[int],
    ) -> Attempt:
        """Begin to send a turn's request; it is whole always, over whichever connection.

        Connecting and sending are one call of the client, so the wait for both is the wait
        for the first output; only the connection's own limit is told to the client.

        Raises:
            FaultError: If the route is closed.
        """
        if self._requests.closed:
            raise FaultError(Fault(Kind.CLOSED, "the client was closed"))
        body = asked.completion()
        context = member.context
        plan = Plan(None, context.items, lead_in_field=False, why_whole="no chaining here")
        placement = Placement(
            member.conversation, context, asked.model, asked.stored, plan, OVER_HTTP
        )
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

        def at_end(fault: Fault | None) -> None:
            if fault is None or assembler.finished:  # then only the usage is lost
                attempt.take(*assembler.finish())
            else:
                attempt.fail(fault)

        limits = turn.limits
        turn.sent(self._loop.time())
        self._requests.start(
            attempt,
            lambda client: _chunks(client, body, limits, assembler),
            lambda error: fault_of(error, limits, began=assembler.created, read=from_body),
            at_end,
        )
        return attempt

    def abandon(self, attempt: Attempt, account: Account) -> None:
        """Cut an attempt off: nothing more is due, and its stream is closed."""
        if not attempt.finished:
            attempt.abandon(account)
            self._requests.abandon(attempt)

    def refused_lanes(self) -> None:
        """There are none here."""

    def is_mute(self, attempt: Attempt) -> bool:
        """It isn't known which connection an attempt has."""
        return False

    def fell_back(self, fault: Fault, attempt: Attempt | None) -> None:
        """There is nothing to fall back to."""

    def has_no_http(self) -> None:
        """There is nothing else."""

    def missed(self, attempt: Attempt) -> None:
        """Nothing is continued here."""

    def warm(self) -> None:
        """Make the client, if it isn't made yet."""
        self._requests.warm()

    def _ended(self, attempt: Attempt) -> None:
        """Book an attempt, and remember what it came to."""
        self._requests.ended(attempt)
        ended = attempt.ended
        if ended is not None and attempt.fault is None and ended.outcome == "completed":
            self._remember(attempt, ended.response_id or "")
        self._books.enter(attempt.account, ended.usage if ended is not None else None)

    def _remember(self, attempt: Attempt, response_id: str) -> None:
        """Note the state behind an answer: nothing continues it, but it tells conversations."""
        recorded = attempt.record(attempt.assembler.output())
        if recorded is None:
            return
        placement = attempt.placement
        anchor = Anchor(
            response_id,
            f"chat-{attempt.number}",
            placement.model,
            State.of(placement.context, recorded),
            Origin.of(placement.context),
            lead_in_field=False,
            home=placement.home,
            stored=False,
        )
        self._conversations.record(placement.conversation, anchor, ())

    def shut(self) -> None:
        """Take nothing new from now on."""
        self._requests.closed = True

    async def aclose(self) -> None:
        """End what runs, and close the client if it is ours, within a limit."""
        await self._requests.aclose()


async def _chunks(
    client: Any, body: dict[str, Any], limits: Limits, assembler: ChatAssembler
) -> AsyncGenerator[Any]:
    timeout = openai.Timeout(**timeouts(limits))
    stream = await client.chat.completions.create(**body, stream=True, timeout=timeout)
    assembler.accepted()
    try:
        async for chunk in stream:
            yield chunk
    finally:
        await close(stream)


def _size(body: Mapping[str, Any]) -> int:
    said = {name: value for name, value in body.items() if name not in _NOT_THE_BODY}
    return len(msgspec.json.encode(said, enc_hook=str))
