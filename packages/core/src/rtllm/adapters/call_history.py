"""Tool calls in a context's history: which ones belong to one response, and the text before them.

VideoSDK records the text of a turn as one message after all its tool rounds. So text that was said
before a call is moved back in front of it, where the model said it. The order of the text does not
change. Without this, no turn with text before a tool call could be continued.

A call id proves nothing, because hosts reuse them in each conversation. A completed call is found
by the framework's own id of its item, which is unique and survives copies, forks and serialisation.
Text is only moved within a context that has it. The current turn is the exception: its own text is
added, because the framework records it at the turn's end.
"""

import logging
from collections import Counter, OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from rtllm.content.items import Item, Message, Text, ToolCall

logger = logging.getLogger(__name__)

MAX_CALLS = 1024
"""How many completed calls are remembered; the least recently seen are forgotten."""


@dataclass(frozen=True, eq=False, slots=True)
class CallGroup:
    """The calls of one response, and the text before them; compared by identity.

    Attributes:
        calls: The calls that the framework gets, in order.
        words: The text that was emitted before them.
        before: The text of earlier responses, of whose calls the framework got none (`CallGate`).
            The framework records it in front of `words`.
        unseen: The other calls of the response, which the framework does not get, and the outputs
            that tell the model what was wrong.
    """

    calls: tuple[ToolCall, ...]
    words: str = ""
    before: str = ""
    unseen: tuple[Item, ...] = ()

    def holds(self, call: ToolCall) -> bool:
        """Whether a call belongs to this response."""
        return any((c.call_id, c.name) == (call.call_id, call.name) for c in self.calls)


class CallHistory:
    """Finds the response of a call by the framework's id of the call's item.

    Args:
        size: How many calls to remember.
    """

    def __init__(self, size: int = MAX_CALLS) -> None:
        self._size = size
        self._groups: OrderedDict[str, CallGroup | None] = OrderedDict()
        self._warned = False

    def __repr__(self) -> str:
        return f"CallHistory({len(self._groups)} calls)"

    def bind(self, key: str, group: CallGroup) -> None:
        """Remember which response an item's call belongs to.

        An id that two responses share identifies neither. From then on it is ignored, with one
        warning for each history, because hosts and frameworks may reuse ids in a running call.

        Args:
            key: The framework's id of the item.
            group: The response; all its calls need the same object.
        """
        known = self._groups.get(key, group)
        if known is not None and known is not group:
            self._warn(key)
            known = None
        self._groups[key] = known
        self._groups.move_to_end(key)
        while len(self._groups) > self._size:
            self._groups.popitem(last=False)

    def _warn(self, key: str) -> None:
        if not self._warned:
            self._warned = True
            logger.warning(
                "the key %r was bound to two responses and is ignored, so text before its calls "
                "stays where the framework recorded it; give each call's item its own key, and "
                "bind all calls of a response to the same CallGroup",
                key,
            )

    def knows(self, call: ToolCall) -> bool:
        """Whether a call's item is bound to a response; True for an item without an id."""
        return call.key is None or call.key in self._groups

    def groups_in(self, items: Sequence[object]) -> dict[int, CallGroup]:
        """Find the responses of a context's calls, by the calls' indexes in it."""
        found: dict[int, CallGroup] = {}
        counts = count_keys(items)
        for place, item in enumerate(items):
            if not isinstance(item, ToolCall) or item.key is None or counts[item.key] > 1:
                continue
            group = self._groups.get(item.key)
            if group is not None and group.holds(item):
                self._groups.move_to_end(item.key)
                found[place] = group
        return found


def count_keys(items: Iterable[object]) -> Counter[str]:
    """Count the ids of a context's calls; one that occurs twice identifies no item."""
    return Counter(i.key for i in items if isinstance(i, ToolCall) and i.key is not None)


@dataclass(frozen=True, slots=True)
class Unseen:
    """Items of a turn that the framework doesn't have: a response of which it got no call.

    Attributes:
        items: Its text, its calls, and the outputs that tell the model what was wrong.
        at: How many of the framework's items come before them.
    """

    items: tuple[Item, ...]
    at: int


@dataclass(frozen=True, slots=True)
class _Placed:
    item: Item
    group: CallGroup | None = None


@dataclass(slots=True)
class _Moves:
    before: dict[int, Message] = field(default_factory=dict)
    instead: dict[int, Message | None] = field(default_factory=dict)


def arrange(
    items: Sequence[Item],
    known: Mapping[int, CallGroup],
    own: Mapping[int, CallGroup] | None = None,
    unseen: Sequence[Unseen] = (),
) -> tuple[Item, ...]:
    """Move text to where the model said it, and make the calls of each response adjacent.

    What the framework does not have of a response comes before its first call, until the user
    speaks again.

    Args:
        items: The framework's items.
        known: The responses of completed turns' calls, by the calls' indexes in `items`. Their text
            is moved if the context has it, and never added.
        own: Those of the current turn, whose text is not recorded yet.
        unseen: The responses of this turn that the framework doesn't have.
    """
    own = own or {}
    groups = {**known, **own}
    moves = _moves(items, groups, own)
    firsts = _first_places(groups)
    last_user = max((i for i, item in enumerate(items) if _is_from_user(item)), default=-1)
    placed: list[_Placed] = []
    for place, item in enumerate(items):
        group = groups.get(place)
        placed.extend(_Placed(i) for one in unseen if one.at == place for i in one.items)
        if place in moves.before:
            placed.append(_Placed(moves.before[place]))
        is_first = group is not None and firsts[group] == place
        if group is not None and is_first and (place in own or place > last_user):
            placed.extend(
                _Placed(i, group if isinstance(i, ToolCall) else None) for i in group.unseen
            )
        kept = moves.instead.get(place, item)
        if kept is not None:
            placed.append(_Placed(kept, group))
    placed.extend(_Placed(i) for one in unseen if one.at >= len(items) for i in one.items)
    return _together(placed)


def _is_from_user(item: Item) -> bool:
    return isinstance(item, Message) and item.role == "user"


def _first_places(groups: Mapping[int, CallGroup]) -> dict[CallGroup, int]:
    return {groups[place]: place for place in sorted(groups, reverse=True)}


def _together(placed: Sequence[_Placed]) -> tuple[Item, ...]:
    """Make the calls of each response adjacent, as the model made them."""
    items: list[Item] = []
    moved: set[int] = set()
    for place, one in enumerate(placed):
        if place in moved:
            continue
        items.append(one.item)
        if one.group is None:
            continue
        for later in range(place + 1, len(placed)):
            other = placed[later]
            if _is_from_user(other.item):
                break
            if other.group is one.group and later not in moved:
                items.append(other.item)
                moved.add(later)
    return tuple(items)


def _moves(
    items: Sequence[Item], groups: Mapping[int, CallGroup], own: Mapping[int, CallGroup]
) -> _Moves:
    moves = _Moves()
    for group, place in sorted(_first_places(groups).items(), key=lambda pair: pair[1]):
        # In the current turn the earlier responses are among the unseen items.
        spoken = group.words if place in own else group.before + group.words
        if not spoken:
            continue
        words = Message.of("assistant", spoken)
        found = _recorded_in(items, place, spoken, moves)
        if found is not None:
            place_of_message, message = found
            rest = message.text[len(spoken) :]
            if rest:
                moves.instead[place_of_message] = replace(message, parts=(Text(rest),))
            else:  # nothing is split, so the message itself is moved
                moves.instead[place_of_message] = None
                words = replace(words, key=message.key, mark=message.mark)
            moves.before[place] = words
        elif place in own:
            moves.before[place] = words
    return moves


def _recorded_in(
    items: Sequence[Item], place: int, words: str, moves: _Moves
) -> tuple[int, Message] | None:
    """Find the message after a call, in the same turn, that begins with the text before it."""
    for later in range(place + 1, len(items)):
        item = moves.instead.get(later, items[later])
        if not isinstance(item, Message):
            continue
        if item.role == "user":
            return None
        if item.role == "assistant" and not item.has_images and item.text.startswith(words):
            return later, item
    return None
