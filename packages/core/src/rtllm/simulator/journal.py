"""Journal: records of connections and requests, to assert on and to wait for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias, TypeVar

from rtllm.simulator import chat_messages
from rtllm.simulator.memory import Item
from rtllm.simulator.script import Api, Transport, text_of

Outcome: TypeAlias = Literal[
    "waiting", "running", "completed", "incomplete", "failed", "refused", "dropped"
]


@dataclass(slots=True)
class Entry:
    """One request, from its arrival to its end.

    A chat completion's context and input are its messages as items of the Responses API; ``body``
    has them unchanged.

    Attributes:
        index: Its number on the server, from 0.
        connection: The number of its connection; -1 over HTTP, see ``transport``.
        lane: Its ``stream_id`` as sent; None on the default lane.
        body: The frame.
        bytes: The size of the frame.
        context: Everything that the model would see; empty if the request was rejected before.
        instructions: This request's instructions.
        previous_response_id: The requested parent.
        response_id: The id of the response, None if there is none.
        outcome: ``waiting`` for its lane, ``running``, then how it ended. ``refused`` means an
            error instead of a response, ``failed`` an error after the response began, ``dropped`` a
            lost connection.
        error_code: The code of the error, if there was one.
        deltas: How many pieces of text and arguments were sent so far.
        reply_text: The text so far; at the end the full text, even if the client is gone.
        usage: The tokens in the terminal event.
        api: The API that was used.
        headers: The headers of an HTTP request; a WebSocket's are those of its connection.
        query: The query of an HTTP request.
    """

    index: int
    connection: int
    lane: str | None
    body: dict[str, Any]
    bytes: int
    context: list[Item] = field(default_factory=list)
    instructions: str | None = None
    previous_response_id: str | None = None
    response_id: str | None = None
    outcome: Outcome = "waiting"
    error_code: str | None = None
    error_message: str | None = None
    deltas: int = 0
    reply_text: str = ""
    usage: dict[str, Any] | None = None
    api: Api = "responses"
    headers: Mapping[str, str] = field(default_factory=dict)
    query: Mapping[str, str] = field(default_factory=dict)

    @property
    def transport(self) -> Transport:
        """The protocol of the request."""
        return "http" if self.connection < 0 else "websocket"

    @property
    def input(self) -> list[Item]:
        """The items that this request itself sent; a plain string is one user message."""
        if self.api == "chat":
            return chat_messages.as_items(self.body.get("messages"))
        return as_items(self.body.get("input"))

    def texts(self) -> list[tuple[str, str]]:
        """Return the context as pairs: role (or item type) and text."""
        return texts_of(self.context)

    @property
    def is_over(self) -> bool:
        """Whether it has ended."""
        return self.outcome not in {"waiting", "running"}


def as_items(given: Any) -> list[Item]:
    """Return an input as a list of items with their types."""
    if isinstance(given, str):
        part = {"type": "input_text", "text": given}
        return [{"type": "message", "role": "user", "content": [part]}] if given else []
    items = given if isinstance(given, list) else []
    return [
        {"type": "message", **item} if "role" in item else item
        for item in items
        if isinstance(item, dict)
    ]


def texts_of(items: list[Item]) -> list[tuple[str, str]]:
    """Return items as pairs: role (or type) and text."""
    return [(item.get("role") or item.get("type", "message"), text_of(item)) for item in items]


@dataclass(slots=True)
class ConnectionEntry:
    """One attempt to connect.

    ``refused`` is the HTTP status of a rejected upgrade. ``close_code`` is the code that ended an
    accepted one; None while it is open or if the peer disconnected without a close.
    """

    number: int
    headers: Mapping[str, str]
    query: Mapping[str, str]
    refused: int | None = None
    open: bool = False
    closed: bool = False
    close_code: int | None = None


Listener: TypeAlias = Callable[[Entry], None]
_T = TypeVar("_T")


def _forget_oldest(kept: list[_T], limit: int, is_over: Callable[[_T], bool]) -> None:
    """Shorten a list to its limit; running entries stay, however old they are."""
    while len(kept) > limit:
        place = next((i for i, member in enumerate(kept) if is_over(member)), None)
        if place is None:
            return
        del kept[place]


class Journal:
    """All requests that the simulator received, in order of arrival.

    Args:
        keep: How many requests and connections are kept; the oldest that have ended are removed
            first. Numbers continue, so an entry's ``index`` is its position only until then.
    """

    def __init__(self, keep: int = 10_000) -> None:
        self._keep = keep
        self._asked = 0
        self._connected = 0
        self.entries: list[Entry] = []
        self.connections: list[ConnectionEntry] = []
        self._waiters: set[asyncio.Future[None]] = set()
        self._listeners: list[Listener] = []

    def __repr__(self) -> str:
        told = ", ".join(f"#{e.index} {e.lane or '-'} {e.outcome}" for e in self.entries)
        return f"<Journal {len(self.connections)} connections: {told}>"

    @property
    def refused(self) -> list[Entry]:
        """The requests that got an error instead of a response."""
        return [entry for entry in self.entries if entry.outcome == "refused"]

    @property
    def open_connections(self) -> list[ConnectionEntry]:
        """The connections that are open now."""
        return [connection for connection in self.connections if connection.open]

    def listen(self, listener: Listener) -> None:
        """Call a function with each entry when it starts and when it ends."""
        self._listeners.append(listener)

    def changed(self, entry: Entry | None = None) -> None:
        """Notify the waiters, and for an entry the listeners."""
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)
        if entry is not None:
            for listener in self._listeners:
                listener(entry)

    def connect(self, headers: Mapping[str, str], query: Mapping[str, str]) -> ConnectionEntry:
        """Record an attempt to connect."""
        record = ConnectionEntry(self._connected, dict(headers), dict(query))
        self._connected += 1
        self.connections.append(record)
        _forget_oldest(self.connections, self._keep, lambda connection: connection.closed)
        self.changed()
        return record

    def add_posted(
        self,
        api: Api,
        body: dict[str, Any],
        size: int,
        headers: Mapping[str, str],
        query: Mapping[str, str],
    ) -> Entry:
        """Record the arrival of an HTTP request."""
        entry = self.add(-1, None, body, size)
        entry.api, entry.headers, entry.query = api, headers, query
        return entry

    def add(self, connection: int, lane: str | None, body: dict[str, Any], size: int) -> Entry:
        """Record the arrival of a request."""
        parent = body.get("previous_response_id")
        instructions = body.get("instructions")
        entry = Entry(
            index=self._asked,
            connection=connection,
            lane=lane,
            body=body,
            bytes=size,
            instructions=instructions if isinstance(instructions, str) else None,
            previous_response_id=parent if isinstance(parent, str) else None,
        )
        self._asked += 1
        self.entries.append(entry)
        _forget_oldest(self.entries, self._keep, lambda entry: entry.is_over)
        self.changed()
        return entry

    def end(
        self, entry: Entry, outcome: Outcome, code: str | None = None, message: str | None = None
    ) -> None:
        """Record how a request ended; only the first end counts."""
        if entry.is_over:
            return
        entry.outcome = outcome
        entry.error_code = code
        entry.error_message = message
        self.changed(entry)

    async def wait(self, predicate: Callable[[Journal], object], timeout: float = 20.0) -> None:  # noqa: ASYNC109
        """Wait until a condition holds for this journal.

        A condition may use entries that don't exist yet; an IndexError means that it does not hold
        yet.

        Raises:
            TimeoutError: With the journal in its text, if it does not hold in time.
        """
        try:
            async with asyncio.timeout(timeout):
                while not self._holds(predicate):
                    await self._next_change()
        except TimeoutError:
            raise TimeoutError(
                f"the condition was not met within {timeout:g} s: {self!r}"
            ) from None

    def _holds(self, predicate: Callable[[Journal], object]) -> bool:
        try:
            return bool(predicate(self))
        except IndexError:
            return False

    async def _next_change(self) -> None:
        waiter = asyncio.get_running_loop().create_future()
        self._waiters.add(waiter)
        try:
            await waiter
        finally:
            self._waiters.discard(waiter)

    async def wait_for(
        self,
        count: int = 1,
        outcome: Outcome | None = None,
        timeout: float = 20.0,  # noqa: ASYNC109
    ) -> list[Entry]:
        """Wait for a number of requests, with an outcome if one is given, and return them."""

        def found() -> list[Entry]:
            return [e for e in self.entries if outcome is None or e.outcome == outcome]

        await self.wait(lambda _: len(found()) >= count, timeout)
        return found()

    async def wait_idle(self, timeout: float = 20.0) -> None:  # noqa: ASYNC109
        """Wait until every request has ended."""
        await self.wait(lambda journal: all(e.is_over for e in journal.entries), timeout)
