"""The engine's bookkeeping at one moment, for tests and for people who look for a leak."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class TurnSnapshot:
    """One turn that is not over.

    Attributes:
        state: Where it is.
        waits_for: The number of the connection that it waits for; None if for none.
        attempt: The number of its present attempt; None between attempts.
        is_rebuild: Whether it only prepares a connection, so that nobody asked for it.
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
        state: Where it is in its life: connecting, open, or leaving.
        attempts: The numbers of the attempts that run on it.
        draining: How many of them no turn waits for any more.
        unsent: Bytes that are not written yet.
        is_doubted: Whether a turn waited for it in vain, and nothing came since.
    """

    number: int
    state: str
    attempts: tuple[int, ...]
    draining: int
    unsent: int
    is_doubted: bool


@dataclass(frozen=True, slots=True)
class EngineSnapshot:
    """What an engine holds.

    Attributes:
        turns: The turns by number.
        attempts: The numbers of the attempts that are not booked.
        connections: The connections by number.
        waiting: How many turns wait for each connection, as counted for placing others.
        running: How many attempts run on each connection, as counted for placing others.
        guests: The numbers of the conversations on each connection.
        placed: How many attempts were placed and have not ended.
        wanted: How many attempts conversations wait for, as they count.
        draining: How many attempts no turn waits for, those that prepare a prompt included.
        timers: What each deadline is for, and the number of the turn, attempt or connection.
        timer_entries: How many entries the queue of deadlines has.
        wakes_at: When it asked to be woken; None if nothing is due.
        due: How many turns are to be placed.
        actions: How many actions were not handed out.
        prepared: How many requests are kept for rebuilding connections.
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
    prepared: int
