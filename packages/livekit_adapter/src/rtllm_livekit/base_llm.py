"""The common base of the adapter's LLMs: they copy a context and send the request."""

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any, Never, Self

import aiohttp
from livekit.agents import APIConnectOptions, get_job_context, llm, utils
from livekit.agents.types import DEFAULT_API_CONNECT_OPTIONS, NOT_GIVEN, NotGivenOr
from livekit.agents.utils import is_given

from rtllm import (
    ChatClient,
    Client,
    Network,
    RetryPolicy,
    TokenProvider,
    UsageSnapshot,
)
from rtllm.adapters import (
    OF_AZURE,
    Api,
    ConnectionOptions,
    ImageCache,
    RequestBuilder,
    check_settings,
    group_keywords,
    resolve_azure,
    resolve_provider,
    warm_up,
    with_keyword_docs,
)
from rtllm_livekit.call_identity import call_identity
from rtllm_livekit.convert import as_recorded, to_items
from rtllm_livekit.images import LiveKitFrames
from rtllm_livekit.late_usage import LateUsage
from rtllm_livekit.settings import LiveKitOptions, set_keywords, without_not_given
from rtllm_livekit.stream import LLMStream
from rtllm_livekit.tools import ToolEncoder


class BaseLLM(llm.LLM[Never]):
    """An LLM that uses a client of the core.

    Args:
        keywords: The keywords of the class's constructor, which are its local variables.
        api: The API to use.

    Raises:
        ConfigError: (a `ValueError`) If a setting is not valid.
    """

    def __init__(self, keywords: Mapping[str, Any], api: Api) -> None:
        super().__init__()
        groups = group_keywords(without_not_given(keywords), LiveKitOptions)
        connection = ConnectionOptions(**groups.connection)
        check_settings(model=groups.options["model"])
        provider = resolve_provider(**groups.provider)
        self._client: Client | ChatClient
        if api == "responses":
            client = self._client = connection.client(provider)
            host = client.endpoint.profile.name
        else:
            self._client = connection.chat_client(provider)
            host = provider.host
        self._warm_ups: set[asyncio.Task[None]] = set()
        self._tools = ToolEncoder()
        self._pictures = ImageCache[llm.ImageContent](LiveKitFrames())
        self._options = LiveKitOptions(
            api=api,
            fields=groups.fields,
            host=host,
            deployment=provider.deployment,
            voice_effort=True,
            request_headers=api == "chat" or not connection.use_websocket,
            **groups.options,
        )
        self._requests = RequestBuilder(self._options, self._client.model_of)

    def update_options(self, **options: Any) -> None:
        """Change settings of the constructor; the next request uses them.

        Args:
            **options: The constructor's keywords, except those of the connection and the host, such
                as ``api_key``, ``base_url`` or ``lanes``. `NOT_GIVEN` restores a default. ``model``
                is the name in the request; on Azure it is that of a deployment.

        Raises:
            ConfigError: (a `ValueError`) If a keyword can't be changed, or a value is not valid.
                Then nothing is changed.
        """
        default_of = self._options.default_of
        updated = self._options.updated(
            {name: one if is_given(one) else default_of(name) for name, one in options.items()}
        )
        self._requests.use(updated)
        self._options = updated

    def __repr__(self) -> str:
        where = f"{self.model} at {self.provider}"
        return f"<{type(self).__name__} {where}, {len(self._pictures)} images>"

    @classmethod
    @with_keyword_docs(**OF_AZURE)
    def with_azure(
        cls,
        *,
        model: str = "gpt-4o",
        azure_endpoint: str | None = None,
        azure_deployment: str | None = None,
        api_version: str | None = None,
        api_key: str | None = None,
        azure_ad_token: str | None = None,
        azure_ad_token_provider: TokenProvider | None = None,
        organization: str | None = None,
        project: str | None = None,
        base_url: str | None = None,
        client: Any = None,
        **options: Any,
    ) -> Self:
        """Create an LLM for an Azure OpenAI resource.

        Raises:
            ConfigError: (a `ValueError`) If the address or the credential is missing.
        """
        provider = resolve_azure(model=model, **group_keywords(locals()).provider)
        make: Any = cls  # each class has its own constructor, all with these two keywords
        created: Self = make(model=model, client=provider, **options)
        return created

    @property
    def model(self) -> str:
        """The model."""
        return self._options.model_name

    @property
    def provider(self) -> str:
        """The host's name; ``openai`` for OpenAI itself."""
        return self._options.host

    @property
    def usage(self) -> UsageSnapshot:
        """Tokens and their cost so far, also of cancelled, failed and repeated attempts."""
        return self._client.usage

    def chat(
        self,
        *,
        chat_ctx: llm.ChatContext,
        tools: list[llm.Tool] | None = None,
        conn_options: APIConnectOptions = DEFAULT_API_CONNECT_OPTIONS,
        parallel_tool_calls: NotGivenOr[bool] = NOT_GIVEN,
        tool_choice: NotGivenOr[llm.ToolChoice] = NOT_GIVEN,
        response_format: Any = NOT_GIVEN,
        extra_kwargs: NotGivenOr[dict[str, Any]] = NOT_GIVEN,
    ) -> LLMStream:
        """Request a response. The context is copied now; nothing is sent yet.

        Args:
            chat_ctx: The context.
            tools: The tools.
            conn_options: Retries and time limits: ``timeout`` limits connecting, the first output
                and each gap, in seconds; ``max_retry`` is the number of retries.
            parallel_tool_calls: Overrides the constructor's.
            tool_choice: Overrides the constructor's.
            response_format: A pydantic model, or an object in either API's form: the response is
                JSON of that format.
            extra_kwargs: Fields of the request; they override the constructor's.

        Returns:
            The stream of chunks.

        Raises:
            EmptyContext: (a `ValueError`) If the context has nothing to respond to.
            ConfigError: (a `ValueError`) If a setting can't be sent.
        """
        options = self._options
        call = {
            **(extra_kwargs if is_given(extra_kwargs) else {}),
            **set_keywords(
                parallel_tool_calls=parallel_tool_calls,
                tool_choice=tool_choice,
                response_format=response_format,
            ),
        }
        budget = conn_options.max_retry if options.max_retries is None else options.max_retries
        request = self._requests.request(
            call,
            limits=options.limits_of(conn_options),
            retry=RetryPolicy(budget, conn_options.retry_interval),
            tools=self._tools.encode(tools or []),
        )
        wanted, model = options.prompt_cache_breakpoints, str(call.get("model") or "")
        converted = to_items(chat_ctx, breakpoints=self._requests.breakpoints(wanted, model))
        pictures = self._pictures.place(converted.items, converted.frames)
        late_usage = LateUsage(self, request.model)
        request = replace(
            request,
            items=pictures.items,
            record=as_recorded,
            guide=converted.guide,
            network=job_network(),
            unsent=converted.unsent,
            on_late_usage=late_usage,
            call=call_identity(),
        )

        return LLMStream(
            self,
            self._client,
            request,
            pictures,
            options,
            chat_ctx=chat_ctx,
            tools=tools or [],
            conn_options=conn_options,
            names=self._tools.names,
            late_usage=late_usage,
        )

    def prewarm(
        self,
        loop: asyncio.AbstractEventLoop | None = None,
        *,
        instructions: str | None = None,
        tools: list[llm.Tool] | None = None,
    ) -> None:
        """Begin to open a connection if none is warm; may be called often, and never waits.

        With instructions the service also processes them ahead, once a connection is open. The
        first turn of each conversation with these instructions continues from there. Their tokens
        count as warm-up. Over HTTP that does nothing. A failure is only logged.

        Args:
            loop: The event loop to use, if none is running.
            instructions: The system text of the agent; without it only a connection is opened.
            tools: The agent's tools.
        """
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            if loop is not None:
                prewarm = partial(self.prewarm, instructions=instructions, tools=tools)
                loop.call_soon_threadsafe(prewarm)
            return
        limits = self._options.limits_of(DEFAULT_API_CONNECT_OPTIONS)
        self._client.prewarm(self.model, job_network(), limits.connect)
        client = self._client
        if instructions and isinstance(client, Client) and not self._options.request_headers:
            request = self._requests.request(
                {}, limits=limits, retry=RetryPolicy(), tools=self._tools.encode(tools or [])
            )
            request = replace(request, network=job_network(), call=call_identity())
            task = asyncio.create_task(warm_up(client, request, instructions))
            self._warm_ups.add(task)
            task.add_done_callback(self._warm_ups.discard)

    async def aclose(self) -> None:
        """Close the connections; a later `chat` opens new ones."""
        await super().aclose()
        for task in list(self._warm_ups):
            task.cancel()
        self._pictures.clear()
        await self._client.aclose()


def job_network() -> Network:
    """Return the job's connector, with its trust store, and its proxy, if there is a job."""
    connector: aiohttp.BaseConnector | None = None
    proxy: str | None = None
    # Both raise outside of a job; then the client creates its own connector.
    with suppress(RuntimeError):
        connector = utils.http_context.http_session().connector
    with suppress(RuntimeError):
        proxy = get_job_context().proc.http_proxy
    return Network(connector, proxy)
