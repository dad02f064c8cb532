"""The calls that a framework got in one turn, found again in its context.

It is for a framework that creates the id of a call's item itself, when it records the call. Then
the item is found by the service's id of the call, among the items that are new. A call id alone
proves nothing, because hosts reuse them.
"""

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from rtllm.adapters.call_history import CallGroup, CallHistory, count_keys
from rtllm.content.items import ToolCall


@dataclass(slots=True)
class _EmittedCall:
    """A call that the framework got.

    Attributes:
        call_id: The service's id, which may be reused, even in the same turn.
        group: The response that it belongs to.
        key: The framework's id of the item that recorded it, once a context had it.
    """

    call_id: str
    group: CallGroup
    key: str | None = None


class EmittedCalls:
    """The calls that a framework got in one turn.

    Args:
        base: The framework's items when the turn began; none of them records a call of it.
    """

    def __init__(self, base: Sequence[object]) -> None:
        self._emitted: list[_EmittedCall] = []
        self._earlier = set(count_keys(base))
        self._first = len(base)

    def __repr__(self) -> str:
        return f"EmittedCalls({len(self._emitted)} calls)"

    def add(self, call: ToolCall, group: CallGroup) -> None:
        """Add a call that the framework gets now.

        Args:
            call: The call.
            group: The response that it belongs to.
        """
        self._emitted.append(_EmittedCall(call.call_id, group))

    @property
    def call_ids(self) -> list[str]:
        """The service's ids of the calls, in order."""
        return [one.call_id for one in self._emitted]

    @property
    def unrecorded(self) -> set[str]:
        """The service's ids of the calls whose items were not found by `bind` yet."""
        return {one.call_id for one in self._emitted if one.key is None}

    @property
    def keys(self) -> set[str]:
        """The framework's ids of the items that `bind` found."""
        return {one.key for one in self._emitted if one.key is not None}

    def groups_in(self, items: Sequence[object]) -> dict[int, CallGroup]:
        """Find the calls in a context, by index, with their responses."""
        return {index: one.group for index, one in self._recorded(items, frozenset()).items()}

    def bind(
        self, history: CallHistory, items: Sequence[object], others: AbstractSet[str] = frozenset()
    ) -> None:
        """Bind the items that recorded the calls, so that later turns find them too.

        Args:
            history: The history to bind them in.
            items: The current context. None of its items can record a later call.
            others: The ids of items that recorded calls of other turns.
        """
        for index, one in self._recorded(items, others).items():
            item = items[index]
            one.key = item.key if isinstance(item, ToolCall) else None
            if one.key is not None:
                history.bind(one.key, one.group)
        self._earlier.update(count_keys(items))

    def _recorded(
        self, items: Sequence[object], others: AbstractSet[str]
    ) -> dict[int, _EmittedCall]:
        """Find the items that recorded the calls, by index. A framework records them in order."""
        unrecorded = list(self._emitted)
        counts, earlier = count_keys(items), self._earlier | others
        found: dict[int, _EmittedCall] = {}
        for index, item in enumerate(items):
            if not isinstance(item, ToolCall):
                continue
            key = item.key if item.key is not None and counts[item.key] == 1 else None
            same = [one for one in unrecorded if one.call_id == item.call_id]
            match = next((one for one in same if key is not None and one.key == key), None)
            is_new = index >= self._first if key is None else key not in earlier
            if match is None and is_new:
                match = next((one for one in same if one.key is None or counts[one.key] > 1), None)
            if match is not None:
                found[index] = match
                unrecorded.remove(match)
        return found
