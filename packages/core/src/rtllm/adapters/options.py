"""The options of an LLM's requests as one checked value, and the requests built from them."""

from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal, Protocol, Self

from rtllm.adapters.connection_options import ConnectionOptions
from rtllm.adapters.refusals import OnRefusal
from rtllm.client.checks import check_settings
from rtllm.content.request import Request
from rtllm.content.retries import RetryPolicy
from rtllm.content.timeouts import SILENCE_LIMIT, Timeouts
from rtllm.errors import ConfigError
from rtllm.parameters import Api, Body, Parameters, quickest_effort, takes_cache_breakpoints
from rtllm.tools.structured_output import with_form

_OPENAI = "openai"
_EFFORT = "reasoning_effort"
_OF_HTTP = ("extra_headers", "extra_query", "timeout")
PROVIDER_KEYWORDS = frozenset(
    {
        "api_key",
        "base_url",
        "wss_url",
        "organization",
        "project",
        "client",
        "proxy",
        "azure_endpoint",
        "azure_deployment",
        "api_version",
        "azure_ad_token",
        "azure_ad_token_provider",
    }
)
"""The keywords of `resolve_provider` and `resolve_azure`."""
_NO_KEYWORDS = ("self", "cls", "__class__")
_OF_THE_ADAPTER = frozenset(
    {
        "api",
        "fields",
        "host",
        "deployment",
        "defaults",
        "voice_effort",
        "unstored",
        "request_headers",
    }
)


class TimeoutParts(Protocol):
    """The common interface of `httpx.Timeout`, `httpx2.Timeout` and `openai.Timeout`."""

    @property
    def connect(self) -> float | None:
        """Seconds for a connection."""


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Options:
    """The options of an LLM's requests: a value that is checked when it is created.

    Except for the first eight attributes, the names are the adapters' keywords
    (``docs/parameters.md``). An adapter with keywords of its own derives a class. `RequestBuilder`
    and `limits` use them, except for four that the adapter itself carries out: `timeout`,
    `max_retries`, `on_refusal` and `failure_text`.

    Attributes:
        api: The API to use.
        fields: The keywords that set fields of the body; None if not set.
        host: The host's name.
        deployment: Azure's name for the model, which is sent in its place.
        defaults: Values of `fields` that the user did not choose. They are sent only if they fit.
        voice_effort: Whether a request without a reasoning effort gets the lowest one that the
            model accepts.
        unstored: Whether a request without `store` asks the host not to store its response; left
            out on hosts that have no such field.
        request_headers: Whether a request may have headers and query parameters of its own; on a
            WebSocket they are sent when it opens.
        model: The model.
        timeout: Seconds, or an object that names them; see `timeout_parts`.
        speech_floor: The minimum speed of speech in characters per second.
        first_output_timeout: Seconds for the first output of an attempt; None for the base limit.
        silence_limit: Seconds for the first output of a turn; None for no limit.
        max_retries: The number of retries; None for the framework's.
        parameters: Further fields by keyword, which override `fields`.
        model_family: The model's family, as the user named it.
        strict_parameters: Whether a parameter that can't be sent unchanged is an error.
        conversation: The name of the conversation of all requests.
        on_refusal: What to do with the text of a refusal.
        failure_text: The text to speak when a turn fails.

    Raises:
        ConfigError: If a value is not valid.
    """

    api: Api
    fields: Mapping[str, object] = field(default_factory=dict)
    host: str = ""
    deployment: str | None = None
    defaults: Mapping[str, object] = field(default_factory=dict)
    voice_effort: bool = False
    unstored: bool = False
    request_headers: bool = True
    model: str
    timeout: object = None
    speech_floor: float = 0.0
    first_output_timeout: float | None = None
    silence_limit: float | None = SILENCE_LIMIT
    max_retries: int | None = None
    parameters: Mapping[str, object] | None = None
    model_family: str | None = None
    strict_parameters: bool = False
    conversation: str | None = None
    on_refusal: OnRefusal = "speak"
    failure_text: str | None = None

    def __post_init__(self) -> None:
        check_settings(
            api=self.api,
            model=self.model,
            max_retries=self.max_retries or 0,
            model_family=self.model_family,
            strict_parameters=self.strict_parameters,
            conversation=self.conversation,
            on_refusal=self.on_refusal,
            failure_text=self.failure_text,
        )
        if not isinstance(self.parameters, Mapping | None):
            raise ConfigError(f"parameters is {type(self.parameters).__name__}; expected an object")
        timeout_parts(self.timeout)
        self.limits(1.0, None, patient=False)
        # Copied, because users change their objects in place.
        object.__setattr__(self, "fields", _copied(self.fields))
        object.__setattr__(self, "parameters", _copied(self.parameters or {}) or None)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self.model}>"

    @property
    def model_name(self) -> str:
        """The model's name in the body."""
        return self.deployment or self.model

    def limits(self, base: float, connect: float | None, *, patient: bool) -> Timeouts:
        """Derive the time limits of a turn.

        Args:
            base: Seconds for the first output of an attempt and for each gap.
            connect: Seconds for connecting; None for `base`.
            patient: Whether the user chose to wait longer; then the default silence limit is off.
        """
        is_off = patient and self.silence_limit == SILENCE_LIMIT
        return Timeouts.of(
            base,
            connect,
            speech_floor=self.speech_floor,
            first_output=self.first_output_timeout,
            silence=None if is_off else self.silence_limit,
        )

    def default_of(self, keyword: str) -> object:
        """Return the value of a keyword that is not given; None if the keyword is not known."""
        defaults = {one.name: one.default for one in fields(self)}
        return None if keyword in ("model", *_OF_THE_ADAPTER) else defaults.get(keyword)

    def updated(self, changes: Mapping[str, object]) -> Self:
        """Return options with some values changed.

        Args:
            changes: The new values by keyword: those of `fields`, and the attributes from `model`
                on. Another model replaces the deployment.

        Raises:
            ConfigError: If a keyword can't be changed, or a value is not valid.
        """
        own = _keywords_of(type(self))
        accepted = own | self.fields.keys()
        if unknown := sorted(changes.keys() - accepted):
            raise ConfigError(
                f"{unknown[0]} can't be changed; create another LLM for that. These can be: "
                f"{', '.join(sorted(accepted))}"
            )
        changed: dict[str, Any] = {name: changes[name] for name in own & changes.keys()}
        if changed.get("model", self.model) != self.model:
            changed["deployment"] = None
        of_the_body = {name: changes[name] for name in changes.keys() - own}
        return replace(self, fields={**self.fields, **of_the_body}, **changed)


@dataclass(frozen=True, slots=True)
class KeywordGroups:
    """The keywords of a constructor, by what they are for.

    Attributes:
        provider: Those of `resolve_provider`, or of `resolve_azure` except ``model``.
        connection: Those of `ConnectionOptions`.
        options: Those of `Options`, or of a class that an adapter derives from it.
        fields: All others: they set fields of the body.
    """

    provider: dict[str, Any]
    connection: dict[str, Any]
    options: dict[str, Any]
    fields: dict[str, Any]


def group_keywords(keywords: Mapping[str, object], kind: type[Options] = Options) -> KeywordGroups:
    """Group the keywords of an LLM's constructor by what they are for.

    Args:
        keywords: The keywords with their values, for example the local variables of a constructor:
            the object itself is left out.
        kind: The adapter's class of options.
    """
    groups = KeywordGroups({}, {}, {}, {})
    connection = {one.name for one in fields(ConnectionOptions)}
    options = _keywords_of(kind)
    for name, value in keywords.items():
        if name in _NO_KEYWORDS:
            continue
        if name in PROVIDER_KEYWORDS:
            groups.provider[name] = value
        elif name in connection:
            groups.connection[name] = value
        elif name in options:
            groups.options[name] = value
        else:
            groups.fields[name] = value
    return groups


def _keywords_of(kind: type[Options]) -> frozenset[str]:
    """Return the attributes that are keywords."""
    return frozenset(one.name for one in fields(kind)) - _OF_THE_ADAPTER


def _copied(values: Mapping[str, object]) -> dict[str, object]:
    return {
        name: deepcopy(value) if isinstance(value, dict | list) else value
        for name, value in values.items()
    }


def timeout_parts(timeout: object) -> tuple[float | None, float | None]:
    """Return the limits that a timeout names.

    Args:
        timeout: Seconds, an httpx, httpx2 or openai ``Timeout``, or None.

    Returns:
        Seconds for a gap, and for connecting; None if it has no such limit.

    Raises:
        ConfigError: If it is none of these, or not more than 0 seconds.
    """
    if timeout is None:
        return None, None
    read: float | None
    connect: float | None
    if isinstance(timeout, int | float):
        read = connect = float(timeout)
    elif hasattr(timeout, "connect"):
        read, connect = getattr(timeout, "read", None), timeout.connect
    else:
        raise ConfigError(
            f"timeout is {timeout!r}; expected seconds, or an httpx, httpx2 or openai Timeout"
        )
    if any(seconds is not None and not seconds > 0 for seconds in (read, connect)):
        raise ConfigError(f"timeout is {timeout!r}; expected more than 0 seconds")
    return read, connect


class RequestBuilder:
    """Builds the requests of one LLM. It caches the bodies of calls without settings of their own.

    Args:
        options: The options; they can be replaced with `use`.
        model_of: Returns the model that is known to respond to a deployment's name, such as
            `Client.model_of`.

    Raises:
        ConfigError: If an option can't be sent.
    """

    def __init__(self, options: Options, model_of: Callable[[str], str | None]) -> None:
        self._model_of = model_of
        self._bodies: dict[tuple[str, bool], Body] = {}
        self._parameters = Parameters(strict=options.strict_parameters)
        _check(self._parameters, options)
        self._options = replace(options)  # a copy, to notice objects that are changed in place

    def use(self, options: Options) -> None:
        """Use options from the next request on; equal ones change nothing.

        Raises:
            ConfigError: If one can't be sent; then nothing is changed.
        """
        if options == self._options:
            return
        parameters = self._parameters
        if options.strict_parameters != parameters.strict:
            parameters = Parameters(strict=options.strict_parameters)
        _check(parameters, options)
        self._options, self._parameters = replace(options), parameters
        self._bodies.clear()

    def breakpoints(self, wanted: bool | Literal["auto"], model: str = "") -> bool:
        """Whether to send the prompt cache breakpoints of the framework's context.

        Args:
            wanted: Whether the user asked for them; "auto" for OpenAI itself and models that accept
                them.
            model: The call's own model, if it has one.

        Raises:
            ConfigError: If the model does not accept them, and strict parameters are on.
        """
        family = self._family_of(model)
        if wanted == "auto":
            return self._options.host == _OPENAI and takes_cache_breakpoints(family)
        return self._parameters.breakpoints(family, wanted)

    def request(
        self,
        call: Mapping[str, object],
        *,
        limits: Timeouts,
        retry: RetryPolicy,
        tools: tuple[bytes, ...] = (),
    ) -> Request:
        """Build a request without its context: add `Request.items`, `Request.record` and others.

        Args:
            call: The call's own settings by keyword. They take precedence; headers, query and body
                are merged. ``model`` is another model.
            limits: The time limits.
            retry: The retry policy.
            tools: The encoded tools.

        Raises:
            ConfigError: If a setting can't be sent.
        """
        options = self._options
        model = str(call.get("model") or "")
        body = self._body(call, model, with_tools=bool(tools))
        return Request(
            items=(),
            model=model or options.model_name,
            settings=body.settings,
            tools=tools,
            limits=limits,
            retry=retry,
            untouched=body.untouched,
            strict_parameters=options.strict_parameters,
            headers=body.headers,
            query=body.query,
            conversation=options.conversation,
        )

    def _family_of(self, model: str) -> str:
        """Return the model whose family determines the parameters."""
        options = self._options
        served = None
        if options.host.startswith("azure"):
            served = self._model_of(model or options.model_name)
        return _family(options, model, served)

    def _body(self, call: Mapping[str, object], model: str, *, with_tools: bool) -> Body:
        family = self._family_of(model)
        if not call and (family, with_tools) in self._bodies:
            return self._bodies[family, with_tools]
        body = _body(self._parameters, self._options, call, family=family, with_tools=with_tools)
        if not call:
            self._bodies[family, with_tools] = body
        return body


def _family(options: Options, model: str = "", served: str | None = None) -> str:
    return options.model_family or served or model or options.model


def _check(parameters: Parameters, options: Options) -> None:
    """Check that options can be sent.

    Raises:
        ConfigError: If one can't.
    """
    _body(parameters, options, {}, family=_family(options), with_tools=False)


def _body(
    parameters: Parameters,
    options: Options,
    call: Mapping[str, object],
    *,
    family: str,
    with_tools: bool,
) -> Body:
    merged = {**options.fields, **(options.parameters or {})}
    given = {name: value for name, value in merged.items() if value is not None}
    for name in () if options.request_headers else _OF_HTTP:
        if call.get(name) is not None or given.get(name) is not None:
            raise ConfigError(
                f"{name} can't be set per request, because the WebSocket is already open; pass a "
                "client that has it"
            )
    untouched = {name for name, value in options.defaults.items() if given.get(name) == value}
    names = ("reasoning", _EFFORT)
    if options.voice_effort and all(one.get(n) is None for one in (given, call) for n in names):
        given[_EFFORT] = quickest_effort(family)
        untouched.add(_EFFORT)
    if options.unstored and options.api == "responses" and "store" not in given:
        given["store"] = False
        untouched.add("store")
    return parameters.body(
        with_form(given),
        with_form(call),
        api=options.api,
        model=family,
        untouched=untouched,
        with_tools=with_tools,
    )
