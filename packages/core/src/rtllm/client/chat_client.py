"""The client of Chat Completions, for models and hosts without Responses."""

import weakref
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Self

from rtllm.client.base import BaseClient
from rtllm.client.checks import check_settings
from rtllm.client.stream import ResponseStream
from rtllm.codec.chat_encoder import parameters
from rtllm.content.prices import Prices, Pricing
from rtllm.content.request import Network, Request
from rtllm.content.usage_ledger import UsageLedger
from rtllm.context.prompt_cache import CacheReports
from rtllm.engine.engine import Engine
from rtllm.engine.options import EngineOptions, HostKnowledge
from rtllm.engine.report import TurnReport
from rtllm.errors import ConfigError
from rtllm.providers.config import ProviderConfig
from rtllm.providers.dialects import checked_points
from rtllm.providers.hosts import HostProfile, profile_named
from rtllm.providers.http_clients import HttpClients, MakeClient
from rtllm.providers.price_library import is_loaded, look_up
from rtllm.trace.listeners import TraceListeners
from rtllm.transport.preload import preload_chat
from rtllm.transport.runtime import Runtime


class ChatClient(BaseClient):
    """A client of Chat Completions, for models and hosts without the Responses API.

    It takes the same requests as `Client`, with `Request.settings` named as in the Responses API. A
    setting that Chat Completions doesn't have is a `ConfigError` when the request is made. Settings
    may also hold Chat's own fields, and ``extra_body``, ``extra_headers`` and ``extra_query``. Chat
    Completions can't continue a response, so every turn sends its full context. Of
    `Request.network` only the proxy is used, and `Request.hold_calls` makes no difference: calls
    always come at the end.

    One client works on every event loop it is used on, and reopens after it was closed. A client
    passed by the user works on the loops that it supports itself.

    Args:
        client: An ``AsyncOpenAI`` of the user's, or an object with the same interface. It is never
            closed here.
        make_client: Creates such a client for an event loop and the proxy in a request's network
            settings, or None; it is closed here. Pass it instead of `client`.
        profile: The host's properties, or the name of a known host. None if nothing is known.
        dialect: How the host wants requests encoded, as with `Client`.
        prices: Prices of your own, for hosts and models that the price library doesn't know.
        cache_report: Whether the reports explain how much of the prompt came from the service's
            cache, and what broke it; "texts" also quotes the changed text.
        on_turn: Called with the report of each turn.
        on_trace: A listener of the trace events, or several (``docs/tracing.md``).
        label: A name for the calls of this client, for reports, traces and logs.
        usage_ledger: The ledger to record attempts in, shared with other clients. None for a ledger
            of its own.

    Raises:
        ConfigError: If both or neither of `client` and `make_client` are given.
    """

    def __init__(
        self,
        client: object | None = None,
        *,
        make_client: MakeClient | None = None,
        profile: HostProfile | str | None = None,
        dialect: Mapping[str, str] | None = None,
        prices: Prices | None = None,
        cache_report: CacheReports = False,
        on_turn: Callable[[TurnReport], None] | None = None,
        on_trace: TraceListeners = None,
        label: str | None = None,
        usage_ledger: UsageLedger | None = None,
    ) -> None:
        if (client is None) is (make_client is None):
            raise ConfigError("pass either client or make_client; both or neither were given")
        check_settings(prices=prices, cache_report=cache_report)
        known = HostProfile("chat") if profile is None else profile_named(profile)
        super().__init__(
            EngineOptions(
                replace(known, memory="none"),
                api="chat",
                websocket=False,
                pricing=Pricing(prices, look_up, is_loaded),
                cache_report=cache_report,
            ),
            HostKnowledge(known.name, lanes=False, dialect=checked_points(dialect)),
            on_turn,
            usage_ledger,
            on_trace,
            label,
        )
        preload_chat()
        self._client = client
        self._make_client = make_client

    @classmethod
    def of_provider(cls, provider: ProviderConfig, **options: Any) -> Self:
        """Create a client of a provider configuration.

        Args:
            provider: The address and credentials; see `rtllm.adapters.resolve_provider`.
            **options: The other keywords of the constructor.

        Raises:
            ConfigError: If the key is missing, or a setting is not valid.
        """
        provider.check_http()
        return cls(
            provider.client,
            make_client=provider.http if provider.client is None else None,
            **{**options, "profile": options.get("profile") or provider.profile},
        )

    def ask(self, request: Request) -> ResponseStream:
        """Prepare a request; it is sent when the returned stream is first read.

        Raises:
            EmptyContext: If there is nothing to answer.
            ConfigError: If it has a setting that Chat Completions doesn't take.
        """
        parameters(request.settings, request.tools)
        return super().ask(request)

    def check(self, request: Request) -> None:
        """Check a request without sending it, for example before its context is complete.

        Raises:
            EmptyContext: If there is nothing to answer.
            ConfigError: If it has a setting that Chat Completions doesn't take.
        """
        parameters(request.settings, request.tools)
        super().check(request)

    def prewarm(self, model: str, network: Network | None = None, limit: float = 10.0) -> None:
        """Create the HTTP client of the running event loop, which takes a while.

        No connection is opened: every request that would open one costs tokens. The arguments are
        those of `Client.prewarm`; only the proxy is used.
        """
        self._runtime().warm_http(network.proxy if network is not None else None)

    def _open(self, engine: Engine) -> Runtime:
        passed_client, make = self._client, self._make_client
        clients = HttpClients(make or (lambda _: passed_client), is_owned=make is not None)
        runtime = Runtime(
            engine, self._usage_ledger, weakref.ref(clients), trace=weakref.ref(self._trace)
        )
        self._http_clients[runtime] = clients
        return runtime
