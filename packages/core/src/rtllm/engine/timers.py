"""Deadlines by key; finding the earliest and moving one later are cheap."""

import heapq
import itertools
from collections.abc import Hashable, Iterator
from typing import Generic, TypeVar

_Key = TypeVar("_Key", bound=Hashable)


class Timers(Generic[_Key]):
    """Deadlines, at most one for each key.

    A deadline that moves later keeps its entry in the heap until that entry is due, so a turn's
    limits can be moved with every delta.
    """

    def __init__(self) -> None:
        self._deadlines: dict[_Key, float] = {}
        self._heap: list[tuple[float, int, _Key]] = []
        self._queued: dict[_Key, float] = {}
        self._order = itertools.count()

    def __len__(self) -> int:
        return len(self._deadlines)

    def __contains__(self, key: _Key) -> bool:
        return key in self._deadlines

    def __iter__(self) -> Iterator[_Key]:
        return iter(self._deadlines)

    @property
    def entries(self) -> int:
        """How many entries the heap has, including moved and cleared ones."""
        return len(self._heap)

    def set(self, key: _Key, at: float) -> None:
        """Set or move a deadline."""
        self._deadlines[key] = at
        queued = self._queued.get(key)
        if queued is None or at < queued:
            self._queue(key, at)

    def clear(self, key: _Key) -> None:
        """Remove a deadline, if there is one."""
        self._deadlines.pop(key, None)

    def _queue(self, key: _Key, at: float) -> None:
        self._queued[key] = at
        heapq.heappush(self._heap, (at, next(self._order), key))

    def earliest(self) -> float | None:
        """Return when the next deadline may be due; None if there is none.

        A deadline that moved later still counts at its earlier time until that time comes.
        """
        heap, queued = self._heap, self._queued
        while heap:
            at, _, key = heap[0]
            if queued.get(key) != at:  # outdated: the key has an earlier entry
                heapq.heappop(heap)
            elif key not in self._deadlines:
                heapq.heappop(heap)
                del queued[key]
            else:
                return at
        return None

    def pop_due(self, now: float) -> Iterator[_Key]:
        """Remove the deadlines that are due and yield them, the earliest first."""
        while (at := self.earliest()) is not None and at <= now:
            _, _, key = heapq.heappop(self._heap)
            del self._queued[key]
            due = self._deadlines[key]
            if due > at:
                self._queue(key, due)
            else:
                del self._deadlines[key]
                yield key
