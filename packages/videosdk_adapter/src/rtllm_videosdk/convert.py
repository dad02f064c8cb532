"""The adapter's two mappings: VideoSDK's context to items, and an output to what is recorded.

Everything is taken by value: the framework changes messages that were already sent (a
knowledge base's text, a corrected transcript, an interrupted answer).

VideoSDK records the words of a turn as one message behind all its tool rounds. The words that
were said before a call are therefore moved back in front of it, where the model said them:
`Answers` knows them. The order of what was said is the same; without this, no turn with
"let me look" before a tool could be continued.
"""

import logging
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from videosdk.agents import (
    AgentConfigUpdate,
    AgentHandoff,
    ChatContext,
    ChatMessage,
    ChatRole,
    FunctionCall,
    FunctionCallOutput,
    ImageContent,
)

from rtllm import Item, Message, Role, Text, ToolCall, ToolOutput

logger = logging.getLogger(__name__)

_ROLES: Mapping[ChatRole, Role] = {
    ChatRole.SYSTEM: "system",
    ChatRole.DEVELOPER: "system",  # documented: the same; hosts may know only this one
    ChatRole.USER: "user",
    ChatRole.ASSISTANT: "assistant",
}
_INSTRUCTIONS = (ChatRole.SYSTEM, ChatRole.DEVELOPER)
_KNOWN_CALLS = 1024

_Key = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Pictured:
    """A message whose pictures are still to be encoded.

    Attributes:
        role: Who speaks.
        parts: Its texts, and the pictures as they were when it was taken.
    """

    role: Role
    parts: tuple[Text | ImageContent, ...]


def taken(context: ChatContext) -> list[Item | Pictured]:
    """Take a context by value; pictures excepted, which take long to encode.

    All system messages count. Where the context holds an `AgentConfigUpdate` with
    instructions, the framework's own rule holds: one system text, the newest instructions, at
    the place of the first.
    """
    entries = [entry for entry in context.items if entry is not None]
    in_force = _instructions_in_force(context, entries)
    made: list[Item | Pictured] = []
    if in_force is not None and not any(map(_instructs, entries)):
        made.append(Message.of("system", in_force))
    for entry in entries:
        if in_force is not None and _instructs(entry):
            if in_force:
                made.append(Message.of("system", in_force))
            in_force = ""
        elif isinstance(entry, ChatMessage):
            if (message := _message(entry)) is not None:
                made.append(message)
        elif isinstance(entry, FunctionCall):
            made.append(ToolCall(entry.call_id, entry.name, _said_arguments(entry.arguments)))
        elif isinstance(entry, FunctionCallOutput):
            made.append(ToolOutput(entry.call_id, entry.output))
        elif not isinstance(entry, AgentHandoff | AgentConfigUpdate):
            logger.debug("an item of the type %s is left out", type(entry).__name__)
    return made


def _instructs(entry: object) -> bool:
    return isinstance(entry, ChatMessage) and entry.role in _INSTRUCTIONS


def _instructions_in_force(context: ChatContext, entries: Sequence[object]) -> str | None:
    """The newest instructions, where the framework's rule about updates holds."""
    updates = (e for e in entries if isinstance(e, AgentConfigUpdate))
    if not any(update.instructions is not None for update in updates):
        return None
    instructions, _ = context.active_config_at()
    return instructions or ""


def _said_arguments(arguments: object) -> str:
    return arguments if isinstance(arguments, str) and arguments.strip() else "{}"


def _message(message: ChatMessage) -> Message | Pictured | None:
    content = message.content
    given = [content] if isinstance(content, str) else list(content or ())
    parts: list[Text | ImageContent] = []
    for part in given:
        if isinstance(part, str):
            parts.append(Text(part))
        elif isinstance(part, ImageContent) and part.image is not None:
            parts.append(part.model_copy())
    role = _ROLES[ChatRole(message.role)]
    texts = tuple(part for part in parts if isinstance(part, Text))
    if len(texts) == len(parts):
        return Message(role, texts)
    return Pictured(role, tuple(parts))


# -- words before calls ---------------------------------------------------------------------------


class Answers:
    """Which calls belong to one answer, and what was said before them.

    For as many calls as may still matter. An answer is found by the calls themselves, and its
    words count only where the context tells the same ones.
    """

    def __init__(self) -> None:
        self._firsts: OrderedDict[_Key, _Key] = OrderedDict()
        self._words: dict[_Key, str] = {}

    def note(self, calls: Sequence[ToolCall], words: str) -> None:
        """Remember an answer's calls, and the words that were given out before them."""
        first = _key(calls[0])
        for call in calls:
            self._firsts[_key(call)] = first
            self._firsts.move_to_end(_key(call))
        self._words.pop(first, None)
        if words:
            self._words[first] = words
        while len(self._firsts) > _KNOWN_CALLS:
            forgotten, _ = self._firsts.popitem(last=False)
            self._words.pop(forgotten, None)

    def words_before(self, call: ToolCall) -> str | None:
        """The words before a call, None if there were none or another call comes first."""
        return self._words.get(_key(call))

    def first_of(self, call: ToolCall) -> object:
        """What tells calls of one answer from those of others; None if it isn't known."""
        return self._firsts.get(_key(call))


def _key(call: ToolCall) -> _Key:
    return call.call_id, call.name


@dataclass(frozen=True, slots=True)
class Unseen:
    """Items of a turn that the framework doesn't know: calls that could not be handed to it.

    Attributes:
        items: The calls, and the outputs that tell the model what was wrong.
        at: How many of the framework's items come before them.
        call: The call that they stand before, if they belong to the same response.
    """

    items: tuple[Item, ...]
    at: int
    call: str | None = None


@dataclass(slots=True)
class _Arranged:
    before: dict[int, Message] = field(default_factory=dict)
    instead: dict[int, Message | None] = field(default_factory=dict)


def arranged(
    items: Sequence[Item],
    answers: Answers,
    *,
    open_from: int | None = None,
    unseen: Sequence[Unseen] = (),
) -> tuple[Item, ...]:
    """Put each word where the model said it.

    Args:
        items: The framework's items.
        answers: What is known of the calls.
        open_from: Where the turn begins that is still going on: its words are not recorded
            yet. None if the context is no turn's that goes on.
        unseen: What this turn holds that the framework doesn't know.
    """
    moved = _moved(items, answers, open_from)
    made: list[Item] = []
    for place, item in enumerate(items):
        made += [i for u in unseen if u.call is None and u.at == place for i in u.items]
        if place in moved.before:
            made.append(moved.before[place])
        if isinstance(item, ToolCall):
            made += [i for u in unseen if u.call == item.call_id and u.at <= place for i in u.items]
        kept = moved.instead.get(place, item)
        if kept is not None:
            made.append(kept)
    made += [i for u in unseen if u.call is None and u.at >= len(items) for i in u.items]
    return _together(made, answers)


def _together(items: Sequence[Item], answers: Answers) -> tuple[Item, ...]:
    """The same items, the calls of each answer side by side: so the model made them."""
    made: list[Item] = []
    moved: set[int] = set()
    for place, item in enumerate(items):
        if place in moved:
            continue
        made.append(item)
        if not isinstance(item, ToolCall) or (first := answers.first_of(item)) is None:
            continue
        for later in range(place + 1, len(items)):
            other = items[later]
            if isinstance(other, Message) and other.role == "user":
                break
            if isinstance(other, ToolCall) and answers.first_of(other) == first:
                made.append(other)
                moved.add(later)
    return tuple(made)


def _moved(items: Sequence[Item], answers: Answers, open_from: int | None) -> _Arranged:
    moved = _Arranged()
    for place, item in enumerate(items):
        if not isinstance(item, ToolCall) or (words := answers.words_before(item)) is None:
            continue
        told = _teller(items, place, words, moved)
        if told is not None:
            message = moved.instead.get(told, items[told])
            rest = message.text[len(words) :] if isinstance(message, Message) else ""
            moved.instead[told] = Message.of("assistant", rest) if rest else None
        if told is not None or (open_from is not None and place >= open_from):
            moved.before[place] = Message.of("assistant", words)
    return moved


def _teller(items: Sequence[Item], place: int, words: str, moved: _Arranged) -> int | None:
    """The message behind a call, in the same turn, that begins with the words before it."""
    for later in range(place + 1, len(items)):
        item = moved.instead.get(later, items[later])
        if not isinstance(item, Message):
            continue
        if item.role == "user":
            return None
        if item.role == "assistant" and not item.has_images and item.text.startswith(words):
            return later
    return None


# -- what is recorded -----------------------------------------------------------------------------


def as_recorded(
    output: tuple[Item, ...], *, nested: bool = False, graph: bool = False
) -> tuple[Item, ...] | None:
    """The items that VideoSDK records for an answer that was heard whole.

    One message with all that was said, then the calls.

    Args:
        output: What the service said.
        nested: Whether the answer belongs to a tool round, whose words the framework throws
            away if there are calls too: then nothing may continue it.
        graph: Whether the words are a graph's JSON, of which the framework records something
            else.

    Returns:
        The items, None where the framework records none that would equal the output.
    """
    said = [item for item in output if isinstance(item, Message) and item.text]
    calls = [item for item in output if isinstance(item, ToolCall)]
    if said and (graph or (calls and nested)):
        return None
    if said and calls and output.index(calls[0]) < output.index(said[-1]):
        return None
    text = " ".join(message.text for message in said)
    message = [Message.of("assistant", text)] if text else []
    plain = [ToolCall(c.call_id, c.name, _said_arguments(c.arguments)) for c in calls]
    return (*message, *plain)
