"""The constructor's settings and a call's own, as the core's table of parameters wants them."""

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
    """Make the settings of one request.

    Where nobody says how much the model shall think, it is the least that it accepts.

    Args:
        parameters: What fits them to the model.
        options: The constructor's settings by keyword, the given ones only.
        call: The call's own by keyword (``tool_choice``, ``parallel_tool_calls`` and
            ``extra_kwargs``), the given ones only. These win.
        api: Which API is asked.
        model: The model's name, or its family's.
        with_tools: Whether tools are offered.
        headers: Whether a request may have headers and query parameters of its own.

    Raises:
        ConfigError: If a setting can't be sent.
    """
    for name in () if headers else _OF_HTTP:
        if name in call or name in options:
            raise ConfigError(f"{name} can't be set per request: the socket is open already")
    untouched: tuple[str, ...] = ()
    names = ("reasoning", _EFFORT)
    if all(given.get(name) is None for given in (options, call) for name in names):
        options, untouched = {**options, _EFFORT: quickest_effort(model)}, (_EFFORT,)
    options, call = with_form(options), with_form(call)
    return parameters.body(
        options, call, api=api, model=model, untouched=untouched, with_tools=with_tools
    )


def given(**keywords: Any) -> dict[str, Any]:
    """The keywords that were given."""
    return {name: value for name, value in keywords.items() if is_given(value)}


def more(parameters: Mapping[str, Any] | None) -> dict[str, Any]:
    """The constructor's ``parameters``; they win over its other keywords.

    Raises:
        ConfigError: If they are no object.
    """
    if not isinstance(parameters, Mapping | None):
        raise ConfigError(f"parameters is {type(parameters).__name__}; expected an object")
    return dict(parameters or {})
