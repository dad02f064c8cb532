"""`ChatLLM`: Chat Completions over HTTP, for hosts and models without the Responses API."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Literal

from livekit.agents import llm
from livekit.agents.types import NOT_GIVEN, NotGivenOr

from rtllm import SILENCE_LIMIT, ApiKey, HostProfile, ThinkTags, TraceListeners, TurnReport
from rtllm.adapters import OnRefusal, ProviderConfig
from rtllm_livekit.base_llm import BaseLLM
from rtllm_livekit.llm import ServiceTier, Timeout, Verbosity

if TYPE_CHECKING:
    import openai


class ChatLLM(BaseLLM):
    """A drop-in for ``livekit.plugins.openai.LLM``.

    Chat Completions can't continue a response, so every turn sends its full context. Use `LLM` if
    the host has the Responses API.

    Args:
        model: The model.
        api_key: The key, or a function (plain or async) that returns one for each request. Default:
            ``OPENAI_API_KEY``.
        base_url: The API's root, such as ``https://host/v1``. Default: ``OPENAI_BASE_URL``.
        client: An openai client for the requests; it is never closed here.
        user: OpenAI's ``user`` field.
        safety_identifier: OpenAI's ``safety_identifier`` field.
        prompt_cache_key: OpenAI's ``prompt_cache_key`` field.
        temperature: From 0 to 2; no longer sent to a model that rejects it.
        top_p: Nucleus sampling.
        parallel_tool_calls: Whether the model may call several tools at once.
        tool_choice: Which tool to use, if any.
        store: Whether the service stores responses.
        metadata: OpenAI's ``metadata`` field.
        max_completion_tokens: The maximum tokens of a response, including reasoning.
        timeout: Seconds to connect, or an httpx, httpx2 or openai ``Timeout``, of which only
            ``connect`` is used. The other limits are those of the session's ``conn_options``.
        max_retries: How often a request may be retried; replaces the value of the session's
            ``conn_options``.
        service_tier: OpenAI's ``service_tier`` field.
        reasoning_effort: How much a reasoning model thinks. Default: the lowest effort that it
            accepts.
        verbosity: How long responses are.
        prompt_cache_retention: OpenAI's ``prompt_cache_retention`` field.
        prompt_cache_options: OpenAI's ``prompt_cache_options`` field.
        prompt_cache_breakpoints: Whether cache breakpoints are sent. "auto": to api.openai.com and
            to models that accept them.
        extra_body: Additional fields of each request's body.
        extra_headers: Additional headers of each request.
        extra_query: Additional query parameters of each request.
        host_profile: The host's properties if its address does not tell them: the name of a known
            host (``docs/hosts.md``) or a `HostProfile`.
        dialect: How the host wants requests encoded, by the points of ``docs/hosts.md``. Without
            it, this is learned from the host's first rejection.
        strict_tools: False removes the ``strict`` of tools, True always sends it.
        think_tags: How to handle thoughts between tags in the text: "drop", "speak", or "prefilled"
            if the opening tag is never sent. Default: by the host.
        proxy: The URL of an HTTP proxy, such as ``http://user:password@host:3128``. It takes
            precedence over ``HTTPS_PROXY`` and ``NO_PROXY``. A `client` has its own.
        speech_floor: The minimum speed of speech in characters per second; a slower turn fails. 0
            for no minimum.
        first_output_timeout: Seconds for the first output of each attempt. Default:
            ``conn_options.timeout``, which also limits each gap.
        silence_limit: Seconds from `chat` to the first output, over all attempts; then the turn
            fails. It does not run while the model reasons or uses hosted tools. The default does
            not apply with ``conn_options`` of your own. None: no such limit.
        on_turn: Called with the report of each turn.
        on_trace: A listener of the trace events, or several (``docs/tracing.md``).
        label: A name for the calls of this object, in reports, traces and logs.
        parameters: Additional parameters of each request, by their names in either API.
        model_family: The model's family if its name does not tell it (a deployment's name). Default
            on Azure: that of the model that the responses name, from the second turn on.
        strict_parameters: Whether it is an error if the model rejects a parameter, or is known to.
            Otherwise the nearest supported value is sent, or none, with one warning.
        conversation: The name of the conversation of all requests, if the object serves only one.
            It proves which responses a context may continue. Default: that is derived from the
            context.
        on_refusal: "speak" emits the text of a refusal, "error" raises.
        failure_text: Spoken when a turn fails, instead of raising; the ``error`` event comes in
            both cases. Leave it out inside a ``FallbackAdapter``, except on its last.

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
        timeout: float | Timeout | None = None,
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
        on_turn: Callable[[TurnReport], None] | None = None,
        on_trace: TraceListeners = None,
        label: str | None = None,
        parameters: Mapping[str, Any] | None = None,
        model_family: str | None = None,
        strict_parameters: bool = False,
        conversation: str | None = None,
        on_refusal: OnRefusal = "speak",
        failure_text: str | None = None,
    ) -> None:
        super().__init__(locals(), "chat")
