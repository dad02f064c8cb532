"""Items of a response that is being received: identifying them, and tracking their text.

Hosts are inconsistent in how they identify items. Seen: different ids in `added`, in each delta, in
`done` and in the terminal event; one id, or one index, for all items; shifting indexes; none at
all. So an item is identified by its index or by its id, whichever matches; if both mislead, by its
text.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rtllm.codec.fingerprint import fingerprint
from rtllm.codec.lenient_json import REPLACEMENT, clean_escapes, is_json, join, unwrapped
from rtllm.codec.thoughts import ThoughtFilter
from rtllm.content.items import Item, Message, ToolCall
from rtllm.content.tool_names import clean_tool_name

_MESSAGE = "message"
_CANDIDATES = 16  # only the newest of the items that share an id or an index are considered


@dataclass(slots=True, eq=False)
class ItemState:
    """An item of a response that is being received.

    Attributes:
        ids: The ids that the service gave it, in order of arrival.
        indexes: Its indexes in the output.
        kind: Its type, if known.
        call_id: A call's id.
        name: A call's tool.
        emitted: The part of its text that was passed on.
        half: The half of a surrogate pair that the next delta may complete.
        deltas: The deltas of its text.
        last_delta: The last of them.
        rest: The part of its text that came only with final texts.
        late: Text that came after the final text and may repeat it.
        has_new_text: Whether new text came after the final text.
        starts: Where in ``emitted`` each part of the content begins.
        finals: The final texts of its parts.
        arguments: A call's arguments from deltas.
        final_arguments: A call's arguments from the event that ends them.
        done: The item, once it is complete.
        is_announced: Whether it was announced by `added`.
        awaits_end: Whether it was announced and is not complete.
        is_declared_complete: Whether the service declared it complete.
        id_count: How many events gave it an id.
        thoughts: Removes the thoughts from its text; None if they are kept, or no text came yet.
    """

    ids: dict[str, None] = field(default_factory=dict)
    indexes: dict[int, None] = field(default_factory=dict)
    kind: str | None = None
    call_id: str | None = None
    name: str | None = None
    emitted: str = ""
    half: str = ""
    deltas: set[str] = field(default_factory=set)
    last_delta: str = ""
    rest: str = ""
    late: str = ""
    has_new_text: bool = False
    starts: dict[int | None, int] = field(default_factory=dict)
    finals: dict[int | None, str] = field(default_factory=dict)
    arguments: str = ""
    final_arguments: str = ""
    done: Item | None = None
    is_announced: bool = False
    awaits_end: bool = False
    is_declared_complete: bool = False
    id_count: int = 0
    thoughts: ThoughtFilter | None = None

    @property
    def is_slow(self) -> bool:
        """Whether it is open and may take long without text."""
        return self.awaits_end and self.kind != _MESSAGE

    @property
    def final(self) -> str:
        """The full text of a complete message, else an empty text."""
        return self.done.text if isinstance(self.done, Message) else ""

    @property
    def has_stable_id(self) -> bool:
        """Whether several events gave it an id, and always the same one."""
        return len(self.ids) == 1 and self.id_count > 1

    def is_elsewhere(self, index: int | None) -> bool:
        """Whether it has indexes and the given one isn't among them."""
        return index is not None and bool(self.indexes) and index not in self.indexes

    def has_arguments(self, *, is_final: bool) -> bool:
        """Whether a call has all its arguments, so that further ones belong to another call.

        Args:
            is_final: Whether the further arguments are complete ones, not a piece.
        """
        if self.final_arguments or self.done is not None:
            return True
        return not is_final and bool(self.arguments) and is_json(self.arguments)

    def can_be(self, kind: str | None, call_id: str | None = None) -> bool:
        """Whether an event about an item of this type can refer to it."""
        if kind is not None and self.kind is not None and kind != self.kind:
            return False
        return call_id is None or self.call_id is None or call_id == self.call_id

    def add_text(self, text: str, part: int | None) -> str:
        """Add a piece of text; return what can be passed on."""
        if part not in self.starts:
            self.starts[part] = len(self.emitted)
        self.deltas.add(text)
        self.last_delta = text
        text, self.half = join(self.half, text)
        self.emitted += text
        return text

    def flush_half(self) -> str:
        """Replace a surrogate half that was not completed; return the replacement."""
        if not self.half:
            return ""
        self.half = ""
        self.emitted += REPLACEMENT
        return REPLACEMENT

    def complete(self, text: str, part: int | None) -> str:
        """Set the final text of a part; return what it adds to the text passed on."""
        start = self._start_of(text, part)
        self.starts.setdefault(part, start)
        rest = new_text(self.emitted[start:], text)
        self.finals[part] = text
        self.has_new_text = False
        if rest:
            self.half = ""
            self.emitted += rest
            self.rest += rest
        return rest

    def complete_all(self, text: str) -> str:
        """Set the final text of the item; return what it adds to the text passed on."""
        rest = new_text(self.emitted, text)
        if rest or text:
            self.half = ""
        self.emitted += rest
        self.rest += rest
        return rest

    def move_end(self, text: str, to: "ItemState") -> None:
        """Move a text that came after this item's final text to the item that it belongs to."""
        own = self.emitted.removesuffix(text)
        if own != self.emitted and any(f and own.startswith(f) for f in self.finals.values()):
            self.emitted, to.emitted = own, text
            to.starts[None] = 0

    def _start_of(self, text: str, part: int | None) -> int:
        """Find where the part with this final text begins."""
        if part in self.starts:
            return self.starts[part]
        if part is None and self.starts:
            return max(self.starts.values())
        for start in self.starts.values():
            emitted = self.emitted[start:]
            if emitted and (emitted.startswith(text) or text.startswith(emitted)):
                return start
        return len(self.emitted)

    def take_after_final(self, text: str, part: int | None) -> str:
        """Check text that comes after a final text; return it once it is not a repetition.

        It may repeat a delta, or text that came only with the final text. In the latter case it is
        held until it differs.
        """
        if self.has_new_text or not (self.final or self._final_of(part)):
            return text
        if text in self.deltas:
            return ""
        late, self.late = self.late + text, ""
        if late.strip() in self.rest:
            self.late = late
            return ""
        self.has_new_text = True
        return late if self.rest.startswith(late[: -len(text)].strip()) else text

    def _final_of(self, part: int | None) -> str:
        """Return the final text of a part; of all parts if a host does not number them."""
        if part in self.finals:
            return self.finals[part]
        return "".join(self.finals.values()) if part is None or None in self.finals else ""


class ItemTable:
    """The items of one response, in the order in which they began."""

    def __init__(self) -> None:
        self._items: list[ItemState] = []
        self._by_id: dict[str, list[ItemState]] = {}
        self._by_index: dict[int, list[ItemState]] = {}
        self._by_call: dict[str, ItemState] = {}

    def __iter__(self) -> Iterator[ItemState]:
        return iter(self._items)

    @property
    def ids(self) -> Collection[str]:
        """All ids of items, as they are now."""
        return self._by_id.keys()

    def find(
        self,
        item_id: str | None,
        index: int | None,
        kind: str | None = None,
        call_id: str | None = None,
    ) -> ItemState | None:
        """Find the item with this index or this id.

        An item that has both is preferred, then an open one, then the newest. A call's own id,
        which its output repeats, takes precedence.
        """
        if call_id is not None and (call := self._by_call.get(call_id)) is not None:
            return call
        by_id = self._by_id.get(item_id, []) if item_id is not None else []
        by_index = self._by_index.get(index, []) if index is not None else []
        if len(by_id) == 1 and by_id == by_index:
            return by_id[0] if by_id[0].can_be(kind) else None
        newest = [*by_index[-_CANDIDATES:], *by_id[-_CANDIDATES:]]
        found = [i for i in newest if i.can_be(kind, call_id)]
        if not found:
            return None
        return max(
            reversed(found),
            key=lambda i: (
                item_id in i.ids and index in i.indexes,
                not i.is_declared_complete,
                item_id in i.ids,
            ),
        )

    def find_calls(self, call_ids: Collection[str | None]) -> set[ItemState]:
        """Find the calls with these ids."""
        return {item for call_id, item in self._by_call.items() if call_id in call_ids}

    def add(self, item_id: str | None, index: int | None, kind: str | None) -> ItemState:
        """Add a new item."""
        item = ItemState()
        self._items.append(item)
        self.add_ids(item, item_id, index, kind)
        return item

    def add_ids(
        self, item: ItemState, item_id: str | None, index: int | None, kind: str | None
    ) -> None:
        """Record the id and the index that an event used for an item."""
        item.kind = item.kind or kind
        if item_id is not None:
            item.id_count += 1
            if item_id not in item.ids:
                item.ids[item_id] = None
                self._by_id.setdefault(item_id, []).append(item)
        if index is not None and index not in item.indexes:
            item.indexes[index] = None
            self._by_index.setdefault(index, []).append(item)

    def add_call(self, item: ItemState, call_id: str | None, name: str | None) -> None:
        """Record a call's id and tool; the latest ones count until the call was passed on."""
        if item.done is None:
            item.call_id = call_id or item.call_id
            item.name = name or item.name
        if call_id is not None:
            self._by_call.setdefault(call_id, item)


def new_text(emitted: str, final: str) -> str:
    """Return what a final text adds to the text passed on; empty if the two differ.

    Spaces are ignored, since hosts trim final texts, and so are characters that replace invalid
    bytes.
    """
    if final.startswith(emitted):
        return final[len(emitted) :]
    at = 0
    for character in emitted:
        if character.isspace():
            continue
        while at < len(final) and final[at].isspace():
            at += 1
        if at == len(final):
            return ""
        if final[at] != character and REPLACEMENT not in (character, final[at]):
            return ""
        at += 1
    rest = final[at:]
    return (rest.lstrip() if emitted[-1:].isspace() else rest) if rest.strip() else ""


def are_similar(emitted: str, final: str) -> bool:
    """Whether two texts begin so similarly that one is probably the other, repaired."""
    emitted, final = "".join(emitted.split()), "".join(final.split())
    if not emitted or not final:
        return not emitted
    shorter = min(len(emitted), len(final))
    same = next((i for i in range(shorter) if emitted[i] != final[i]), shorter)
    return 2 * same >= shorter


def is_same_call(item: ItemState, name: object, arguments: str) -> bool:
    """Whether a call with another id is probably this one, because it says the same.

    Seen: hosts and bridges that give each event's items new ids, the ids of calls too.
    """
    known = clean_tool_name(item.name) if item.name is not None else None
    if isinstance(name, str) and known is not None and known != clean_tool_name(name):
        return False
    so_far = item.final_arguments or unwrapped(clean_escapes(item.arguments))
    if not so_far or not arguments:
        return True
    return fingerprint(ToolCall("", "", so_far)) == fingerprint(ToolCall("", "", arguments))


def match_item(
    item: Mapping[str, Any], text: str, index: int, unmatched: Collection[ItemState]
) -> ItemState | None:
    """Find the received item that an item of the terminal event's output refers to.

    Its index is the last criterion, because some hosts omit items there, which shifts indexes.

    Args:
        item: The item in the terminal event.
        text: Its text if it is a message, its arguments if it is a call.
        index: Its index there.
        unmatched: The received items that are not matched yet.
    """
    kind, item_id = item.get("type"), item.get("id")
    fit = [i for i in unmatched if i.can_be(kind if isinstance(kind, str) else None)]
    with_id = [i for i in fit if isinstance(item_id, str) and item_id in i.ids]
    match kind:
        case "message":
            found = _messages(text, index, fit, with_id)
        case "function_call":
            found = _calls(item, text, index, fit, with_id)
        case _:
            found = iter((*with_id, *fit))
    return next(found, None)


def _messages(
    text: str, index: int, fit: Sequence[ItemState], with_id: Sequence[ItemState]
) -> Iterator[ItemState]:
    with_text = [(i, emitted) for i in fit if (emitted := i.final or i.emitted)]
    yield from (i for i in with_id if text.startswith(i.final or i.emitted))
    yield from (i for i, emitted in with_text if emitted == text)
    yield from with_id
    yield from (i for i, emitted in with_text if new_text(emitted, text) or new_text(text, emitted))
    yield from (i for i, emitted in with_text if are_similar(emitted, text))
    yield from (i for i in fit if index in i.indexes)


def _calls(
    item: Mapping[str, Any],
    arguments: str,
    index: int,
    fit: Sequence[ItemState],
    with_id: Sequence[ItemState],
) -> Iterator[ItemState]:
    call_id, name = item.get("call_id"), item.get("name")
    yield from (i for i in fit if i.call_id is not None and i.call_id == call_id)
    yield from (i for i in with_id if i.call_id is None)
    alike = [i for i in fit if is_same_call(i, name, arguments)]
    without_id = [
        i for i in fit if i.call_id is None and i.kind is not None and not i.is_declared_complete
    ]
    for found in ([i for i in without_id if i in alike], [i for i in alike if i.call_id]):
        yield from (i for i in found if i in with_id)
        yield from (i for i in found if index in i.indexes)
        yield from found
    yield from (i for i in without_id if index in i.indexes)
    yield from without_id
