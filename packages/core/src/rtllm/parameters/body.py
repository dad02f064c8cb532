"""Settings of one request, merged from an object's settings and those of the call.

All names are those of the Responses API; the encoder translates them for Chat Completions.
"""

import logging
import reprlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from rtllm.errors import ConfigError
from rtllm.parameters.catalog import (
    LOGPROBS,
    NOT_IN_EXTRA_BODY,
    ROWS,
    TABLE,
    ParameterContext,
    Row,
)
from rtllm.parameters.families import Api, family_of, nearest, quickest_effort
from rtllm.parameters.keywords import EXTRAS, OF_THE_REQUEST, Named, parameters_of
from rtllm.parameters.shapes import without_nulls

logger = logging.getLogger(__name__)

# Values that change nothing, so they are dropped silently if the API has no place for them.
_IDLE = frozenset({("truncation", "chat", "disabled"), ("logprobs", "responses", False)})
_OF_TOOLS = ("tool_choice", "parallel_tool_calls")
SEALED = "reasoning.encrypted_content"
_MISSING = object()


@dataclass(frozen=True, slots=True)
class Body:
    """The settings of one request.

    Attributes:
        settings: The body's fields, by their names in the Responses API, without nulls.
        untouched: The places of settings that the user did not choose; their rejection needs no
            warning.
        headers: Additional headers.
        query: Additional query parameters.
        timeout: The call's own timeout.
        warnings: Sentences about chosen settings that were dropped or changed.
    """

    settings: dict[str, Any]
    untouched: frozenset[str]
    headers: dict[str, str] = field(default_factory=dict)
    query: dict[str, str] = field(default_factory=dict)
    timeout: Any = None
    warnings: tuple[str, ...] = ()


class Parameters:
    """The parameters of one object's requests; each warning is logged once.

    Args:
        strict: Whether a chosen parameter that can't be sent unchanged is an error.
    """

    def __init__(self, *, strict: bool = False) -> None:
        self.strict = strict
        self._warned: set[str] = set()

    def body(
        self,
        options: Mapping[str, Any],
        call: Mapping[str, Any],
        *,
        api: Api,
        model: str,
        untouched: Collection[str] = (),
        with_tools: bool,
    ) -> Body:
        """Build the settings of one request, as `body_of` does.

        Raises:
            ConfigError: If a setting can't be sent.
        """
        body = body_of(
            options,
            call,
            api=api,
            model=model,
            untouched=untouched,
            with_tools=with_tools,
            strict=self.strict,
        )
        for warning in body.warnings:
            self.warn(warning)
        return body

    def breakpoints(self, model: str, wanted: bool) -> bool:
        """Whether to send the prompt cache breakpoints that the user asked for.

        Raises:
            ConfigError: If the model does not accept them, and strict parameters are on.
        """
        family = family_of(model)
        if not wanted or family is None or family.cache_options:
            return wanted
        self.warn(_refusal_of(f"{model} does not accept prompt_cache_breakpoints", self.strict))
        return False

    def warn(self, warning: str) -> None:
        """Log a warning, unless it was logged before."""
        if warning not in self._warned:
            self._warned.add(warning)
            logger.warning("%s", warning)


def body_of(
    options: Mapping[str, Any],
    call: Mapping[str, Any],
    *,
    api: Api,
    model: str,
    untouched: Collection[str] = (),
    with_tools: bool,
    strict: bool = False,
) -> Body:
    """Build the settings of one request.

    Args:
        options: The object's settings by keyword; None means not set.
        call: The call's own settings by keyword. They take precedence; headers, query and body are
            merged.
        api: The API to use.
        model: The model's name, or its family's name if a deployment has another one.
        untouched: The options that the user did not choose; they are sent only if they fit.
        with_tools: Whether the request has tools.
        strict: Whether a chosen parameter that can't be sent unchanged is an error.

    Raises:
        ConfigError: If a value is wrong, a name is unknown, or a parameter can neither be sent nor
            dropped.
    """
    for name in OF_THE_REQUEST:
        if name in options:
            raise ConfigError(f"{name} is not a parameter; pass it with its own keyword")
    given = parameters_of(call)
    chosen = {**parameters_of(options), **given}
    extras = {name: {**_extra(options, name), **_extra(call, name)} for name in EXTRAS}
    fitting = _Fitting(
        chosen,
        _untouched(chosen, frozenset(untouched) - given.keys() - extras["extra_body"].keys()),
        api,
        model,
        stored=extras["extra_body"].get("store", chosen.get("store")),
        strict=strict,
    )
    fitting.check()
    settings = fitting.settings(with_tools=with_tools)
    if forbidden := sorted(NOT_IN_EXTRA_BODY[api] & extras["extra_body"].keys()):
        raise ConfigError(
            f"extra_body sets {', '.join(forbidden)}, which the chat context or the protocol "
            "determines; remove it"
        )
    if extra := without_nulls(extras["extra_body"]):
        settings.update(extra if api == "responses" else {"extra_body": extra})
    return Body(
        settings,
        frozenset(ROWS[name].place for name in fitting.untouched),
        _strings(extras["extra_headers"]),
        _strings(extras["extra_query"]),
        call.get("timeout"),
        tuple(fitting.warnings),
    )


def _untouched(chosen: Mapping[str, Any], untouched: frozenset[str]) -> frozenset[str]:
    """Return the options that may be left out, with those that only repeat the API's default."""
    return untouched | {"tool_choice"} if chosen.get("tool_choice") == "auto" else untouched


class _Fitting:
    """Fits the chosen settings to what an API and a family of models accept."""

    def __init__(
        self,
        chosen: Mapping[str, Any],
        untouched: frozenset[str],
        api: Api,
        model: str,
        *,
        stored: bool | None,
        strict: bool,
    ) -> None:
        self.warnings: list[str] = []
        self.untouched = set(untouched)
        self._chosen = {name: value for name, value in chosen.items() if value is not None}
        self._api: Api = api
        self._model = model
        self._family = family_of(model)
        self._stored = stored
        self._strict = strict

    def check(self) -> None:
        """Reject values that are certainly wrong."""
        for row in TABLE:
            value = self._chosen.get(row.name, _MISSING)
            if value is _MISSING:
                continue
            name = row.name
            if isinstance(value, Named):
                name, value = value.name, value.value
            if not row.values.accepts(value, self._api, known=self._family is not None):
                raise ConfigError(
                    f"{name} is {reprlib.repr(value)}; expected {row.values.expected(self._api)}"
                )

    def settings(self, *, with_tools: bool) -> dict[str, Any]:
        """Return the settings as fields of a body, in the order of the table."""
        effort = self._effort(with_tools=with_tools)
        settings: dict[str, Any] = {}
        for row in TABLE:
            if row.name == "reasoning_effort":
                if effort is not None:
                    _put(settings, row, effort)
            elif row.name in self._chosen and (with_tools or row.name not in _OF_TOOLS):
                value = self._chosen[row.name]
                if self._fits(row, value, effort):
                    self._set(settings, row, value)
        self._seal(settings, effort)
        return settings

    def _seal(self, settings: dict[str, Any], effort: str | None) -> None:
        """Request the encrypted reasoning of unstored responses, which a full resend needs."""
        family = self._family
        if self._api == "chat" or self._stored is not False or family is None:
            return
        if family.reasons and (effort or family.default_effort) != "none":
            included = settings.get("include", [])
            if "include" not in settings:
                self.untouched.add("include")
            if SEALED not in included:
                settings["include"] = [*included, SEALED]

    def _set(self, settings: dict[str, Any], row: Row, value: Any) -> None:
        if isinstance(value, Named):
            # Reasoning models reject the old name; older hosts know only that one.
            old = value.name == "max_tokens" and self._api == "chat" and self._family is None
            settings[value.name if old else row.place] = value.value
            return
        if self._api == "responses" and row.name in ("logprobs", "top_logprobs"):
            included = settings.get("include", [])
            if LOGPROBS not in included:
                settings["include"] = [*included, LOGPROBS]
        if self._api == "chat" or row.name != "logprobs":
            _put(settings, row, value)

    def _fits(self, row: Row, value: Any, effort: str | None) -> bool:
        """Whether a value is to be sent.

        Raises:
            ConfigError: If it can neither be sent nor dropped.
        """
        if (row.name, self._api, value if isinstance(value, str | bool) else None) in _IDLE:
            return False
        if not row.has_place(self._api):
            api = "the Responses API has" if self._api == "responses" else "Chat Completions has"
            return self._not_taken(row, f"{api} no {row.name}")
        if self._family is None:
            # A default is sent to models that are known to accept it. The framework's temperature
            # is sent to all, because users rely on it, and so are fields of the host.
            of_all = ("temperature", "store", "tool_choice")
            return row.name not in self.untouched or row.name in of_all
        if row.name == "temperature" and row.name in self.untouched and self._family.reasons:
            return False
        asked = ParameterContext(
            self._api,
            self._family,
            effort or self._family.default_effort,
            self._stored,
        )
        if row.takes is None or row.takes(asked, value):
            return True
        return self._not_taken(
            row, row.why or f"{self._model} does not accept {_shown(row, value)}"
        )

    def _not_taken(self, row: Row, why: str) -> bool:
        if row.name not in self.untouched:
            must_not = row.untaken == "error"
            self.warnings.append(_refusal_of(why, self._strict, must_not=must_not))
        return False

    def _effort(self, *, with_tools: bool) -> str | None:
        """Return the effort to send: the accepted one that is nearest to the chosen one."""
        effort: str | None = self._chosen.get("reasoning_effort")
        family = self._family
        if family is None:
            is_default = "reasoning_effort" in self.untouched
            return None if is_default and quickest_effort(self._model) is None else effort
        only_none = self._api == "chat" and with_tools and family.chat_tools == "effort none"
        if only_none and effort is None:
            # Without it, models that reason by default would reject the tools.
            self.untouched.add("reasoning_effort")
            return "none"
        if effort is None:
            return None
        if not family.reasons:
            self._not_taken(
                ROWS["reasoning_effort"], f"{self._model} does not accept reasoning_effort"
            )
            return None
        accepted = ("none",) if only_none else family.efforts
        if effort in accepted:
            return effort
        other = nearest(effort, accepted)
        if "reasoning_effort" not in self.untouched:
            where = " with tools over Chat Completions" if only_none else ""
            self._step(
                f"{self._model} does not accept reasoning_effort {effort!r}{where}", other, accepted
            )
        return other

    def _step(self, why: str, other: str | None, accepted: Collection[str]) -> None:
        if self._strict:
            raise ConfigError(f"{why}; expected one of {', '.join(map(repr, accepted))}")
        self.warnings.append(f"{why}; {other!r} is used instead")


def _refusal_of(why: str, strict: bool, *, must_not: bool = False) -> str:
    """Return the warning that a parameter is dropped.

    Raises:
        ConfigError: If it must not be dropped.
    """
    if must_not:
        raise ConfigError(f"{why}, and dropping it would change the response; don't pass it")
    if strict:
        raise ConfigError(f"{why}; don't pass it, or set strict_parameters=False")
    return f"{why}; it is not sent"


def _shown(row: Row, value: Any) -> str:
    """Name a parameter in a sentence, with its value if that may be the reason."""
    return f"{row.name} {value!r}" if isinstance(value, str | bool) else row.name


def _put(settings: dict[str, Any], row: Row, value: Any) -> None:
    outer, _, inner = row.place.partition(".")
    if inner:
        settings[outer] = {**settings.get(outer, {}), inner: value}
    else:
        settings[outer] = value


def _extra(given: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = given.get(name)
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise ConfigError(f"{name} is {type(value).__name__}; expected an object")
    return value


def _strings(given: Mapping[str, Any]) -> dict[str, str]:
    return {str(name): str(value) for name, value in given.items() if value is not None}
