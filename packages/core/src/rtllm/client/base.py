"""What every client does, whichever API it speaks."""

import asyncio
import inspect
import logging
import secrets
import weakref
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import replace

from rtllm.client.shutdown import ABANDONED_LIMIT, Shutdown
from rtllm.client.stream import ResponseStream
from rtllm.content.request import Request
from rtllm.content.usage import UsageLedger, UsageSnapshot
from rtllm.engine.engine import Engine
from rtllm.engine.options import EngineOptions, HostKnowledge
from rtllm.engine.prepared import PreparedRequest, prepare
from rtllm.engine.report import TurnReport
from rtllm.engine.snapshot import ConnectionSnapshot
from rtllm.errors import ConfigError
from rtllm.providers.http_clients import HttpClients
from rtllm.transport.runtime import Runtime

logger = logging.getLogger(__name__)


class BaseClient(ABC):
    """What every client does, whichever way its requests take.

    Whoever owns a client lends it functions: `on_turn`, a key's or token's provider, a client
    with such providers. They may lead back to the client, as methods of an agent that owns it
    do. So only the client holds them, and its answers while they run: runtimes and all that the
    event loop holds know them by weak references, and a client that is dropped is freed.
    """

    def __init__(
        self,
        options: EngineOptions,
        knowledge: HostKnowledge,
        on_turn: Callable[[TurnReport], None] | None,
        books: UsageLedger | None,
    ) -> None:
        if inspect.iscoroutinefunction(on_turn):
            raise ConfigError("on_turn is async; expected a plain function, which is not awaited")
        self._options = options
        self._knowledge = knowledge
        self._on_turn = on_turn
        self._books = UsageLedger() if books is None else books
        self._engines: dict[asyncio.AbstractEventLoop, Engine] = {}
        self._runtimes: dict[asyncio.AbstractEventLoop, Runtime] = {}
        self._http_clients: weakref.WeakKeyDictionary[Runtime, HttpClients] = (
            weakref.WeakKeyDictionary()
        )
        self._leaving = Shutdown(self._runtimes)
        # A client that is dropped must not leave its sockets open, whatever else still runs.
        # Its answers hold it, so none of them runs then: nothing is waited for.
        weakref.finalize(self, self._leaving.begin, 0.0).atexit = False

    @property
    def usage(self) -> UsageSnapshot:
        """Tokens so far, including those of interrupted, failed and superseded attempts."""
        return self._books.snapshot()

    @property
    def connections(self) -> tuple[ConnectionSnapshot, ...]:
        """The connections and HTTP requests of the running event loop, the oldest first."""
        runtime = self._runtimes.get(asyncio.get_running_loop())
        return runtime.connections if runtime is not None else ()

    def ask(self, request: Request) -> ResponseStream:
        """Take a request; nothing is sent until the answer is read.

        Raises:
            EmptyContext: If there is nothing to answer.
        """
        return self._ask(prepare(request, self._knowledge.keeps_id))

    def _ask(self, prepared: PreparedRequest) -> ResponseStream:
        counted = self._leaving.answer()

        def begin() -> Runtime:
            runtime = self._runtime()
            counted.began()
            return runtime

        def end(report: TurnReport) -> None:
            counted.ended()
            self._tell(report)

        return ResponseStream(prepared, begin, end)

    def check(self, request: Request) -> None:
        """Refuse what `ask` would, for a request that isn't whole yet.

        Raises:
            EmptyContext: If there is nothing to answer.
            ConfigError: If a setting can't be sent.
        """
        prepare(request, self._knowledge.keeps_id)

    async def aclose(self) -> None:
        """Close the connections of the running loop; the next request opens new ones."""
        await self._leaving.close()

    def abandon(self, limit: float = ABANDONED_LIMIT) -> None:
        """Close the connections on every event loop as soon as no answer runs there.

        For a client that gets no further requests; those that it has taken go on, also one
        whose answer is not read yet. Waits for nothing, and may be called in any thread and
        at any time, as by the garbage collector. `aclose` closes at once even then.

        Args:
            limit: Seconds after which answers that still run are ended with an error.
        """
        self._leaving.begin(limit)

    def _runtime(self) -> Runtime:
        """The runtime of the running event loop."""
        loop = asyncio.get_running_loop()
        runtime = self._runtimes.get(loop)
        if runtime is None:
            for ended in [other for other in self._runtimes if other.is_closed()]:
                self._runtimes.pop(ended, None)
            runtime = self._runtimes[loop] = self._open(self._engine(loop))
        return runtime

    def _engine(self, loop: asyncio.AbstractEventLoop) -> Engine:
        """The engine of an event loop: what it knows of the host outlives its runtimes."""
        self._engines = {k: v for k, v in self._engines.items() if not k.is_closed()}
        if loop not in self._engines:
            # A loop's marks are its own; the seed only spreads the waits of many processes.
            marks = secrets.token_hex(8)
            options = replace(self._options, marks=marks, seed=marks)
            self._engines[loop] = Engine(options, self._knowledge)
        return self._engines[loop]

    @abstractmethod
    def _open(self, engine: Engine) -> Runtime:
        """Make the runtime of the running event loop."""

    def _tell(self, report: TurnReport) -> None:
        """Log a turn and give its report to who wants it."""
        logger.info(
            "conversation %d: %s, %s, %d items, %d bytes, %d attempts, response %s",
            report.conversation,
            report.outcome,
            "chained" if report.chained else f"whole ({report.full_context_reason})",
            report.items_sent,
            report.bytes_sent,
            report.attempts,
            report.response_id,
        )
        if self._on_turn is None:
            return
        try:
            self._on_turn(report)
        except Exception:
            logger.exception("on_turn raised")
