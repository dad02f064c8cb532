"""Rejections, with the service's own texts.

The texts and codes are those of the public API; a client that parses them (for the supported
values, or the name of the rejected field) finds the same as there.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


class RequestError(Exception):
    """A request that the service rejects before it creates a response."""

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        param: str | None = None,
        status: int = 400,
        kind: str = "invalid_request_error",
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.param = param
        self.status = status
        self.kind = kind

    def body(self) -> dict[str, Any]:
        """Create the ``error`` object of HTTP bodies and error frames."""
        return {
            "type": self.kind,
            "code": self.code,
            "message": self.message,
            "param": self.param,
        }


def quoted(values: Sequence[str], last: str = "and") -> str:
    """List values as the service does: ``'a', 'b', and 'c'``."""
    names = [f"'{value}'" for value in values]
    if len(names) < 3:
        return f" {last} ".join(names)
    return f"{', '.join(names[:-1])}, {last} {names[-1]}"


def kind_of(value: object) -> str:
    """Name a JSON value's type as the service does."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "a boolean"
    names = {int: "an integer", float: "a decimal", str: "a string", list: "an array"}
    return names.get(type(value), "an object")


def unknown_parameter(param: str) -> RequestError:
    """Create the error of a field that the service doesn't know at this place."""
    return RequestError(f"Unknown parameter: '{param}'.", code="unknown_parameter", param=param)


def missing_parameter(param: str) -> RequestError:
    """Create the error of a missing required field."""
    return RequestError(
        f"Missing required parameter: '{param}'.", code="missing_required_parameter", param=param
    )


def invalid_type(param: str, expected: str, value: object) -> RequestError:
    """Create the error of a field with another JSON type than expected, including null."""
    return RequestError(
        f"Invalid type for '{param}': expected {expected}, but got {kind_of(value)} instead.",
        code="invalid_type",
        param=param,
    )


def invalid_value(param: str, value: object, supported: Sequence[str]) -> RequestError:
    """Create the error of a word that is not a known one."""
    return RequestError(
        f"Invalid value: '{value}'. Supported values are: {quoted(supported)}.",
        code="invalid_value",
        param=param,
    )


def unsupported_parameter(param: str) -> RequestError:
    """Create the error of a known field that this model does not accept."""
    return RequestError(
        f"Unsupported parameter: '{param}' is not supported with this model.",
        code="unsupported_parameter",
        param=param,
    )


def unsupported_value(
    param: str, value: object, model: str, supported: Sequence[str]
) -> RequestError:
    """Create the error of a known value that this model does not accept."""
    return RequestError(
        f"Unsupported value: '{value}' is not supported with the '{model}' model. "
        f"Supported values are: {quoted(supported)}.",
        code="unsupported_value",
        param=param,
    )


def out_of_range(param: str, value: float, bound: float, side: str) -> RequestError:
    """Create the error of a number outside its limits."""
    name = "integer" if isinstance(value, int) else "decimal"
    sign = ">=" if side == "min" else "<="
    where = "below minimum" if side == "min" else "above maximum"
    code = f"{name}_{'below' if side == 'min' else 'above'}_{side}_value"
    return RequestError(
        f"Invalid '{param}': {name} {where} value. "
        f"Expected a value {sign} {bound:g}, but got {value:g} instead.",
        code=code,
        param=param,
    )


def too_long(param: str, length: int, longest: int) -> RequestError:
    """Create the error of a string above its maximum length."""
    return RequestError(
        f"Invalid '{param}': string too long. Expected a string with maximum length {longest}, "
        f"but got a string with length {length} instead.",
        code="string_above_max_length",
        param=param,
    )


def parent_not_found(response_id: str) -> RequestError:
    """Create the error of a chain miss: the parent is not known, and nothing was generated."""
    return RequestError(
        f"Previous response with id '{response_id}' not found.",
        code="previous_response_not_found",
        param="previous_response_id",
    )


def reasoning_missing(item_id: str, kind: str, reasoning: str) -> RequestError:
    """Create the error of an item that came back without its reasoning item."""
    return RequestError(
        f"Item '{item_id}' of type '{kind}' was provided without its required "
        f"'reasoning' item: '{reasoning}'.",
        param="input",
    )


def item_not_found(item_id: str) -> RequestError:
    """Create the error of an item id that names no stored item."""
    return RequestError(
        f"Item with id '{item_id}' not found. Items are not persisted when `store` is set to "
        "false. Try again with `store` set to true, or remove this item from your input.",
        param="input",
        status=404,
    )
