"""The recovery table: what is done about a fault. One place, and nothing else decides it.

Nothing is ever sent again once a word or a call was given out. An answer of which everything
arrived but the last event counts as whole.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

from rtllm.errors import (
    Busy,
    Dropped,
    Failed,
    Phase,
    Refused,
    Silent,
    TurnError,
    Unreachable,
)
from rtllm.faults import Fault, Kind

Http = Literal["never", "at once", "at last", "if not connected", "paid"]


@dataclass(frozen=True, slots=True)
class Row:
    """What the table says of a kind of fault.

    Attributes:
        error: What the turn ends with when nothing more is tried.
        free: How many resends cost none of the budget.
        budgeted: Whether the budget pays for more.
        whole: Whether the resend must carry the whole context.
        elsewhere: Whether it must go over another connection.
        waits: Whether a resend waits first (``retry-after``, else backoff).
        http: When the request takes HTTP instead of the socket, if it can: at once; when the
            budget is used up ("at last"); then too, but only if no connection came to be; or
            instead of a paid resend ("paid"), since waiting once is enough, where nothing ever
            came.
    """

    error: type[TurnError]
    free: int = 0
    budgeted: bool = False
    whole: bool = False
    elsewhere: bool = False
    waits: bool = False
    http: Http = "never"

    def falls_back(self, phase: Phase) -> bool:
        """Whether HTTP is tried when nothing else is left to try."""
        unsent = self.http == "if not connected" and phase == "connecting"
        return unsent or self.http in ("at once", "at last")


TABLE: Mapping[Kind, Row] = {
    Kind.CHAIN_MISS: Row(Refused, free=1, whole=True),
    Kind.PARENT_IGNORED: Row(Refused, free=1, whole=True, elsewhere=True),
    Kind.CONNECTION_LIMIT: Row(Dropped, free=1, budgeted=True, elsewhere=True, http="at last"),
    Kind.LANES_REFUSED: Row(Refused, free=1),
    Kind.LANE_LIMIT: Row(Refused, free=1, budgeted=True, elsewhere=True),
    Kind.PARAMETER_REFUSED: Row(Refused, free=4),
    Kind.ITEMS_REFUSED: Row(Refused, free=1, whole=True),
    Kind.BUSY: Row(Busy, budgeted=True, waits=True, http="if not connected"),
    Kind.SERVER: Row(
        Failed, budgeted=True, whole=True, elsewhere=True, waits=True, http="if not connected"
    ),
    Kind.DROPPED: Row(Dropped, free=1, budgeted=True, elsewhere=True, http="at last"),
    Kind.UNREACHABLE: Row(Unreachable, budgeted=True, waits=True, http="at last"),
    Kind.SILENT: Row(Silent, budgeted=True, elsewhere=True, http="paid"),
    Kind.MUTE: Row(Silent, budgeted=True, elsewhere=True, http="paid"),
    Kind.EMPTY: Row(Failed, free=1),
    Kind.CUT_AT_ONCE: Row(Failed),
    Kind.SLIPPED: Row(Failed, free=1, budgeted=True),
    Kind.FORM_REFUSED: Row(Refused, free=2),
    Kind.PASSING: Row(Refused, free=1, http="at last"),
    Kind.CLOSED: Row(Dropped),
    Kind.QUOTA: Row(Refused),
    Kind.UNAUTHORISED: Row(Refused),
    Kind.TOKEN_REFUSED: Row(Refused, free=1, elsewhere=True),
    Kind.FORBIDDEN: Row(Refused),
    Kind.NOT_FOUND: Row(Refused),
    Kind.NO_WEBSOCKET: Row(Refused, http="at once"),
    Kind.NO_HTTP: Row(Refused, free=1),
    Kind.TOO_LARGE: Row(Refused, http="at once"),
    Kind.REFUSED: Row(Refused),
    Kind.GIVEN_UP: Row(Failed),
}

OF_FORM = frozenset({Kind.CHAIN_MISS, Kind.PARENT_IGNORED, Kind.ITEMS_REFUSED, Kind.FORM_REFUSED})
"""Refusals of a form, for which another wording is tried, free."""
FREE_IN_A_TURN = 2
"""How many free resends for those a turn may have, over all of them."""

ENDS_WHOLE = frozenset({Kind.DROPPED, Kind.SILENT, Kind.CONNECTION_LIMIT})
"""Faults that only took the last event away when the answer was whole."""


@dataclass(frozen=True, slots=True)
class Resend:
    """Send the turn's request again.

    Attributes:
        whole: With the whole context.
        elsewhere: Over another connection.
        paid: Whether it costs one of the budget.
        waits: Whether to wait first.
        wait: How long, in seconds; filled in by the turn.
        over_http: Over HTTP, since the socket doesn't do.
    """

    whole: bool
    elsewhere: bool
    paid: bool
    waits: bool
    wait: float = 0.0
    over_http: bool = False


@dataclass(frozen=True, slots=True)
class Fail:
    """End the turn with an error."""

    error: type[TurnError]


@dataclass(frozen=True, slots=True)
class Finish:
    """End the turn normally."""

    outcome: Literal["unfinished", "empty"]


Action = Resend | Fail | Finish

Lesson = Literal[
    "parent lost",
    "parent ignored",
    "items refused",
    "lanes refused",
    "parameter refused",
    "form refused",
    "too large",
    "no http",
]
"""What a fault teaches about the host, beyond what becomes of the turn."""

_LESSONS: Mapping[Kind, Lesson] = {
    Kind.CHAIN_MISS: "parent lost",
    Kind.ITEMS_REFUSED: "items refused",
    Kind.LANES_REFUSED: "lanes refused",
    Kind.PARAMETER_REFUSED: "parameter refused",
    Kind.PARENT_IGNORED: "parent ignored",
    Kind.FORM_REFUSED: "form refused",
    Kind.TOO_LARGE: "too large",
    Kind.NO_HTTP: "no http",
}


def lesson_of(fault: Fault) -> Lesson | None:
    """Tell what a fault teaches about the host."""
    return _LESSONS.get(fault.kind)


@dataclass(frozen=True, slots=True)
class Conditions:
    """What decides how a fault counts.

    Attributes:
        refreshable: Whether the next attempt may have another key.
        unresponsive: Whether nothing ever came over the attempt's connection.
        untouched: Parameters that nobody set.
        strict: Whether the refusal of a chosen parameter ends the turn.
    """

    refreshable: bool = False
    unresponsive: bool = False
    untouched: frozenset[str] = frozenset()
    strict: bool = False


def qualify(fault: Fault, conditions: Conditions) -> Fault:
    """Tell how a fault counts under the conditions that it was met in."""
    kind = fault.kind
    if kind is Kind.UNAUTHORISED and conditions.refreshable:
        return replace(fault, kind=Kind.TOKEN_REFUSED)
    if kind is Kind.SILENT and conditions.unresponsive:
        return replace(fault, kind=Kind.MUTE)
    is_untouched = fault.param in conditions.untouched
    insists = conditions.strict and not is_untouched and fault.param != "stream_options"
    if kind is Kind.PARAMETER_REFUSED and insists:
        return replace(fault, kind=Kind.REFUSED)
    if kind is Kind.REFUSED and fault.param == "include" and is_untouched:
        return replace(fault, kind=Kind.PARAMETER_REFUSED)  # ours: nobody asked for it
    return fault


def ends_connection(fault: Fault) -> bool:
    """Whether an error that names no request says that its connection is over."""
    return fault.kind is Kind.CONNECTION_LIMIT


def refuses_lanes(fault: Fault) -> bool:
    """Whether a host says that it does not know lanes."""
    return fault.kind is Kind.LANES_REFUSED


BY_HTTP = Resend(whole=False, elsewhere=True, paid=False, waits=False, over_http=True)
"""Send the request over HTTP instead, at once."""


def decide(
    fault: Fault, phase: Phase, seen: Counter[Kind], budget_left: int, *, can_fall_back: bool
) -> Action:
    """Look a fault up.

    Args:
        fault: What happened.
        phase: How far the attempt got.
        seen: How often each kind was met in this turn before.
        budget_left: How many paid resends are left.
        can_fall_back: Whether the request may take HTTP instead of the socket.

    Returns:
        What to do.
    """
    row = TABLE[fault.kind]
    if phase == "whole" and fault.kind in ENDS_WHOLE:
        return Finish("unfinished")
    if phase in ("given out", "whole"):
        return Fail(row.error)
    if can_fall_back and row.http == "at once":
        return BY_HTTP
    is_form = fault.kind in OF_FORM
    if seen[fault.kind] < row.free and not (
        is_form and sum(seen[kind] for kind in OF_FORM) >= FREE_IN_A_TURN
    ):
        return Resend(row.whole, row.elsewhere, paid=False, waits=row.waits)
    if fault.kind is Kind.EMPTY:
        return Finish("empty")
    if row.budgeted and budget_left > 0:
        never_spoke = phase == "connecting" or fault.kind is Kind.MUTE
        if can_fall_back and row.http == "paid" and never_spoke:
            return replace(BY_HTTP, paid=True)
        return Resend(row.whole, row.elsewhere, paid=True, waits=row.waits)
    if can_fall_back and row.falls_back(phase):
        return BY_HTTP
    return Fail(row.error)
