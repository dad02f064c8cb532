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
