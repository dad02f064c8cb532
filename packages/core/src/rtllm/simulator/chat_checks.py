"""Checks of a chat completion's body: every field, and what the model accepts. No I/O."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Any

from rtllm.simulator import chat_messages, checks, models, refusal, shapes, tools
from rtllm.simulator.refusal import RequestError
from rtllm.simulator.shapes import nullable

_SERVICE_TIERS = tuple(tier for tier in checks.SERVICE_TIERS if tier != "ultrafast")
_TOOL_NAME = shapes.string(longest=64, pattern=r"[a-zA-Z0-9_-]+")
_FUNCTION = shapes.struct(
    {"name": _TOOL_NAME},
    {
        "description": nullable(shapes.string()),
        "parameters": nullable(shapes.mapping),
        "strict": nullable(shapes.boolean),
        # Assumed: VideoSDK's stock plugin repeats the tool's type here, and is in use.
        "type": shapes.one_of("function"),
    },
)
_CUSTOM = shapes.struct(
    {"name": _TOOL_NAME}, {"description": shapes.string(), "format": shapes.mapping}
)
_TOOL = shapes.tagged(
    {
        "function": shapes.struct({"type": shapes.anything, "function": _FUNCTION}, {}),
        "custom": shapes.struct({"type": shapes.anything, "custom": _CUSTOM}, {}),
    }
)
_NAMED = shapes.struct({"name": shapes.string()}, {})
_ALLOWED = shapes.struct(
    {"mode": shapes.one_of("auto", "required"), "tools": shapes.list_of(shapes.mapping)}, {}
)
_CHOICE = shapes.tagged(
    {
        "function": shapes.struct({"type": shapes.anything, "function": _NAMED}, {}),
        "custom": shapes.struct({"type": shapes.anything, "custom": _NAMED}, {}),
        "allowed_tools": shapes.struct({"type": shapes.anything, "allowed_tools": _ALLOWED}, {}),
    }
)


def flat(tool: dict[str, Any]) -> dict[str, Any]:
    """Convert a tool, or a choice of one, to the form of the Responses API."""
    kind = tool.get("type")
    inner = tool.get(str(kind))
    if kind == "allowed_tools" and isinstance(inner, dict):
        return {"type": kind, **inner, "tools": [flat(named) for named in inner["tools"]]}
    return {"type": kind, **inner} if isinstance(inner, dict) else tool


def _tools(value: Any, param: str) -> None:
    if not isinstance(value, list):
        raise refusal.invalid_type(param, "an array of objects", value)
    if not value:
        raise chat_messages.refusal_of_empty(param)
    names: set[str] = set()
    for index, tool in enumerate(value):
        _TOOL(tool, f"{param}[{index}]")
        tools.check_unique(flat(tool)["name"], names, param)
        if tool["type"] == "function":
            tools.check_parameters(tool["function"], f"{param}[{index}].function.parameters")


_SCHEMA = shapes.struct(
    {"name": _TOOL_NAME},
    {
        "description": shapes.string(),
        "schema": shapes.mapping,
        "strict": nullable(shapes.boolean),
    },
)
_FORMAT = shapes.tagged(
    {
        "text": checks.PLAIN_FORMAT,
        "json_object": checks.PLAIN_FORMAT,
        "json_schema": shapes.struct({"type": shapes.anything, "json_schema": _SCHEMA}, {}),
    }
)


def _format(value: Any, param: str) -> None:
    _FORMAT(value, param)
    schema = value.get("json_schema", {})
    problem = tools.strict_problem(schema.get("schema", {})) if schema.get("strict") else None
    if problem is not None:
        raise RequestError(
            f"Invalid schema for response_format '{schema['name']}': {problem}",
            code="invalid_json_schema",
            param=param,
        )


def _stop(value: Any, param: str) -> None:
    if not isinstance(value, str):
        shapes.list_of(shapes.string())(value, param)


_FIELDS: dict[str, shapes.Check] = {
    "model": shapes.string(),
    "messages": chat_messages.check_messages,
    "audio": nullable(shapes.mapping),
    "frequency_penalty": nullable(shapes.number(-2, 2)),
    "logit_bias": nullable(shapes.mapping),
    "logprobs": nullable(shapes.boolean),
    "max_completion_tokens": nullable(shapes.integer(1)),
    "max_tokens": nullable(shapes.integer(1)),
    "metadata": nullable(checks.metadata),
    "modalities": nullable(shapes.list_of(shapes.one_of("text", "audio"))),
    "moderation": nullable(shapes.mapping),
    "n": nullable(shapes.integer(1, 1)),  # the simulator returns one
    "parallel_tool_calls": shapes.boolean,
    "prediction": nullable(shapes.mapping),
    "presence_penalty": nullable(shapes.number(-2, 2)),
    "prompt_cache_key": nullable(shapes.string(longest=64)),
    "prompt_cache_options": shapes.struct(
        {}, {"mode": shapes.one_of("implicit", "explicit"), "ttl": shapes.one_of("30m")}
    ),
    "prompt_cache_retention": nullable(shapes.one_of("in_memory", "24h")),
    "reasoning_effort": nullable(shapes.one_of(*checks.EFFORTS)),
    "response_format": _format,
    "safety_identifier": nullable(shapes.string(longest=128)),
    "seed": nullable(shapes.integer()),
    "service_tier": nullable(shapes.one_of(*_SERVICE_TIERS)),
    "stop": nullable(_stop),
    "store": nullable(shapes.boolean),
    "stream": nullable(shapes.boolean),
    "stream_options": nullable(
        shapes.struct({}, {"include_usage": shapes.boolean, "include_obfuscation": shapes.boolean})
    ),
    "temperature": nullable(shapes.number(0, 2)),
    "tool_choice": shapes.anything,
    "tools": _tools,
    "top_logprobs": nullable(shapes.integer(0, 20)),
    "top_p": nullable(shapes.number(0, 1)),
    "user": shapes.string(),
    "verbosity": nullable(shapes.one_of("low", "medium", "high")),
    "web_search_options": shapes.mapping,
}


def check_body(
    body: dict[str, Any], extra_models: Collection[str] = (), deployment: str | None = None
) -> None:
    """Check the body of a chat completion.

    Args:
        body: The body of the request.
        extra_models: Models in addition to the public ones, such as deployments.
        deployment: The deployment in the URL, which replaces the model there.

    Raises:
        RequestError: For the first problem, with the service's text.
    """
    required = {"messages": _FIELDS["messages"]}
    if deployment is None:
        required["model"] = shapes.string()
    shapes.struct(required, _FIELDS)(body, "")
    if deployment is None:
        checks.check_model(body["model"], extra_models)
    else:
        _check_deployment(deployment, extra_models)
    _check_company(body)
    name = body.get("model", "")
    family = models.family_of(deployment or name) or models.family_of(name)
    if family is not None:
        model = deployment if deployment and models.family_of(deployment) else name
        _check_effort(body, model, family)
        _check_sampling(body, family)
        _check_reasoning(body, model, family)
        checks.check_cache(body, family)
        marked = chat_messages.has_breakpoint(body["messages"])
        if marked is not None and not family.cache_options:
            raise refusal.unsupported_parameter(marked)


def _check_deployment(deployment: str, extra_models: Collection[str]) -> None:
    if deployment in extra_models or models.undated(deployment) in models.KNOWN_MODELS:
        return
    raise RequestError(
        "The API deployment for this resource does not exist. If you created the deployment "
        "within the last 5 minutes, please wait a moment and try again.",
        code="DeploymentNotFound",
        status=404,
    )


def _check_company(body: dict[str, Any]) -> None:
    """Check the fields that require another field."""
    for name in ("tool_choice", "parallel_tool_calls"):
        if name in body and "tools" not in body:
            raise _only_with(name, "'tools' are specified")
    if "tool_choice" in body:
        _check_choice(body["tool_choice"], body["tools"])
    if body.get("stream_options") is not None and not body.get("stream"):
        raise RequestError(
            "The 'stream_options' parameter is only allowed when 'stream' is enabled.",
            param="stream_options",
        )
    if body.get("metadata") is not None and not body.get("store"):
        raise RequestError(
            "The 'metadata' parameter is only allowed when 'store' is enabled.", param="metadata"
        )
    if body.get("top_logprobs") is not None and not body.get("logprobs"):
        raise _only_with("top_logprobs", "'logprobs' is enabled")
    if body.get("max_tokens") is not None and body.get("max_completion_tokens") is not None:
        raise RequestError(
            "Setting 'max_tokens' and 'max_completion_tokens' at the same time is not supported.",
            code="invalid_parameter_combination",
            param="max_tokens",
        )
    wanted = (body.get("response_format") or {}).get("type")
    if wanted == "json_object" and not checks.says_json(body["messages"]):
        raise RequestError(
            "'messages' must contain the word 'json' in some form, to use 'response_format' of "
            "type 'json_object'.",
            param="messages",
        )


def _only_with(name: str, condition: str) -> RequestError:
    return RequestError(
        f"Invalid value for '{name}': '{name}' is only allowed when {condition}.", param=name
    )


def _check_choice(choice: Any, given: list[dict[str, Any]]) -> None:
    if isinstance(choice, dict):
        _CHOICE(choice, "tool_choice")
        choice = flat(choice)
    tools.check_choice(choice, [flat(tool) for tool in given])


def _check_effort(body: dict[str, Any], model: str, family: models.Family) -> None:
    effort = body.get("reasoning_effort")
    if effort is not None and not family.reasons:
        raise refusal.unsupported_parameter("reasoning_effort")
    if effort is not None and effort not in family.efforts:
        raise _unsupported_value("reasoning_effort", effort, family.efforts)
    if "tools" in body and family.reasons:
        _check_effort_with_tools(effort or family.default_effort, model)


def _check_effort_with_tools(effort: str | None, model: str) -> None:
    """Check the effort: from 5.4 on Chat accepts function tools without reasoning, or never."""
    never = re.match(r"gpt-6-astra|gpt-6\.1-sol", model) is not None
    if not never and (effort == "none" or _version(model) < (5, 4)):
        return
    cure = "Please use /v1/responses instead."
    if not never:
        cure = "To use function tools, use /v1/responses or set reasoning_effort to 'none'."
    raise RequestError(
        f"Function tools with reasoning_effort are not supported for {model} in "
        f"/v1/chat/completions. {cure}",
        param="reasoning_effort",
    )


def _version(model: str) -> tuple[int, int]:
    found = re.match(r"gpt-(\d+)(?:\.(\d+))?", model)
    return (0, 0) if found is None else (int(found[1]), int(found[2] or 0))


def _check_sampling(body: dict[str, Any], family: models.Family) -> None:
    effort = body.get("reasoning_effort") or family.default_effort
    if family.sampling == "always" or (family.sampling == "effort_none" and effort == "none"):
        return
    temperature = body.get("temperature")
    if temperature not in (None, 1):
        raise RequestError(
            f"Unsupported value: 'temperature' does not support {temperature} with this model. "
            "Only the default (1) value is supported.",
            code="unsupported_value",
            param="temperature",
        )
    for name, default in (("top_p", 1), ("logprobs", False), ("top_logprobs", None)):
        if body.get(name) is not None and body[name] != default:
            raise refusal.unsupported_parameter(name)


def _check_reasoning(body: dict[str, Any], model: str, family: models.Family) -> None:
    verbosity = body.get("verbosity")
    if verbosity is not None and verbosity not in family.verbosity:
        raise _unsupported_value("verbosity", verbosity, family.verbosity)
    if not family.reasons:
        return
    if body.get("max_tokens") is not None:
        raise RequestError(
            "Unsupported parameter: 'max_tokens' is not supported with this model. Use "
            "'max_completion_tokens' instead.",
            code="unsupported_parameter",
            param="max_tokens",
        )
    for name in ("frequency_penalty", "presence_penalty", "logit_bias", "stop"):
        if body.get(name):
            raise refusal.unsupported_parameter(name)
    if "parallel_tool_calls" in body and re.match(r"o\d", model):
        raise refusal.unsupported_parameter("parallel_tool_calls")
    if body.get("parallel_tool_calls") and body.get("reasoning_effort") == "minimal":
        raise RequestError(
            "Parallel tool calls are not supported with reasoning effort 'minimal'.",
            code="unsupported_value",
            param="parallel_tool_calls",
        )


def _unsupported_value(param: str, value: object, supported: Collection[str]) -> RequestError:
    return RequestError(
        f"Unsupported value: '{param}' does not support '{value}' with this model. "
        f"Supported values are: {refusal.quoted(tuple(supported))}.",
        code="unsupported_value",
        param=param,
    )
