"""Adjustments of settings after a rejection: which parameter it names, and what to send instead."""

import re
from collections.abc import Collection, Mapping
from typing import Any

from rtllm.parameters.catalog import TABLE
from rtllm.parameters.families import nearest

DROPPABLE = frozenset({row.place for row in TABLE if row.refused != "error"} | {"stream_options"})
"""Parameters that may be dropped after a rejection without changing the response much."""

STEPPABLE = frozenset(row.place for row in TABLE if row.refused == "stepped")
"""The ones that are set to the nearest value in the rejection instead."""

# Seen: the rejection of a value lists the supported ones: "Supported values are: 'low', 'medium',
# and 'high'."
_SUPPORTED = re.compile(r"Supported values are:(.*)", re.IGNORECASE | re.DOTALL)
_QUOTED = re.compile(r"'([^']+)'")


def supported_values(message: str) -> tuple[str, ...]:
    """Return the values that a rejection lists as supported."""
    found = _SUPPORTED.search(message)
    return tuple(_QUOTED.findall(found[1])) if found is not None else ()


# Seen: some rejections tell what to do: "… or set reasoning_effort to 'none'."
_WANTED = re.compile(r"set (?:`|')?([\w.]+)(?:`|')? to (?:`|'|\")(\w+)", re.IGNORECASE)
# An object's name may be an ordinary word, so it must be named as a field.
_AS_FIELD = r"(?:supplied|parameter|argument|field|name|property|key)s?\W{1,3}"
_ALIASES: Mapping[str, tuple[str, ...]] = {
    "reasoning.effort": (
        r"reasoning_effort",
        r"reasoning\.effort",
        r"['\"`]reasoning['\"`]",
        _AS_FIELD + "reasoning",
    ),
    "text.verbosity": (
        r"verbosity",
        r"text\.verbosity",
        r"['\"`]text['\"`]",
        _AS_FIELD + "text",
    ),
    "reasoning.summary": (
        r"reasoning\.summary",
        r"['\"`]reasoning['\"`]",
        _AS_FIELD + "reasoning",
    ),
    "stream_options": (r"stream_options", r"include_usage"),
}


def requested_value(message: str, parameter: str) -> str | None:
    """Return the value that a rejection asks for; None if it names none."""
    for name, value in _WANTED.findall(message):
        if any(re.fullmatch(alias, name) for alias in _aliases(parameter)):
            return str(value)
    return None


def find_parameter(
    words: str, settings: Mapping[str, Any], droppable: Collection[str] = DROPPABLE
) -> str | None:
    """Find the parameter that a rejection names, among those that were sent and may be dropped.

    Hosts name it in their sentence, as a path, or in a list of details; often without a code.

    Args:
        words: The full text of the rejection.
        settings: The settings that were sent.
        droppable: The parameters that may be dropped.
    """
    found: list[tuple[int, str]] = []
    for parameter in droppable:
        if get_parameter(settings, parameter) is None and parameter != "stream_options":
            continue
        for alias in _aliases(parameter):
            if (match := re.search(rf"(?<![\w-]){alias}(?![\w-])", words)) is not None:
                found.append((match.start(), parameter))
    return min(found)[1] if found else None


def _aliases(parameter: str) -> tuple[str, ...]:
    return _ALIASES.get(parameter, (re.escape(parameter),))


def get_parameter(settings: Mapping[str, Any], parameter: str) -> Any:
    """Return the value of a parameter in settings; None if it is not set.

    Args:
        settings: The settings.
        parameter: Its name; ``outer.inner`` for a field of an object.
    """
    outer, _, inner = parameter.partition(".")
    value = settings.get(outer)
    return value.get(inner) if inner and isinstance(value, Mapping) else None if inner else value


def find_replacement(settings: Mapping[str, Any], parameter: str, message: str) -> str | None:
    """Return the value to replace a rejected one with; None to drop the parameter."""
    if parameter not in STEPPABLE:
        return None
    refused = get_parameter(settings, parameter)
    other = nearest(refused, supported_values(message))
    return None if other == refused else other


def set_parameter(settings: Mapping[str, Any], parameter: str, value: object) -> dict[str, Any]:
    """Return a copy of settings with a parameter set."""
    outer, _, inner = parameter.partition(".")
    present = settings.get(outer)
    if not inner:
        return {**settings, outer: value}
    rest = dict(present) if isinstance(present, Mapping) else {}
    return {**settings, outer: {**rest, inner: value}}


def apply_rejection(
    settings: Mapping[str, Any], parameter: str, supported: tuple[str, ...]
) -> dict[str, Any]:
    """Return a copy of settings with a rejected parameter replaced or dropped.

    Args:
        settings: The settings.
        parameter: The parameter.
        supported: The values that the service accepts; empty to drop the parameter.
    """
    value = get_parameter(settings, parameter)
    if value is None or value in supported:
        return dict(settings)
    other = nearest(value, supported)
    if other is None:
        return drop_parameter(settings, parameter)
    outer, _, inner = parameter.partition(".")
    return {**settings, outer: {**settings[outer], inner: other} if inner else other}


def drop_parameter(settings: Mapping[str, Any], parameter: str) -> dict[str, Any]:
    """Return a copy of settings without one parameter.

    Args:
        settings: The settings.
        parameter: Its name; ``outer.inner`` for a field of an object.
    """
    outer, _, inner = parameter.partition(".")
    copy = dict(settings)
    value = copy.get(outer)
    if not inner or not isinstance(value, Mapping):
        copy.pop(outer, None)
        return copy
    rest = {k: v for k, v in value.items() if k != inner}
    if rest:
        copy[outer] = rest
    else:
        del copy[outer]
    return copy
