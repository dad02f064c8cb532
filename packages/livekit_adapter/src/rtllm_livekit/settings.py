"""Settings of the constructor and of a call, for the core's table of parameters."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Self

from livekit.agents.utils import is_given

from rtllm import SILENCE_LIMIT, ConfigError
from rtllm.adapters import (
    Api,
    Body,
    OnRefusal,
    Parameters,
    check_settings,
    quickest_effort,
    with_form,
)
from rtllm_livekit.timeouts import LiveKitTimeouts

_OF_HTTP = ("extra_headers", "extra_query", "timeout")
_EFFORT = "reasoning_effort"

_TIMEOUTS: Mapping[str, tuple[str, Any]] = {
    "timeout": ("timeout", None),
    "speech_floor": ("speech_floor", 0.0),
    "first_output_timeout": ("first_output", None),
    "silence_limit": ("silence", SILENCE_LIMIT),
}
"""The keywords of the time limits, with the names of their fields and their defaults."""

_FIELDS: Mapping[str, tuple[str, Any]] = {
    "conversation": ("conversation", None),
    "failure_text": ("failure_text", None),
    "max_retries": ("retries", None),
    "model_family": ("family", None),
    "on_refusal": ("on_refusal", "speak"),
    "prompt_cache_breakpoints": ("breakpoints", "auto"),
    "strict_parameters": ("strict", False),
}
"""The same for keywords that are neither time limits nor fields of the body."""


@dataclass(frozen=True, slots=True)
class RequestSettings:
    """The settings of an LLM's requests.

    Attributes:
        model: The model's name in the body.
        family: The model's family, as the user named it.
        deployed_model: The model of a deployment, as far as the user named it.
        host: The host's name.
        api: The API to use.
        options: The constructor's keywords that set fields of the body; `NOT_GIVEN` if not set.
        headers: Whether a request may have headers and query parameters of its own; on a WebSocket
            they are sent when it opens.
        timeouts: Its time limits.
        breakpoints: Whether prompt cache breakpoints are sent.
        strict: Whether a parameter that can't be sent unchanged is an error.
        parameters: Further settings by keyword, which override `options`.
        retries: The number of retries, in place of that in ``conn_options``.
        conversation: The name of the conversation of all requests.
        on_refusal: What to do with the text of a refusal.
        failure_text: The text to speak when a turn fails.

    Raises:
        ConfigError: If a value is not valid.
    """

    model: str
    family: str | None
    deployed_model: str | None
    host: str
    api: Api
    options: Mapping[str, Any]
    headers: bool
    timeouts: LiveKitTimeouts
    breakpoints: bool | Literal["auto"]
    strict: bool
    parameters: Mapping[str, Any] = field(default_factory=dict)
    retries: int | None = None
    conversation: str | None = None
    on_refusal: OnRefusal = "speak"
    failure_text: str | None = None

    def __post_init__(self) -> None:
        check_settings(
            conversation=self.conversation,
            failure_text=self.failure_text,
            max_retries=self.retries or 0,
            model_family=self.family,
            on_refusal=self.on_refusal,
            strict_parameters=self.strict,
        )

    def family_of(self, model: str, served: str | None = None) -> str:
        """Return the model whose family determines the parameters.

        Args:
            model: The model's name in the body.
            served: The model that a deployment was seen to run.
        """
        return self.family or served or self.deployed_model or model

    def updated(self, changes: Mapping[str, Any]) -> Self:
        """Return the settings with some of the constructor's keywords changed.

        Args:
            changes: The new values by keyword; `NOT_GIVEN` for the default.

        Raises:
            ConfigError: If a keyword can't be changed, or a value is not valid.
        """
        options = dict(self.options)
        fields: dict[str, Any] = {}
        timeouts: dict[str, Any] = {}
        for keyword, value in changes.items():
            if keyword in options:
                options[keyword] = value
            elif keyword in _TIMEOUTS:
                name, default = _TIMEOUTS[keyword]
                timeouts[name] = value if is_given(value) else default
            elif keyword in _FIELDS:
                name, default = _FIELDS[keyword]
                fields[name] = value if is_given(value) else default
            elif keyword == "parameters":
                fields[keyword] = checked_parameters(value if is_given(value) else None)
            elif keyword == "model" and is_given(value):
                check_settings(model=value)
                fields |= {"model": value, "deployed_model": None}
            else:
                accepted = {"model", "parameters", *_TIMEOUTS, *_FIELDS, *options}
                raise ConfigError(
                    f"{keyword} can't be changed; create another LLM for that. These can be: "
                    f"{', '.join(sorted(accepted))}"
                )
        limits = replace(self.timeouts, **timeouts)
        return replace(self, options=options, timeouts=limits, **fields)


def body_of(
    parameters: Parameters,
    settings: RequestSettings,
    call: Mapping[str, Any],
    *,
    family: str,
    with_tools: bool,
) -> Body:
    """Build the body of one request.

    Without a reasoning effort from the user, the lowest one that the model accepts is used.

    Args:
        parameters: Fits the settings to the model.
        settings: The constructor's settings.
        call: The call's own settings by keyword (``tool_choice``, ``parallel_tool_calls`` and
            ``extra_kwargs``), without unset ones. They take precedence.
        family: The model whose family determines the parameters.
        with_tools: Whether the request has tools.

    Raises:
        ConfigError: If a setting can't be sent.
    """
    options: Mapping[str, Any] = {**set_keywords(**settings.options), **settings.parameters}
    for name in () if settings.headers else _OF_HTTP:
        if name in call or name in options:
            raise ConfigError(
                f"{name} can't be set per request, because the WebSocket is already open; pass a "
                "client that has it"
            )
    untouched: tuple[str, ...] = ()
    names = ("reasoning", _EFFORT)
    if all(given.get(name) is None for given in (options, call) for name in names):
        options, untouched = {**options, _EFFORT: quickest_effort(family)}, (_EFFORT,)
    return parameters.body(
        with_form(options),
        with_form(call),
        api=settings.api,
        model=family,
        untouched=untouched,
        with_tools=with_tools,
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
