"""A function tool of both APIs, made once from Python or from a JSON schema."""

import copy
import inspect
import logging
import re
from collections.abc import Callable, Collection, Mapping
from typing import Any, Generic, TypeVar

import msgspec
from pydantic import BaseModel, TypeAdapter
from pydantic.errors import PydanticUserError
from pydantic_core import ValidationError

from rtllm.errors import ToolArgumentsError, ToolSchemaError
from rtllm.tools.arguments import problems_of, raw_problems, read
from rtllm.tools.null_defaults import Nulls, without_stand_ins
from rtllm.tools.repair import repaired
from rtllm.tools.schema import described, schema_of, told_by
from rtllm.tools.schema_nodes import Json
from rtllm.tools.signature import Signature
from rtllm.tools.strict_schema import NotStrictError, closed

logger = logging.getLogger(__name__)

T = TypeVar("T")
M = TypeVar("M")

_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")


class FunctionTool(Generic[T]):
    """A function that the model may call: its schema, and how its arguments are read.

    Make one with `of` (a callable), `of_model` (a type) or `of_schema` (a JSON schema); it is
    converted and encoded then, once, and never changes. `T` is what `arguments` gives.

    The schema is strict where it honestly can be, so that the service lets the model write
    nothing else; a parameter with a default becomes nullable there, and null means the default.
    Where it can't be, `why_not_strict` says why, which is logged once. What else a strict schema
    can't say (lengths, repeated items, some formats) is in the description, and checked when
    arguments come back.

    Attributes:
        name: What the model calls it.
        description: What it is told about it.
        parameters: The JSON schema as it is sent.
        strict: Whether the service is asked to hold the model to it.
        why_not_strict: The reason if it isn't, None if it is or wasn't wanted.
        encoded: The tool as the Responses API takes it, for `Request.tools`; always the same
            bytes for the same tool.
    """

    __slots__ = (
        "_plain",
        "_take",
        "description",
        "encoded",
        "name",
        "parameters",
        "strict",
        "why_not_strict",
    )

    def __init__(
        self,
        name: str,
        description: str,
        schema: Json,
        take: Callable[[Json, Json], T],
        *,
        strict: bool | None,
        nulls: Nulls,
    ) -> None:
        """Use `of`, `of_model` or `of_schema`."""
        if not _NAME.fullmatch(name):
            raise ToolSchemaError(name, "a name is 1 to 64 of the characters A-Z a-z 0-9 _ -")
        self.name = name
        self.description = description
        self.why_not_strict: str | None = None
        self._plain = repaired(schema)
        self._take = take
        self.parameters, self.strict = self._formed(strict, nulls)
        said = {"description": description} if description else {}
        flat = {
            "type": "function",
            "name": name,
            **said,
            "parameters": self.parameters,
            "strict": self.strict,
        }
        try:
            self.encoded = msgspec.Raw(msgspec.json.encode(flat))
        except TypeError as error:
            raise ToolSchemaError(name, f"its schema is no JSON: {error}") from error

    def __repr__(self) -> str:
        return f"<FunctionTool {self.name}{' strict' if self.strict else ''}>"

    # -- from what it is made -----------------------------------------------------------------

    @classmethod
    def of(
        cls,
        function: Callable[..., Any],
        *,
        name: str | None = None,
        description: str | None = None,
        without: Collection[str] = (),
        strict: bool | None = None,
        nulls: Nulls = "left out",
    ) -> "FunctionTool[dict[str, Any]]":
        """Make the tool of a callable from its signature and docstring.

        Annotations may be whatever pydantic has a JSON schema for. A parameter's description is
        that of its ``Field``, a plain string in its ``Annotated``, or what the docstring says
        of it (Google, NumPy, Sphinx or Epydoc style). ``*args`` and ``**kwargs`` are left out.
        `arguments` gives keyword arguments.

        Args:
            function: The function, method or other callable.
            name: What the model calls it; else the function's own name.
            description: What the model is told; else the docstring's text before its sections.
            without: Parameters that somebody else gives, such as a framework's context.
            strict: True if it must be strict, False if it must not; None where it can.
            nulls: What null may stand for; see `Nulls`.

        Raises:
            ToolSchemaError: If a parameter has no type, or one that means nothing in JSON; or
                if it must be strict and can't be. It names the parameter.
        """
        called = name or getattr(function, "__name__", None) or type(function).__name__
        if isinstance(function, type):
            raise ToolSchemaError(called, "it is a type; use FunctionTool.of_model for it")
        text, texts = told_by(function)
        try:
            signature = Signature(function, texts, without)
            adapter: TypeAdapter[BaseModel] = TypeAdapter(signature.model)
            schema = schema_of(adapter)
        except (TypeError, ValueError, PydanticUserError) as error:
            raise ToolSchemaError(called, _first_line(error)) from error

        def take(value: Json, plain: Json) -> dict[str, Any]:
            return signature.arguments(_validated(called, adapter, value, plain))

        said = text if description is None else description
        return FunctionTool(called, said, schema, take, strict=strict, nulls=nulls)

    @classmethod
    def of_model(
        cls,
        model: type[M],
        *,
        name: str | None = None,
        description: str | None = None,
        strict: bool | None = None,
        nulls: Nulls = "left out",
    ) -> "FunctionTool[M]":
        """Make a tool whose parameters are a type's fields.

        `arguments` gives an object of the type.

        Args:
            model: A pydantic model, dataclass or TypedDict, recursive or not.
            name: What the model calls it; else the type's name.
            description: What the model is told; else the type's docstring.
            strict: As for `of`.
            nulls: As for `of`.

        Raises:
            ToolSchemaError: As for `of`.
        """
        called: str = name or str(getattr(model, "__name__", model))
        adapter: TypeAdapter[M]
        try:
            adapter = TypeAdapter(model)
            schema = schema_of(adapter)
        except (TypeError, ValueError, PydanticUserError) as error:
            raise ToolSchemaError(called, _first_line(error)) from error
        text, texts = told_by(model) if _has_own_docstring(model) else ("", {})
        schema = described(schema, texts)
        schema.pop("description", None)

        def take(value: Json, plain: Json) -> M:
            return _validated(called, adapter, value, plain)

        said = text if description is None else description
        return FunctionTool(called, said, schema, take, strict=strict, nulls=nulls)

    @classmethod
    def of_schema(
        cls,
        name: str,
        parameters: Mapping[str, Any] | None,
        *,
        description: str | None = None,
        strict: bool | None = None,
        nulls: Nulls = "left out",
    ) -> "FunctionTool[dict[str, Any]]":
        """Make a tool of a JSON schema, such as an MCP server's.

        `arguments` gives what the model said. Missing and unknown arguments are refused; what
        the values are is for the tool to check.

        Args:
            name: What the model calls it.
            parameters: The JSON schema of an object; None if there are no parameters. It is
                copied.
            description: What the model is told.
            strict: As for `of`.
            nulls: As for `of`. ``"never"`` for a receiver that gets the arguments as they come.

        Raises:
            ToolSchemaError: If the schema isn't one of an object, or isn't JSON.
        """
        schema = copy.deepcopy(dict(parameters or {}))
        schema.setdefault("type", "object")
        schema = repaired(schema)  # before its type is looked at, which may be a list
        if schema["type"] != "object":
            raise ToolSchemaError(name, f"its parameters are {schema['type']!r}, not an object")
        if not isinstance(schema.setdefault("properties", {}), dict):
            raise ToolSchemaError(name, "the 'properties' of its parameters are no object")

        def take(value: Json, plain: Json) -> dict[str, Any]:
            if problems := raw_problems(value, plain):
                raise ToolArgumentsError(name, problems)
            return value

        return FunctionTool(name, description or "", schema, take, strict=strict, nulls=nulls)

    # -- as the APIs take it, and back ----------------------------------------------------------

    def for_responses(self) -> Json:
        """The tool as the Responses API takes it; a copy."""
        return self._decoded()

    def for_chat(self) -> Json:
        """The tool as Chat Completions takes it; a copy."""
        flat = self._decoded()
        return {"type": flat.pop("type"), "function": flat}

    def arguments(self, text: str) -> T:
        """Read the arguments of a call, validated and converted.

        A null that stands for a left-out argument is taken out, so that the default applies.

        Args:
            text: The arguments as the model wrote them: JSON, or empty.

        Raises:
            ToolArgumentsError: If they don't fit. Its text is made to be the call's output.
        """
        return self._take(self.as_given(text), self._plain)

    def as_given(self, text: str) -> Json:
        """Read the arguments of a call as JSON, unconverted, without the nulls that stand in.

        For a framework that runs the tool itself.

        Raises:
            ToolArgumentsError: If they are no JSON object.
        """
        value: Json = without_stand_ins(read(self.name, text), self._plain, self._plain)
        return value

    def _decoded(self) -> Json:
        flat: Json = msgspec.json.decode(self.encoded)
        return flat

    def _formed(self, strict: bool | None, nulls: Nulls) -> tuple[Json, bool]:
        if strict is False:
            return self._plain, False
        try:
            return closed(self._plain, nulls), True
        except NotStrictError as error:
            if strict:
                raise ToolSchemaError(self.name, f"it can't be strict: {error}") from error
            self.why_not_strict = str(error)
            logger.info("the tool %r isn't strict: %s", self.name, error)
            return self._plain, False


def _validated(tool: str, adapter: TypeAdapter[M], value: Json, plain: Json) -> M:
    try:
        # In JSON's own mode: there, dates and sets are what JSON can say of them.
        return adapter.validate_json(msgspec.json.encode(value))
    except ValidationError as error:
        raise ToolArgumentsError(tool, problems_of(error, plain)) from error
    except Exception as error:  # a validator of the user's, which may raise anything
        problem = ("", f"a check of the tool's own raised {type(error).__name__}")
        raise ToolArgumentsError(tool, (problem,)) from error


def _has_own_docstring(model: type) -> bool:
    """Whether somebody wrote it; else it is the base's, or made of a dataclass's fields."""
    text = vars(model).get("__doc__") or ""
    return bool(text) and not text.startswith(f"{model.__name__}(")


def _first_line(error: Exception) -> str:
    return (inspect.cleandoc(str(error)).splitlines() or [type(error).__name__])[0]
