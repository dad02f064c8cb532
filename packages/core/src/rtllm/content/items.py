"""What a context is made of: neutral, immutable items, and their fingerprints.

Two items are the same when the model would see the same. What a framework calls an item (its
key) and what this library left on it (its mark) tell whose it is, never what it says: neither
takes part in comparisons, fingerprints or requests.
"""

from dataclasses import dataclass, field
from typing import Literal

Role = Literal["system", "developer", "user", "assistant"]


@dataclass(frozen=True, slots=True)
class Text:
    """A piece of a message's text.

    Attributes:
        text: The words.
        cache_breakpoint: Whether a prompt cache breakpoint follows; the model doesn't see it.
    """

    text: str
    cache_breakpoint: bool = False


@dataclass(frozen=True, slots=True)
class Image:
    """A picture in a message.

    Attributes:
        url: An https or ``data:`` address.
        detail: ``auto``, ``low`` or ``high``.
        cache_breakpoint: Whether a prompt cache breakpoint follows; the model doesn't see it.
    """

    url: str
    detail: str = "auto"
    cache_breakpoint: bool = False


@dataclass(frozen=True, slots=True)
class Message:
    """Words, and pictures, of one speaker.

    Attributes:
        role: Who speaks.
        parts: Texts and images in the order in which the model gets them.
        phase: ``commentary`` or ``final_answer`` where the service set one; it wants it back.
        key: The framework's own id of the item, None if it has none that is the item's alone.
        mark: The mark of the response that it was recorded from, where the framework kept it.
    """

    role: Role
    parts: tuple[Text | Image, ...]
    phase: str | None = None
    key: str | None = field(default=None, compare=False)
    mark: str | None = field(default=None, compare=False)

    @classmethod
    def of(cls, role: Role, text: str, phase: str | None = None) -> "Message":
        """Make a message of plain text."""
        return cls(role, (Text(text),), phase)

    @property
    def text(self) -> str:
        """All texts, joined as the model reads them."""
        return "".join(part.text for part in self.parts if isinstance(part, Text))

    @property
    def has_images(self) -> bool:
        """Whether a picture is among the parts."""
        return any(isinstance(part, Image) for part in self.parts)


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A function call of the model, whole.

    Attributes:
        call_id: The service's id, which the output repeats.
        name: The tool.
        arguments: JSON text, as it came.
        key: The framework's own id of the item.
        mark: The mark of the response that it was recorded from.
        carried: What the host gave with it and wants back, as JSON; see
            `rtllm.codec.carried_fields`.
    """

    call_id: str
    name: str
    arguments: str
    key: str | None = field(default=None, compare=False)
    mark: str | None = field(default=None, compare=False)
    carried: bytes | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class ToolOutput:
    """What a call came to.

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
    """A reasoning item of a response: hidden, and bound to the state it was born in."""

    json: bytes


@dataclass(frozen=True, slots=True)
class Opaque:
    """An item that the service made and this library only carries."""

    type: str
    json: bytes


Item = Message | ToolCall | ToolOutput | Reasoning | Opaque


def is_system(item: Item) -> bool:
    """Tell whether an item is system or developer text."""
    return isinstance(item, Message) and item.role in ("system", "developer")
