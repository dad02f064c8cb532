"""The parts that the Responses client and the Chat Completions client share."""

import asyncio
import logging
import secrets
import weakref
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Self

from rtllm.client.checks import check_settings
from rtllm.client.shutdown import SHUTDOWN_LIMIT, Shutdown
from rtllm.client.stream import ResponseStream
from rtllm.client.trace_log import is_logged, log_event
from rtllm.client.turn_log import log_turn
from rtllm.content.request import Request
from rtllm.content.usage_ledger import UsageLedger, UsageSnapshot
from rtllm.engine.engine import Engine
from rtllm.engine.options import EngineOptions, HostKnowledge
from rtllm.engine.prepared import PreparedRequest, prepare
from rtllm.engine.report import TurnReport
from rtllm.engine.snapshot import ConnectionSnapshot
from rtllm.providers.config import ProviderConfig, resolve_provider
from rtllm.providers.credentials import ApiKey
from rtllm.providers.http_clients import HttpClients
from rtllm.trace.listeners import TraceHub, TraceListeners, listeners_in
from rtllm.transport.runtime import Runtime

logger = logging.getLogger(__name__)


class BaseClient(ABC):
    """Base class of the clients: engines and runtimes by event loop, usage, and shutdown.

    The owner of a client passes functions to it: `on_turn`, `on_trace`, a provider of keys or
    tokens, an HTTP client with such providers. They may refer back to the client, for example as
    methods of the agent that owns it. Therefore only the client, and its response streams while
    they run, hold these functions. Runtimes and the event loop refer to them weakly, so a client
    without references is freed.
    """

    def __init__(
        self,
        options: EngineOptions,
        knowledge: HostKnowledge,
        on_turn: Callable[[TurnReport], None] | None,
        usage_ledger: UsageLedger | None,
        on_trace: TraceListeners = None,
        label: str | None = None,
    ) -> None:
        check_settings(on_turn=on_turn, on_trace=on_trace, label=label)
        self._options = options
        listeners = listeners_in(on_trace)
        self._traces = bool(listeners)
        self._trace = TraceHub((*listeners, log_event))
        self._label = label
        self._knowledge = knowledge
        self._on_turn = on_turn
        self._usage_ledger = UsageLedger() if usage_ledger is None else usage_ledger
        self._engines: dict[asyncio.AbstractEventLoop, Engine] = {}
        self._runtimes: dict[asyncio.AbstractEventLoop, Runtime] = {}
        self._http_clients: weakref.WeakKeyDictionary[Runtime, HttpClients] = (
            weakref.WeakKeyDictionary()
        )
        self._shutdown = Shutdown(self._runtimes)
        # A client that is garbage-collected must close its sockets even if its loop goes on. Its
        # response streams hold it, so none of them is running by then.
        weakref.finalize(self, self._shutdown.begin, 0.0).atexit = False

    @classmethod
    def connect(
        cls,
        *,
        api_key: ApiKey | None = None,
        base_url: str | None = None,
        wss_url: str | None = None,
        organization: str | None = None,
        project: str | None = None,
        proxy: str | None = None,
        **options: Any,
    ) -> Self:
        """Create a client from a key and an address. Nothing is opened before the first request.

        Args:
            api_key: The key, or a function (plain or async) that returns one for each handshake and
                each HTTP request. Default: ``OPENAI_API_KEY``.
            base_url: The API's root. Default: ``OPENAI_BASE_URL``, else OpenAI's, which is
                ``https://api.openai.com/v1``.
            wss_url: The Responses WebSocket, if it isn't under the API's root. `ChatClient`
                does not use it.
            organization: The OpenAI organization. Default: ``OPENAI_ORG_ID``.
            project: The OpenAI project. Default: ``OPENAI_PROJECT_ID``.
            proxy: The URL of an HTTP proxy.
            **options: The other keywords of the constructor.

        Raises:
            ConfigError: If the key is missing, or a setting is not valid.
        """
        provider = resolve_provider(
            api_key=api_key,
            base_url=base_url,
            wss_url=wss_url,
            organization=organization,
            project=project,
            proxy=proxy,
        )
        return cls.of_provider(provider, **options)

    @classmethod
    @abstractmethod
    def of_provider(cls, provider: ProviderConfig, **options: Any) -> Self:
        """Create a client of a provider configuration.

        Args:
            provider: The address and credentials; see `rtllm.adapters.resolve_provider`.
            **options: The other keywords of the constructor.

        Raises:
            ConfigError: If the key is missing, or a setting is not valid.
        """

    def __repr__(self) -> str:
        count = sum(len(runtime.connections) for runtime in list(self._runtimes.values()))
        return f"<{type(self).__name__} of {self._knowledge.name}: {count} connections>"

    @property
    def usage(self) -> UsageSnapshot:
        """Tokens and their cost so far, also of cancelled, failed and superseded attempts."""
        return self._usage_ledger.snapshot(self._options.pricing)

    @property
    def connections(self) -> tuple[ConnectionSnapshot, ...]:
        """The connections and HTTP requests of the running event loop, the oldest first."""
        runtime = self._runtimes.get(asyncio.get_running_loop())
        return runtime.connections if runtime is not None else ()

    def ask(self, request: Request) -> ResponseStream:
        """Prepare a request; it is sent when the returned stream is first read.

        Raises:
            ConfigError: If a setting can't be sent, or a value has a wrong type.
            EmptyContext: If there is nothing to answer.
        """
        return self._ask(self._prepare(request))

    def _prepare(self, request: Request) -> PreparedRequest:
        prepared = prepare(request, self._knowledge.keeps_id)
        if self._label is None or request.call.label is not None:
            return prepared
        call = replace(request.call, label=self._label)
        return replace(prepared, request=replace(request, call=call))

    def _ask(self, prepared: PreparedRequest) -> ResponseStream:
        counted = self._shutdown.add_stream()

        def begin() -> Runtime:
            runtime = self._runtime()
            counted.began()
            return runtime

        def end(report: TurnReport) -> None:
            counted.ended()
            self._report_turn(report)

        return ResponseStream(prepared, begin, end)

    def discard(self, report: TurnReport) -> None:
        """Count a turn as a draft: the framework has thrown its response away.

        Call it on the turn's event loop. A draft that a later request replaces is known without it.

        Args:
            report: The report of the turn, which must be the latest one of its conversation.
        """
        runtime = self._runtimes.get(asyncio.get_running_loop())
        if runtime is not None:
            runtime.discard(report.conversation, report.turn)

    def check(self, request: Request) -> None:
        """Check a request without sending it, for example before its context is complete.

        Raises:
            EmptyContext: If there is nothing to answer.
            ConfigError: If a setting can't be sent.
        """
        prepare(request, self._knowledge.keeps_id)

    def model_of(self, deployment: str) -> str | None:
        """Return the model that responds to the name of a deployment, if that is known.

        Responses name it; None before the first one, or if its family is not known.
        """
        return self._knowledge.model_of(deployment)

    async def aclose(self) -> None:
        """Close the connections of the running loop; the next request opens new ones."""
        await self._shutdown.close()

    def close_when_idle(self, limit: float = SHUTDOWN_LIMIT) -> None:
        """Close the connections of every event loop once no response stream runs there.

        Use it for a client that gets no further requests. Requests that it has already accepted are
        completed, including one whose stream has not been read yet. The call does not wait. It is
        safe in any thread and at any time, including garbage collection. `aclose` can still be
        called to close at once.

        Args:
            limit: Seconds after which response streams that still run end with an error.
        """
        self._shutdown.begin(limit)

    def _runtime(self) -> Runtime:
        """Return the runtime of the running event loop; open one if needed."""
        loop = asyncio.get_running_loop()
        runtime = self._runtimes.get(loop)
        if runtime is None:
            for ended in [other for other in self._runtimes if other.is_closed()]:
                self._runtimes.pop(ended, None)
            runtime = self._runtimes[loop] = self._open(self._engine(loop))
        return runtime

    def _engine(self, loop: asyncio.AbstractEventLoop) -> Engine:
        """Return the engine of an event loop, which outlives the loop's runtimes."""
        self._engines = {k: v for k, v in self._engines.items() if not k.is_closed()}
        if loop not in self._engines:
            # Marks are unique per loop. The seed spreads the retry waits of many processes.
            marks = secrets.token_hex(8)
            tracing = self._traces or is_logged()
            options = replace(self._options, marks=marks, seed=marks, tracing=tracing)
            self._engines[loop] = Engine(options, self._knowledge)
        return self._engines[loop]

    @abstractmethod
    def _open(self, engine: Engine) -> Runtime:
        """Create the runtime of the running event loop."""

    def _report_turn(self, report: TurnReport) -> None:
        """Log a turn and pass its report to `on_turn`."""
        log_turn(report)
        if self._on_turn is None:
            return
        try:
            self._on_turn(report)
        except Exception:
            logger.exception("on_turn raised")
