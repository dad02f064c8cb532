"""The settings of one request, made from an object's settings and the call's own.

Everything is named as in the Responses API; for Chat Completions the wire layer translates.
"""

import logging
import reprlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from rtllm.errors import ConfigError
from rtllm.parameters.catalog import LOGPROBS, ROWS, TABLE, ParameterContext, Row
from rtllm.parameters.families import Api, family_of, nearest, quickest_effort
from rtllm.parameters.keywords import EXTRAS, OF_THE_REQUEST, Named, said_by
from rtllm.parameters.shapes import without_nulls

logger = logging.getLogger(__name__)

# What says only what holds anyway where there is no place for it.
_IDLE = frozenset({("truncation", "chat", "disabled"), ("logprobs", "responses", False)})
_OF_TOOLS = ("tool_choice", "parallel_tool_calls")
SEALED = "reasoning.encrypted_content"
_MISSING = object()


@dataclass(frozen=True, slots=True)
class Body:
    """The settings of one request.

    Attributes:
        settings: Ready for the wire, by their names in the Responses API, without nulls.
        untouched: The places of those that nobody chose; their refusal needs no warning.
        headers: More headers.
        query: More query parameters.
        timeout: What the call itself said of how long to wait.
        warnings: What was left out or stepped though somebody chose it, in sentences.
    """

    settings: dict[str, Any]
    untouched: frozenset[str]
    headers: dict[str, str] = field(default_factory=dict)
    query: dict[str, str] = field(default_factory=dict)
    timeout: Any = None
    warnings: tuple[str, ...] = ()


class Parameters:
    """The parameters of one object's requests: says each warning once.

    Args:
        strict: Whether a chosen parameter that can't be sent as it is, is an error.
    """

    def __init__(self, *, strict: bool = False) -> None:
        self.strict = strict
        self._told: set[str] = set()

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
        """Make the settings of one request, as `body_of` does.

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
        """Whether to send prompt cache breakpoints that the user asked for.

        Raises:
            ConfigError: If the model is known not to take them, and that is an error.
        """
        family = family_of(model)
        if not wanted or family is None or family.cache_options:
            return wanted
        self.warn(_refusal_of(f"{model} takes no prompt_cache_breakpoints", self.strict))
        return False

    def warn(self, warning: str) -> None:
        """Log a warning, unless it was logged before."""
        if warning not in self._told:
            self._told.add(warning)
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
    """Make the settings of one request.

    Args:
        options: The object's settings by keyword; None means not set.
        call: The call's own, by keyword. These win; headers, query and body are merged.
        api: Which API is asked.
        model: The model's name, or its family's where a deployment has a name of its own.
        untouched: Those of the options that nobody chose; they are sent only where they fit.
        with_tools: Whether tools are offered.
        strict: Whether a chosen parameter that can't be sent as it is, is an error.

    Raises:
        ConfigError: If a value is wrong, a name is unknown, or a parameter can neither be sent
            nor left out.
    """
    for name in OF_THE_REQUEST:
        if name in options:
            raise ConfigError(f"{name} is no parameter; it has a keyword of its own")
    said = said_by(call)
    chosen = {**said_by(options), **said}
    extras = {name: {**_extra(options, name), **_extra(call, name)} for name in EXTRAS}
    fitting = _Fitting(
        chosen,
        frozenset(untouched) - said.keys(),
        api,
        model,
        stored=extras["extra_body"].get("store", chosen.get("store")),
        strict=strict,
    )
    fitting.check()
    settings = fitting.settings(with_tools=with_tools)
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


class _Fitting:
    """Fits what was chosen to what an API and a family of models take."""

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
        """Refuse values that can't be right."""
        for row in TABLE:
            value = self._chosen.get(row.name, _MISSING)
            if value is _MISSING:
                continue
            name = row.name
            if isinstance(value, Named):
                name, value = value.name, value.value
            if not row.values.admit(value, self._api, known=self._family is not None):
                raise ConfigError(
                    f"{name} is {reprlib.repr(value)}; expected {row.values.expected(self._api)}"
                )

    def settings(self, *, with_tools: bool) -> dict[str, Any]:
        """The settings as fields of a body, in the order of the table."""
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
        """Ask for the reasoning of unstored answers, which a whole resend has to put back."""
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
            # Reasoning models refuse the old name; old hosts know no other.
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
            ConfigError: If it can neither be sent nor left out.
        """
        if (row.name, self._api, value if isinstance(value, str | bool) else None) in _IDLE:
            return False
        if not row.has_place(self._api):
            api = "the Responses API has" if self._api == "responses" else "Chat Completions have"
            return self._not_taken(row, f"{api} no {row.name}")
        if self._family is None:
            # An unset default is sent to models that are known to accept it; the
            # framework's temperature is part of how its users know their agents.
            return row.name not in self.untouched or row.name == "temperature"
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
        return self._not_taken(row, row.why or f"{self._model} takes no {_shown(row, value)}")

    def _not_taken(self, row: Row, why: str) -> bool:
        if row.name not in self.untouched:
            must_not = row.untaken == "error"
            self.warnings.append(_refusal_of(why, self._strict, must_not=must_not))
        return False

    def _effort(self, *, with_tools: bool) -> str | None:
        """The effort to send: the nearest that is accepted to the one chosen."""
        effort: str | None = self._chosen.get("reasoning_effort")
        family = self._family
        if family is None:
            is_default = "reasoning_effort" in self.untouched
            return None if is_default and quickest_effort(self._model) is None else effort
        only_none = self._api == "chat" and with_tools and family.chat_tools == "effort none"
        if only_none and effort is None:
            # Without it, models that reason by default would refuse the tools.
            self.untouched.add("reasoning_effort")
            return "none"
        if effort is None:
            return None
        if not family.reasons:
            self._not_taken(ROWS["reasoning_effort"], f"{self._model} takes no reasoning_effort")
            return None
        accepted = ("none",) if only_none else family.efforts
        if effort in accepted:
            return effort
        other = nearest(effort, accepted)
        if "reasoning_effort" not in self.untouched:
            where = " with tools over Chat Completions" if only_none else ""
            self._step(
                f"{self._model} takes no reasoning_effort {effort!r}{where}", other, accepted
            )
        return other

    def _step(self, why: str, other: str | None, accepted: Collection[str]) -> None:
        if self._strict:
            raise ConfigError(f"{why}; expected one of {', '.join(map(repr, accepted))}")
        self.warnings.append(f"{why}; {other!r} is used")


def _refusal_of(why: str, strict: bool, *, must_not: bool = False) -> str:
    """A warning that something is left out; or the error, where that can't be.

    Raises:
        ConfigError: If it can't be left out.
    """
    if must_not:
        raise ConfigError(f"{why}, and without it the answer would be another; don't pass it")
    if strict:
        raise ConfigError(f"{why}; don't pass it, or let strict_parameters be False")
    return f"{why}; it is left out"


def _shown(row: Row, value: Any) -> str:
    """A parameter in a sentence, with its value where that may be what isn't taken."""
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
