"""Structured output: a Python type in, objects of it out."""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, TypeVar

from rtllm.tools.function import FunctionTool

T = TypeVar("T")


def response_format_of(model: type[Any]) -> dict[str, Any]:
    """The form of answers that are objects of a type, for ``response_format`` of either adapter.

    It is strict where the type's schema honestly can be, so that the service lets the model
    write nothing else.

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
    """Read an answer that was asked for in a type's form.

    Args:
        model: The type that `response_format_of` was asked with.
        text: The whole answer.

    Returns:
        An object of the type; nulls that stand for left-out fields have become their defaults.

    Raises:
        ToolArgumentsError: (a `ValueError`) If the answer isn't of that form, as one that was
            cut, refused, or not strict may be. It says where.
    """
    return _form(model).arguments(text)


def with_form(settings: Mapping[str, Any]) -> Mapping[str, Any]:
    """Settings by keyword, with a ``response_format`` that is a type as an object."""
    form = settings.get("response_format")
    if not isinstance(form, type):
        return settings
    return {**settings, "response_format": response_format_of(form)}


@lru_cache(maxsize=64)
def _kept_form(model: type[Any]) -> FunctionTool[Any]:
    return FunctionTool.of_model(model)


def _form(model: type[T]) -> FunctionTool[T]:
    """A type's form, made once, and kept while it is one of the last few that were used.

    A program has few types; but one that makes a type for each call must not keep them all.
    """
    key: Any = model  # to mypy a type isn't Hashable
    return _kept_form(key)
