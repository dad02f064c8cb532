"""Normalization: turns a context into one that the service accepts, and lists the changes.

Frameworks leave calls without outputs (interrupted tools), outputs without calls (truncated
histories), messages between a call and its output, and duplicate ids. The service rejects all of
these, with every later request too, since the history keeps them.
"""

import re
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b
from typing import Literal

from rtllm.content.call_ids import carries_data
from rtllm.content.items import Image, Item, Message, Text, ToolCall, ToolOutput

NO_RESULT = "no result: interrupted or failed"
"""The output of a call that has none. Without the call, the model would call again."""

MAX_CALL_ID = 64  # seen: longer ids are rejected
MAX_NAME = 64  # documented
_NAME = re.compile(r"[^A-Za-z0-9_-]")

KeepsId = Callable[[str], bool]
"""Tells whether a call id must stay unchanged, however long."""

RepairKind = Literal[
    "output synthesised",
    "output dropped",
    "call dropped",
    "id changed",
    "name changed",
    "empty message dropped",
    "image moved",
    "text repaired",
]


@dataclass(frozen=True, slots=True)
class ContextRepair:
    """One change that normalizing made.

    Attributes:
        change: The kind of change.
        subject: The call id, or the role of the message.
    """

    change: RepairKind
    subject: str


@dataclass(frozen=True, slots=True)
class NormalizedContext:
    """A context that the service accepts.

    Attributes:
        items: The items, oldest first.
        notes: The changes.
    """

    items: tuple[Item, ...]
    notes: tuple[ContextRepair, ...] = ()


def normalize_context(items: Iterable[Item], keeps_id: KeepsId = carries_data) -> NormalizedContext:
    """Normalize a context: one output for each call, directly after its run of calls.

    The order is kept otherwise. A call without an output gets a placeholder, an output without a
    call is dropped, a call id that another call has used is made unique, and empty messages are
    dropped. A picture in an assistant message, which the service rejects, moves into a user message
    after it.

    Args:
        items: The context, which is not changed.
        keeps_id: Tells which call ids must stay unchanged, however long.

    Returns:
        The normalized items, and the changes.
    """
    notes: list[ContextRepair] = []
    given = list(items)
    pairs = _Pairs(given, notes, keeps_id)
    normalized: list[Item] = []
    run: list[_Pair] = []
    for position, item in enumerate(given):
        if isinstance(item, ToolCall):
            if (pair := pairs.of(position)) is not None:
                run.append(pair)
            continue
        if run:
            normalized += _with_outputs(run)
            run = []
        if isinstance(item, Message):
            if len(item.parts) == 1 and isinstance(item.parts[0], Text) and item.parts[0].text:
                normalized.append(item)  # most messages
            else:
                normalized += _normalize_message(item, notes)
        elif not isinstance(item, ToolOutput):  # outputs are added after their calls
            normalized.append(item)
    normalized += _with_outputs(run)
    return NormalizedContext(tuple(normalized), tuple(notes))


def normalize_repaired(
    items: Iterable[Item], keeps_id: KeepsId = carries_data
) -> NormalizedContext:
    """Normalize a context whose texts contain halves of surrogate pairs."""
    sound = repair_texts(items)
    normalized = normalize_context(sound.items, keeps_id)
    return NormalizedContext(normalized.items, (*sound.notes, *normalized.notes))


def repair_texts(items: Iterable[Item]) -> NormalizedContext:
    """Replace lone surrogates, which can't be encoded, in the texts of items.

    Returns:
        The items, and a note for each changed one.
    """
    whole: list[Item] = []
    notes: list[ContextRepair] = []
    for item in items:
        fixed = _repaired(item)
        if fixed != item:
            subject = item.role if isinstance(item, Message) else getattr(item, "call_id", "")
            notes.append(ContextRepair("text repaired", subject))
        whole.append(fixed)
    return NormalizedContext(tuple(whole), tuple(notes))


def _repaired(item: Item) -> Item:
    match item:
        case Message(_, parts, _):
            return replace(
                item,
                parts=tuple(
                    replace(p, text=_sound(p.text)) if isinstance(p, Text) else p for p in parts
                ),
            )
        case ToolCall(call_id, name, arguments):
            return replace(
                item, call_id=_sound(call_id), name=_sound(name), arguments=_sound(arguments)
            )
        case ToolOutput(call_id, output):
            return replace(item, call_id=_sound(call_id), output=_sound(output))
        case _:
            return item


def _sound(text: str) -> str:
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


@dataclass(frozen=True, slots=True)
class _Pair:
    call: ToolCall
    output: ToolOutput
    answered_at: int


def _with_outputs(run: Sequence[_Pair]) -> list[Item]:
    """Return the calls of a run, then their outputs in the order of arrival."""
    answered = sorted(run, key=lambda pair: pair.answered_at)
    return [*(pair.call for pair in run), *(pair.output for pair in answered)]


class _Pairs:
    """Pairs each call with its output, and gives both an id that no earlier call has."""

    def __init__(
        self, items: Sequence[Item], notes: list[ContextRepair], keeps_id: KeepsId
    ) -> None:
        self._notes = notes
        self._keeps_id = keeps_id
        self._never = len(items)
        self._waiting: defaultdict[str, deque[tuple[int, ToolOutput]]] = defaultdict(deque)
        self._taken: set[str] = set()
        self._repeats: dict[str, int] = {}
        self._seen: set[tuple[str, str, str]] = set()
        self._by_position: dict[int, _Pair] = {}
        for position, item in enumerate(items):
            if isinstance(item, ToolOutput):
                self._waiting[item.call_id].append((position, item))
        for position, item in enumerate(items):
            if isinstance(item, ToolCall):
                self._pair(position, item)
        for call_id, rest in self._waiting.items():
            notes += [ContextRepair("output dropped", call_id)] * len(rest)

    def of(self, position: int) -> _Pair | None:
        """Return the pair of the call at a position, or None if the call was dropped."""
        return self._by_position.get(position)

    def _pair(self, position: int, call: ToolCall) -> None:
        waiting = self._waiting[call.call_id]
        same = (call.call_id, call.name, call.arguments)
        if not waiting and same in self._seen:
            self._notes.append(ContextRepair("call dropped", call.call_id))
            return
        self._seen.add(same)
        call_id = self._unique(call.call_id)
        name = _NAME.sub("_", call.name)[:MAX_NAME] or "_"
        if call_id != call.call_id:
            self._notes.append(ContextRepair("id changed", call.call_id))
        if name != call.name:
            self._notes.append(ContextRepair("name changed", call.name))
        if waiting:
            answered_at, output = waiting.popleft()
        else:
            answered_at, output = self._never, ToolOutput(call_id, NO_RESULT)
            self._notes.append(ContextRepair("output synthesised", call.call_id))
        if call_id != call.call_id or name != call.name:
            call = replace(call, call_id=call_id, name=name)
        if output.call_id != call_id:
            output = replace(output, call_id=call_id)
        self._by_position[position] = _Pair(call, output, answered_at)

    def _unique(self, call_id: str) -> str:
        """Return the id if the service accepts it, else one that depends only on earlier items."""
        wanted = call_id or "call"
        if len(wanted) > MAX_CALL_ID and not self._keeps_id(wanted):
            wanted = f"{wanted[:31]}-{blake2b(wanted.encode(), digest_size=16).hexdigest()}"
        unique, count = wanted, self._repeats.get(wanted, 1)
        while unique in self._taken:
            count += 1
            unique = f"{wanted[: MAX_CALL_ID - 8]}-{count}"
        self._taken.add(unique)
        self._repeats[wanted] = count  # the next search goes on from here
        return unique


def _normalize_message(message: Message, notes: list[ContextRepair]) -> list[Item]:
    parts = tuple(p for p in message.parts if isinstance(p, Image) or p.text)
    if message.role == "assistant" and message.has_images:
        notes.append(ContextRepair("image moved", message.role))
        words = tuple(p for p in parts if isinstance(p, Text))
        pictures = Message("user", tuple(p for p in parts if isinstance(p, Image)))
        return [replace(message, parts=words), pictures] if words else [pictures]
    if not parts:
        notes.append(ContextRepair("empty message dropped", message.role))
        return []
    return [message if len(parts) == len(message.parts) else replace(message, parts=parts)]
