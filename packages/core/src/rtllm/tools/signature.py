"""A callable's parameters as a pydantic model."""

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
    """What a callable takes.

    Attributes:
        model: Takes the arguments, by the parameters' names.
    """

    def __init__(
        self, function: Callable[..., Any], texts: Mapping[str, str], without: Container[str]
    ) -> None:
        """Read a callable's signature.

        Args:
            function: The callable; of a bound method, what is left to give.
            texts: What its docstring says of the arguments.
            without: Parameters that somebody else gives.

        Raises:
            TypeError: If a parameter can't be given by name, has no annotation, or has one that
                means nothing in JSON.
        """
        hints = _hints(function)
        self._names: dict[str, str] = {}
        self._own_default: set[str] = set()
        fields: dict[str, Any] = {}
        for name, parameter in inspect.signature(function).parameters.items():
            if name in without or parameter.kind in _REST:
                continue
            if parameter.kind not in _BY_NAME:
                raise TypeError(f"the parameter {name!r} can't be given by name")
            hint = hints.get(name, parameter.annotation)
            if hint is _EMPTY or isinstance(hint, str):
                raise TypeError(f"the parameter {name!r} has no type; annotate it")
            # Fields have names of their own, so that a parameter may be called `schema` or `_x`.
            field = f"p{len(fields)}"
            default = ... if parameter.default is _EMPTY else parameter.default
            fields[field] = (_annotated(hint, name, texts.get(name)), default)
            self._names[field] = name
            if default is not ... and not isinstance(default, FieldInfo):
                self._own_default.add(field)
        self.model = _model(fields, self._names)

    def arguments(self, given: BaseModel) -> dict[str, Any]:
        """The keyword arguments of a call.

        What was left out is left out here, too: the callable has its own default, of which a
        copy need not be the same.
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
        target = type(target).__call__  # an object that is called
    try:
        return typing.get_type_hints(target, include_extras=True)
    except NameError as error:
        raise TypeError(f"its annotations can't be read: {error}") from error


def _annotated(hint: Any, name: str, text: str | None) -> Any:
    inner, *more = get_args(hint) if get_origin(hint) is Annotated else (hint,)
    texts = [getattr(one, "documentation", one) for one in more]
    said = next((one for one in texts if isinstance(one, str)), text)
    # Ours stands first, so that what the user's own Field says wins.
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
