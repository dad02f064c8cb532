"""Settings of an LLM's requests: attributes that each request reads, and the call's own."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from rtllm import ConfigError, RetryPolicy
from rtllm.adapters import Api, Body, OnRefusal, Parameters, check_settings, with_form
from rtllm_videosdk.private_settings import PrivateSettings
from rtllm_videosdk.timeouts import VideoSDKTimeouts

DEFAULT_TEMPERATURE = 0.7

_WITH_DEFAULTS = ("temperature", "reasoning_effort", "verbosity")
_OPTIONS = (
    "temperature",
    "tool_choice",
    "max_completion_tokens",
    "top_p",
    "frequency_penalty",
    "presence_penalty",
    "seed",
    "parallel_tool_calls",
    "reasoning_effort",
    "verbosity",
)
_TIMEOUTS: Mapping[str, str] = {
    "speech_floor": "speech_floor",
    "first_output_timeout": "first_output",
    "silence_limit": "silence",
}
"""The keywords of the time limits, with the names of their fields."""

_ATTRIBUTES = (
    *_OPTIONS,
    "api_key",
    "conversation",
    "extra_body",
    "extra_headers",
    "extra_query",
    "failure_text",
    "model",
    "model_family",
    "on_refusal",
    "parameters",
    "store",
)
"""The keywords that are attributes and can be changed."""


class RequestSettings(PrivateSettings):
    """The settings of an LLM's requests; each request reads their current values."""

    model: str
    model_family: str | None
    streaming: bool
    store: bool
    conversation: str | None
    on_refusal: OnRefusal
    failure_text: str | None
    _timeout: Any
    _timeouts: VideoSDKTimeouts
    _retry: RetryPolicy
    _parameters: Parameters

    def update_options(self, **options: Any) -> None:
        """Change settings of the constructor; the next request uses them.

        The attributes may also be set one by one; then an invalid value fails the next request.

        Args:
            **options: The constructor's keywords, except those of the connection and the host, such
                as ``base_url`` or ``lanes``. ``model`` is the name in the request; on Azure it is
                that of a deployment.

        Raises:
            ConfigError: (a `ValueError`) If a keyword can't be changed, or a value is not valid.
                Then nothing is changed.
        """
        accepted = {*_ATTRIBUTES, *_TIMEOUTS, "timeout", "max_retries", "strict_parameters"}
        if unknown := sorted(options.keys() - accepted):
            raise ConfigError(
                f"{unknown[0]} can't be changed; create another LLM for that. These can be: "
                f"{', '.join(sorted(accepted))}"
            )
        timeouts = replace(
            self._timeouts,
            **{_TIMEOUTS[name]: options[name] for name in _TIMEOUTS if name in options},
        )
        timeout = options.get("timeout", self._timeout)
        timeouts.limits(timeout)
        retries = options.get("max_retries", self._retry.budget)
        strict = options.get("strict_parameters", self._parameters.strict)
        check_settings(max_retries=retries, strict_parameters=strict)
        before = {name: getattr(self, name) for name in _ATTRIBUTES if name in options}
        try:
            for name in before:
                setattr(self, name, options[name])
            self._check_settings()
        except ConfigError:
            for name, value in before.items():
                setattr(self, name, value)
            raise
        self._timeout, self._timeouts = timeout, timeouts
        self._retry = replace(self._retry, budget=retries)
        if "strict_parameters" in options:
            self._parameters = Parameters(strict=strict)

    def _check_settings(self) -> None:
        """Check the settings that requests read.

        Raises:
            ConfigError: If one is not valid or can't be sent.
        """
        check_settings(
            conversation=self.conversation,
            failure_text=self.failure_text,
            model=self.model,
            store=self.store,
            on_refusal=self.on_refusal,
        )
        self._timeouts.limits(self._timeout)
        self._body({}, with_tools=False)

    def _body(self, call: Mapping[str, Any], *, with_tools: bool) -> Body:
        """Build the body of a request.

        Args:
            call: The call's own settings by keyword. They take precedence.
            with_tools: Whether the request has tools.

        Raises:
            ConfigError: If a setting can't be sent.
        """
        api: Api = "responses" if self.streaming else "chat"
        options = {name: getattr(self, name) for name in _OPTIONS}
        options["extra_headers"] = self._extra.headers
        options["extra_query"] = self._extra.query
        options["extra_body"] = self._extra.body
        if self.streaming:
            options["store"] = self.store
        more = self._extra.parameters
        if not isinstance(more, Mapping | None):
            raise ConfigError(f"parameters is {type(more).__name__}; expected an object")
        options |= more or {}
        defaults = {"temperature": DEFAULT_TEMPERATURE, **self._clients.provider.defaults}
        return self._parameters.body(
            with_form(options),
            with_form(call),
            api=api,
            model=self._family_of(call),
            untouched=[name for name in _WITH_DEFAULTS if options.get(name) == defaults.get(name)],
            with_tools=with_tools,
        )

    def _family_of(self, call: Mapping[str, Any]) -> str:
        """Return the model whose family determines the parameters."""
        model = call.get("model")
        asked = str(model or self._clients.provider.deployment or self.model)
        check_settings(model_family=self.model_family)
        return self.model_family or self._clients.model_of(asked) or str(model or self.model)
