"""An LLM service for pipecat on rtllm, written with docs/adapters.md.

It serves one pipeline, like every service of pipecat: contexts of its aggregators, function calls,
interruptions, usage metrics and one-shot inferences. ``outside/pipecat_adapter.py`` runs it.
"""

import json
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from pipecat.adapters.llm.schemas.function_schema import FunctionSchema
from pipecat.adapters.llm.services.open_ai_adapter import OpenAILLMAdapter
from pipecat.frames.frames import (
    Frame,
    FunctionCallFromLLM,
    FunctionCallInProgressFrame,
    FunctionCallResultFrame,
    FunctionCallResultProperties,
    FunctionCallsStartedFrame,
    LLMContextFrame,
    LLMFullResponseEndFrame,
    LLMFullResponseStartFrame,
)
from pipecat.metrics.metrics import LLMTokenUsage
from pipecat.processors.aggregators.llm_context import LLMContext, LLMSpecificMessage
from pipecat.processors.frame_processor import FrameDirection
from pipecat.services.llm_service import LLMService
from pipecat.services.settings import LLMSettings
from pipecat.utils.types import is_given

from rtllm import (
    SILENCE_LIMIT,
    Client,
    FunctionTool,
    Image,
    Item,
    Message,
    Request,
    ResponseEnded,
    RtllmError,
    Text,
    TextDelta,
    Timeouts,
    ToolCall,
    ToolCallReady,
    ToolOutput,
    Usage,
)
from rtllm.adapters import (
    Body,
    CallGroup,
    CallHistory,
    OfferedTools,
    Parameters,
    RunnableTool,
    ToolCache,
    ToolSource,
    arrange,
    content_key,
    legal_tool_name,
    message_then_calls,
    offer_tools,
    quickest_effort,
)


class RtllmLLMService(LLMService[OpenAILLMAdapter]):
    """An LLM service that uses the Responses API.

    Args:
        api_key: The key. Default: ``OPENAI_API_KEY``.
        base_url: The API's root. Default: ``OPENAI_BASE_URL``, else OpenAI's.
        timeout: Seconds for the first output of an attempt, and for each gap.
        client: A client with options of its own, instead of a key and an address; closed with the
            service.
        settings: Pipecat's settings; ``extra`` has other parameters of the Responses API.
        **kwargs: The keywords of pipecat's `LLMService`.
    """

    Settings = LLMSettings

    def __init__(
        self,
        *,
        api_key: str | None = None,
        base_url: str | None = None,
        timeout: float = 10.0,
        client: Client | None = None,
        settings: LLMSettings | None = None,
        **kwargs: Any,
    ) -> None:
        stored = LLMSettings(
            model="gpt-4.1",
            system_instruction=None,
            temperature=None,
            max_tokens=None,
            top_p=None,
            top_k=None,
            frequency_penalty=None,
            presence_penalty=None,
            seed=None,
            filter_incomplete_user_turns=False,
            user_turn_completion_config=None,
        )
        if settings is not None:
            stored.apply_update(settings)
        super().__init__(settings=stored, **kwargs)
        self._client = client or Client.connect(api_key=api_key, base_url=base_url)
        self._limits = Timeouts.of(timeout, silence=SILENCE_LIMIT)
        self._parameters = Parameters()
        self._tools = ToolCache[RunnableTool]()
        self._history = CallHistory()
        # A service runs in one pipeline, which is one call. Pipecat's messages have no ids.
        self._conversation = str(uuid.uuid4())
        self._body({}, with_tools=False)

    def can_generate_metrics(self) -> bool:
        """Tell pipecat that metrics are reported."""
        return True

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        """Respond to a context; pass other frames on."""
        await super().process_frame(frame, direction)
        if not isinstance(frame, LLMContextFrame):
            await self.push_frame(frame, direction)
            return
        await self.push_frame(LLMFullResponseStartFrame())
        await self.start_processing_metrics()
        try:
            await self._respond(frame.context)
        except RtllmError as error:
            await self.push_error(error_msg=f"LLM error: {error}", exception=error)
        finally:
            await self.stop_processing_metrics()
            await self.push_frame(LLMFullResponseEndFrame())

    async def run_inference(
        self,
        context: LLMContext,
        max_tokens: int | None = None,
        system_instruction: str | None = None,
        response_schema: dict[str, Any] | None = None,
    ) -> str | None:
        """Request one response outside of the conversation; return its text."""
        self._check_response_schema(response_schema)
        call = {"max_completion_tokens": max_tokens}
        request = self._request(context, OfferedTools(), call, system_instruction)
        return await self._client.ask(replace(request, conversation=None)).text() or None

    async def cleanup(self) -> None:
        """Close the connections."""
        await super().cleanup()  # type: ignore[no-untyped-call]  # pipecat has no type for it
        await self._client.aclose()

    # -- one response -------------------------------------------------------------------------

    async def _respond(self, context: LLMContext) -> None:
        offered = self._offer(context)
        text, calls = "", list[ToolCall]()
        await self.start_ttfb_metrics()
        # An interruption cancels this task, which leaves the block.
        with self._client.ask(self._request(context, offered)) as stream:
            async for event in stream:
                match event:
                    case TextDelta(piece):
                        await self.stop_ttfb_metrics()
                        text += piece
                        await self._push_llm_text(piece)
                    case ToolCallReady(call):
                        await self.stop_ttfb_metrics()
                        calls.append(call)
                    case ResponseEnded(usage=Usage() as usage):
                        await self._report(usage)
        if calls:
            await self._run(context, offered, CallGroup(tuple(map(offered.as_run, calls)), text))

    async def _run(self, context: LLMContext, offered: OfferedTools, group: CallGroup) -> None:
        """Let pipecat run calls; answer those that can't run."""
        runnable: list[FunctionCallFromLLM] = []
        rejected: list[tuple[FunctionCallFromLLM, str]] = []
        for call in group.calls:
            self._history.bind(call.call_id, group)
            made = FunctionCallFromLLM(
                function_name=offered.names.to_framework(call.name),
                tool_call_id=call.call_id,
                arguments=arguments_of(call),
                context=context,
            )
            if (reason := offered.explain_rejection(call)) is None:
                runnable.append(made)
            else:
                rejected.append((made, reason))
        for made, reason in rejected:
            await self._reject(made, reason, run_llm=not runnable and made is rejected[-1][0])
        await self.run_function_calls(runnable)

    async def _reject(self, call: FunctionCallFromLLM, reason: str, *, run_llm: bool) -> None:
        await self.broadcast_frame(FunctionCallsStartedFrame, function_calls=[call])
        fields = {
            "function_name": call.function_name,
            "tool_call_id": call.tool_call_id,
            "arguments": call.arguments,
        }
        await self.broadcast_frame(
            FunctionCallInProgressFrame, **fields, cancel_on_interruption=True
        )
        properties = FunctionCallResultProperties(run_llm=run_llm)
        await self.broadcast_frame(
            FunctionCallResultFrame, **fields, result=reason, properties=properties
        )

    async def _report(self, usage: Usage) -> None:
        await self.start_llm_usage_metrics(
            LLMTokenUsage(
                prompt_tokens=usage.input,
                completion_tokens=usage.output,
                total_tokens=usage.total,
                cache_read_input_tokens=usage.cached,
                reasoning_tokens=usage.reasoning,
            )
        )

    def _report_late(self, usage: Usage) -> None:
        self.create_task(self._report(usage))

    # -- its request --------------------------------------------------------------------------

    def _request(
        self,
        context: LLMContext,
        offered: OfferedTools,
        call: Mapping[str, Any] | None = None,
        system_instruction: str | None = None,
    ) -> Request:
        given = dict(call or {})
        if offered.tools and is_given(context.tool_choice):
            given["tool_choice"] = context.tool_choice
        body = self._body(given, with_tools=bool(offered.tools))
        instruction = system_instruction or self._settings.system_instruction
        items = list(to_items(context.get_messages()))
        if isinstance(instruction, str) and instruction:
            items.insert(0, Message.of("system", instruction))
        return Request(
            items=arrange(items, self._history.groups_in(items)),
            model=str(self._settings.model),
            record=partial(as_recorded, offered),
            settings=body.settings,
            tools=offered.encoded,
            limits=self._limits,
            untouched=body.untouched,
            headers=body.headers,
            query=body.query,
            conversation=self._conversation,
            on_late_usage=self._report_late,
        )

    def _body(self, call: Mapping[str, Any], *, with_tools: bool) -> Body:
        settings, model = self._settings, str(self._settings.model)
        given: dict[str, Any] = {
            "temperature": settings.temperature,
            "max_completion_tokens": settings.max_tokens,
            "top_p": settings.top_p,
            "store": False,
        }
        options = {name: value for name, value in given.items() if is_given(value)}
        effort, untouched = quickest_effort(model), list[str]()
        if effort is not None and "reasoning_effort" not in settings.extra:
            options["reasoning_effort"] = effort
            untouched.append("reasoning_effort")
        return self._parameters.body(
            {**options, **settings.extra},
            call,
            api="responses",
            model=model,
            untouched=untouched,
            with_tools=with_tools,
        )

    def _offer(self, context: LLMContext) -> OfferedTools:
        return offer_tools(
            (
                ToolSource(one.name, content_key(one.to_default_dict()), one, partial(encode, one))
                for one in self._schemas(context)
            ),
            self._tools,
        )

    def _schemas(self, context: LLMContext) -> Sequence[FunctionSchema]:
        given = context.tools.standard_tools if is_given(context.tools) else []
        return [*given, *self.get_llm_adapter().builtin_tools.values()]


def encode(schema: FunctionSchema, name: str) -> RunnableTool:
    """Encode a tool."""
    fields = schema.to_default_dict()
    tool = FunctionTool.of_schema(name, fields["parameters"], description=fields["description"])
    return RunnableTool(tool)


def to_items(messages: Iterable[Any]) -> Iterable[Item]:
    """Convert pipecat's messages; messages for another LLM are left out."""
    for message in messages:
        if isinstance(message, LLMSpecificMessage):
            continue
        role, content = message["role"], message.get("content")
        if role == "tool":
            yield ToolOutput(message["tool_call_id"], content_text(content))
            continue
        if content:
            yield Message(role, tuple(parts_of(content)))
        for call in message.get("tool_calls") or ():
            function, call_id = call["function"], call["id"]
            name = legal_tool_name(function["name"])
            yield ToolCall(call_id, name, function["arguments"], key=call_id)


def parts_of(content: Any) -> Iterable[Text | Image]:
    """Convert the content of a message."""
    parts: list[Any] = [{"type": "text", "text": content}] if isinstance(content, str) else content
    for part in parts:
        if part["type"] == "text":
            yield Text(part["text"])
        elif part["type"] == "image_url":
            image = part["image_url"]
            yield Image(image["url"], image.get("detail") or "auto")


def content_text(content: Any) -> str:
    """Return the output of a tool as text."""
    return content if isinstance(content, str) else json.dumps(content, ensure_ascii=False)


def arguments_of(call: ToolCall) -> dict[str, Any]:
    """Parse the arguments of a call; nothing runs with invalid ones."""
    try:
        arguments = json.loads(call.arguments or "{}")
    except ValueError:
        return {}
    return arguments if isinstance(arguments, dict) else {}


def as_recorded(offered: OfferedTools, output: tuple[Item, ...]) -> tuple[Item, ...] | None:
    """Return what pipecat's aggregator records: the text, then calls with parsed arguments."""

    def as_run(call: ToolCall) -> ToolCall:
        run = offered.as_run(call)
        return replace(run, arguments=json.dumps(arguments_of(run)))

    return message_then_calls(output, as_run=as_run)
