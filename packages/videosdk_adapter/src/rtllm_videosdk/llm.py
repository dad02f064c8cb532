"""`OpenAILLM`: OpenAI's models for VideoSDK Agents, over HTTP or the Responses WebSocket."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from dataclasses import replace
from typing import Any, Self
from weakref import WeakSet

from videosdk.agents import LLM, ChatContext, FunctionTool, LLMResponse, ToolChoice

from rtllm import (
    SILENCE_LIMIT,
    ApiKey,
    CacheReports,
    Chaining,
    ChatClient,
    Client,
    FallbackProtocol,
    HostProfile,
    Lanes,
    Prices,
    ThinkTags,
    TokenProvider,
    TraceListeners,
    TurnReport,
    UsageSnapshot,
)
from rtllm.adapters import (
    OF_AZURE,
    Effort,
    ImageCache,
    OnRefusal,
    TimeoutParts,
    Verbosity,
    group_keywords,
    resolve_azure,
    warm_up,
    with_keyword_docs,
)
from rtllm_videosdk.call_identity import call_identity
from rtllm_videosdk.caller_identity import calling_pipeline, ending_pipeline, uses_model
from rtllm_videosdk.chat_call import ChatCall, ChatSettings
from rtllm_videosdk.chunks import text_chunk
from rtllm_videosdk.graph import Graph, text_format
from rtllm_videosdk.images import VideoSDKFrames
from rtllm_videosdk.parallel_calls import OpenTurns
from rtllm_videosdk.settings import DEFAULT_TEMPERATURE, LiveSettings
from rtllm_videosdk.tools import ToolEncoder

AZURE_DEFAULTS = {"reasoning_effort": "none", "verbosity": "low"}
"""The original's defaults of `azure`; they are sent only to models that accept them."""


@with_keyword_docs(
    temperature="From 0 to 2. The default isn't sent to reasoning models.",
    timeout="Seconds, or an httpx, httpx2 or openai ``Timeout``: ``read`` limits the first output "
    "and each gap, ``connect`` the connection. Default: 10 and 15 seconds.",
    max_retries="How often a turn may be retried. The framework retries nothing, so the default "
    "isn't 0 as in the original.",
    reasoning_effort="How much a reasoning model thinks. None: the model's default.",
    store="Whether the service stores responses; with ``streaming=True`` only. Responses are "
    "continued in both cases. None: they are not stored; the field is left out on hosts that "
    "reject it.",
    use_websocket="With ``streaming=True``: False sends Responses requests over HTTP, where only "
    "stored responses can be continued.",
    silence_limit="Seconds from `chat` to the first output, over all attempts; then the turn "
    "fails. It does not run while the model reasons or uses hosted tools. The default does not "
    "apply with a longer ``timeout``. None: no such limit.",
)
class OpenAILLM(LiveSettings, LLM):  # type: ignore[misc]  # the framework has no types
    """A drop-in for ``videosdk.plugins.openai.OpenAILLM``.

    It continues responses in each conversation, needs no new connection after a barge-in, runs all
    parallel calls, and never emits text twice. The README lists the differences. The settings may
    be changed at any time; each request reads their current values.

    Raises:
        ConfigError: (a `ValueError`) If the key is missing, or a setting is not valid.
    """

    def __init__(
        self,
        *,
        api_key: ApiKey | None = None,
        model: str = "gpt-4o-mini",
        base_url: str | None = None,
        temperature: float = DEFAULT_TEMPERATURE,
        tool_choice: ToolChoice | Mapping[str, Any] = "auto",
        max_completion_tokens: int | None = None,
        top_p: float | None = None,
        frequency_penalty: float | None = None,
        presence_penalty: float | None = None,
        seed: int | None = None,
        organization: str | None = None,
        project: str | None = None,
        parallel_tool_calls: bool | None = None,
        timeout: float | TimeoutParts | None = None,
        extra_headers: Mapping[str, Any] | None = None,
        extra_query: Mapping[str, Any] | None = None,
        extra_body: Mapping[str, Any] | None = None,
        client: Any = None,
        max_retries: int = 2,
        reasoning_effort: Effort | None = None,
        verbosity: Verbosity | None = None,
        streaming: bool = False,
        store: bool | None = None,
        wss_url: str | None = None,
        use_websocket: bool = True,
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
        model_family: str | None = None,
        parameters: Mapping[str, Any] | None = None,
        strict_parameters: bool = False,
        conversation: str | None = None,
        on_refusal: OnRefusal = "speak",
        failure_text: str | None = None,
    ) -> None:
        keywords = dict(locals())
        super().__init__()
        self._set_up(keywords)
        self._tools = ToolEncoder()
        self._turns = OpenTurns()
        self._pictures = ImageCache(VideoSDKFrames())
        self._running: dict[ChatCall, None] = {}
        self._pipelines: WeakSet[object] = WeakSet()
        if streaming:
            self._clients.provider.socket({}, {})
            self._connect()
        else:
            self._clients.http()  # its imports are slow, so they happen here, where no turn waits

    def __repr__(self) -> str:
        running, images = len(self._running), len(self._pictures)
        where = f"{self.model} at {self._clients.provider.host}"
        return f"<{type(self).__name__} {where}, {running} running, {images} images>"

    @classmethod
    @with_keyword_docs(
        **OF_AZURE,
        reasoning_effort="The default is sent only to models that accept it.",
        verbosity="The default is sent only to models that accept it.",
    )
    def azure(
        cls,
        *,
        model: str = "gpt-4o-mini",
        azure_endpoint: str | None = None,
        azure_deployment: str | None = None,
        api_version: str | None = None,
        api_key: str | None = None,
        azure_ad_token: str | None = None,
        azure_ad_token_provider: TokenProvider | None = None,
        organization: str | None = None,
        project: str | None = None,
        base_url: str | None = None,
        wss_url: str | None = None,
        client: Any = None,
        reasoning_effort: Effort | None = "none",
        verbosity: Verbosity | None = "low",
        **options: Any,
    ) -> Self:
        """Create an LLM for an Azure OpenAI resource.

        Raises:
            ConfigError: (a `ValueError`) If the address or the credential is missing.
        """
        groups = group_keywords(locals())
        provider = resolve_azure(model=model, **groups.provider, defaults=AZURE_DEFAULTS)
        return cls(
            model=model,
            client=provider,
            reasoning_effort=reasoning_effort,
            verbosity=verbosity,
            **options,
        )

    @property
    def usage(self) -> UsageSnapshot:
        """Tokens and their cost so far, also of cancelled, failed and repeated attempts."""
        return self._clients.usage

    # -- what the framework calls ------------------------------------------------------------------

    async def chat(
        self,
        messages: ChatContext,
        tools: list[FunctionTool] | None = None,
        conversational_graph: Graph | None = None,
        **kwargs: Any,
    ) -> AsyncGenerator[LLMResponse, None]:
        """Request a response. The context is copied now.

        Args:
            messages: The context.
            tools: The tools.
            conversational_graph: The graph that turns JSON responses into speech.
            **kwargs: Settings of this request, which override the object's. Headers, query and body
                are merged.

        Yields:
            Text as it comes, calls at the end, and the metadata of the response.

        Raises:
            TurnError: If the turn fails; an ``error`` event reports it too.
            ConfigError: (a `ValueError`) If a setting can't be sent.
            EmptyContext: (a `ValueError`) If the context has nothing to respond to.
        """
        call = ChatCall(self._turns, self._pictures, messages)
        self._running[call] = None
        if call.pipeline is not None:
            self._pipelines.add(call.pipeline)
        try:
            settings = self._chat_settings(tools, conversational_graph, kwargs)
            async with aclosing(call.chunks(settings)) as chunks:
                async for chunk in chunks:
                    yield chunk
        except Exception as error:
            if call.is_cancelled():
                return
            self._report_error(error, call)
            if not self.failure_text:
                raise
            yield text_chunk(f" {self.failure_text}" if call.has_spoken else self.failure_text)
        finally:
            del self._running[call]
            call.close()

    async def cancel_current_generation(self) -> None:
        """Cancel the caller's current generation, without waiting or sending anything.

        A pipeline cancels its own generation, never one of another session, a voicemail detector or
        a summary on the same object. Another caller cancels the newest generation that no pipeline
        started, or if there is none, the newest of all.
        """
        running = self._running_here()
        pipeline = calling_pipeline()
        own = [call for call in running if call.pipeline is pipeline]
        if pipeline is None and (own or running):
            newest = (own or running)[-1]
            own = [call for call in running if call.context is newest.context]
        for call in own:
            call.cancel()

    async def prewarm(
        self, *, instructions: str | None = None, tools: list[FunctionTool] | None = None
    ) -> None:
        """Open a connection if none is warm, and let the service process the instructions ahead.

        The first turn of each conversation with these instructions continues from there. Their
        tokens count as warm-up. Over HTTP there is nothing to do. A failure is only logged, because
        the first turn works without it.

        Args:
            instructions: The system text of the agent; without it only the connection is opened.
            tools: The agent's tools.
        """
        if not (self.streaming and self._clients.websocket):
            return
        self._connect()
        if not instructions:
            return
        request = self._request(tools=self._tools.offer(tools).encoded)
        client = self._clients.socket(request.headers, request.query)
        await warm_up(client, replace(request, call=call_identity()), instructions)

    async def aclose(self) -> None:
        """Close the connections of this event loop; a later `chat` opens new ones.

        Generations on other event loops, in other threads, go on. If a pipeline that ends calls it
        while another one uses the same object, only the generations of the ending pipeline are
        cancelled.
        """
        ending = ending_pipeline()
        others = [o for o in self._pipelines if o is not ending and uses_model(o, self)]
        stays = ending is not None and bool(others)
        for call in self._running_here():
            if not stays or call.pipeline is ending:
                call.cancel()
        if not stays:
            self._pictures.clear()
            await self._clients.aclose()

    def _running_here(self) -> list[ChatCall]:
        """List the generations on this event loop; only their own loop may cancel them."""
        loop = asyncio.get_running_loop()
        return [call for call in list(self._running) if call.loop is loop]

    # -- requests --------------------------------------------------------------------------------

    def _chat_settings(
        self, tools: list[FunctionTool] | None, graph: Graph | None, call: Mapping[str, Any]
    ) -> ChatSettings:
        """Copy everything but the context: settings, tools, and the client to use."""
        offered = self._tools.offer(tools)
        if graph is not None:
            response_format = text_format(graph)
            call = {**call, "text": {**call.get("text", {}), "format": response_format}}
        request = self._request(call, tools=offered.encoded)
        request = replace(request, hold_calls=True, call=call_identity())
        client: Client | ChatClient
        if self.streaming:
            client = self._clients.socket(request.headers, request.query)
        else:
            client = self._clients.http()
        return ChatSettings(client, request, offered, graph, self.on_refusal)

    def _connect(self) -> None:
        """Begin to open a connection if a loop runs; the framework never prewarms an LLM."""
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return
        request = self._request()
        client = self._clients.socket(request.headers, request.query)
        client.prewarm(request.model, limit=request.limits.connect)

    def _report_error(self, error: Exception, call: ChatCall) -> None:
        """Report a failed generation, once."""
        if call.turn is not None:
            if call.turn.error is error:
                return  # a nested chat reported it; the framework suppressed it and returned here
            if call.nested and not self.failure_text:
                call.turn.error = error
        self.emit("error", error)
