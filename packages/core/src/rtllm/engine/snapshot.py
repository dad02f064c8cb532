"""Snapshots of the engine's bookkeeping, for tests and for finding leaks."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class TurnSnapshot:
    """One turn that is not over.

    Attributes:
        state: Its state.
        waits_for: The number of the connection that it waits for; None if it waits for none.
        attempt: The number of its current attempt; None between attempts.
        is_rebuild: Whether it only sends a known context again to a new connection, without a
            request.
    """

    state: str
    waits_for: int | None
    attempt: int | None
    is_rebuild: bool


@dataclass(frozen=True, slots=True)
class ConnectionSnapshot:
    """One connection, or HTTP exchange, that is not closed.

    Attributes:
        number: Its number; negative for an HTTP exchange.
        state: Its state: connecting, open, or closing.
        attempts: The numbers of the attempts that run on it.
        draining: How many of them are draining.
        unsent: Bytes that are not written yet.
        is_doubted: Whether a turn on it timed out and nothing has arrived since.
    """

    number: int
    state: str
    attempts: tuple[int, ...]
    draining: int
    unsent: int
    is_doubted: bool


@dataclass(frozen=True, slots=True)
class EngineSnapshot:
    """The contents of an engine.

    Attributes:
        turns: The turns by number.
        attempts: The numbers of the attempts that are not recorded yet.
        connections: The connections by number.
        waiting: How many turns wait for each connection, as the pool counts them.
        running: How many attempts run on each connection, as the pool counts them.
        tenants: The numbers of the conversations on each connection.
        placed: How many attempts are placed and have not ended.
        wanted: How many attempts conversations wait for, as they count.
        draining: How many attempts no turn waits for, warm-ups included.
        timers: The purpose of each deadline, and the number of its turn, attempt or connection.
        timer_entries: How many entries the queue of deadlines has.
        wakes_at: When it asked to be woken; None if nothing is due.
        due: How many turns are to be sent.
        actions: How many actions were not returned yet.
        latest_requests: How many requests are kept for rebuilding connections.
    """

    turns: Mapping[int, TurnSnapshot]
    attempts: tuple[int, ...]
    connections: Mapping[int, ConnectionSnapshot]
    waiting: Mapping[int, int]
    running: Mapping[int, int]
    tenants: Mapping[int, tuple[int, ...]]
    placed: int
    wanted: int
    draining: int
    timers: tuple[tuple[str, int], ...]
    timer_entries: int
    wakes_at: float | None
    due: int
    actions: int
    latest_requests: int
