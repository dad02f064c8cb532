"""The runtime: carries out the engine's actions, and reports facts to it."""

import asyncio
import logging
import weakref
from collections import deque
from collections.abc import Callable
from contextvars import Context, copy_context
from datetime import UTC, datetime
from typing import Any, assert_never

from rtllm.content.usage import Usage
from rtllm.content.usage_ledger import UsageLedger
from rtllm.engine.actions import (
    Action,
    Close,
    Connect,
    Deliver,
    Finish,
    MoveUsage,
    Ping,
    RecordUsage,
    Send,
    StartHttp,
    Trace,
    WakeAt,
)
from rtllm.engine.connection import Opening
from rtllm.engine.engine import Engine
from rtllm.engine.prepared import PreparedRequest
from rtllm.engine.snapshot import ConnectionSnapshot
from rtllm.providers.credentials import Credentials
from rtllm.providers.hosts import Endpoint
from rtllm.providers.http_clients import HttpClients
from rtllm.providers.network import NetworkConfig
from rtllm.retry.faults import Fault
from rtllm.retry.redaction import Secrets
from rtllm.trace.events import TraceEvent, TurnQueued
from rtllm.trace.listeners import TraceHub
from rtllm.transport.http import HttpExchanges
from rtllm.transport.mailbox import Mailbox
from rtllm.transport.websocket import WebSockets

logger = logging.getLogger(__name__)


class Runtime:
    """The I/O of one client on one event loop.

    The event loop keeps this object alive through its tasks and timers. So nothing here may refer
    to the client, which could otherwise never be garbage-collected.

    Args:
        engine: The engine of the running event loop.
        usage_ledger: The usage ledger.
        http: Creates the HTTP clients; a weak reference, like those to the credentials.
        credentials: Called at each handshake; None without a WebSocket.
        http_credentials: Called at each HTTP request; None if the HTTP clients have their own.
        endpoint: The WebSocket's address; None if there is none.
        network: The network settings of its connections.
        trace: The listeners of trace events; a weak reference.
    """

    def __init__(
        self,
        engine: Engine,
        usage_ledger: UsageLedger,
        http: weakref.ref[HttpClients],
        credentials: weakref.ref[Credentials] | None = None,
        http_credentials: weakref.ref[Credentials] | None = None,
        endpoint: Endpoint | None = None,
        network: NetworkConfig | None = None,
        trace: weakref.ref[TraceHub] | None = None,
    ) -> None:
        self._engine = engine
        self._usage_ledger = usage_ledger
        self._trace = trace
        self._loop = asyncio.get_running_loop()
        self._sockets: WebSockets | None = None
        if endpoint is not None and credentials is not None:
            self._sockets = WebSockets(endpoint, credentials, self, network or NetworkConfig())
        self._http = HttpExchanges(http, http_credentials, self)
        self._mailboxes: dict[int, Mailbox] = {}
        self._contexts: dict[int, Context] = {}
        self._queue: deque[Action] = deque()
        self._is_acting = False
        self._is_stopped = False
        self._timer: asyncio.TimerHandle | None = None

    def __repr__(self) -> str:
        return f"<Runtime{' (stopped)' if self._is_stopped else ''} of {self._engine!r}>"

    @property
    def connections(self) -> tuple[ConnectionSnapshot, ...]:
        """The connections that are not closed, the oldest first."""
        return self._engine.connections

    # -- for the client ------------------------------------------------------------------------

    def ask(self, prepared: PreparedRequest) -> tuple[int, Mailbox]:
        """Start a turn; return its number and its mailbox."""
        turn, actions = self._engine.ask(prepared, self._loop.time())
        mailbox = self._mailboxes[turn] = Mailbox()
        if self._is_acting:  # what begins this turn is carried out in another caller's context
            self._contexts[turn] = copy_context()
        self._act(actions)
        return turn, mailbox

    def cancel(self, turn: int) -> None:
        """End a turn that its consumer stopped reading, without waiting."""
        self._report(self._engine.cancel, turn)

    def discard(self, conversation: int, turn: int) -> None:
        """Count a turn as a draft whose response was thrown away."""
        self._report(self._engine.discard, conversation, turn)

    def warm(self, opening: Opening) -> None:
        """Begin to open a connection if none is warm."""
        self._act(self._engine.warm(opening, self._loop.time()))

    def warm_http(self, proxy: str | None = None) -> None:
        """Create the HTTP client for a proxy, unless it exists."""
        self._http.warm(proxy)

    def stop(self) -> None:
        """End all turns and accept nothing new; later requests need another runtime."""
        if not self._is_stopped:
            self._act(self._engine.close(self._loop.time()))
            self._is_stopped = True
            self._set_timer(None)

    async def aclose(self) -> None:
        """Close all connections within a limit."""
        self.stop()
        if self._sockets is not None:
            await self._sockets.aclose()
        await self._http.aclose()

    # -- facts ---------------------------------------------------------------------------------

    def asked(self, number: int, address: str) -> None:
        """Report the address that a connection or an exchange asks, without its query."""
        self._report(self._engine.asked, number, address)

    def connected(self, number: int) -> None:
        """Report that a connection is open."""
        self._report(self._engine.connected, number)

    def authenticated(self, number: int, secrets: Secrets) -> None:
        """Report the credentials that the host was sent, which its errors may repeat."""
        self._report(self._engine.authenticated, number, secrets)

    def connect_failed(self, number: int, fault: Fault) -> None:
        """Report that a connection could not be opened."""
        self._report(self._engine.connect_failed, number, fault)

    def received(self, number: int, data: Any) -> None:
        """Report a frame, or a piece of an HTTP response."""
        if not self._is_stopped:  # written out, since it is called for each delta
            self._act(self._engine.received(number, data, self._loop.time()))

    def sent(self, attempt: int) -> None:
        """Report that a request was written."""
        self._report(self._engine.sent, attempt)

    def heard(self, number: int) -> None:
        """Report a ping or a pong."""
        self._report(self._engine.heard, number)

    def lost(self, number: int, fault: Fault | None) -> None:
        """Report that a connection is over."""
        self._report(self._engine.lost, number, fault)

    def loop_ends(self) -> None:
        """Report that the event loop cancels its tasks; nothing is opened any more."""
        self.stop()

    def _report(self, fact: Callable[..., list[Action]], *about: Any) -> None:
        """Report a fact to the engine, and carry out its actions; does nothing after `stop`."""
        if not self._is_stopped:
            self._act(fact(*about, self._loop.time()))

    def _tick(self, at: float) -> None:
        self._timer = None
        # The loop's timers may fire a little early.
        self._act(self._engine.tick(max(at, self._loop.time())))

    # -- actions -------------------------------------------------------------------------------

    def _act(self, actions: list[Action]) -> None:
        """Carry out actions in order; nested calls leave theirs to the outermost call."""
        if not actions:
            return
        queue = self._queue
        queue.extend(actions)
        if self._is_acting:
            return
        self._is_acting = True
        try:
            while queue:
                self._carry_out(queue.popleft())
        finally:
            self._is_acting = False

    def _carry_out(self, action: Action) -> None:
        match action:
            case Deliver():
                self._mailboxes[action.turn].put(action)
            case WakeAt():
                self._set_timer(action.at)
            case Trace():
                self._pass_on(action.event)
            case RecordUsage():
                today = datetime.now(UTC).date()
                self._usage_ledger.record(action.category, action.usage, action.details, today)
                if action.on_late_usage is not None and action.usage is not None:
                    report_late(action.on_late_usage, action.usage)
            case MoveUsage(_, was, category, usage, details):
                self._usage_ledger.move(was, category, usage, details)
            case Finish():
                self._contexts.pop(action.turn, None)
                self._mailboxes.pop(action.turn).finish(action)
            case _:
                self._communicate(action)

    def _pass_on(self, event: TraceEvent) -> None:
        """Pass a trace event to the listeners; that a turn begins, in the context of its caller."""
        if self._trace is None or (trace := self._trace()) is None:
            return
        context = None
        if isinstance(event, TurnQueued) and event.turn is not None:
            context = self._contexts.pop(event.turn, None)
        if context is not None:
            context.run(trace, event)
        else:
            trace(event)

    def _communicate(self, action: Connect | Send | Ping | Close | StartHttp) -> None:
        match action:
            case StartHttp():
                self._http.start(action)
            case Close():
                (self._http if action.is_exchange else self._the_sockets).close(action.connection)
            case Connect():
                self._the_sockets.connect(action)
            case Send():
                self._the_sockets.send(action)
            case Ping():
                self._the_sockets.ping(action.connection)
            case _:
                assert_never(action)

    @property
    def _the_sockets(self) -> WebSockets:
        if self._sockets is None:
            raise RuntimeError("this client has no WebSocket; this is a bug in rtllm")
        return self._sockets

    def _set_timer(self, at: float | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if at is not None and not self._is_stopped:
            self._timer = self._loop.call_at(at, self._tick, at, context=Context())


def report_late(callback: Callable[[Usage], None], usage: Usage) -> None:
    """Report the tokens of a response that the consumer did not read to its end."""
    try:
        callback(usage)
    except Exception:
        logger.exception("on_late_usage raised")
