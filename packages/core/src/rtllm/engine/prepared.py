"""A request, made ready once and then only encoded: the context cut into units."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rtllm.codec import chat_encoder as chat
from rtllm.codec.responses_encoder import check_encodable, request_frame
from rtllm.content.items import Message
from rtllm.content.request import Request
from rtllm.context.normalize import ContextRepair, normalize_context, normalize_repaired
from rtllm.context.outline import Outline, Plan
from rtllm.errors import ConfigError, EmptyContext
from rtllm.retry.rejections import RejectedParameters


@dataclass(frozen=True, slots=True, eq=False)
class PreparedRequest:
    """A request with its context made legal.

    Attributes:
        request: The request as it was given.
        context: Its legal context.
        repairs: What was changed to make it legal.
    """

    request: Request
    context: Outline
    repairs: tuple[ContextRepair, ...]

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
    ) -> bytes:
        """Encode a frame for the Responses API.

        Args:
            plan: What to continue and what to send.
            lane: The lane's name, None for the default lane.
            rejected: What models have rejected.
            generate: Whether an answer is wanted; else the service only takes the context in.
        """
        request = self.request
        lead = self.context.items[: len(self.context.lead)] if plan.lead_in_field else ()
        texts = [item.text for item in lead if isinstance(item, Message)]
        settings = {"model": request.model, **rejected.applied_to(request)}
        if request.warm_up or not generate:
            settings["generate"] = False
        return request_frame(
            settings,
            request.tools,
            plan.items,
            instructions="\n".join([*texts, request.guide] if request.guide else texts),
            previous_response_id=plan.anchor.response_id if plan.anchor else None,
            lane=lane,
        )

    def encode_chat(self, rejected: RejectedParameters) -> dict[str, Any]:
        """Build the arguments of a Chat Completions request, which gets the whole context."""
        request = self.request
        body = chat.parameters(
            {"stream_options": {"include_usage": True}, **rejected.applied_to(request)},
            request.tools,
        )
        if "stream_options" in rejected.of(request.model):
            body.pop("stream_options", None)
        more = body.get("extra_body", {})
        if isinstance(more, Mapping) and isinstance(more.get("tools"), list):
            body["tools"] = [*body.get("tools", ()), *more["tools"]]  # the user's own, after ours
            body["extra_body"] = {k: v for k, v in more.items() if k != "tools"}
        messages = chat.messages(self.context.items, request.guide)
        extra = {"extra_headers": dict(request.headers), "extra_query": dict(request.query)}
        extra = {name: value for name, value in extra.items() if value}
        return {"model": request.model, "messages": messages, **body, **extra}


def prepare(request: Request) -> PreparedRequest:
    """Check a request and make its context legal.

    Raises:
        ConfigError: If a setting can't be encoded.
        EmptyContext: If there is nothing to answer.
    """
    try:
        check_encodable(request.settings)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"a setting of the request can't be sent: {error}") from None
    try:
        legal = normalize_context(request.items)
        context = Outline.of(legal.items, request.unsent)
    except UnicodeEncodeError:  # rare, so that only then each text is looked at
        legal = normalize_repaired(request.items)
        context = Outline.of(legal.items, request.unsent)
    if not context.items:
        raise EmptyContext("the context holds nothing that a model could answer")
    return PreparedRequest(request, context, legal.notes)
