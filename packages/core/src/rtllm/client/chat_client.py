"""The client of Chat Completions, for models and hosts without Responses."""

import weakref
from collections.abc import Callable, Mapping
from dataclasses import replace

from rtllm.client.base import BaseClient
from rtllm.client.stream import ResponseStream
from rtllm.codec.chat_encoder import parameters
from rtllm.content.request import Network, Request
from rtllm.content.usage import UsageLedger
from rtllm.engine.engine import Engine
from rtllm.engine.options import EngineOptions, HostKnowledge
from rtllm.engine.report import TurnReport
from rtllm.errors import ConfigError
from rtllm.providers.dialects import checked_points
from rtllm.providers.hosts import HostProfile, profile_named
from rtllm.providers.http_clients import HttpClients
from rtllm.transport.preload import preload_chat
from rtllm.transport.runtime import Runtime


class ChatClient(BaseClient):
    """A client that asks over Chat Completions, for models and hosts without Responses.

    It takes the same requests, `Request.settings` by their names in the Responses API
    included; what Chat Completions doesn't know is a `ConfigError` when it is asked. Settings
    may also hold Chat's own fields, and ``extra_body``, ``extra_headers`` and ``extra_query``.
    Nothing is chained, so every turn sends its whole context; `Request.network` has no say,
    and `Request.hold_calls` makes no difference: calls come at the end here.

    It works on every event loop it is used on, and opens again after it was closed; a client
    of the user's works wherever it works by itself.

    Args:
        client: An ``AsyncOpenAI`` of the user's, or what is shaped like one; never closed.
        make_client: Gives a client for an event loop, to be closed here; instead of `client`.
        profile: What the host is like, or a known host's name. None: nothing is known.
        dialect: What the host wants said otherwise, as with `Client`.
        on_turn: Called with the report of each turn.
        books: Where its attempts are counted, with those of other clients. None: alone.

    Raises:
        ConfigError: If both or neither of the two are given.
    """

    def __init__(
        self,
        client: object | None = None,
        *,
        make_client: Callable[[], object] | None = None,
        profile: HostProfile | str | None = None,
        dialect: Mapping[str, str] | None = None,
        on_turn: Callable[[TurnReport], None] | None = None,
        books: UsageLedger | None = None,
    ) -> None:
        if (client is None) is (make_client is None):
            raise ConfigError("expected either client or make_client, not both and not neither")
        known = HostProfile("chat") if profile is None else profile_named(profile)
        super().__init__(
            EngineOptions(replace(known, memory="none"), api="chat", websocket=False),
            HostKnowledge(known.name, lanes=False, dialect=checked_points(dialect)),
            on_turn,
            books,
        )
        preload_chat()
        self._client = client
        self._make_client = make_client

    def ask(self, request: Request) -> ResponseStream:
        """Take a request; nothing is sent until the answer is read.

        Raises:
            EmptyContext: If there is nothing to answer.
            ConfigError: If it holds what Chat Completions doesn't know.
        """
        parameters(request.settings, request.tools)
        return super().ask(request)

    def check(self, request: Request) -> None:
        """Refuse what `ask` would, for a request that isn't whole yet.

        Raises:
            EmptyContext: If there is nothing to answer.
            ConfigError: If it holds what Chat Completions doesn't know.
        """
        parameters(request.settings, request.tools)
        super().check(request)

    def prewarm(self, model: str, network: Network | None = None, limit: float = 10.0) -> None:
        """Make the client of the running event loop, which takes a while by itself.

        Nothing is sent, for nothing that is free of charge would open its connection too; the
        arguments are those of `Client.prewarm` and have no say.
        """
        self._runtime().warm_http()

    def _open(self, engine: Engine) -> Runtime:
        theirs, make = self._client, self._make_client
        clients = HttpClients(lambda _: theirs if make is None else make(), owned=make is not None)
        runtime = Runtime(engine, self._books, weakref.ref(clients))
        self._http_clients[runtime] = clients
        return runtime
