"""A request prepared once: its context normalized and cut into units, ready to encode."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from rtllm.codec import chat_encoder as chat
from rtllm.codec.chat_forms import convert_messages, convert_tools, rename_output_limit
from rtllm.codec.response_forms import convert_tool, in_order
from rtllm.codec.responses_encoder import check_encodable, request_frame
from rtllm.content.call_ids import carries_data
from rtllm.content.items import Message, ToolCall
from rtllm.content.request import Request
from rtllm.content.request_check import check_request
from rtllm.context.normalize import ContextRepair, KeepsId, normalize_context, normalize_repaired
from rtllm.context.outline import Outline, Plan
from rtllm.errors import ConfigError, EmptyContext
from rtllm.providers.dialects import Dialect
from rtllm.retry.rejected_parameters import RejectedParameters

OPENAI = Dialect()


@dataclass(frozen=True, slots=True, eq=False)
class PreparedRequest:
    """A request with its context normalized.

    Attributes:
        request: The request as it was passed.
        context: Its normalized context.
        repairs: The changes that normalizing made.
        keeps_id: Tells which call ids must stay unchanged, however long.
    """

    request: Request
    context: Outline
    repairs: tuple[ContextRepair, ...]
    keeps_id: KeepsId = carries_data

    def __repr__(self) -> str:
        return f"<PreparedRequest {self.request.model}: {len(self.context.items)} items>"

    @property
    def is_stored(self) -> bool:
        """Whether the service is asked to store the response; documented: the default is yes."""
        return self.request.settings.get("store") is not False

    def encode(
        self,
        plan: Plan,
        lane: str | None,
        rejected: RejectedParameters,
        *,
        generate: bool = True,
        dialect: Dialect = OPENAI,
    ) -> bytes:
        """Encode a frame for the Responses API.

        Args:
            plan: What to continue and what to send.
            lane: The lane's name, None for the default lane.
            rejected: The parameters and tools that models have rejected.
            generate: Whether a response is wanted; if not, the service only processes the context.
            dialect: The dialect to encode in.
        """
        request = self.request
        lead = self.context.items[: len(self.context.lead)] if plan.lead_in_field else ()
        texts = [item.text for item in lead if isinstance(item, Message)]
        settings = {"model": request.model, **rejected.adjust_settings(request)}
        if request.warm_up or not generate:
            settings["generate"] = False
        self._fit_store(settings, dialect)
        tools = rejected.offered_tools(request)
        tools = tuple(convert_tool(tool, dialect) for tool in tools)
        items = plan.items
        if plan.anchor is None:
            items = in_order(items, dialect)
        return request_frame(
            settings,
            tools,
            items,
            instructions="\n".join([*texts, request.guide] if request.guide else texts),
            previous_response_id=plan.anchor.response_id if plan.anchor else None,
            lane=lane,
            types_all=dialect.message_type == "always",
        )

    def _fit_store(self, settings: dict[str, Any], dialect: Dialect) -> None:
        """Remove ``store=False`` if the host has no such field."""
        left_out = dialect.store == "left out" or (
            dialect.store == "if set" and "store" in self.request.untouched
        )
        if left_out and settings.get("store") is False:
            del settings["store"]

    def encode_chat(
        self,
        rejected: RejectedParameters,
        dialect: Dialect = OPENAI,
        carried: Callable[[ToolCall], chat.Carried] = chat.nothing_carried,
    ) -> dict[str, Any]:
        """Build the arguments of a Chat Completions request with the full context.

        Args:
            rejected: The parameters and tools that models have rejected.
            dialect: The dialect to encode in.
            carried: Returns the fields that go back with a call.
        """
        request = self.request
        body = chat.parameters(
            {"stream_options": {"include_usage": True}, **rejected.adjust_settings(request)},
            rejected.offered_tools(request),
        )
        if "stream_options" in rejected.of(request.model) or dialect.stream_options == "left out":
            body.pop("stream_options", None)
        self._fit_store(body, dialect)
        rename_output_limit(body, dialect)
        more = body.get("extra_body", {})
        if isinstance(more, Mapping) and isinstance(more.get("tools"), list):
            body["tools"] = [*body.get("tools", ()), *more["tools"]]  # the user's own tools follow
            body["extra_body"] = {k: v for k, v in more.items() if k != "tools"}
        if "tools" in body:
            body["tools"] = convert_tools(body["tools"], dialect)
        messages = convert_messages(
            chat.messages(
                self.context.items, request.guide, keeps_id=self.keeps_id, carried=carried
            ),
            dialect,
        )
        extra = {"extra_headers": dict(request.headers), "extra_query": dict(request.query)}
        extra = {name: value for name, value in extra.items() if value}
        return {"model": request.model, "messages": messages, **body, **extra}


def prepare(request: Request, keeps_id: KeepsId = carries_data) -> PreparedRequest:
    """Check a request and normalize its context.

    Args:
        request: The request.
        keeps_id: Tells which call ids must stay unchanged, however long.

    Raises:
        ConfigError: If a setting can't be encoded, or a value has a wrong type.
        EmptyContext: If the context has nothing to respond to.
    """
    check_request(request)
    try:
        check_encodable(request.settings)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"a setting of the request can't be encoded as JSON: {error}") from None
    try:
        legal = normalize_context(request.items, keeps_id)
        context = Outline.of(legal.items, request.unsent)
    except UnicodeEncodeError:  # rare; only then each text is checked
        legal = normalize_repaired(request.items, keeps_id)
        context = Outline.of(legal.items, request.unsent)
    if not context.items:
        raise EmptyContext(
            "the context has no item to respond to; pass at least one message or tool output"
        )
    return PreparedRequest(request, context, legal.notes, keeps_id)
