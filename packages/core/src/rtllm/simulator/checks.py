"""Checks of a ``response.create``: every field, and what the model accepts. No I/O.

There are two steps, because the second one needs the earlier context: ``check_body`` checks the
frame alone, ``check_context`` everything that the model would see.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from typing import Any

from rtllm.simulator import inputs, models, refusal, shapes, tools
from rtllm.simulator.memory import Item
from rtllm.simulator.refusal import RequestError
from rtllm.simulator.shapes import nullable

_INCLUDES = (
    "file_search_call.results",
    "web_search_call.results",
    "web_search_call.action.sources",
    "message.input_image.image_url",
    "computer_call_output.output.image_url",
    "code_interpreter_call.outputs",
    "reasoning.encrypted_content",
    "message.output_text.logprobs",
)
SERVICE_TIERS = ("auto", "default", "flex", "scale", "priority", "fast", "ultrafast")
EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh", "max")
_SUMMARIES = nullable(shapes.one_of("auto", "concise", "detailed"))
_NAME = shapes.string(longest=64, pattern=r"[a-zA-Z0-9_-]+")


def metadata(value: Any, param: str) -> None:
    """Check metadata: up to 16 pairs of short strings."""
    shapes.mapping(value, param)
    if len(value) > 16:
        raise RequestError(
            f"Invalid '{param}': too many properties. Expected an object with at most 16 "
            f"properties, but got an object with {len(value)} properties instead.",
            code="object_above_max_properties",
            param=param,
        )
    for key, text in value.items():
        shapes.string(longest=64)(key, param)
        shapes.string(longest=512)(text, f"{param}.{key}")


_REASONING = shapes.struct(
    {},
    {
        "effort": nullable(shapes.one_of(*EFFORTS)),
        "summary": _SUMMARIES,
        "generate_summary": _SUMMARIES,
        "context": nullable(shapes.one_of("auto", "current_turn", "all_turns")),
        "mode": shapes.one_of("standard", "pro"),
    },
)
_JSON_SCHEMA = shapes.struct(
    {"type": shapes.anything, "name": _NAME, "schema": shapes.mapping},
    {"description": shapes.string(), "strict": nullable(shapes.boolean)},
)
PLAIN_FORMAT = shapes.struct({"type": shapes.anything}, {})
_ANY_FORMAT = shapes.tagged(
    {"text": PLAIN_FORMAT, "json_schema": _JSON_SCHEMA, "json_object": PLAIN_FORMAT}
)


def _format(value: Any, param: str) -> None:
    _ANY_FORMAT(value, param)
    problem = tools.strict_problem(value["schema"]) if value.get("strict") else None
    if problem is not None:
        raise RequestError(
            f"Invalid schema for response_format '{value['name']}': {problem}",
            code="invalid_json_schema",
            param=f"{param}.schema",
        )


_TEXT = shapes.struct(
    {}, {"format": _format, "verbosity": nullable(shapes.one_of("low", "medium", "high"))}
)
_CACHE_OPTIONS = shapes.struct(
    {},
    {
        "mode": shapes.one_of("implicit", "explicit"),
        "ttl": shapes.one_of("30m", "12h"),
        "prewarm": shapes.boolean,
        "comparison_response_id": nullable(shapes.string()),
    },
)
_COMPACTION = shapes.struct(
    {"type": shapes.one_of("compaction")}, {"compact_threshold": nullable(shapes.integer(1))}
)
_PROMPT = shapes.struct(
    {"id": shapes.string()},
    {"variables": nullable(shapes.mapping), "version": nullable(shapes.string())},
)


def _input(value: Any, param: str) -> None:
    if not isinstance(value, str):
        inputs.check_items(value, param)


def _conversation(value: Any, param: str) -> None:
    if not isinstance(value, str):
        shapes.struct({"id": shapes.string()}, {})(value, param)


_FIELDS: dict[str, shapes.Check] = {
    "type": shapes.anything,
    "stream_id": shapes.anything,
    "model": shapes.string(),
    "input": _input,
    "instructions": nullable(shapes.string()),
    "tools": tools.check_tools,
    "tool_choice": shapes.anything,
    "parallel_tool_calls": nullable(shapes.boolean),
    "reasoning": nullable(_REASONING),
    "text": _TEXT,
    "temperature": nullable(shapes.number(0, 2)),
    "top_p": nullable(shapes.number(0, 1)),
    "top_logprobs": nullable(shapes.integer(0, 20)),
    "max_output_tokens": nullable(shapes.integer(16)),
    "max_tool_calls": nullable(shapes.integer(1)),
    "metadata": nullable(metadata),
    "include": nullable(shapes.list_of(shapes.one_of(*_INCLUDES))),
    "store": nullable(shapes.boolean),
    "previous_response_id": nullable(shapes.string()),
    "conversation": nullable(_conversation),
    "prompt": nullable(_PROMPT),
    "prompt_cache_key": nullable(shapes.string(longest=64)),
    "prompt_cache_options": _CACHE_OPTIONS,
    "prompt_cache_retention": nullable(shapes.one_of("in_memory", "24h")),
    "user": shapes.string(),
    "safety_identifier": nullable(shapes.string(longest=128)),
    "service_tier": nullable(shapes.one_of(*SERVICE_TIERS)),
    "truncation": nullable(shapes.one_of("auto", "disabled")),
    "context_management": nullable(shapes.list_of(_COMPACTION)),
    "moderation": nullable(shapes.mapping),
    "image": shapes.mapping,
    "access_programs": shapes.mapping,
    "generate": shapes.boolean,
    "stream": shapes.only_true,
}
_POSTED_FIELDS: dict[str, shapes.Check] = {
    **_FIELDS,
    "stream": nullable(shapes.boolean),
    "stream_options": nullable(shapes.struct({}, {"include_obfuscation": shapes.boolean})),
    "background": nullable(shapes.boolean),
}
# Seen (codex2api): the fields of a WebSocket are rejected over HTTP with this text.
_ONLY_ON_A_SOCKET = ("type", "stream_id", "generate")
# Fields of the HTTP API that have no meaning on a WebSocket. "stream": true is implied there; seen:
# openai-agents sends it anyway.
_NOT_ON_A_SOCKET = ("stream_options", "background", "background_options")
_NO_SOCKET = " is not supported over WebSocket"


def check_body(
    body: dict[str, Any], extra_models: Collection[str] = (), *, posted: bool = False
) -> None:
    """Check a request without its context.

    Args:
        body: The frame, or the body of the HTTP request.
        extra_models: Models in addition to the public ones, such as deployments.
        posted: Whether it came over HTTP.

    Raises:
        RequestError: For the first problem, with the service's text.
    """
    wrong_here, where = (_ONLY_ON_A_SOCKET, "") if posted else (_NOT_ON_A_SOCKET, _NO_SOCKET)
    for name in wrong_here:
        if name in body:
            raise RequestError(
                f"Unsupported parameter: '{name}'{where}.",
                code="unsupported_parameter",
                param=name,
            )
    fields = _POSTED_FIELDS if posted else _FIELDS
    shapes.struct({"model": shapes.string()}, fields)(body, "")
    if posted:
        _check_delivery(body)
    check_model(body["model"], extra_models)
    if "tool_choice" in body:
        tools.check_choice(body["tool_choice"], body.get("tools", []))
    _check_source(body)
    family = models.family_of(body["model"])
    if family is not None:
        _check_reasoning(body, family)
        _check_sampling(body, family)
        _check_text(body, family)
        check_cache(body, family)


def _check_delivery(body: dict[str, Any]) -> None:
    """Check the fields that control how an HTTP response is sent."""
    if body.get("stream_options") is not None and body.get("stream") is not True:
        raise RequestError(
            "The 'stream_options' parameter is only allowed when 'stream' is enabled.",
            param="stream_options",
        )
    if body.get("background"):
        raise RequestError(
            "The simulator answers no background requests; post without 'background'.",
            param="background",
        )


def check_model(model: str, extra_models: Collection[str]) -> None:
    """Check that a model exists."""
    if model in extra_models or models.undated(model) in models.KNOWN_MODELS:
        return
    raise RequestError(
        f"The model `{model}` does not exist or you do not have access to it.",
        code="model_not_found",
        param="model",
        status=404,
    )


def _check_source(body: dict[str, Any]) -> None:
    parent, conversation = body.get("previous_response_id"), body.get("conversation")
    if parent is not None and conversation is not None:
        raise RequestError(
            "Mutually exclusive parameters: 'conversation' and 'previous_response_id'. "
            "Ensure you are only providing one of these parameters.",
            code="mutually_exclusive_parameters",
        )
    if conversation is not None:
        name = conversation if isinstance(conversation, str) else conversation["id"]
        raise RequestError(f"Conversation with id '{name}' not found.", status=404)
    if not body.get("input") and parent is None and body.get("prompt") is None:
        raise RequestError(
            "One of 'input' or 'previous_response_id' or 'prompt' or 'conversation' must be "
            "provided.",
            code="missing_required_parameter",
        )


def _check_reasoning(body: dict[str, Any], family: models.Family) -> None:
    reasoning = body.get("reasoning") or {}
    if not family.reasons:
        for name, value in reasoning.items():
            if value is not None:
                raise refusal.unsupported_parameter(f"reasoning.{name}")
        if "reasoning.encrypted_content" in (body.get("include") or ()):
            raise RequestError(
                "Encrypted content is not supported with this model.", param="include"
            )
        return
    effort = reasoning.get("effort")
    if effort is not None and effort not in family.efforts:
        raise refusal.unsupported_value("reasoning.effort", effort, body["model"], family.efforts)
    if effort == "minimal" and body.get("parallel_tool_calls") and body.get("tools"):
        raise RequestError(
            "Parallel tool calls are not supported with reasoning effort 'minimal'.",
            code="unsupported_value",
            param="parallel_tool_calls",
        )


def _check_sampling(body: dict[str, Any], family: models.Family) -> None:
    effort = (body.get("reasoning") or {}).get("effort") or family.default_effort
    if family.sampling == "always" or (family.sampling == "effort_none" and effort == "none"):
        return
    for name in ("temperature", "top_p", "top_logprobs"):
        if body.get(name) is not None:
            raise refusal.unsupported_parameter(name)
    if "message.output_text.logprobs" in (body.get("include") or ()):
        raise refusal.unsupported_parameter("include")


def _check_text(body: dict[str, Any], family: models.Family) -> None:
    verbosity = body.get("text", {}).get("verbosity")
    if verbosity is not None and verbosity not in family.verbosity:
        raise refusal.unsupported_value(
            "text.verbosity", verbosity, body["model"], family.verbosity
        )


def check_cache(body: dict[str, Any], family: models.Family) -> None:
    """Check the prompt cache fields."""
    retention = body.get("prompt_cache_retention")
    if not family.cache_options and "prompt_cache_options" in body:
        raise refusal.unsupported_parameter("prompt_cache_options")
    if retention is not None and retention not in family.cache_retention:
        if not family.cache_retention:
            raise refusal.unsupported_parameter("prompt_cache_retention")
        raise refusal.unsupported_value(
            "prompt_cache_retention", retention, body["model"], family.cache_retention
        )
    items = body.get("input")
    marked = inputs.has_breakpoint(items) if isinstance(items, list) else None
    if marked is not None and not family.cache_options:
        raise refusal.unsupported_parameter(marked)


def check_context(body: dict[str, Any], context: Sequence[Item]) -> None:
    """Check what the model would see: calls and outputs, and the word JSON if required.

    Raises:
        RequestError: With the service's text.
    """
    later = frozenset(
        tool["name"]
        for tool in body.get("tools", ())
        if tool.get("async") is True and "name" in tool
    )
    inputs.check_pairs(context, later)
    wanted = body.get("text", {}).get("format", {}).get("type")
    if wanted == "json_object" and not says_json([list(context), body.get("instructions")]):
        raise RequestError(
            "Response input messages must contain the word 'json' in some form to use "
            "'text.format' of type 'json_object'.",
            param="input",
        )


def says_json(visible: Any) -> bool:
    """Whether the word JSON occurs in what the model sees."""
    return "json" in json.dumps(visible, ensure_ascii=False).lower()
