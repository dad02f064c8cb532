"""`LLM`: the Responses API over its WebSocket, for LiveKit Agents."""

import asyncio
import os
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Literal, Never, Protocol

import aiohttp
from livekit.agents import APIConnectOptions, get_job_context, llm, utils
from livekit.agents.types import DEFAULT_API_CONNECT_OPTIONS, NOT_GIVEN, NotGiven, NotGivenOr
from livekit.agents.utils import is_given

from rtllm import (
    ApiKey,
    Body,
    Client,
    ConfigError,
    Credentials,
    Endpoint,
    FallsBack,
    HostProfile,
    Lanes,
    Limits,
    Network,
    Parameters,
    Request,
    Retry,
    Snapshot,
    TurnReport,
    endpoint,
    takes_cache_breakpoints,
)
from rtllm_livekit.convert import as_recorded, to_items
from rtllm_livekit.settings import body_of, given
from rtllm_livekit.stream import LLMStream
from rtllm_livekit.tools import ToolEncoder

if TYPE_CHECKING:
    import openai
    from openai.types import Reasoning
    from openai.types.shared_params import ResponsesModel

ServiceTier = Literal["auto", "default", "flex", "scale", "priority", "fast", "ultrafast"]
Verbosity = Literal["low", "medium", "high"]

_OPENAI = "api.openai.com"


class _Timeout(Protocol):
    """What `httpx.Timeout`, `httpx2.Timeout` and `openai.Timeout` have in common."""

    @property
    def connect(self) -> float | None: ...


class LLM(llm.LLM[Never]):
    """A drop-in for ``livekit.plugins.openai.responses.LLM``.

    It keeps one chain per conversation, survives barge-ins without a new connection, and
    never says a thing twice. What it does differently stands in the README.

    Args:
        model: The model that answers.
        api_key: The key, or a function (plain or async) that is asked for one at each
            handshake. Default: ``OPENAI_API_KEY``.
        base_url: The API's root, such as ``https://host/v1``; a full endpoint
            (``wss://host/v1/responses``) is understood too. Default: ``OPENAI_BASE_URL``.
        client: An openai client that lends its address, key, headers and query.
        use_websocket: False sends requests over HTTP, where only stored answers can be
            continued, through `client` if there is one.
        user: OpenAI's ``user`` field.
        temperature: From 0 to 2; left out once a model refuses it.
        parallel_tool_calls: Whether the model may call several tools at once.
        reasoning: Reasoning settings. Default: the lowest effort that the model accepts.
        tool_choice: Which tool to use, if any.
        store: Whether the service stores answers; left out means yes. Chaining works either
            way.
        metadata: OpenAI's ``metadata`` field.
        service_tier: OpenAI's ``service_tier`` field.
        verbosity: How wordy answers are.
        max_output_tokens: The most tokens of an answer, reasoning included.
        timeout: Seconds to connect, or an httpx, httpx2 or openai ``Timeout``, of which
            ``connect`` counts. Other waits follow the session's ``conn_options``.
        prompt_cache_options: OpenAI's ``prompt_cache_options`` field.
        prompt_cache_breakpoints: Whether cache breakpoints are sent. "auto": to
            api.openai.com and for models that take them.
        lanes: Whether a connection runs several responses at once (``stream_id``). "auto":
            on hosts known to do so.
        spare: How many warm connections to keep on a host without lanes.
        fallback: What a request takes that the socket can't carry, because the host has none,
            it keeps failing, or the request is too large. None: nothing, the turn fails.
        host_profile: What the host is like, where its address doesn't tell: the name of a
            known one ("openai", "azure", "xai", "vercel", "litellm") or a `HostProfile`.
        rebuild: Whether states that only an old connection remembers (``store=False``) are
            prepared on the one that takes its place; that costs their input tokens once an
            hour. Otherwise the next turn sends its context whole.
        speech_floor: Characters a second that speech must bring, or the turn fails; 0: any
            pace will do.
        on_turn: Called with the report of each turn.
        parameters: More parameters of each request by their names in either API, such as
            ``{"safety_identifier": "caller-7"}``: a session passes none with its calls.
        model_family: What the model is, where its name doesn't tell (a deployment's).
        strict_parameters: Whether a parameter that the model is known not to take, or refuses,
            is an error. Otherwise it is stepped to the nearest value or left out, with one
            warning.

    Raises:
        ConfigError: (a `ValueError`) If the key is missing, or a setting can't work.
    """

    def __init__(
        self,
        *,
        model: "str | ResponsesModel" = "gpt-4.1",
        api_key: NotGivenOr[ApiKey] = NOT_GIVEN,
        base_url: NotGivenOr[str] = NOT_GIVEN,
        client: "openai.AsyncClient | None" = None,
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
        timeout: float | _Timeout | None = None,
        prompt_cache_options: NotGivenOr[Mapping[str, Any]] = NOT_GIVEN,
        prompt_cache_breakpoints: bool | Literal["auto"] = "auto",
        lanes: Lanes = "auto",
        spare: int = 1,
        fallback: FallsBack = "http",
        host_profile: HostProfile | str | None = None,
        rebuild: bool = False,
        speech_floor: float = 0.0,
        on_turn: Callable[[TurnReport], None] | None = None,
        parameters: Mapping[str, Any] | None = None,
        model_family: str | None = None,
        strict_parameters: bool = False,
    ) -> None:
        super().__init__()
        if spare < 0:
            raise ConfigError(f"spare is {spare}; expected 0 or more connections")
        if speech_floor < 0:
            raise ConfigError(f"speech_floor is {speech_floor}; expected 0 or more characters/s")
        self._model = str(model)
        self._connect = _connect_limit(timeout)
        self._speech_floor = speech_floor
        self._breakpoints = prompt_cache_breakpoints
        if not isinstance(parameters, Mapping | None):
            raise ConfigError(f"parameters is {type(parameters).__name__}; expected an object")
        self._family = model_family
        self._parameters = Parameters(strict=strict_parameters)
        self._options = given(
            user=user,
            temperature=temperature,
            parallel_tool_calls=parallel_tool_calls,
            reasoning=reasoning,
            tool_choice=tool_choice,
            store=store,
            metadata=metadata,
            service_tier=service_tier,
            verbosity=verbosity,
            max_output_tokens=max_output_tokens,
            prompt_cache_options=prompt_cache_options,
        ) | dict(parameters or {})
        self._body({}, self._model, with_tools=False)  # refuse here what can't be sent
        where, credentials = _reached(
            None if isinstance(api_key, NotGiven) else api_key,
            None if isinstance(base_url, NotGiven) else base_url,
            client,
        )
        self._client = Client(
            where,
            credentials,
            lanes=lanes,
            spare=spare,
            rebuild=rebuild,
            websocket=use_websocket,
            fallback=fallback,
            profile=host_profile,
            http_client=client,
            on_turn=on_turn,
        )
        self._tools = ToolEncoder()

    @property
    def model(self) -> str:
        """The model that answers."""
        return self._model

    @property
    def provider(self) -> str:
        """The host's name: ``openai`` for OpenAI's own, else the name of the host."""
        return self._client.endpoint.profile.name

    @property
    def usage(self) -> Snapshot:
        """Tokens so far, those of cut, failed and repeated attempts included."""
        return self._client.usage

    def chat(
        self,
        *,
        chat_ctx: llm.ChatContext,
        tools: list[llm.Tool] | None = None,
        conn_options: APIConnectOptions = DEFAULT_API_CONNECT_OPTIONS,
        parallel_tool_calls: NotGivenOr[bool] = NOT_GIVEN,
        tool_choice: NotGivenOr[llm.ToolChoice] = NOT_GIVEN,
        extra_kwargs: NotGivenOr[dict[str, Any]] = NOT_GIVEN,
    ) -> LLMStream:
        """Ask for an answer. The context is taken by value, now; nothing is sent yet.

        Args:
            chat_ctx: What the model shall see.
            tools: What it may call.
            conn_options: How often and how long to try: ``timeout`` bounds connecting, the
                first output and each gap, in seconds; ``max_retry`` is the budget for what a
                second try may cure.
            parallel_tool_calls: Wins over the constructor's.
            tool_choice: Wins over the constructor's.
            extra_kwargs: Fields of the request; they win over the constructor's.

        Returns:
            The stream of chunks.

        Raises:
            EmptyContext: (a `ValueError`) If there is nothing to answer.
            ConfigError: (a `ValueError`) If a setting can't be sent.
        """
        call = {
            **(extra_kwargs if is_given(extra_kwargs) else {}),
            **given(parallel_tool_calls=parallel_tool_calls, tool_choice=tool_choice),
        }
        model = str(call.get("model", self._model))
        encoded = self._tools.encode(tools or [])
        body = self._body(call, model, with_tools=bool(encoded))
        converted = to_items(chat_ctx, breakpoints=self._sends_breakpoints(model))
        answer = self._client.ask(
            Request(
                items=converted.items,
                model=model,
                record=as_recorded,
                settings=body.settings,
                tools=encoded,
                guide=converted.guide,
                limits=Limits.of(
                    conn_options.timeout, self._connect, speech_floor=self._speech_floor
                ),
                retry=Retry(conn_options.max_retry, conn_options.retry_interval),
                untouched=body.untouched,
                strict_parameters=self._parameters.strict,
                network=_network(),
            )
        )
        return LLMStream(
            self, answer, chat_ctx=chat_ctx, tools=tools or [], conn_options=conn_options
        )

    def _body(self, call: Mapping[str, Any], model: str, *, with_tools: bool) -> Body:
        family = self._family or model
        return body_of(self._parameters, self._options, call, model=family, with_tools=with_tools)

    def _sends_breakpoints(self, model: str) -> bool:
        family = self._family or model
        if self._breakpoints == "auto":
            return self._client.endpoint.host == _OPENAI and takes_cache_breakpoints(family)
        return self._parameters.breakpoints(family, self._breakpoints)

    def prewarm(self, loop: asyncio.AbstractEventLoop | None = None) -> None:
        """Begin to open a connection, if none is warm; as often as it is called."""
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            if loop is not None:
                loop.call_soon_threadsafe(self.prewarm)
            return
        limit = min(DEFAULT_API_CONNECT_OPTIONS.timeout, self._connect or float("inf"))
        self._client.prewarm(self._model, _network(), limit)

    async def aclose(self) -> None:
        """Close the connections; a later `chat` opens new ones."""
        await super().aclose()
        await self._client.aclose()


def _connect_limit(timeout: float | _Timeout | None) -> float | None:
    limit = timeout if isinstance(timeout, int | float) else getattr(timeout, "connect", None)
    if limit is not None and limit <= 0:
        raise ConfigError(f"timeout is {timeout!r}; expected more than 0 seconds")
    return limit


def _reached(
    api_key: ApiKey | None, base_url: str | None, client: "openai.AsyncClient | None"
) -> tuple[Endpoint, Credentials]:
    """Where to connect and with what: arguments, then the client's, then the environment's."""
    env = os.environ.get
    if client is not None:
        return _lent(client, api_key, base_url)
    key = api_key or env("OPENAI_API_KEY")
    if not key:
        raise ConfigError("no API key: pass api_key=… or set OPENAI_API_KEY")
    credentials = Credentials(
        key, organization=env("OPENAI_ORG_ID"), project=env("OPENAI_PROJECT_ID")
    )
    return endpoint(base_url or env("OPENAI_BASE_URL")), credentials


def _lent(
    client: "openai.AsyncClient", api_key: ApiKey | None, base_url: str | None
) -> tuple[Endpoint, Credentials]:
    """What an openai client lends: only to the host that it is for."""
    if type(client).__name__ == "AsyncAzureOpenAI":
        raise ConfigError("Azure clients are not built yet; pass base_url and api_key instead")
    if base_url is not None and api_key is None:
        raise ConfigError("base_url beside client would send the client's key to another host")
    key = api_key or getattr(client, "_api_key_provider", None) or client.api_key
    if not key:
        raise ConfigError("the client has no API key; pass api_key=…")
    headers = {str(k): str(v) for k, v in getattr(client, "_custom_headers", {}).items()}
    query = {str(k): str(v) for k, v in getattr(client, "_custom_query", {}).items()}
    credentials = Credentials(
        key, organization=client.organization, project=client.project, headers=headers
    )
    return endpoint(base_url or str(client.base_url), query), credentials


def _network() -> Network:
    """The job's connector, with its trust store, and its proxy, where there is a job."""
    connector: aiohttp.BaseConnector | None = None
    proxy: str | None = None
    try:
        connector = utils.http_context.http_session().connector
    except RuntimeError:
        connector = None  # outside a job: a connector of our own
    try:
        proxy = get_job_context().proc.http_proxy
    except RuntimeError:
        proxy = None
    return Network(connector, proxy)
