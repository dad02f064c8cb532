"""`LLM`: the Responses API over its WebSocket, for LiveKit Agents."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Literal, Protocol

from livekit.agents import llm
from livekit.agents.types import NOT_GIVEN, NotGivenOr

from rtllm import (
    SILENCE_LIMIT,
    ApiKey,
    Chaining,
    FallbackProtocol,
    HostProfile,
    Lanes,
    ThinkTags,
    TraceListeners,
    TurnReport,
)
from rtllm.adapters import OnRefusal, ProviderConfig
from rtllm_livekit.base_llm import BaseLLM

if TYPE_CHECKING:
    import openai
    from openai.types import Reasoning
    from openai.types.shared_params import ResponsesModel

ServiceTier = Literal["auto", "default", "flex", "scale", "priority", "fast", "ultrafast"]
Verbosity = Literal["low", "medium", "high"]


class Timeout(Protocol):
    """The common interface of `httpx.Timeout`, `httpx2.Timeout` and `openai.Timeout`."""

    @property
    def connect(self) -> float | None:
        """Seconds for a connection."""


class LLM(BaseLLM):
    """A drop-in for ``livekit.plugins.openai.responses.LLM``.

    It continues responses in each conversation, needs no new connection after a barge-in, and never
    emits text twice. The README lists the differences.

    Args:
        model: The model.
        api_key: The key, or a function (plain or async) that returns one for each handshake.
            Default: ``OPENAI_API_KEY``.
        base_url: The API's root, such as ``https://host/v1``; a full endpoint
            (``wss://host/v1/responses``) is accepted too. Default: ``OPENAI_BASE_URL``.
        client: An openai client whose address, key, headers and query are used.
        use_websocket: False sends requests over HTTP, through `client` if there is one. Over HTTP
            only stored responses can be continued.
        user: OpenAI's ``user`` field.
        temperature: From 0 to 2; no longer sent to a model that rejects it.
        parallel_tool_calls: Whether the model may call several tools at once.
        reasoning: Reasoning settings. Default: the lowest effort that the model accepts.
        tool_choice: Which tool to use, if any.
        store: Whether the service stores responses; the default is yes. Chaining works in both
            cases.
        metadata: OpenAI's ``metadata`` field.
        service_tier: OpenAI's ``service_tier`` field.
        verbosity: How long responses are.
        max_output_tokens: The maximum tokens of a response, including reasoning.
        timeout: Seconds to connect, or an httpx, httpx2 or openai ``Timeout``, of which only
            ``connect`` is used. The other limits are those of the session's ``conn_options``.
        prompt_cache_options: OpenAI's ``prompt_cache_options`` field.
        prompt_cache_breakpoints: Whether cache breakpoints are sent. "auto": to api.openai.com and
            to models that accept them.
        lanes: Whether a connection runs several responses at once (``stream_id``). "auto": on hosts
            known to support it.
        warm_connections: How many warm connections to keep on a host without lanes.
        max_connections: The limit of connections on one event loop. When it is reached, requests
            wait for a connection, within their limit for connecting, and a warning is logged.
        fallback: What to use when the WebSocket fails: the host has none, it keeps failing, or the
            request is too large. None: the turn fails.
        host_profile: The host's properties if its address does not tell them: the name of a known
            host (``docs/hosts.md``) or a `HostProfile`.
        chaining: Whether to continue earlier responses. "auto": if the host stores them; with
            ``RTLLM_CHAINING=off`` in the environment "auto" means False.
        dialect: How the host wants requests encoded, by the points of ``docs/hosts.md``. Without
            it, this is learned from the host's first rejection.
        strict_tools: False removes the ``strict`` of tools, True always sends it.
        think_tags: How to handle thoughts between tags in the text: "drop", "speak", or "prefilled"
            if the opening tag is never sent. Default: by the host.
        rebuild: Whether contexts that only an old connection remembers (``store=False``) are sent
            again to its replacement; that costs their input tokens once an hour. Otherwise the next
            turn sends its full context.
        proxy: The URL of an HTTP proxy, such as ``http://user:password@host:3128``, for the
            WebSocket and HTTP requests. It takes precedence over ``HTTPS_PROXY`` and ``NO_PROXY``.
            With `client`, which has its own, only the WebSocket uses it.
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
        parameters: Additional parameters of each request, by their names in either API, such as
            ``{"safety_identifier": "caller-7"}``. A session passes none with its calls.
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
        timeout: float | Timeout | None = None,
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
        super().__init__(locals(), "responses")
