"""Structured output: response formats from Python types, and responses parsed into them."""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, TypeVar

from rtllm.tools.function import FunctionTool

T = TypeVar("T")


def response_format_of(model: type[Any]) -> dict[str, Any]:
    """Create the ``response_format`` of either adapter for responses that are objects of a type.

    It is strict if the type's schema can be, so that the service lets the model write only valid
    objects.

    Args:
        model: A pydantic model, dataclass or TypedDict.

    Raises:
        ToolSchemaError: (a `ValueError`) If the type has no JSON schema of an object.
    """
    form = _form(model)
    schema: dict[str, Any] = {
        "name": form.name,
        "schema": form.for_responses()["parameters"],
        "strict": form.strict,
    }
    if form.description:
        schema["description"] = form.description
    return {"type": "json_schema", "json_schema": schema}


def parse_answer(model: type[T], text: str) -> T:
    """Parse a response that was requested in a type's format.

    Args:
        model: The type that was passed to `response_format_of`.
        text: The full text of the response.

    Returns:
        An object of the type; nulls that mean left-out fields are replaced by their defaults.

    Raises:
        ToolArgumentsError: (a `ValueError`) If the response does not have that format. It may be
            cut short, refused, or not strict. The error names the place.
    """
    return _form(model).arguments(text)


def with_form(settings: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return settings in which a ``response_format`` that is a type is converted to an object."""
    form = settings.get("response_format")
    if not isinstance(form, type):
        return settings
    return {**settings, "response_format": response_format_of(form)}


@lru_cache(maxsize=64)
def _kept_form(model: type[Any]) -> FunctionTool[Any]:
    return FunctionTool.of_model(model)


def _form(model: type[T]) -> FunctionTool[T]:
    """Return the tool of a type, created once, and kept while it is among the last few used.

    Most programs have few types, but one that creates a type for each call must not keep them all.
    """
    key: Any = model  # to mypy a type isn't Hashable
    return _kept_form(key)
