"""Settings of the object and of a call, for the core's table of parameters."""

from collections.abc import Mapping
from typing import Any

from rtllm import Api, Body, Parameters, with_form

DEFAULT_TEMPERATURE = 0.7

_WITH_DEFAULTS = ("temperature", "reasoning_effort", "verbosity")


def body_of(
    parameters: Parameters,
    options: Mapping[str, Any],
    call: Mapping[str, Any],
    *,
    api: Api,
    model: str,
    defaults: Mapping[str, Any],
    with_tools: bool,
) -> Body:
    """Build the settings of one request.

    Args:
        parameters: Fits the settings to the model.
        options: The object's settings by keyword; None means not set.
        call: The call's own settings by keyword. They take precedence.
        api: The API to use.
        model: The model's name, or its family's.
        defaults: Values that count as not chosen by the user.
        with_tools: Whether the request has tools.

    Raises:
        ConfigError: If a setting can't be sent.
    """
    untouched = [name for name in _WITH_DEFAULTS if options.get(name) == defaults.get(name)]
    options, call = with_form(options), with_form(call)
    return parameters.body(
        options, call, api=api, model=model, untouched=untouched, with_tools=with_tools
    )
