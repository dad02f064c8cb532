"""A model of the frameworks: how LiveKit and VideoSDK edit a conversation between requests.

Answers are recorded whole, half or not at all, merged, stripped, thrown away; calls in any
order, with outputs anywhere or nowhere; histories are cut, rewound and replaced.
"""

import itertools
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, TypeVar

from rtllm.content.items import (
    Image,
    Item,
    Message,
    Opaque,
    Reasoning,
    Text,
    ToolCall,
    ToolOutput,
    is_system,
)
from support.contexts import Unit, by_value, merged

PROMPTS = ("You are Ada.", "You are Bob.", "Be brief.", "Answer in French.")
WORDS = ("hello", "yes", "no, the other one", "what time is it", "book it")
PHRASES = (
    "Hello, how can I help?",
    "Yes.",
    "It is <b>nine</b> in the morning.",
    "I have booked the table for you for nine.",
)
GUIDE = "Speak plainly."
TEMPLATE = (
    Message("assistant", (Text(PHRASES[0]),), key="greeting"),
    Message("user", (Text(WORDS[0]),), key="example"),
)
"""A few-shot opening, which a user copies into each call, ids included."""

Named = TypeVar("Named", Message, Item)
Ids = Literal["kept", "fresh", "template", "none"]
Heard = Literal["whole", "half", "nothing", "stripped", "merged"]
Layout = Literal["pairs", "calls first", "outputs reversed", "none", "said between", "one missing"]
Edit = Literal[
    "edit system",
    "add system",
    "drop system",
    "breakpoint",
    "move system",
    "said",
    "window",
    "replace",
    "rewind",
    "strip",
    "merge",
    "drop call",
    "drop output",
    "orphan output",
    "running pair",
    "late output",
    "picture",
]


@dataclass(frozen=True)
class Shape:
    """What a response consists of."""

    texts: tuple[str, ...] = ("Yes.",)
    calls: int = 0
    reasoning: bool = False
    phase: bool = False
    hosted: bool = False


@dataclass(frozen=True)
class Recording:
    """How a framework records a response."""

    heard: Heard = "whole"
    order: int = 0
    layout: Layout = "calls first"
    dropped: int | None = None
    respaced: bool = True


def secret(owner: int) -> str:
    """What only one talk may see."""
    return f"secret of {owner}."


class Outputs:
    """Makes the outputs of responses; call ids are unique, as the service's are."""

    def __init__(self) -> None:
        self._count = 0

    def make(self, shape: Shape, owner: int = 0) -> tuple[Item, ...]:
        """Make an output, whose hidden items hold the owner's secret."""
        output: list[Item] = []
        if shape.hosted:
            hosted = {"type": "mcp_call", "id": "mcp_1", "output": secret(owner)}
            output.append(Opaque("mcp_call", json.dumps(hosted).encode()))
        if shape.reasoning:
            sealed = {"type": "reasoning", "encrypted_content": secret(owner)}
            output.append(Reasoning(json.dumps(sealed).encode()))
        phase = "final_answer" if shape.phase else None
        output += [Message.of("assistant", text, phase) for text in shape.texts]
        for index in range(shape.calls):
            self._count += 1
            arguments = json.dumps({"n": index, "city": "Oslo"}, separators=(",", ":"))
            output.append(ToolCall(f"call_{self._count}", "look_up", arguments))
        return tuple(output)


def recorded_form(output: Sequence[Item]) -> tuple[Item, ...]:
    """The items that a framework records for an output that was heard whole."""
    words = [item for item in output if isinstance(item, Message)]
    calls = [item for item in output if isinstance(item, ToolCall)]
    said = " ".join(message.text for message in words)
    text = [Message.of("assistant", said, words[0].phase)] if words else []
    return (*text, *calls)


def seen(item: Item) -> Unit:
    """An item as the model sees it."""
    match item:
        case Message(role, parts, phase):
            shown = [
                ("image", part.url, part.detail) if isinstance(part, Image) else ("text", part.text)
                for part in parts
            ]
            return ("message", role, phase, merged(shown))
        case ToolCall(call_id, name, arguments):
            return ("call", call_id, name, by_value(arguments))
        case ToolOutput(call_id, output):
            return ("output", call_id, output)
        case Reasoning(hidden) | Opaque(_, hidden):
            return ("hidden", type(item).__name__, hidden.decode())


@dataclass(eq=False)
class Talk:
    """A conversation as its framework keeps it.

    Attributes:
        system: The system texts at its head.
        items: What was said and done since.
        guide: Text for the ``instructions`` field of each request.
        model: The model it asks.
        ids: How the framework names its items: with lasting ids, with new ids for each request,
            with lasting ids after an opening that all calls share, or without ids.
        marks: Whether it keeps marks with what it records.
    """

    number: int
    system: list[Message]
    items: list[Item] = field(default_factory=list)
    guide: str = ""
    model: str = "m"
    ids: Ids = "kept"
    marks: bool = False
    numbers: "itertools.count[int]" = field(default_factory=itertools.count)

    def context(self, trailing: str | None = None) -> list[Item]:
        """The context of a request, with a system text for this request only."""
        extra = [] if trailing is None else [Message.of("system", trailing)]
        self.system = [self._named(item) for item in self.system]
        self.items = [self._named(item) for item in self.items]
        return [*self.system, *self.items, *extra]

    @property
    def unsent(self) -> tuple[str, ...]:
        """The id of an item that is never sent."""
        return () if self.ids in ("none", "template") else (f"config-{self.number}",)

    def _named(self, item: Named) -> Named:
        """An item under its id; the same object if it has that already."""
        if not isinstance(item, Message | ToolCall | ToolOutput):
            return item
        key = self._key(item)
        return item if key == item.key else replace(item, key=key)

    def _key(self, item: Message | ToolCall | ToolOutput) -> str | None:
        if self.ids == "none":
            return None
        if item.key is not None and self.ids != "fresh":
            return item.key
        return f"{self.number}-{next(self.numbers)}"

    def user_says(self, words: str) -> None:
        """A user message is added."""
        self.items.append(Message.of("user", words))

    def user_says_instead(self, words: str) -> None:
        """Drop the user's latest words with all that followed, and replace them."""
        while self.items:
            last = self.items.pop()
            if isinstance(last, Message) and last.role == "user":
                break
        self.user_says(words)

    def records(self, output: Sequence[Item], how: Recording, mark: str | None = None) -> bool:
        """An answer is recorded; returns whether tools ran, so that the turn goes on."""
        form = recorded_form(output)
        mark = mark if self.marks else None
        words = [item for item in form if isinstance(item, Message)]
        calls = [replace(item, mark=mark) for item in form if isinstance(item, ToolCall)]
        self._record_words(words, how.heard, mark)
        return self._record_calls(calls, how)

    def _record_words(self, words: Sequence[Message], heard: Heard, mark: str | None) -> None:
        for message in words:
            text = message.text
            match heard:
                case "nothing":
                    continue
                case "half":
                    text = half(text)
                case "stripped":
                    text = re.sub(r"<[^>]*>", "", text)
                case "merged" if self.items and _is_said(self.items[-1]):
                    before = self.items.pop()
                    assert isinstance(before, Message)
                    text = f"{before.text} {text}"
                case _:
                    pass
            said = Message.of("assistant", text, message.phase)
            self.items.append(replace(said, mark=mark))

    def _record_calls(self, calls: Sequence[ToolCall], how: Recording) -> bool:
        if not calls:
            return False
        orders = list(itertools.permutations(calls))
        kept = list(orders[how.order % len(orders)])
        if how.dropped is not None:
            del kept[how.dropped % len(kept)]
        if how.respaced:
            kept = [replace(call, arguments=_respaced(call.arguments)) for call in kept]
        outputs = [ToolOutput(call.call_id, f"done {call.call_id}") for call in kept]
        match how.layout:
            case "pairs":
                self.items += itertools.chain(*zip(kept, outputs, strict=True))
            case "calls first":
                self.items += [*kept, *outputs]
            case "outputs reversed":
                self.items += [*kept, *reversed(outputs)]
            case "none":
                self.items += kept
            case "said between":
                self.items += [*kept, Message.of("assistant", "One moment."), *outputs]
            case "one missing":
                self.items += [*kept, *outputs[1:]]
        return bool(kept)

    def edits(self, how: Edit, at: int, word: str) -> None:  # noqa: C901, PLR0912
        """The framework, or the application, changes the context."""
        place = at % (len(self.items) + 1)
        chosen = self.items[place] if place < len(self.items) else None
        match how:
            case "edit system" if self.system:
                self.system[at % len(self.system)] = Message.of("system", word)
            case "add system":
                self.system.append(Message.of("system", word))
            case "drop system" if self.system:
                del self.system[at % len(self.system)]
            case "breakpoint" if self.system:
                self.system[-1] = Message("system", (Text(self.system[-1].text, at % 2 == 0),))
            case "move system" if self.system:
                self.items.insert(place, self.system.pop(at % len(self.system)))
            case "said":
                self.items.append(Message.of("assistant", word))
            case "window":
                del self.items[: at % 4]
            case "replace":
                self.items = [
                    Message.of("user", word) if isinstance(item, Message) else item
                    for item in self.items
                ]
            case "rewind":
                del self.items[place:]
            case "strip" if isinstance(chosen, Message) and not is_system(chosen):
                words = re.sub(r"<[^>]*>", "", chosen.text)
                self.items[place] = replace(chosen, parts=(Text(words),))
            case "merge" if place and _is_said(chosen) and _is_said(self.items[place - 1]):
                assert isinstance(chosen, Message)
                before = self.items[place - 1]
                assert isinstance(before, Message)
                self.items[place - 1 : place + 1] = [
                    Message.of("assistant", f"{before.text} {chosen.text}")
                ]
            case "drop call" if isinstance(chosen, ToolCall):
                del self.items[place]
            case "drop output" if isinstance(chosen, ToolOutput):
                del self.items[place]
            case "orphan output":
                self.items.insert(place, ToolOutput(f"gone_{at}", "late"))
            case "running pair":
                call = ToolCall(f"running_{at}", "wait", "{}")
                self.items[place:place] = [call, ToolOutput(call.call_id, "still in progress")]
            case "late output":
                answered = {i.call_id for i in self.items if isinstance(i, ToolOutput)}
                self.items += [
                    ToolOutput(item.call_id, "late")
                    for item in self.items
                    if isinstance(item, ToolCall) and item.call_id not in answered
                ]
            case "picture":
                role: Literal["user", "assistant"] = "user" if at % 2 else "assistant"
                picture = Image("https://example.com/a.png", "low")
                self.items.append(Message(role, (picture, Text(word))))
            case _:
                pass


def half(text: str) -> str:
    """The first half of a text, cut at a word."""
    words = text.split()
    return " ".join(words[: max(1, len(words) // 2)])


def _is_said(item: Item | None) -> bool:
    return isinstance(item, Message) and item.role == "assistant" and not item.has_images


def _respaced(arguments: str) -> str:
    return json.dumps(json.loads(arguments), sort_keys=True)
