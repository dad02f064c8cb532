"""Items of a response that is being received: identifying them, and tracking their text.

Hosts are inconsistent in how they identify items. Seen: different ids in `added`, in each delta, in
`done` and in the terminal event; one id, or one index, for all items; shifting indexes; none at
all. So an item is identified by its index or by its id, whichever matches; if both mislead, by its
text.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rtllm.codec.lenient_json import REPLACEMENT, is_json, join
from rtllm.codec.thoughts import ThoughtFilter
from rtllm.content.items import Item, Message

_MESSAGE = "message"
_CANDIDATES = 16  # only the newest of the items that share an id or an index are considered


@dataclass(slots=True, eq=False)
class ItemState:
    """An item of a response that is being received.

    Attributes:
        ids: The ids that the service gave it, in order of arrival.
        places: Its indexes in the output.
        kind: Its type, if known.
        call_id: A call's id.
        name: A call's tool.
        said: The part of its text that was passed on.
        half: The half of a surrogate pair that the next delta may complete.
        deltas: The deltas of its text.
        rest: The part of its text that came only with final texts.
        late: Text that came after the final text and may repeat it.
        goes_on: Whether new text came after the final text.
        starts: Where in ``said`` each part of the content begins.
        finals: The final texts of its parts.
        arguments: A call's arguments from deltas.
        final_arguments: A call's arguments from the event that ends them.
        done: The item, once it is complete.
        is_announced: Whether it was announced by `added`.
        is_open: Whether it was announced and is not complete.
        is_closed: Whether the service declared it complete.
        named: How many events gave it an id.
        thoughts: Removes the thoughts from its text; None if they are kept, or no text came yet.
    """

    ids: dict[str, None] = field(default_factory=dict)
    places: dict[int, None] = field(default_factory=dict)
    kind: str | None = None
    call_id: str | None = None
    name: str | None = None
    said: str = ""
    half: str = ""
    deltas: set[str] = field(default_factory=set)
    rest: str = ""
    late: str = ""
    goes_on: bool = False
    starts: dict[int | None, int] = field(default_factory=dict)
    finals: dict[int | None, str] = field(default_factory=dict)
    arguments: str = ""
    final_arguments: str = ""
    done: Item | None = None
    is_announced: bool = False
    is_open: bool = False
    is_closed: bool = False
    named: int = 0
    thoughts: ThoughtFilter | None = None

    @property
    def is_slow(self) -> bool:
        """Whether it is open and may take long without text."""
        return self.is_open and self.kind != _MESSAGE

    @property
    def final(self) -> str:
        """The full text of a complete message, else an empty text."""
        return self.done.text if isinstance(self.done, Message) else ""

    @property
    def has_stable_id(self) -> bool:
        """Whether several events gave it an id, and always the same one."""
        return len(self.ids) == 1 and self.named > 1

    def is_elsewhere(self, place: int | None) -> bool:
        """Whether it has indexes and the given one isn't among them."""
        return place is not None and bool(self.places) and place not in self.places

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

    def say(self, text: str, part: int | None) -> str:
        """Add a piece of text; return what can be passed on."""
        self.starts.setdefault(part, len(self.said))
        self.deltas.add(text)
        text, self.half = join(self.half, text)
        self.said += text
        return text

    def say_half(self) -> str:
        """Replace a surrogate half that was not completed; return the replacement."""
        if not self.half:
            return ""
        self.half = ""
        self.said += REPLACEMENT
        return REPLACEMENT

    def complete(self, text: str, part: int | None) -> str:
        """Set the final text of a part; return what it adds to the text passed on."""
        start = self._start_of(text, part)
        self.starts.setdefault(part, start)
        rest = beyond(self.said[start:], text)
        self.finals[part] = text
        self.goes_on = False
        if rest:
            self.half = ""
            self.said += rest
            self.rest += rest
        return rest

    def complete_all(self, text: str) -> str:
        """Set the final text of the item; return what it adds to the text passed on."""
        rest = beyond(self.said, text)
        if rest or text:
            self.half = ""
        self.said += rest
        self.rest += rest
        return rest

    def move_end(self, text: str, to: "ItemState") -> None:
        """Move a text that came after this item's final text to the item that it belongs to."""
        own = self.said.removesuffix(text)
        if own != self.said and any(f and own.startswith(f) for f in self.finals.values()):
            self.said, to.said = own, text
            to.starts[None] = 0

    def _start_of(self, text: str, part: int | None) -> int:
        """Find where the part with this final text begins."""
        if part in self.starts:
            return self.starts[part]
        if part is None and self.starts:
            return max(self.starts.values())
        for start in self.starts.values():
            said = self.said[start:]
            if said and (said.startswith(text) or text.startswith(said)):
                return start
        return len(self.said)

    def take_after_final(self, text: str, part: int | None) -> str:
        """Check text that comes after a final text; return it once it is not a repetition.

        It may repeat a delta, or text that came only with the final text. In the latter case it is
        held until it differs.
        """
        if self.goes_on or not (self.final or self._final_of(part)):
            return text
        if text in self.deltas:
            return ""
        late, self.late = self.late + text, ""
        if late.strip() in self.rest:
            self.late = late
            return ""
        self.goes_on = True
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
        self._by_place: dict[int, list[ItemState]] = {}
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
        place: int | None,
        kind: str | None = None,
        call_id: str | None = None,
    ) -> ItemState | None:
        """Find the item with this index or this id.

        An item that has both is preferred, then an open one, then the newest. A call's own id,
        which its output repeats, takes precedence.
        """
        if call_id is not None and (called := self._by_call.get(call_id)) is not None:
            return called
        by_id = self._by_id.get(item_id, []) if item_id is not None else []
        by_place = self._by_place.get(place, []) if place is not None else []
        if len(by_id) == 1 and by_id == by_place:
            return by_id[0] if by_id[0].can_be(kind) else None
        newest = [*by_place[-_CANDIDATES:], *by_id[-_CANDIDATES:]]
        found = [i for i in newest if i.can_be(kind, call_id)]
        if not found:
            return None
        return max(
            reversed(found),
            key=lambda i: (
                item_id in i.ids and place in i.places,
                not i.is_closed,
                item_id in i.ids,
            ),
        )

    def add(self, item_id: str | None, place: int | None, kind: str | None) -> ItemState:
        """Add a new item."""
        item = ItemState()
        self._items.append(item)
        self.know(item, item_id, place, kind)
        return item

    def know(
        self, item: ItemState, item_id: str | None, place: int | None, kind: str | None
    ) -> None:
        """Record the id and the index that an event used for an item."""
        item.kind = item.kind or kind
        if item_id is not None:
            item.named += 1
            if item_id not in item.ids:
                item.ids[item_id] = None
                self._by_id.setdefault(item_id, []).append(item)
        if place is not None and place not in item.places:
            item.places[place] = None
            self._by_place.setdefault(place, []).append(item)

    def know_call(self, item: ItemState, call_id: str | None, name: str | None) -> None:
        """Record a call's id and tool."""
        item.call_id = item.call_id or call_id
        item.name = item.name or name
        if item.call_id is not None:
            self._by_call.setdefault(item.call_id, item)


def beyond(said: str, final: str) -> str:
    """Return what a final text adds to the text passed on; empty if the two differ.

    Spaces are ignored, since hosts trim final texts, and so are characters that replace invalid
    bytes.
    """
    if final.startswith(said):
        return final[len(said) :]
    at = 0
    for character in said:
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
    return (rest.lstrip() if said[-1:].isspace() else rest) if rest.strip() else ""


def are_alike(said: str, final: str) -> bool:
    """Whether two texts begin so similarly that one is probably the other, repaired."""
    said, final = "".join(said.split()), "".join(final.split())
    if not said or not final:
        return not said
    shorter = min(len(said), len(final))
    same = next((i for i in range(shorter) if said[i] != final[i]), shorter)
    return 2 * same >= shorter


def meant_by(
    item: Mapping[str, Any], text: str, place: int, left: Collection[ItemState]
) -> ItemState | None:
    """Find the received item that an item of the terminal event's output refers to.

    Its index is the last criterion, because some hosts omit items there, which shifts indexes.

    Args:
        item: The item in the terminal event.
        text: Its text, if it is a message.
        place: Its index there.
        left: The received items that are not matched yet.
    """
    kind, item_id = item.get("type"), item.get("id")
    fit = [i for i in left if i.can_be(kind if isinstance(kind, str) else None)]
    named = [i for i in fit if isinstance(item_id, str) and item_id in i.ids]
    match kind:
        case "message":
            found = _messages(text, place, fit, named)
        case "function_call":
            found = _calls(item.get("call_id"), place, fit, named)
        case _:
            found = iter((*named, *fit))
    return next(found, None)


def _messages(
    text: str, place: int, fit: Sequence[ItemState], named: Sequence[ItemState]
) -> Iterator[ItemState]:
    told = [(i, said) for i in fit if (said := i.final or i.said)]
    yield from (i for i in named if text.startswith(i.final or i.said))
    yield from (i for i, said in told if said == text)
    yield from named
    yield from (i for i, said in told if beyond(said, text) or beyond(text, said))
    yield from (i for i, said in told if are_alike(said, text))
    yield from (i for i in fit if place in i.places)


def _calls(
    call_id: object, place: int, fit: Sequence[ItemState], named: Sequence[ItemState]
) -> Iterator[ItemState]:
    yield from (i for i in fit if i.call_id is not None and i.call_id == call_id)
    yield from (i for i in named if i.call_id is None)
    nameless = [i for i in fit if i.call_id is None and i.kind is not None and not i.is_closed]
    yield from (i for i in nameless if place in i.places)
    yield from nameless
