"""A request, made ready once and then only encoded: the context cut into units."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from rtllm.codec import chat_encoder as chat
from rtllm.codec.chat_forms import limit_said_to_host, said_to_host, tools_said_to_host
from rtllm.codec.response_forms import in_order, without_strict
from rtllm.codec.responses_encoder import check_encodable, request_frame
from rtllm.content.call_ids import carries_data
from rtllm.content.items import Message, ToolCall
from rtllm.content.request import Request
from rtllm.context.normalize import ContextRepair, KeepsId, normalize_context, normalize_repaired
from rtllm.context.outline import Outline, Plan
from rtllm.errors import ConfigError, EmptyContext
from rtllm.providers.dialects import Dialect
from rtllm.retry.rejections import RejectedParameters

OPENAI = Dialect()


@dataclass(frozen=True, slots=True, eq=False)
class PreparedRequest:
    """A request with its context made legal.

    Attributes:
        request: The request as it was given.
        context: Its legal context.
        repairs: What was changed to make it legal.
        keeps_id: Tells which call ids must stay as they are, however long.
    """

    request: Request
    context: Outline
    repairs: tuple[ContextRepair, ...]
    keeps_id: KeepsId = carries_data

    def __repr__(self) -> str:
        return f"<PreparedRequest {self.request.model}: {len(self.context.items)} items>"

    @property
    def is_stored(self) -> bool:
        """Whether the service is asked to store the answer; documented: left out means yes."""
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
            rejected: What models have rejected.
            generate: Whether an answer is wanted; else the service only takes the context in.
            dialect: How it is said.
        """
        request = self.request
        lead = self.context.items[: len(self.context.lead)] if plan.lead_in_field else ()
        texts = [item.text for item in lead if isinstance(item, Message)]
        settings = {"model": request.model, **rejected.applied_to(request)}
        if request.warm_up or not generate:
            settings["generate"] = False
        if dialect.store == "left out" and settings.get("store") is False:
            del settings["store"]
        tools = request.tools
        if dialect.strict_tools == "left out":
            tools = tuple(without_strict(tool) for tool in tools)
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

    def encode_chat(
        self,
        rejected: RejectedParameters,
        dialect: Dialect = OPENAI,
        carried: Callable[[ToolCall], chat.Carried] = chat.nothing_carried,
    ) -> dict[str, Any]:
        """Build the arguments of a Chat Completions request, which gets the whole context.

        Args:
            rejected: What models have rejected.
            dialect: How it is said.
            carried: What goes back beside a call.
        """
        request = self.request
        body = chat.parameters(
            {"stream_options": {"include_usage": True}, **rejected.applied_to(request)},
            request.tools,
        )
        if "stream_options" in rejected.of(request.model) or dialect.stream_options == "left out":
            body.pop("stream_options", None)
        if dialect.store == "left out" and body.get("store") is False:
            del body["store"]
        limit_said_to_host(body, dialect)
        more = body.get("extra_body", {})
        if isinstance(more, Mapping) and isinstance(more.get("tools"), list):
            body["tools"] = [*body.get("tools", ()), *more["tools"]]  # the user's own, after ours
            body["extra_body"] = {k: v for k, v in more.items() if k != "tools"}
        if "tools" in body:
            body["tools"] = tools_said_to_host(body["tools"], dialect)
        messages = said_to_host(
            chat.messages(
                self.context.items, request.guide, keeps_id=self.keeps_id, carried=carried
            ),
            dialect,
        )
        extra = {"extra_headers": dict(request.headers), "extra_query": dict(request.query)}
        extra = {name: value for name, value in extra.items() if value}
        return {"model": request.model, "messages": messages, **body, **extra}


def prepare(request: Request, keeps_id: KeepsId = carries_data) -> PreparedRequest:
    """Check a request and make its context legal.

    Args:
        request: The request.
        keeps_id: Tells which call ids must stay as they are, however long.

    Raises:
        ConfigError: If a setting can't be encoded.
        EmptyContext: If there is nothing to answer.
    """
    try:
        check_encodable(request.settings)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"a setting of the request can't be sent: {error}") from None
    try:
        legal = normalize_context(request.items, keeps_id)
        context = Outline.of(legal.items, request.unsent)
    except UnicodeEncodeError:  # rare, so that only then each text is looked at
        legal = normalize_repaired(request.items, keeps_id)
        context = Outline.of(legal.items, request.unsent)
    if not context.items:
        raise EmptyContext("the context holds nothing that a model could answer")
    return PreparedRequest(request, context, legal.notes, keeps_id)
