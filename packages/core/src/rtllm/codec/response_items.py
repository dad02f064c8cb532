"""The items of a response while they come in: which one an event means, and what was said of it.

Hosts are careless with what names an item. Seen: another id in `added`, in each delta, in `done`
and in the terminal event; one id, or one place, for all items; places that shift; neither. So an
item is known by its place or by its id, whichever matches; where both lead astray, by what was
said of it.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rtllm.codec.lenient_json import REPLACEMENT, is_json, join
from rtllm.codec.thoughts import ThoughtFilter
from rtllm.content.items import Item, Message

_MESSAGE = "message"
_CANDIDATES = 16  # of the items that share an id or a place, the newest are looked at


@dataclass(slots=True, eq=False)
class ItemState:
    """An item of a response as it comes in.

    Attributes:
        ids: The service's ids of it, in the order in which they came.
        places: Its places in the output.
        kind: Its type, if that is known.
        call_id: A call's id.
        name: A call's tool.
        said: What of its text was passed on.
        half: The half of a surrogate pair that the next delta may complete.
        deltas: The deltas of its text.
        rest: What of its text came with final texts only.
        late: Text that came after the final text, which it may repeat.
        goes_on: Whether more was said after the final text than that.
        starts: Where in ``said`` each part of the content begins.
        finals: The final texts of its parts.
        arguments: A call's arguments from deltas.
        final_arguments: A call's arguments from the event that ends them.
        done: The item, once it is whole.
        is_announced: Whether it was announced.
        is_open: Whether it was announced and isn't done.
        is_closed: Whether the service said that it is done.
        named: How many events named it by an id.
        thoughts: Takes the thoughts out of its text, if thoughts are dropped and any text came.
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
        """Whether it may take long without a word."""
        return self.is_open and self.kind != _MESSAGE

    @property
    def final(self) -> str:
        """The whole text of a message that is done, else nothing."""
        return self.done.text if isinstance(self.done, Message) else ""

    @property
    def has_stable_id(self) -> bool:
        """Whether several events named it, all by the same id."""
        return len(self.ids) == 1 and self.named > 1

    def is_elsewhere(self, place: int | None) -> bool:
        """Tell whether it has places and the given one isn't among them."""
        return place is not None and bool(self.places) and place not in self.places

    def has_arguments(self, *, is_final: bool) -> bool:
        """Tell whether a call has all its arguments, so that more of them are another call's.

        Args:
            is_final: Whether what comes are whole arguments, not a piece.
        """
        if self.final_arguments or self.done is not None:
            return True
        return not is_final and bool(self.arguments) and is_json(self.arguments)

    def can_be(self, kind: str | None, call_id: str | None = None) -> bool:
        """Tell whether an event about an item of this type can mean it."""
        if kind is not None and self.kind is not None and kind != self.kind:
            return False
        return call_id is None or self.call_id is None or call_id == self.call_id

    def say(self, text: str, part: int | None) -> str:
        """Add a piece of text; give what of it can be passed on."""
        self.starts.setdefault(part, len(self.said))
        self.deltas.add(text)
        text, self.half = join(self.half, text)
        self.said += text
        return text

    def say_half(self) -> str:
        """Give up the half of a surrogate pair that found no other half."""
        if not self.half:
            return ""
        self.half = ""
        self.said += REPLACEMENT
        return REPLACEMENT

    def complete(self, text: str, part: int | None) -> str:
        """Take the final text of a part; give what it has beyond what was said."""
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
        """Take the final text of the item; give what it has beyond what was said."""
        rest = beyond(self.said, text)
        if rest or text:
            self.half = ""
        self.said += rest
        self.rest += rest
        return rest

    def give_up(self, text: str, to: "ItemState") -> None:
        """Move a text that came after this item's final text to the item that it belongs to."""
        own = self.said.removesuffix(text)
        if own != self.said and any(f and own.startswith(f) for f in self.finals.values()):
            self.said, to.said = own, text
            to.starts[None] = 0

    def _start_of(self, text: str, part: int | None) -> int:
        """Where the part with this final text begins."""
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
        """Take text that comes after a final text; give it once it is more than a repetition.

        It repeats a delta, or what came with the final text only. The latter is kept until it
        shows whether it is the beginning of something else.
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
        """The final text of a part; of all parts where a host leaves out which one it means."""
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
        """Find the item that has this place or this id.

        Who has both comes first, then who is open, then the newest. A call's own id, which its
        output repeats, comes before either.
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
        """Note a new item."""
        item = ItemState()
        self._items.append(item)
        self.know(item, item_id, place, kind)
        return item

    def know(
        self, item: ItemState, item_id: str | None, place: int | None, kind: str | None
    ) -> None:
        """Note by what an event named an item."""
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
        """Note a call's id and tool."""
        item.call_id = item.call_id or call_id
        item.name = item.name or name
        if item.call_id is not None:
            self._by_call.setdefault(item.call_id, item)


def beyond(said: str, final: str) -> str:
    """What a final text has beyond what was said; nothing if it says something else.

    Blanks don't count, since hosts trim final texts, nor what was replaced because its bytes
    were broken.
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
    """Tell whether two texts begin so alike that one is likely the other, repaired."""
    said, final = "".join(said.split()), "".join(final.split())
    if not said or not final:
        return not said
    shorter = min(len(said), len(final))
    same = next((i for i in range(shorter) if said[i] != final[i]), shorter)
    return 2 * same >= shorter


def meant_by(
    item: Mapping[str, Any], text: str, place: int, left: Collection[ItemState]
) -> ItemState | None:
    """Find what came already of an item of the terminal event's output.

    Its place is asked last: some hosts leave items out there, so that places shift.

    Args:
        item: The item in the terminal event.
        text: Its text, if it is a message.
        place: Its place there.
        left: The items of the response that nothing was found for yet.
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
