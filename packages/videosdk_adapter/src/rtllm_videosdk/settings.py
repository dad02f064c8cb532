"""Options of an LLM's requests: attributes that each request reads."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal

from rtllm import SILENCE_LIMIT, Request, RetryPolicy, Timeouts
from rtllm.adapters import (
    Clients,
    ConnectionOptions,
    Options,
    RequestBuilder,
    check_settings,
    group_keywords,
    resolve_provider,
    timeout_parts,
)

DEFAULT_TEMPERATURE = 0.7
READ, CONNECT = 10.0, 15.0
"""The original's default limits, in seconds."""
RETRY_INTERVAL = 0.5
"""Seconds before the second retry and later ones."""

_ATTRIBUTES = (
    "model",
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
    "store",
    "model_family",
    "conversation",
    "on_refusal",
    "failure_text",
)
"""The keywords that are public attributes: the framework dumps them (`get_component_configs`)."""


class PrivateSetting:
    """A setting that is a property, so that the framework does not dump it."""

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, llm: "LiveSettings", owner: type | None = None) -> Mapping[str, Any] | None:
        options: Any = llm._options
        value: Mapping[str, Any] | None = options.fields.get(self._name)
        return options.parameters if self._name == "parameters" else value

    def __set__(self, llm: "LiveSettings", value: Mapping[str, Any] | None) -> None:
        llm._options = llm._options.updated({self._name: value})


class LiveSettings:
    """The settings of an LLM; each request reads their current values."""

    streaming: bool
    store: bool | None
    failure_text: str | None
    extra_headers = PrivateSetting()
    extra_query = PrivateSetting()
    extra_body = PrivateSetting()
    parameters = PrivateSetting()
    _clients: Clients
    _options: Options
    _requests: RequestBuilder

    def _set_up(self, keywords: Mapping[str, Any]) -> None:
        """Store the keywords of the constructor, and check them.

        Raises:
            ConfigError: If one is not valid or can't be sent.
        """
        given = dict(keywords)
        self.streaming = given.pop("streaming")
        check_settings(streaming=self.streaming)
        for name in _ATTRIBUTES:
            setattr(self, name, given[name])
        check_settings(store=self.store)
        if not self.streaming:
            given["store"] = None
        groups = group_keywords(given)
        connection = ConnectionOptions(**groups.connection)
        self._clients = clients = Clients(resolve_provider(**groups.provider), connection)
        self._options = Options(
            api=self._api,
            fields=groups.fields,
            host=clients.provider.host,
            deployment=clients.provider.deployment,
            unstored=True,
            defaults={
                "temperature": DEFAULT_TEMPERATURE,
                **clients.provider.defaults,
            },
            **groups.options,
        )
        clients.provider.check()
        self._requests = RequestBuilder(self._current(), clients.model_of)

    @property
    def _api(self) -> Literal["responses", "chat"]:
        return "responses" if self.streaming else "chat"

    @property
    def api_key(self) -> str | None:
        """The key, if it is a text; a new value applies to the next connection."""
        key = self._clients.provider.key
        return key if isinstance(key, str) else None

    @api_key.setter
    def api_key(self, key: str) -> None:
        self._clients.set_provider(replace(self._clients.provider, key=key))

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
        changes = {name: options[name] for name in options.keys() - {"api_key"}}
        updated = self._current().updated(changes)
        self._requests.use(updated)
        self._options = updated
        for name in options.keys() & {"api_key", *_ATTRIBUTES}:
            setattr(self, name, options[name])

    def _current(self) -> Options:
        """Return the options with the current values of the attributes.

        Raises:
            ConfigError: If one is not valid.
        """
        check_settings(store=self.store)
        options = self._options
        values = {name: getattr(self, name) for name in _ATTRIBUTES}
        values["store"] = self.store if self.streaming else None
        known = {"model": options.model, **options.fields}
        changes = {
            name: value
            for name, value in values.items()
            if value != (known[name] if name in known else getattr(options, name))
        }
        if changes:
            options = options.updated(changes)
        return options if options.api == self._api else replace(options, api=self._api)

    def _request(
        self, call: Mapping[str, Any] | None = None, *, tools: tuple[bytes, ...] = ()
    ) -> Request:
        """Build a request without its context.

        Args:
            call: The call's own settings by keyword. They take precedence.
            tools: The encoded tools.

        Raises:
            ConfigError: If a setting can't be sent.
        """
        call = call or {}
        options = self._current()
        self._requests.use(options)
        timeout = call.get("timeout")
        return self._requests.request(
            call,
            limits=limits_of(options, options.timeout if timeout is None else timeout),
            retry=RetryPolicy(options.max_retries or 0, RETRY_INTERVAL),
            tools=tools,
        )


def limits_of(options: Options, timeout: object) -> Timeouts:
    """Derive a turn's limits. A part of a timeout that is None is limited only by the turn.

    Args:
        options: The options.
        timeout: Seconds, or an httpx, httpx2 or openai ``Timeout``; None for the original's. With a
            ``read`` longer than the default silence limit, that limit is off.

    Raises:
        ConfigError: If it is none of these, or not more than 0 seconds.
    """
    read, connect = (READ, CONNECT) if timeout is None else timeout_parts(timeout)
    total = Timeouts().total
    read, connect = (total if one is None else one for one in (read, connect))
    return options.limits(read, connect, patient=read > SILENCE_LIMIT)
