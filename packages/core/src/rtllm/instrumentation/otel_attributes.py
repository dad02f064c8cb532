"""Attributes of OpenTelemetry's GenAI conventions, and our own under ``rtllm.``.

The names are those of version 0.1.0 of open-telemetry/semantic-conventions-genai (*documented*).
"""

from collections.abc import Mapping
from dataclasses import fields
from typing import Literal

from rtllm.content.call_identity import CallIdentity
from rtllm.content.usage import Usage
from rtllm.providers.hosts import PROFILES
from rtllm.trace.events import AttemptEnded, Purpose, RequestSent, TraceEvent, TurnQueued

Conventions = Literal["0.1.0", "1.41.0", "both"]
"""The version of the GenAI conventions whose names are used: the current one of their own
repository, the last one of the general conventions, or the names of both."""

Value = str | bool | int | float
Attributes = dict[str, Value]

OPERATIONS: Mapping[Purpose, str] = {
    "response": "chat",
    "warm-up": "warm_up",
    "rebuild": "rebuild",
}
"""The operation of a turn; those without a response are not inference, so their names are ours."""

_PROVIDERS: Mapping[str, str] = {
    "azure": "azure.ai.openai",
    "azure-foundry": "azure.ai.inference",
    "gemini": "gcp.gemini",
    "mistral": "mistral_ai",
    "vertex": "gcp.vertex_ai",
    "xai": "x_ai",
}
"""The conventions' names of hosts that have another one here."""

_OF_ALL = frozenset(field.name for field in fields(TraceEvent))


def common_attributes(event: TurnQueued) -> Attributes:
    """Return the attributes that the span and the metrics of a turn share."""
    attributes: Attributes = {
        "gen_ai.operation.name": OPERATIONS[event.purpose],
        "gen_ai.provider.name": _provider_of(event.host),
        "gen_ai.request.model": event.model,
    }
    if event.server is not None:
        address, _, port = event.server.rpartition(":")
        attributes |= {"server.address": address, "server.port": int(port)}
    return attributes


def _provider_of(host: str) -> str:
    """Return the conventions' name of a host; an unknown one has the API of OpenAI."""
    return _PROVIDERS.get(host, host if host in PROFILES else "openai")


def turn_attributes(event: TurnQueued) -> Attributes:
    """Return the attributes of a turn's span that are known when it begins."""
    return (
        common_attributes(event)
        | {
            "gen_ai.request.stream": True,
            "openai.api.type": "chat_completions" if event.api == "chat" else event.api,
            "rtllm.host": event.host,
            "rtllm.purpose": event.purpose,
            "rtllm.items": event.items,
            "rtllm.tools": event.tools,
        }
        | call_attributes(event.call)
        | numbers_of(event)
    )


def call_attributes(call: CallIdentity) -> Attributes:
    """Return the names of a call."""
    attributes: Attributes = {
        f"rtllm.call.{name}": value
        for name in ("label", "job", "room", "session")
        if (value := getattr(call, name)) is not None
    }
    if call.session is not None:
        attributes["gen_ai.conversation.id"] = call.session
    return attributes


def numbers_of(event: TraceEvent) -> Attributes:
    """Return the numbers of an event's conversation, turn, attempt and connection."""
    return {
        f"rtllm.{name}": value
        for name in ("conversation", "turn", "attempt", "connection", "lane")
        if (value := getattr(event, name)) is not None
    }


def sent_attributes(event: RequestSent) -> Attributes:
    """Return the attributes of an attempt's span that are known when it begins."""
    attributes = numbers_of(event) | {
        "rtllm.protocol": event.protocol,
        "rtllm.bytes": event.bytes,
        "rtllm.items": event.items,
        "rtllm.items_known": event.items_known,
        "rtllm.reused": event.reused,
        "rtllm.generates": event.generates,
    }
    if event.previous_response_id is not None:
        attributes["gen_ai.request.previous_response.id"] = event.previous_response_id
    if event.full_context_reason is not None:
        attributes["rtllm.full_context_reason"] = event.full_context_reason
    return attributes


def ended_attributes(event: AttemptEnded) -> Attributes:
    """Return the attributes of an attempt's span that are known when it ends."""
    attributes: Attributes = {
        "rtllm.category": event.category,
        "rtllm.counted": event.counted,
        "rtllm.drained": event.drained,
    }
    if event.usage is not None:
        attributes |= usage_attributes(event.usage, "rtllm.usage.")
    elif event.estimate is not None:
        attributes |= usage_attributes(event.estimate, "rtllm.estimated_usage.")
    if event.cost is not None and event.currency is not None:
        attributes |= {"rtllm.cost": event.cost, "rtllm.currency": event.currency}
    return attributes | response_attributes(event.response_id, event.model)


def response_attributes(response_id: str | None, model: str | None) -> Attributes:
    """Return what identifies a response, as far as it is known."""
    attributes: Attributes = {}
    if response_id is not None:
        attributes["gen_ai.response.id"] = response_id
    if model is not None:
        attributes["gen_ai.response.model"] = model
    return attributes


def usage_attributes(
    usage: Usage, prefix: str = "gen_ai.usage.", cache_write: str = "cache_write"
) -> Attributes:
    """Return token counts as attributes.

    Args:
        usage: The tokens.
        prefix: The beginning of their names.
        cache_write: The name of the tokens that were written to the prompt cache.
    """
    counts = {
        "input_tokens": usage.input,
        "output_tokens": usage.output,
        "cache_read.input_tokens": usage.cached,
        f"{cache_write}.input_tokens": usage.cache_write,
        "reasoning.output_tokens": usage.reasoning,
    }
    return {f"{prefix}{name}": count for name, count in counts.items() if count is not None}


def event_attributes(event: TraceEvent) -> Attributes:
    """Return the fields of a trace event, for a span event."""
    own = {
        f"rtllm.{field.name}": value
        for field in fields(event)
        if field.name not in _OF_ALL and (value := getattr(event, field.name)) is not None
    }
    return own | numbers_of(event)
