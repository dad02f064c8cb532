"""A function tool of both APIs, created once from Python or from a JSON schema."""

import copy
import inspect
import logging
from collections.abc import Callable, Collection, Mapping
from typing import Any, Generic, TypeVar

import msgspec
from pydantic import BaseModel, TypeAdapter
from pydantic.errors import PydanticUserError
from pydantic_core import ValidationError

from rtllm.content.tool_names import LEGAL_NAME
from rtllm.errors import ToolArgumentsError, ToolSchemaError
from rtllm.tools.arguments import problems_of, raw_problems, read
from rtllm.tools.null_defaults import Nulls, without_stand_ins
from rtllm.tools.repair import repaired
from rtllm.tools.schema import described, docstring_texts, schema_of
from rtllm.tools.schema_nodes import Json
from rtllm.tools.signature import Signature
from rtllm.tools.strict_schema import NotStrictError, closed

logger = logging.getLogger(__name__)

T = TypeVar("T")
M = TypeVar("M")


class FunctionTool(Generic[T]):
    """A function that the model may call: its schema, and the parsing of its arguments.

    Create one with `of` (a callable), `of_model` (a type) or `of_schema` (a JSON schema). It is
    converted and encoded once and never changes. `T` is the type that `arguments` returns.

    The schema is strict if the tool can keep its meaning so; then the service lets the model write
    only valid arguments. A parameter with a default becomes nullable there, and null means the
    default. If the schema can't be strict, `why_not_strict` has the reason, which is logged once.
    Rules that a strict schema can't have (lengths, repeated items, some formats) are moved into the
    description, and checked when arguments come back.

    Attributes:
        name: The name that the model uses.
        description: The description for the model.
        parameters: The JSON schema as it is sent.
        strict: Whether the service is asked to enforce the schema.
        why_not_strict: Why it is not enforced; None if it is, or if that was not wanted.
        encoded: The tool as encoded for the Responses API, for `Request.tools`; equal tools have
            equal bytes.
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
        if not LEGAL_NAME.fullmatch(name):
            raise ToolSchemaError(
                name, "a name has 1 to 64 of the characters A-Z a-z 0-9 _ -; rename the tool"
            )
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
            self.encoded = msgspec.json.encode(flat)
        except (TypeError, ValueError, RecursionError) as error:
            raise ToolSchemaError(name, f"its schema is not JSON: {error}") from error

    def __repr__(self) -> str:
        return f"<FunctionTool {self.name}{' strict' if self.strict else ''}>"

    # -- constructors -----------------------------------------------------------------

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
        """Create the tool of a callable from its signature and docstring.

        Annotations may be any type that pydantic has a JSON schema for. A parameter's description
        is that of its ``Field``, a plain string in its ``Annotated``, or its text in the docstring
        (Google, NumPy, Sphinx or Epydoc style). ``*args`` and ``**kwargs`` are left out.
        `arguments` returns keyword arguments.

        Args:
            function: The function, method or other callable.
            name: The name that the model uses; by default the function's own name.
            description: The description for the model; by default the docstring's text before its
                sections.
            without: Parameters that the model does not give, such as a framework's context.
            strict: True if the schema must be strict, False if it must not be; None if it should be
                when possible.
            nulls: What null may stand for; see `Nulls`.

        Raises:
            ToolSchemaError: If a parameter has no type, or a type without a JSON schema; or if the
                schema must be strict and can't be. The error names the parameter.
        """
        called = name or getattr(function, "__name__", None) or type(function).__name__
        if isinstance(function, type):
            raise ToolSchemaError(called, "it is a type; use FunctionTool.of_model for it")
        text, texts = docstring_texts(function)
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
        """Create a tool whose parameters are the fields of a type.

        `arguments` returns an object of the type.

        Args:
            model: A pydantic model, dataclass or TypedDict, recursive or not.
            name: The name that the model uses; by default the type's name.
            description: The description for the model; by default the type's docstring.
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
        text, texts = docstring_texts(model) if _has_own_docstring(model) else ("", {})
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
        """Create a tool from a JSON schema, such as an MCP server's.

        `arguments` returns the model's arguments unconverted. Missing and unknown arguments are
        errors; the values must be checked by the tool.

        Args:
            name: The name that the model uses.
            parameters: The JSON schema of an object; None if there are no parameters. It is
                copied.
            description: The description for the model.
            strict: As for `of`.
            nulls: As for `of`. ``"never"`` if the receiver gets the arguments unchanged.

        Raises:
            ToolSchemaError: If the schema is not that of an object, or not JSON.
        """
        schema = repaired(copy.deepcopy(dict(parameters or {})))
        schema.setdefault("type", "object")
        if schema["type"] != "object":
            raise ToolSchemaError(name, f"its type is {schema['type']!r}; expected 'object'")
        if not isinstance(schema.setdefault("properties", {}), dict):
            raise ToolSchemaError(name, "the 'properties' of its parameters must be an object")

        def take(value: Json, plain: Json) -> dict[str, Any]:
            if problems := raw_problems(value, plain):
                raise ToolArgumentsError(name, problems)
            return value

        return FunctionTool(name, description or "", schema, take, strict=strict, nulls=nulls)

    # -- as the APIs take it, and back ----------------------------------------------------------

    def for_responses(self) -> Json:
        """Return a copy of the tool for the Responses API."""
        return self._decoded()

    def for_chat(self) -> Json:
        """Return a copy of the tool for Chat Completions."""
        flat = self._decoded()
        return {"type": flat.pop("type"), "function": flat}

    def arguments(self, text: str) -> T:
        """Parse, validate and convert the arguments of a call.

        A null that means a left-out argument is removed, so that the default applies.

        Args:
            text: The arguments as the model wrote them: JSON, or empty.

        Raises:
            ToolArgumentsError: If they are invalid. Its text is meant to be the call's output.
        """
        return self._take(self.as_given(text), self._plain)

    def as_given(self, text: str) -> Json:
        """Parse the arguments of a call as JSON, without the nulls that mean left-out arguments.

        Use it for a framework that runs the tool itself.

        Raises:
            ToolArgumentsError: If they are not a JSON object.
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
        # In JSON mode, dates and sets are accepted in the form that they have in JSON.
        return adapter.validate_json(msgspec.json.encode(value))
    except ValidationError as error:
        raise ToolArgumentsError(tool, problems_of(error, plain)) from error
    except Exception as error:  # the user's own validator, which may raise anything
        problem = ("", f"a check of the tool's own raised {type(error).__name__}")
        raise ToolArgumentsError(tool, (problem,)) from error


def _has_own_docstring(model: type) -> bool:
    """Whether a type has a docstring of its own, not its base's or a dataclass's generated one."""
    text = vars(model).get("__doc__") or ""
    return bool(text) and not text.startswith(f"{model.__name__}(")


def _first_line(error: Exception) -> str:
    return (inspect.cleandoc(str(error)).splitlines() or [type(error).__name__])[0]
