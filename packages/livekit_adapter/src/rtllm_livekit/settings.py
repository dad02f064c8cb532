"""The constructor's settings and a call's own, as fields of the request's body."""

from collections.abc import Mapping
from typing import Any

from livekit.agents.utils import is_given

from rtllm import ConfigError, quickest_effort

_TOOL_CHOICES = ("auto", "required", "none")
_OF_HTTP = ("extra_headers", "extra_query", "timeout")
_OF_THE_CLIENT = ("input", "instructions", "previous_response_id", "stream", "stream_id", "tools")
_RENAMED = {"max_completion_tokens": "max_output_tokens", "max_tokens": "max_output_tokens"}


def body_of(
    options: Mapping[str, Any], call: Mapping[str, Any]
) -> tuple[dict[str, Any], frozenset[str]]:
    """Build the body's settings of one request.

    Args:
        options: The constructor's settings by keyword, the given ones only.
        call: The call's own by keyword (``tool_choice``, ``parallel_tool_calls`` and
            ``extra_kwargs``), the given ones only. These win.

    Returns:
        The settings ready for the wire, without nulls, and the names of those that nobody set.

    Raises:
        ConfigError: If a setting can't be sent.
    """
    body: dict[str, Any] = {}
    untouched: frozenset[str] = frozenset()
    for name, value in {**options, **call}.items():
        if value is not None:  # the service refuses nulls
            _put(body, name, value)
    effort = quickest_effort(str(options.get("model", "")))
    if "reasoning" not in body and effort is not None:
        body["reasoning"] = {"effort": effort}
        untouched = frozenset({"reasoning.effort"})
    return body, untouched


def _put(body: dict[str, Any], name: str, value: Any) -> None:
    if name in _OF_HTTP:
        raise ConfigError(f"{name} can't be set per call: the socket is open already")
    if name in _OF_THE_CLIENT:
        raise ConfigError(f"{name} can't be set per call: it follows from the chat context")
    match name:
        case "model":
            return
        case "extra_body":
            body.update(_plain(value))
        case "verbosity":
            body["text"] = {**body.get("text", {}), "verbosity": value}
        case "reasoning_effort":
            body["reasoning"] = {**body.get("reasoning", {}), "effort": value}
        case "response_format":
            body["text"] = {**body.get("text", {}), "format": _text_format(value)}
        case "text":
            body["text"] = {**body.get("text", {}), **_plain(value)}
        case "tool_choice":
            body["tool_choice"] = tool_choice_of(value)
        case _:
            body[_RENAMED.get(name, name)] = _plain(value)


def tool_choice_of(choice: Any) -> Any:
    """A tool choice in the shape of the Responses API.

    Raises:
        ConfigError: If it is neither one of the words nor an object that names a tool.
    """
    if isinstance(choice, str) and choice in _TOOL_CHOICES:
        return choice
    if isinstance(choice, Mapping) and choice.get("type") == "function":
        function = choice.get("function")
        name = function.get("name") if isinstance(function, Mapping) else choice.get("name")
        if isinstance(name, str) and name:
            return {"type": "function", "name": name}
    elif isinstance(choice, Mapping) and isinstance(choice.get("type"), str):
        return dict(choice)  # a hosted tool's, in the API's own shape
    raise ConfigError(
        f"tool_choice is {choice!r}; expected one of {', '.join(map(repr, _TOOL_CHOICES))} "
        "or {'type': 'function', 'function': {'name': …}}"
    )


def _text_format(response_format: Any) -> Any:
    """A ``response_format`` of Chat Completions as ``text.format``, or a pydantic model's."""
    if isinstance(response_format, type):
        from livekit.agents import llm  # noqa: PLC0415 - only judges come here

        response_format = llm.utils.to_openai_response_format(response_format)
    value = dict(_plain(response_format))
    inner = value.pop("json_schema", None)
    return {**value, **inner} if isinstance(inner, Mapping) else value


def _plain(value: Any) -> Any:
    """A value without nulls, which the service refuses, and without pydantic objects."""
    if hasattr(value, "model_dump"):
        value = value.model_dump(mode="json", exclude_none=True)
    if isinstance(value, Mapping):
        return {k: _plain(v) for k, v in value.items() if v is not None}
    return value


def given(**keywords: Any) -> dict[str, Any]:
    """The keywords that were given."""
    return {name: value for name, value in keywords.items() if is_given(value)}
