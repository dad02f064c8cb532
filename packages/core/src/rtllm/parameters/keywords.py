"""Keywords of users, translated to parameters in the form of the Responses API."""

import reprlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from rtllm.errors import ConfigError
from rtllm.parameters.catalog import FROM_THE_CONTEXT, ROWS, Row
from rtllm.parameters.shapes import text_format_of, tool_choice_of, without_nulls

OF_THE_REQUEST = ("model", "timeout")
"""Keywords of a call that are not fields of the body."""
EXTRAS = ("extra_headers", "extra_query", "extra_body")
"""Keywords that are merged and sent unchanged."""

_OBJECTS = {
    "reasoning": {"effort": "reasoning_effort"},
    "text": {"format": "response_format", "verbosity": "verbosity"},
}


def parameters_of(given: Mapping[str, Any]) -> dict[str, Any]:
    """Translate keywords to the table's parameters; objects are split into their fields.

    A keyword takes precedence over the same field of an object.
    """
    found: dict[str, Any] = {}
    for name in sorted(given, key=lambda name: (name not in _OBJECTS, name)):
        value = given[name]
        if name in OF_THE_REQUEST or name in EXTRAS:
            continue
        if name in FROM_THE_CONTEXT:
            raise ConfigError(f"{name} can't be set: the chat context determines it; remove it")
        if name in _OBJECTS:
            found.update(_fields(name, value))
        elif name not in ROWS:
            raise ConfigError(
                f"{name!r} is not a known parameter; pass parameters of this host in extra_body"
            )
        else:
            row = ROWS[name]
            if value is not None and found.get(row.name) is not None and name in _names(row):
                raise ConfigError(
                    f"{' and '.join(repr(n) for n in _names(row) if given.get(n) is not None)} "
                    "name the same parameter; pass only one of them"
                )
            found[row.name] = _shaped(name, value)
    return found


def _names(row: Row) -> tuple[str, ...]:
    """Return the names of a row that has several."""
    return (row.name, *row.also) if row.also else ()


def _fields(outer: str, value: Any) -> Iterator[tuple[str, Any]]:
    """Split ``reasoning`` or ``text`` into fields, by the names of their rows."""
    if hasattr(value, "model_dump"):
        value = value.model_dump(mode="json", exclude_none=True)
    if value is None:
        return
    if not isinstance(value, Mapping):
        raise ConfigError(f"{outer} is {reprlib.repr(value)}; expected an object")
    for inner, each in value.items():
        name = _OBJECTS[outer].get(inner, f"{outer}.{inner}")
        if name not in ROWS:
            known = ", ".join(
                [*_OBJECTS[outer], *(n.partition(".")[2] for n in ROWS if n.startswith(outer))]
            )
            raise ConfigError(
                f"{name!r} is not a known parameter; expected any of {known}. Pass parameters of "
                "this host in extra_body"
            )
        yield name, _shaped(name, each)


@dataclass(frozen=True, slots=True)
class Named:
    """The value of a parameter with several names, and the name that was used."""

    name: str
    value: Any


def _shaped(name: str, value: Any) -> Any:
    """Convert a value to the form of the Responses API."""
    if value is None:
        return None
    match name:
        case "tool_choice":
            return tool_choice_of(value)
        case "response_format":
            is_object = isinstance(value, Mapping) or hasattr(value, "model_dump")
            return text_format_of(value) if is_object else value
        case _ if ROWS[name].also:
            return Named(name, value)
        case _:
            return without_nulls(value)
