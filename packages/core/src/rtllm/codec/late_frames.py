"""Late frames of a finished response, which the next response must not get."""

from collections import deque
from collections.abc import Collection, Iterable
from typing import Protocol

from rtllm.codec.frames import Frame, mapping

REMEMBERED_RESPONSES = 16


class IdentifiedResponse(Protocol):
    """The ids of a response, as known by its decoder; see `ResponsesDecoder`."""

    @property
    def response_ids(self) -> Collection[str]:
        """The ids of the response."""

    @property
    def item_ids(self) -> Collection[str]:
        """The ids of its items."""

    @property
    def announces_items(self) -> bool:
        """Whether items were announced before their other events."""


class LateFrames:
    """Recognizes late frames on one connection by the ids of the responses that ended on it.

    Deltas have no response id, and on a host without lanes no lane either, so a late one would be
    taken for the next response. But some hosts reuse item ids, or even response ids. An
    announcement of an item proves that its id is used again, since items of a finished response are
    not announced; so does an id in two responses that run at the same time. If a host announces no
    items, its ids prove nothing.
    """

    def __init__(self) -> None:
        self._responses: deque[frozenset[str]] = deque(maxlen=REMEMBERED_RESPONSES)
        self._items: deque[frozenset[str]] = deque(maxlen=REMEMBERED_RESPONSES)
        self._restarts = False

    @property
    def ids_restart(self) -> bool:
        """Whether the host was seen reusing an id for another item or response."""
        return self._restarts

    def ended(
        self, response: IdentifiedResponse, running: Iterable[IdentifiedResponse] = ()
    ) -> None:
        """Remember a response that ended.

        Args:
            response: The response.
            running: The responses that still run on the connection.
        """
        self._responses.append(frozenset(response.response_ids))
        if not response.announces_items:
            return
        ids = frozenset(response.item_ids)
        self._items.append(ids)
        if not all(ids.isdisjoint(other.item_ids) for other in running):
            self._restarts = True

    def is_late(self, frame: Frame, running: IdentifiedResponse) -> bool:
        """Whether a frame belongs to a finished response and not to the running one.

        Args:
            frame: The frame.
            running: The decoder of the running response, which would get it.
        """
        if self._restarts or not self._responses:
            return False
        if frame.response:
            return self._is_of_past_response(frame, running)
        item_id = frame.item_id
        if not isinstance(item_id, str) and frame.item:
            item_id = mapping(frame.item).get("id")
        if not isinstance(item_id, str) or item_id in running.item_ids:
            return False
        if not any(item_id in ids for ids in self._items):
            return False
        if frame.type == "response.output_item.added":
            self._restarts = True
            return False
        return True

    def _is_of_past_response(self, frame: Frame, running: IdentifiedResponse) -> bool:
        response_id = mapping(frame.response).get("id")
        if not isinstance(response_id, str) or response_id in running.response_ids:
            return False
        if not any(response_id in ids for ids in self._responses):
            return False
        if frame.type == "response.created" and not running.response_ids:
            self._restarts = True
            return False
        return True
