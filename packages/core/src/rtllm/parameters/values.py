"""Values of parameters: checks, and their descriptions for error messages.

Numbers and lengths are limits of the API and always checked. Words are checked only if the model's
family is known, because other hosts may have other words.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import isfinite
from typing import Protocol

from rtllm.parameters.families import Api


class Values(Protocol):
    """The set of values of a parameter."""

    def expected(self, api: Api) -> str:
        """Describe the accepted values."""
        ...

    def accepts(self, value: object, api: Api, *, known: bool) -> bool:
        """Whether a value is accepted.

        Args:
            value: The value.
            api: The API.
            known: Whether the model's family is known.
        """
        ...


@dataclass(frozen=True, slots=True)
class Words:
    """One of several words.

    Attributes:
        words: All of them.
        not_in_chat: Those that Chat Completions does not have.
    """

    words: tuple[str, ...]
    not_in_chat: tuple[str, ...] = ()

    def expected(self, api: Api) -> str:
        """Describe the accepted values."""
        return f"one of {quoted(self._of(api))}"

    def accepts(self, value: object, api: Api, *, known: bool) -> bool:
        """Whether a value is accepted."""
        return isinstance(value, str) and (value in self._of(api) or not known)

    def _of(self, api: Api) -> tuple[str, ...]:
        return tuple(w for w in self.words if api == "responses" or w not in self.not_in_chat)


@dataclass(frozen=True, slots=True)
class Lists:
    """A list of words."""

    words: tuple[str, ...]

    def expected(self, api: Api) -> str:
        """Describe the accepted values."""
        return f"a list of {quoted(self.words)}"

    def accepts(self, value: object, api: Api, *, known: bool) -> bool:
        """Whether a value is accepted."""
        words = Words(self.words)
        return isinstance(value, list | tuple) and all(
            words.accepts(each, api, known=known) for each in value
        )


@dataclass(frozen=True, slots=True)
class Number:
    """A number within bounds."""

    low: float
    high: float

    def expected(self, api: Api) -> str:
        """Describe the accepted values."""
        return f"a number from {self.low:g} to {self.high:g}"

    def accepts(self, value: object, api: Api, *, known: bool) -> bool:
        """Whether a value is accepted."""
        if not isinstance(value, int | float) or isinstance(value, bool):
            return False
        return isfinite(value) and self.low <= value <= self.high


@dataclass(frozen=True, slots=True)
class Integer:
    """A whole number within bounds.

    Attributes:
        low: The lowest value, None for no limit.
        high: The highest value, None for no limit.
        low_in_chat: The lowest value over Chat Completions, if it differs.
    """

    low: int | None = None
    high: int | None = None
    low_in_chat: int | None = None

    def expected(self, api: Api) -> str:
        """Describe the accepted values."""
        low = self._low(api)
        if low is None:
            return "a whole number"
        return (
            f"a whole number {f'from {low} to {self.high}' if self.high else f'of {low} or more'}"
        )

    def accepts(self, value: object, api: Api, *, known: bool) -> bool:
        """Whether a value is accepted."""
        if not isinstance(value, int) or isinstance(value, bool):
            return False
        low = self._low(api)
        return (low is None or value >= low) and (self.high is None or value <= self.high)

    def _low(self, api: Api) -> int | None:
        other = self.low_in_chat if api == "chat" else None
        return self.low if other is None else other


@dataclass(frozen=True, slots=True)
class Described:
    """The values that a function accepts, with a description in words."""

    words: str
    test: Callable[[object], bool]

    def expected(self, api: Api) -> str:
        """Describe the accepted values."""
        return self.words

    def accepts(self, value: object, api: Api, *, known: bool) -> bool:
        """Whether a value is accepted."""
        return self.test(value)


@dataclass(frozen=True, slots=True)
class Fields:
    """An object with known fields.

    Attributes:
        fields: Each field's values.
        not_in_chat: The fields that Chat Completions does not have.
    """

    fields: Mapping[str, Values]
    not_in_chat: tuple[str, ...] = ()

    def expected(self, api: Api) -> str:
        """Describe the accepted values."""
        each = (f"{name} ({values.expected(api)})" for name, values in self._of(api).items())
        return f"an object with {', '.join(each)}"

    def accepts(self, value: object, api: Api, *, known: bool) -> bool:
        """Whether a value is accepted."""
        if not isinstance(value, Mapping):
            return False
        fields = self._of(api)
        if known and value.keys() - fields.keys():
            return False
        return all(
            fields[name].accepts(each, api, known=known)
            for name, each in value.items()
            if name in fields
        )

    def _of(self, api: Api) -> Mapping[str, Values]:
        return {
            name: values
            for name, values in self.fields.items()
            if api == "responses" or name not in self.not_in_chat
        }


@dataclass(frozen=True, slots=True)
class ToolChoice:
    """A choice of tools, in the form of the Responses API."""

    def expected(self, api: Api) -> str:
        """Describe the accepted values."""
        own = ", or a custom or hosted tool's own" if api == "responses" else ""
        return f"'auto', 'required', 'none', a function in either API's form, allowed_tools{own}"

    def accepts(self, value: object, api: Api, *, known: bool) -> bool:
        """Whether a value is accepted."""
        if not isinstance(value, Mapping):
            return isinstance(value, str)
        kind = value.get("type")
        if api == "chat" and kind == "allowed_tools":
            return all(self.accepts(tool, api, known=known) for tool in value["tools"])
        return api == "responses" or kind == "function"


def quoted(words: tuple[str, ...]) -> str:
    """Quote words for a sentence."""
    return ", ".join(map(repr, words))


def text(longest: int) -> Described:
    """Create the values of a text with a maximum length."""
    return Described(
        f"a text of at most {longest} characters",
        lambda value: isinstance(value, str) and len(value) <= longest,
    )


FLAG = Described("True or False", lambda value: isinstance(value, bool))
TEXT = Described("a text", lambda value: isinstance(value, str))
OBJECT = Described("an object", lambda value: isinstance(value, Mapping))
OBJECTS = Described(
    "a list of objects",
    lambda value: isinstance(value, list | tuple) and all(isinstance(v, Mapping) for v in value),
)


def _are_pairs(value: object) -> bool:
    if not isinstance(value, Mapping) or len(value) > 16:
        return False
    return all(
        isinstance(key, str) and isinstance(each, str) and len(key) <= 64 and len(each) <= 512
        for key, each in value.items()
    )


PAIRS = Described(
    "at most 16 pairs of texts, the first of at most 64 and the second of at most 512 characters",
    _are_pairs,
)


def _are_stops(value: object) -> bool:
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, list | tuple) or not 0 < len(texts) <= 4:
        return False
    return all(isinstance(each, str) and each for each in texts)


STOPS = Described("a text or a list of 1 to 4 texts", _are_stops)

_BIAS = Number(-100, 100)
BIAS = Described(
    "an object of tokens with numbers from -100 to 100",
    lambda value: (
        isinstance(value, Mapping)
        and all(_BIAS.accepts(each, "chat", known=True) for each in value.values())
    ),
)
