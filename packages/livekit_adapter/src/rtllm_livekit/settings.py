"""Settings of the constructor and of a call, for the core's table of parameters."""

from collections.abc import Mapping
from typing import Any

from livekit.agents.utils import is_given

from rtllm import Api, Body, ConfigError, Parameters, quickest_effort, with_form

_OF_HTTP = ("extra_headers", "extra_query", "timeout")
_EFFORT = "reasoning_effort"


def body_of(
    parameters: Parameters,
    options: Mapping[str, Any],
    call: Mapping[str, Any],
    *,
    api: Api,
    model: str,
    with_tools: bool,
    headers: bool,
) -> Body:
    """Build the settings of one request.

    Without a reasoning effort from the user, the lowest one that the model accepts is used.

    Args:
        parameters: Fits the settings to the model.
        options: The constructor's settings by keyword, without unset ones.
        call: The call's own settings by keyword (``tool_choice``, ``parallel_tool_calls`` and
            ``extra_kwargs``), without unset ones. They take precedence.
        api: The API to use.
        model: The model's name, or its family's.
        with_tools: Whether the request has tools.
        headers: Whether a request may have headers and query parameters of its own.

    Raises:
        ConfigError: If a setting can't be sent.
    """
    for name in () if headers else _OF_HTTP:
        if name in call or name in options:
            raise ConfigError(
                f"{name} can't be set per request, because the WebSocket is already open; pass a "
                "client that has it"
            )
    untouched: tuple[str, ...] = ()
    names = ("reasoning", _EFFORT)
    if all(source.get(name) is None for source in (options, call) for name in names):
        options, untouched = {**options, _EFFORT: quickest_effort(model)}, (_EFFORT,)
    options, call = with_form(options), with_form(call)
    return parameters.body(
        options, call, api=api, model=model, untouched=untouched, with_tools=with_tools
    )


def set_keywords(**keywords: Any) -> dict[str, Any]:
    """Return the keywords that were set."""
    return {name: value for name, value in keywords.items() if is_given(value)}


def checked_parameters(parameters: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return the constructor's ``parameters``, which override its other keywords.

    Raises:
        ConfigError: If they are not an object.
    """
    if not isinstance(parameters, Mapping | None):
        raise ConfigError(f"parameters is {type(parameters).__name__}; expected an object")
    return dict(parameters or {})
