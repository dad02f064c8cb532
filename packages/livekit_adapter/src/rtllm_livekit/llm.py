"""`LLM`: the Responses API over its WebSocket, for LiveKit Agents."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Literal

from livekit.agents import llm
from livekit.agents.types import NOT_GIVEN, NotGivenOr

from rtllm import (
    SILENCE_LIMIT,
    ApiKey,
    CacheReports,
    Chaining,
    FallbackProtocol,
    HostProfile,
    Lanes,
    Prices,
    ThinkTags,
    TraceListeners,
    TurnReport,
)
from rtllm.adapters import (
    OnRefusal,
    ProviderConfig,
    ServiceTier,
    TimeoutParts,
    Verbosity,
    with_keyword_docs,
)
from rtllm_livekit.base_llm import BaseLLM

if TYPE_CHECKING:
    import openai
    from openai.types import Reasoning
    from openai.types.shared_params import ResponsesModel


@with_keyword_docs()
class LLM(BaseLLM):
    """A drop-in for ``livekit.plugins.openai.responses.LLM``.

    It continues responses in each conversation, needs no new connection after a barge-in, and never
    emits text twice. The README lists the differences.

    Raises:
        ConfigError: (a `ValueError`) If the key is missing, or a setting is not valid.
    """

    def __init__(
        self,
        *,
        model: "str | ResponsesModel" = "gpt-4.1",
        api_key: NotGivenOr[ApiKey] = NOT_GIVEN,
        base_url: NotGivenOr[str] = NOT_GIVEN,
        client: "openai.AsyncClient | ProviderConfig | None" = None,
        use_websocket: bool = True,
        user: NotGivenOr[str] = NOT_GIVEN,
        temperature: NotGivenOr[float] = NOT_GIVEN,
        parallel_tool_calls: NotGivenOr[bool] = NOT_GIVEN,
        reasoning: "NotGivenOr[Reasoning | Mapping[str, Any]]" = NOT_GIVEN,
        tool_choice: NotGivenOr[llm.ToolChoice | Literal["auto", "required", "none"]] = NOT_GIVEN,
        store: NotGivenOr[bool] = NOT_GIVEN,
        metadata: NotGivenOr[dict[str, str]] = NOT_GIVEN,
        service_tier: NotGivenOr[ServiceTier] = NOT_GIVEN,
        verbosity: NotGivenOr[Verbosity] = NOT_GIVEN,
        max_output_tokens: NotGivenOr[int] = NOT_GIVEN,
        timeout: float | TimeoutParts | None = None,
        prompt_cache_options: NotGivenOr[Mapping[str, Any]] = NOT_GIVEN,
        prompt_cache_breakpoints: bool | Literal["auto"] = "auto",
        lanes: Lanes = "auto",
        warm_connections: int = 1,
        max_connections: int = 512,
        fallback: FallbackProtocol = "http",
        host_profile: HostProfile | str | None = None,
        chaining: Chaining = "auto",
        dialect: Mapping[str, str] | None = None,
        strict_tools: bool | None = None,
        think_tags: ThinkTags | None = None,
        rebuild: bool = False,
        proxy: str | None = None,
        speech_floor: float = 0.0,
        first_output_timeout: float | None = None,
        silence_limit: float | None = SILENCE_LIMIT,
        prices: Prices | None = None,
        cache_report: CacheReports = False,
        on_turn: Callable[[TurnReport], None] | None = None,
        on_trace: TraceListeners = None,
        label: str | None = None,
        parameters: Mapping[str, Any] | None = None,
        model_family: str | None = None,
        strict_parameters: bool = False,
        conversation: str | None = None,
        on_refusal: OnRefusal = "speak",
        failure_text: str | None = None,
        answer_invalid_calls: bool = False,
    ) -> None:
        super().__init__(locals(), "responses")
