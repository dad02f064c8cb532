"""`ChatLLM`: Chat Completions over HTTP, for hosts and models without the Responses API."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Literal

from livekit.agents import llm
from livekit.agents.types import NOT_GIVEN, NotGivenOr

from rtllm import (
    SILENCE_LIMIT,
    ApiKey,
    CacheReports,
    HostProfile,
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


@with_keyword_docs()
class ChatLLM(BaseLLM):
    """A drop-in for ``livekit.plugins.openai.LLM``.

    Chat Completions can't continue a response, so every turn sends its full context. Use `LLM` if
    the host has the Responses API.

    Raises:
        ConfigError: (a `ValueError`) If the key is missing, or a setting is not valid.
    """

    def __init__(
        self,
        *,
        model: str = "gpt-4.1",
        api_key: NotGivenOr[ApiKey] = NOT_GIVEN,
        base_url: NotGivenOr[str] = NOT_GIVEN,
        client: "openai.AsyncClient | ProviderConfig | None" = None,
        user: NotGivenOr[str] = NOT_GIVEN,
        safety_identifier: NotGivenOr[str] = NOT_GIVEN,
        prompt_cache_key: NotGivenOr[str] = NOT_GIVEN,
        temperature: NotGivenOr[float] = NOT_GIVEN,
        top_p: NotGivenOr[float] = NOT_GIVEN,
        parallel_tool_calls: NotGivenOr[bool] = NOT_GIVEN,
        tool_choice: NotGivenOr[llm.ToolChoice | Literal["auto", "required", "none"]] = NOT_GIVEN,
        store: NotGivenOr[bool] = NOT_GIVEN,
        metadata: NotGivenOr[dict[str, str]] = NOT_GIVEN,
        max_completion_tokens: NotGivenOr[int] = NOT_GIVEN,
        timeout: float | TimeoutParts | None = None,
        max_retries: NotGivenOr[int] = NOT_GIVEN,
        service_tier: NotGivenOr[ServiceTier] = NOT_GIVEN,
        reasoning_effort: NotGivenOr[str] = NOT_GIVEN,
        verbosity: NotGivenOr[Verbosity] = NOT_GIVEN,
        prompt_cache_retention: NotGivenOr[str] = NOT_GIVEN,
        prompt_cache_options: NotGivenOr[Mapping[str, Any]] = NOT_GIVEN,
        prompt_cache_breakpoints: bool | Literal["auto"] = "auto",
        extra_body: NotGivenOr[Mapping[str, Any]] = NOT_GIVEN,
        extra_headers: NotGivenOr[Mapping[str, str]] = NOT_GIVEN,
        extra_query: NotGivenOr[Mapping[str, str]] = NOT_GIVEN,
        host_profile: HostProfile | str | None = None,
        dialect: Mapping[str, str] | None = None,
        strict_tools: bool | None = None,
        think_tags: ThinkTags | None = None,
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
        super().__init__(locals(), "chat")
