"""What becomes of a parameter that the service refused."""

import re
from collections.abc import Mapping
from typing import Any

from rtllm.parameters.catalog import TABLE
from rtllm.parameters.families import nearest

DROPPABLE = frozenset({row.place for row in TABLE if row.refused != "error"} | {"stream_options"})
"""Parameters that may be left out after a refusal; the answer stays what was asked for."""

STEPPABLE = frozenset(row.place for row in TABLE if row.refused == "stepped")
"""Those of them that are set to the nearest value which the refusal names."""

# Seen: the refusal of a value lists what the model takes: "Supported values are: 'low', 'medium',
# and 'high'."
_SUPPORTED = re.compile(r"Supported values are:(.*)", re.IGNORECASE | re.DOTALL)
_QUOTED = re.compile(r"'([^']+)'")


def supported_values(message: str) -> tuple[str, ...]:
    """The values that a refusal names as accepted."""
    found = _SUPPORTED.search(message)
    return tuple(_QUOTED.findall(found[1])) if found is not None else ()


# Seen: some refusals say what to do: "… or set reasoning_effort to 'none'."
_WANTED = re.compile(r"set (?:`|')?([\w.]+)(?:`|')? to (?:`|'|\")(\w+)", re.IGNORECASE)
# An object's name alone is a word of every sentence: it must be named as a field.
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


def wanted_value(message: str, parameter: str) -> str | None:
    """The value that a refusal tells to set a parameter to; None if it names none."""
    for name, value in _WANTED.findall(message):
        if any(re.fullmatch(alias, name) for alias in _aliases(parameter)):
            return str(value)
    return None


def named_in(words: str, settings: Mapping[str, Any]) -> str | None:
    """The parameter that a refusal names, of those that were sent and may be left out.

    Hosts name it in their sentence, as a path, or in a list of details; often with no code.
    """
    found: list[tuple[int, str]] = []
    for parameter in DROPPABLE:
        if value_of(settings, parameter) is None and parameter != "stream_options":
            continue
        for alias in _aliases(parameter):
            if (match := re.search(rf"(?<![\w-]){alias}(?![\w-])", words)) is not None:
                found.append((match.start(), parameter))
    return min(found)[1] if found else None


def _aliases(parameter: str) -> tuple[str, ...]:
    return _ALIASES.get(parameter, (re.escape(parameter),))


def value_of(settings: Mapping[str, Any], parameter: str) -> Any:
    """What settings say of a parameter; None where they say nothing.

    Args:
        settings: The settings.
        parameter: Its name; ``outer.inner`` for a field of an object.
    """
    outer, _, inner = parameter.partition(".")
    value = settings.get(outer)
    return value.get(inner) if inner and isinstance(value, Mapping) else None if inner else value


def nearest_supported(settings: Mapping[str, Any], parameter: str, message: str) -> str | None:
    """What to set a refused parameter to; None where it is to be left out."""
    if parameter not in STEPPABLE:
        return None
    refused = value_of(settings, parameter)
    other = nearest(refused, supported_values(message))
    return None if other == refused else other


def put(settings: Mapping[str, Any], parameter: str, value: object) -> dict[str, Any]:
    """A copy of settings with a parameter set."""
    outer, _, inner = parameter.partition(".")
    present = settings.get(outer)
    if not inner:
        return {**settings, outer: value}
    rest = dict(present) if isinstance(present, Mapping) else {}
    return {**settings, outer: {**rest, inner: value}}


def apply_rejection(
    settings: Mapping[str, Any], parameter: str, supported: tuple[str, ...]
) -> dict[str, Any]:
    """A copy of settings with a refused parameter stepped, or without it.

    Args:
        settings: The settings.
        parameter: The parameter.
        supported: What the service takes; empty if the parameter is to be left out.
    """
    value = value_of(settings, parameter)
    if value is None or value in supported:
        return dict(settings)
    other = nearest(value, supported)
    if other is None:
        return without(settings, parameter)
    outer, _, inner = parameter.partition(".")
    return {**settings, outer: {**settings[outer], inner: other} if inner else other}


def without(settings: Mapping[str, Any], parameter: str) -> dict[str, Any]:
    """A copy of a body's settings without one parameter.

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
