"""Values in the form of the Responses API, converted from either API's."""

from collections.abc import Mapping
from typing import Any, TypeGuard

from rtllm.content.tool_names import legal_tool_name
from rtllm.errors import ConfigError

_TOOL_CHOICES = ("auto", "required", "none")


def tool_choice_of(choice: Any) -> Any:
    """Convert a tool choice to the form of the Responses API.

    Raises:
        ConfigError: If it is neither one of the words nor an object that names a tool.
    """
    if isinstance(choice, str) and choice in _TOOL_CHOICES:
        return choice
    named = _named_choice(choice) if isinstance(choice, Mapping) else None
    if named is None:
        raise ConfigError(
            f"tool_choice is {choice!r}; expected one of {', '.join(map(repr, _TOOL_CHOICES))} "
            "or {'type': 'function', 'function': {'name': …}}"
        )
    return named


def _named_choice(choice: Mapping[str, Any]) -> dict[str, Any] | None:
    match choice.get("type"):
        case "function" | "custom" as kind:
            inner = choice.get(kind)
            name = inner.get("name") if isinstance(inner, Mapping) else choice.get("name")
            return {"type": kind, "name": legal_tool_name(name)} if _is_name(name) else None
        case "allowed_tools":
            inner = choice.get("allowed_tools")
            return _allowed(inner if isinstance(inner, Mapping) else choice)
        case str():
            return dict(without_nulls(choice))  # a hosted tool's choice, already in the API's form
        case _:
            return None


def _is_name(name: object) -> TypeGuard[str]:
    return isinstance(name, str) and bool(name)


def _allowed(choice: Mapping[str, Any]) -> dict[str, Any] | None:
    mode, tools = choice.get("mode", "auto"), choice.get("tools")
    if mode not in ("auto", "required") or not isinstance(tools, list | tuple) or not tools:
        return None
    named = [_named_choice(tool) if isinstance(tool, Mapping) else None for tool in tools]
    if None in named:
        return None
    return {"type": "allowed_tools", "mode": mode, "tools": named}


def text_format_of(response_format: Any) -> Any:
    """Convert a ``response_format`` of Chat Completions to ``text.format``.

    Nulls are removed, except inside a schema, where they have a meaning.
    """
    if hasattr(response_format, "model_dump"):
        response_format = response_format.model_dump(mode="json", exclude_none=True)
    value = {k: v for k, v in dict(response_format).items() if v is not None}
    inner = value.pop("json_schema", None)
    if isinstance(inner, Mapping):
        value |= {k: v for k, v in inner.items() if v is not None}
    return value


def without_nulls(value: Any) -> Any:
    """Convert a value to one without nulls, which the service rejects, and pydantic objects."""
    if hasattr(value, "model_dump"):
        value = value.model_dump(mode="json", exclude_none=True)
    if isinstance(value, Mapping):
        return {k: without_nulls(v) for k, v in value.items() if v is not None}
    if isinstance(value, list | tuple):
        return [without_nulls(each) for each in value]
    return value
