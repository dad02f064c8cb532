"""The constructor's settings and a call's own, as fields of the request's body."""

from collections.abc import Mapping
from typing import Any

from livekit.agents.utils import is_given

from rtllm import (
    ConfigError,
    quickest_effort,
    text_format_of,
    tool_choice_of,
    without_nulls,
)

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
            body.update(without_nulls(value))
        case "verbosity":
            body["text"] = {**body.get("text", {}), "verbosity": value}
        case "reasoning_effort":
            body["reasoning"] = {**body.get("reasoning", {}), "effort": value}
        case "response_format":
            body["text"] = {**body.get("text", {}), "format": text_format_of(_as_dict(value))}
        case "text":
            body["text"] = {**body.get("text", {}), **without_nulls(value)}
        case "tool_choice":
            body["tool_choice"] = tool_choice_of(value)
        case _:
            body[_RENAMED.get(name, name)] = without_nulls(value)


def _as_dict(response_format: Any) -> Any:
    """A response format as an object, also from a pydantic model."""
    if isinstance(response_format, type):
        from livekit.agents import llm  # noqa: PLC0415 - only judges come here

        return llm.utils.to_openai_response_format(response_format)
    return response_format


def given(**keywords: Any) -> dict[str, Any]:
    """The keywords that were given."""
    return {name: value for name, value in keywords.items() if is_given(value)}
