"""The options of an LLM's connections, and the clients that are created with them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from rtllm.client.chat_client import ChatClient
from rtllm.client.checks import check_settings
from rtllm.client.client import Client, FallbackProtocol, Lanes
from rtllm.content.prices import Prices, Pricing
from rtllm.content.usage_ledger import UsageLedger
from rtllm.context.prompt_cache import CacheReports
from rtllm.engine.options import Chaining
from rtllm.engine.report import TurnReport
from rtllm.providers.config import ProviderConfig
from rtllm.providers.dialects import ThinkTags, dialect_with
from rtllm.providers.hosts import HostProfile
from rtllm.providers.price_library import look_up
from rtllm.scheduling.connection_pool import MAX_CONNECTIONS
from rtllm.trace.listeners import TraceListeners


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionOptions:
    """The options of an LLM's connections, by the adapters' keywords (``docs/parameters.md``).

    Raises:
        ConfigError: If one is not valid.
    """

    use_websocket: bool = True
    lanes: Lanes = "auto"
    warm_connections: int = 1
    max_connections: int = MAX_CONNECTIONS
    fallback: FallbackProtocol = "http"
    host_profile: HostProfile | str | None = None
    chaining: Chaining = "auto"
    dialect: Mapping[str, str] | None = None
    strict_tools: bool | None = None
    think_tags: ThinkTags | None = None
    rebuild: bool = False
    prices: Prices | None = None
    cache_report: CacheReports = False
    on_turn: Callable[[TurnReport], None] | None = None
    on_trace: TraceListeners = None
    label: str | None = None

    def __post_init__(self) -> None:
        check_settings(
            use_websocket=self.use_websocket,
            lanes=self.lanes,
            warm_connections=self.warm_connections,
            max_connections=self.max_connections,
            fallback=self.fallback,
            host_profile=self.host_profile,
            chaining=self.chaining,
            rebuild=self.rebuild,
            prices=self.prices,
            cache_report=self.cache_report,
            on_turn=self.on_turn,
            on_trace=self.on_trace,
            label=self.label,
        )
        self._dialect()

    @property
    def pricing(self) -> Pricing:
        """The prices for `UsageLedger.snapshot`."""
        return Pricing(self.prices, look_up)

    def client(
        self,
        provider: ProviderConfig,
        *,
        headers: Mapping[str, str] | None = None,
        query: Mapping[str, str] | None = None,
        usage_ledger: UsageLedger | None = None,
    ) -> Client:
        """Create a client of the Responses API.

        Args:
            provider: The address and credentials.
            headers: Additional headers of the handshakes.
            query: Additional query parameters of the handshakes.
            usage_ledger: The ledger to record attempts in; None for one of its own.

        Raises:
            ConfigError: If the key is missing, or the address is not valid.
        """
        return Client.of_provider(
            provider,
            headers=headers,
            query=query,
            websocket=self.use_websocket,
            lanes=self.lanes,
            warm_connections=self.warm_connections,
            max_connections=self.max_connections,
            rebuild=self.rebuild,
            fallback=self.fallback,
            profile=self.host_profile,
            chaining=self.chaining,
            dialect=self._dialect(),
            prices=self.prices,
            cache_report=self.cache_report,
            on_turn=self.on_turn,
            on_trace=self.on_trace,
            label=self.label,
            usage_ledger=usage_ledger,
        )

    def chat_client(
        self, provider: ProviderConfig, *, usage_ledger: UsageLedger | None = None
    ) -> ChatClient:
        """Create a client of Chat Completions.

        Args:
            provider: The address and credentials.
            usage_ledger: The ledger to record attempts in; None for one of its own.

        Raises:
            ConfigError: If a proxy is set that the user's client can't use.
        """
        return ChatClient.of_provider(
            provider,
            profile=self.host_profile,
            dialect=self._dialect(),
            prices=self.prices,
            cache_report=self.cache_report,
            on_turn=self.on_turn,
            on_trace=self.on_trace,
            label=self.label,
            usage_ledger=usage_ledger,
        )

    def _dialect(self) -> Mapping[str, str] | None:
        return dialect_with(
            self.dialect, strict_tools=self.strict_tools, think_tags=self.think_tags
        )
