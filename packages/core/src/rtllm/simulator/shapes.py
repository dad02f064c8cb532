"""Checks of JSON values, composed of small parts.

A check takes a value and the path under which the service would name it, and raises
``RequestError`` if the value is not valid.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from rtllm.simulator import refusal

Check: TypeAlias = Callable[[Any, str], None]


def parsed(data: bytes) -> Any:
    """Parse a JSON text strictly: no NaN, no lone surrogates.

    Raises:
        ValueError: If it isn't JSON.
    """
    try:
        value = json.loads(data, parse_constant=_no_constant)
    except RecursionError:
        raise ValueError("the JSON is nested too deeply") from None
    if b"\\u" in data:
        json.dumps(value, ensure_ascii=False).encode()  # a lone surrogate is not text
    return value


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def anything(value: object, param: str) -> None:
    """Accept every value: its form isn't known here."""


def string(*, longest: int | None = None, pattern: str | None = None) -> Check:
    """Create a check of strings, with a maximum length and a pattern for the entire string."""

    def check(value: Any, param: str) -> None:
        if not isinstance(value, str):
            raise refusal.invalid_type(param, "a string", value)
        if longest is not None and len(value) > longest:
            raise refusal.too_long(param, len(value), longest)
        if pattern is not None and not re.fullmatch(pattern, value):
            raise refusal.RequestError(
                f"Invalid '{param}': string does not match pattern. "
                f"Expected a string that matches the pattern '^{pattern}$'.",
                code="invalid_value",
                param=param,
            )

    return check


def boolean(value: Any, param: str) -> None:
    """Check for true or false."""
    if not isinstance(value, bool):
        raise refusal.invalid_type(param, "a boolean", value)


def integer(low: int | None = None, high: int | None = None) -> Check:
    """Create a check of integers between two bounds."""
    return _bounded("an integer", (int,), low, high)


def number(low: float | None = None, high: float | None = None) -> Check:
    """Create a check of numbers between two bounds."""
    return _bounded("a decimal", (int, float), low, high)


def _bounded(
    expected: str, types: tuple[type, ...], low: float | None, high: float | None
) -> Check:
    def check(value: Any, param: str) -> None:
        if isinstance(value, bool) or not isinstance(value, types):
            raise refusal.invalid_type(param, expected, value)
        amount: Any = value
        if low is not None and amount < low:
            raise refusal.out_of_range(param, amount, low, "min")
        if high is not None and amount > high:
            raise refusal.out_of_range(param, amount, high, "max")

    return check


def one_of(*words: str) -> Check:
    """Create a check of words from a fixed set."""

    def check(value: Any, param: str) -> None:
        if not isinstance(value, str):
            expected = words[0] if len(words) == 1 else f"one of {refusal.quoted(words, 'or')}"
            raise refusal.invalid_type(param, expected, value)
        if value not in words:
            raise refusal.invalid_value(param, value, words)

    return check


def only_true(value: Any, param: str) -> None:
    """Check for true."""
    if value is not True:
        raise refusal.invalid_value(param, value, ("true",))


def nullable(check: Check) -> Check:
    """Create a check that accepts null, or what another check accepts."""
    return lambda value, param: None if value is None else check(value, param)


def list_of(check: Check) -> Check:
    """Create a check of lists whose members all pass."""

    def check_all(value: Any, param: str) -> None:
        if not isinstance(value, list):
            raise refusal.invalid_type(param, "an array", value)
        for index, member in enumerate(value):
            check(member, f"{param}[{index}]")

    return check_all


def mapping(value: Any, param: str) -> None:
    """Check for an object with any fields."""
    if not isinstance(value, dict):
        raise refusal.invalid_type(param, "an object", value)


def tagged(variants: Mapping[str, Check], *, at_type: bool = True) -> Check:
    """Create a check of objects that are distinguished by their ``type``.

    Args:
        variants: The checks, by type.
        at_type: Whether an unknown type is reported at the field or at the entire object.
    """

    def check(value: Any, param: str) -> None:
        mapping(value, param)
        if "type" not in value:
            raise refusal.missing_parameter(f"{param}.type")
        kind = value["type"]
        if not isinstance(kind, str) or kind not in variants:
            place = f"{param}.type" if at_type else param
            raise refusal.invalid_value(place, kind, tuple(variants))
        variants[kind](value, param)

    return check


def struct(required: Mapping[str, Check], optional: Mapping[str, Check]) -> Check:
    """Create a check of objects with known fields and no others."""
    known = {**required, **optional}

    def check(value: Any, param: str) -> None:
        mapping(value, param)
        prefix = f"{param}." if param else ""
        for name, member in value.items():
            if name not in known:
                raise refusal.unknown_parameter(prefix + name)
            known[name](member, prefix + name)
        for name in required:
            if name not in value:
                raise refusal.missing_parameter(prefix + name)

    return check
