"""Items of a context: neutral, immutable values.

Two items are equal if the model sees the same. The framework's own id of an item (its key) and this
library's mark on it identify the item's origin, not its content. So they are not part of
comparisons, fingerprints or requests.
"""

from dataclasses import dataclass, field
from typing import ClassVar, Literal

Role = Literal["system", "developer", "user", "assistant"]
"""The speaker of a message."""


@dataclass(frozen=True, slots=True)
class Text:
    """A piece of a message's text.

    Attributes:
        text: The text.
        cache_breakpoint: Whether a prompt cache breakpoint follows; the model doesn't see it.
    """

    text: str
    cache_breakpoint: bool = False


@dataclass(frozen=True, slots=True)
class Image:
    """A picture in a message.

    Attributes:
        url: An https or ``data:`` URL.
        detail: ``auto``, ``low`` or ``high``.
        cache_breakpoint: Whether a prompt cache breakpoint follows; the model doesn't see it.
    """

    url: str
    detail: str = "auto"
    cache_breakpoint: bool = False


@dataclass(frozen=True, slots=True)
class Message:
    """The text and pictures of one speaker.

    Attributes:
        role: The speaker.
        parts: Texts and images, in the order in which the model sees them.
        phase: ``commentary`` or ``final_answer`` if the service set one; the service wants it back.
        key: The framework's own id of the item; None if it has no unique one.
        mark: The mark of the response that it was recorded from, if the framework kept it.
    """

    role: Role
    parts: tuple[Text | Image, ...]
    phase: str | None = None
    key: str | None = field(default=None, compare=False)
    mark: str | None = field(default=None, compare=False)

    @classmethod
    def of(cls, role: Role, text: str, phase: str | None = None) -> "Message":
        """Create a message of plain text."""
        return cls(role, (Text(text),), phase)

    @property
    def text(self) -> str:
        """All texts, joined as the model sees them."""
        return "".join(part.text for part in self.parts if isinstance(part, Text))

    @property
    def has_images(self) -> bool:
        """Whether the parts include a picture."""
        return any(isinstance(part, Image) for part in self.parts)


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A complete function call of the model.

    Attributes:
        call_id: The service's id, which the output refers to.
        name: The tool.
        arguments: The JSON text, unchanged.
        key: The framework's own id of the item.
        mark: The mark of the response that it was recorded from.
        carried: The host's own fields that it wants back, as JSON. If the adapter can't keep them,
            the client remembers them while the process runs.
    """

    call_id: str
    name: str
    arguments: str
    key: str | None = field(default=None, compare=False)
    mark: str | None = field(default=None, compare=False)
    carried: bytes | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class ToolOutput:
    """The output of a tool call.

    Attributes:
        call_id: The call's id.
        output: What the tool returned, as text.
        key: The framework's own id of the item.
    """

    call_id: str
    output: str
    key: str | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Reasoning:
    """A reasoning item of a response; hidden, and valid only in the context of its response."""

    json: bytes
    key: ClassVar[None] = None  # no framework records it


@dataclass(frozen=True, slots=True)
class Opaque:
    """Another item of the service, which this library stores and returns without decoding."""

    type: str
    json: bytes
    key: ClassVar[None] = None


Item = Message | ToolCall | ToolOutput | Reasoning | Opaque
"""One item of a context or of a response."""


def is_system(item: Item) -> bool:
    """Whether an item is system or developer text."""
    return isinstance(item, Message) and item.role in ("system", "developer")
