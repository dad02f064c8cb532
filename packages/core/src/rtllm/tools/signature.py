"""Signatures of callables as pydantic models."""

import functools
import inspect
import typing
from collections.abc import Callable, Container, Mapping
from typing import Annotated, Any, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, create_model
from pydantic.errors import PydanticUserError
from pydantic.fields import FieldInfo

from rtllm.tools.schema import Generator

_EMPTY = inspect.Parameter.empty
_BY_NAME = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
_REST = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
_CONFIG = ConfigDict(extra="forbid")


class Signature:
    """The parameters of a callable.

    Attributes:
        model: Validates the arguments, by the parameters' names.
    """

    def __init__(
        self, function: Callable[..., Any], texts: Mapping[str, str], without: Container[str]
    ) -> None:
        """Read a callable's signature.

        Args:
            function: The callable; of a bound method, without `self`.
            texts: The texts of the arguments from its docstring.
            without: Parameters that the model does not give.

        Raises:
            TypeError: If a parameter is positional-only, has no annotation, or has one without a
                JSON schema.
        """
        hints = _hints(function)
        self._names: dict[str, str] = {}
        self._own_default: set[str] = set()
        fields: dict[str, Any] = {}
        for name, parameter in inspect.signature(function).parameters.items():
            if name in without or parameter.kind in _REST:
                continue
            if parameter.kind not in _BY_NAME:
                raise TypeError(
                    f"the parameter {name!r} is positional-only; make it a keyword parameter"
                )
            hint = hints.get(name, parameter.annotation)
            if hint is _EMPTY or isinstance(hint, str):
                raise TypeError(f"the parameter {name!r} has no type annotation; add one")
            # Fields have generated names, so that a parameter may be called `schema` or `_x`.
            field = f"p{len(fields)}"
            default = ... if parameter.default is _EMPTY else parameter.default
            fields[field] = (_annotated(hint, name, texts.get(name)), default)
            self._names[field] = name
            if default is not ... and not isinstance(default, FieldInfo):
                self._own_default.add(field)
        self.model = _model(fields, self._names)

    def arguments(self, given: BaseModel) -> dict[str, Any]:
        """Return the keyword arguments of a call.

        Left-out arguments are left out here, too. The callable has its own default, and a copy of
        it may differ.
        """
        return {
            name: getattr(given, field)
            for field, name in self._names.items()
            if field in given.model_fields_set or field not in self._own_default
        }


def _hints(function: Callable[..., Any]) -> dict[str, Any]:
    target: Any = function
    while isinstance(target, functools.partial):
        target = target.func
    if not hasattr(target, "__annotations__") or not hasattr(target, "__name__"):
        target = type(target).__call__  # a callable object
    try:
        return typing.get_type_hints(target, include_extras=True)
    except NameError as error:
        raise TypeError(f"its annotations can't be resolved: {error}") from error


def _annotated(hint: Any, name: str, text: str | None) -> Any:
    inner, *more = get_args(hint) if get_origin(hint) is Annotated else (hint,)
    texts = [getattr(one, "documentation", one) for one in more]
    said = next((one for one in texts if isinstance(one, str)), text)
    # Ours comes first, so that the user's own Field overrides it.
    return Annotated[inner, Field(alias=name, description=said), *more]


def _model(fields: dict[str, Any], names: Mapping[str, str]) -> type[BaseModel]:
    try:
        model: type[BaseModel] = create_model("Arguments", __config__=_CONFIG, **fields)
        model.model_json_schema(schema_generator=Generator)
    except PydanticUserError as error:
        for field, definition in fields.items():
            try:
                alone = create_model("Arguments", **{field: definition})
                alone.model_json_schema(schema_generator=Generator)
            except PydanticUserError as found:
                reason = str(found).splitlines()[0]
                raise TypeError(f"the parameter {names[field]!r}: {reason}") from error
        raise
    return model
