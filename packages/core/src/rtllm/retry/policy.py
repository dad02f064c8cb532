"""Recovery table: how each kind of fault is handled. No other code decides this.

The user's settings, how often and how long, are `rtllm.content.retries.RetryPolicy`.

Nothing is sent again once text or a call was emitted. A response that lacks only its last event
counts as complete.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

from rtllm.errors import (
    ConnectFailed,
    ConnectionLost,
    Overloaded,
    Phase,
    RateLimited,
    RequestRejected,
    ResponseFailed,
    TurnError,
    TurnTimeout,
)
from rtllm.retry.faults import ONLY_THOUGHTS, Fault, FaultKind

Http = Literal["never", "at once", "at last", "if not connected", "uses_budget"]


@dataclass(frozen=True, slots=True)
class PolicyRow:
    """The handling of one kind of fault.

    Attributes:
        error: The error of the turn if nothing more is tried.
        free_resends: How many resends do not count against the budget.
        budgeted: Whether further resends are charged to the budget.
        full_context: Whether a resend must carry the full context.
        elsewhere: Whether it must use another connection.
        waits: Whether a resend waits first (``retry-after``, else backoff).
        http: When the request falls back to HTTP, if it can. "at once": instead of a resend. "at
            last": when the budget is used up. "if not connected": then too, but only if no
            connection was opened. "uses_budget": instead of a resend from the budget if nothing was
            ever received, since waiting once is enough.
    """

    error: type[TurnError]
    free_resends: int = 0
    budgeted: bool = False
    full_context: bool = False
    elsewhere: bool = False
    waits: bool = False
    http: Http = "never"

    def falls_back(self, phase: Phase) -> bool:
        """Whether HTTP is the last thing to try."""
        unsent = self.http == "if not connected" and phase == "connecting"
        return unsent or self.http in ("at once", "at last")


TABLE: Mapping[FaultKind, PolicyRow] = {
    FaultKind.CHAIN_MISS: PolicyRow(RequestRejected, free_resends=1, full_context=True),
    FaultKind.PARENT_IGNORED: PolicyRow(
        RequestRejected, free_resends=1, full_context=True, elsewhere=True
    ),
    FaultKind.CONNECTION_LIMIT: PolicyRow(
        ConnectionLost, free_resends=1, budgeted=True, elsewhere=True, http="at last"
    ),
    FaultKind.LANES_REFUSED: PolicyRow(RequestRejected, free_resends=1),
    FaultKind.LANE_LIMIT: PolicyRow(RequestRejected, free_resends=1, budgeted=True, elsewhere=True),
    FaultKind.PARAMETER_REFUSED: PolicyRow(RequestRejected, free_resends=4),
    FaultKind.ITEMS_REFUSED: PolicyRow(RequestRejected, free_resends=1, full_context=True),
    FaultKind.THROTTLED: PolicyRow(RateLimited, budgeted=True, waits=True, http="if not connected"),
    FaultKind.SERVER: PolicyRow(
        ResponseFailed,
        budgeted=True,
        full_context=True,
        elsewhere=True,
        waits=True,
        http="if not connected",
    ),
    FaultKind.DROPPED: PolicyRow(
        ConnectionLost, free_resends=1, budgeted=True, elsewhere=True, http="at last"
    ),
    FaultKind.UNREACHABLE: PolicyRow(ConnectFailed, budgeted=True, waits=True, http="at last"),
    FaultKind.TIMEOUT: PolicyRow(TurnTimeout, budgeted=True, elsewhere=True, http="uses_budget"),
    FaultKind.UNRESPONSIVE: PolicyRow(
        TurnTimeout, budgeted=True, elsewhere=True, http="uses_budget"
    ),
    FaultKind.EMPTY: PolicyRow(ResponseFailed, free_resends=1),
    FaultKind.CUT_BEFORE_OUTPUT: PolicyRow(ResponseFailed),
    FaultKind.MALFORMED_CALL: PolicyRow(ResponseFailed, free_resends=1, budgeted=True),
    FaultKind.FORM_REFUSED: PolicyRow(RequestRejected, free_resends=2),
    FaultKind.UPGRADE_REFUSED: PolicyRow(RequestRejected, free_resends=1, http="at last"),
    FaultKind.CLIENT_CLOSED: PolicyRow(ConnectionLost),
    FaultKind.QUOTA: PolicyRow(RequestRejected),
    FaultKind.UNAUTHORISED: PolicyRow(RequestRejected),
    FaultKind.TOKEN_REFUSED: PolicyRow(RequestRejected, free_resends=1, elsewhere=True),
    FaultKind.FORBIDDEN: PolicyRow(RequestRejected),
    FaultKind.NOT_FOUND: PolicyRow(RequestRejected),
    FaultKind.NO_WEBSOCKET: PolicyRow(RequestRejected, http="at once"),
    FaultKind.NO_HTTP: PolicyRow(RequestRejected, free_resends=1),
    FaultKind.TOO_LARGE: PolicyRow(RequestRejected, http="at once"),
    FaultKind.REFUSED: PolicyRow(RequestRejected),
    FaultKind.RESPONSE_FAILED: PolicyRow(ResponseFailed),
}

FORM_REJECTIONS = frozenset(
    {
        FaultKind.CHAIN_MISS,
        FaultKind.PARENT_IGNORED,
        FaultKind.ITEMS_REFUSED,
        FaultKind.FORM_REFUSED,
    }
)
"""Rejections of a form, after which another form is tried without charge."""
MAX_FORM_RESENDS = 2
"""How many free resends a turn may have for those kinds together."""

LOSES_ONLY_THE_END = frozenset({FaultKind.DROPPED, FaultKind.TIMEOUT, FaultKind.CONNECTION_LIMIT})
"""Faults that lose only the last event of a complete response."""


@dataclass(frozen=True, slots=True)
class Resend:
    """Send the turn's request again.

    Attributes:
        full_context: With the full context.
        elsewhere: On another connection.
        uses_budget: Whether it is charged to the budget.
        waits: Whether to wait first.
        wait: How long to wait, in seconds; set by the turn.
        over_http: Over HTTP, because the WebSocket does not work.
    """

    full_context: bool
    elsewhere: bool
    uses_budget: bool
    waits: bool
    wait: float = 0.0
    over_http: bool = False


@dataclass(frozen=True, slots=True)
class Fail:
    """End the turn with an error."""

    error: type[TurnError]


@dataclass(frozen=True, slots=True)
class Complete:
    """End the turn normally."""

    outcome: Literal["unfinished", "empty"]


Action = Resend | Fail | Complete

Lesson = Literal[
    "parent lost",
    "items refused",
    "lanes refused",
    "parameter refused",
    "form refused",
    "too large",
    "no http",
]
"""What a fault teaches about the host, in addition to the turn's recovery."""

_LESSONS: Mapping[FaultKind, Lesson] = {
    FaultKind.CHAIN_MISS: "parent lost",
    FaultKind.ITEMS_REFUSED: "items refused",
    FaultKind.LANES_REFUSED: "lanes refused",
    FaultKind.PARAMETER_REFUSED: "parameter refused",
    FaultKind.FORM_REFUSED: "form refused",
    FaultKind.TOO_LARGE: "too large",
    FaultKind.NO_HTTP: "no http",
}


_OVERLOADED = frozenset({"server_is_overloaded", "service_unavailable_error"})


def error_type(error: type[TurnError], fault: Fault) -> type[TurnError]:
    """Return the error type of a failed turn; overload is distinguished from a rate limit."""
    overloaded = fault.status == 503 or fault.code in _OVERLOADED
    return Overloaded if error is RateLimited and overloaded else error


def lesson_of(fault: Fault) -> Lesson | None:
    """Return what a fault teaches about the host."""
    return _LESSONS.get(fault.kind)


@dataclass(frozen=True, slots=True)
class Conditions:
    """Conditions that change how a fault is handled.

    Attributes:
        refreshable: Whether the next attempt may have another key.
        unresponsive: Whether nothing ever arrived on the attempt's connection.
        untouched: Parameters that the user did not set.
        strict: Whether a rejected parameter that the user set ends the turn.
    """

    refreshable: bool = False
    unresponsive: bool = False
    untouched: frozenset[str] = frozenset()
    strict: bool = False


def qualify(fault: Fault, conditions: Conditions) -> Fault:
    """Reclassify a fault by the conditions under which it occurred."""
    kind = fault.kind
    if kind is FaultKind.UNAUTHORISED and conditions.refreshable:
        return replace(fault, kind=FaultKind.TOKEN_REFUSED)
    if kind is FaultKind.TIMEOUT and conditions.unresponsive:
        return replace(fault, kind=FaultKind.UNRESPONSIVE)
    is_untouched = fault.param in conditions.untouched
    insists = conditions.strict and not is_untouched and fault.param != "stream_options"
    if kind is FaultKind.PARAMETER_REFUSED and insists:
        return replace(fault, kind=FaultKind.REFUSED)
    if kind is FaultKind.REFUSED and fault.param == "include" and is_untouched:
        return replace(
            fault, kind=FaultKind.PARAMETER_REFUSED
        )  # the library's own setting, not the user's
    return fault


def ends_connection(fault: Fault) -> bool:
    """Whether an error without a request means that the connection is over."""
    return fault.kind is FaultKind.CONNECTION_LIMIT


def may_concern_connection(fault: Fault) -> bool:
    """Whether an error may be about a connection as well as about a request on it."""
    return fault.kind in (FaultKind.THROTTLED, FaultKind.SERVER)


def limits_rate(fault: Fault) -> bool:
    """Whether a fault is a rate limit, which all requests of the client share."""
    return fault.kind is FaultKind.THROTTLED and error_type(RateLimited, fault) is RateLimited


def rejects_account(fault: Fault) -> bool:
    """Whether the key, its permissions or its credit is rejected, and not the request."""
    return fault.kind in (
        FaultKind.UNAUTHORISED,
        FaultKind.TOKEN_REFUSED,
        FaultKind.FORBIDDEN,
        FaultKind.QUOTA,
    )


def exceeds_quota(fault: Fault) -> bool:
    """Whether the credit or quota is used up."""
    return fault.kind is FaultKind.QUOTA


def lacks_websocket(fault: Fault) -> bool:
    """Whether a host reports that it has no WebSocket."""
    return fault.kind is FaultKind.NO_WEBSOCKET


def may_accept_later(fault: Fault) -> bool:
    """Whether a rejected upgrade may be accepted a moment later; twice, it means no WebSocket."""
    return fault.kind is FaultKind.UPGRADE_REFUSED


def refuses_lanes(fault: Fault) -> bool:
    """Whether a host reports that it does not support lanes."""
    return fault.kind is FaultKind.LANES_REFUSED


RESEND_OVER_HTTP = Resend(
    full_context=False, elsewhere=True, uses_budget=False, waits=False, over_http=True
)
"""Send the request over HTTP instead, without waiting."""


def decide(
    fault: Fault, phase: Phase, seen: Counter[FaultKind], budget_left: int, *, can_fall_back: bool
) -> Action:
    """Look up how to handle a fault.

    Args:
        fault: What happened.
        phase: How far the attempt got.
        seen: How often each kind occurred in this turn before.
        budget_left: How many resends the budget still allows.
        can_fall_back: Whether the request may use HTTP instead of the WebSocket.

    Returns:
        The action.
    """
    row = TABLE[fault.kind]
    if phase == "complete" and fault.kind in LOSES_ONLY_THE_END:
        return Complete("unfinished")
    if phase in ("emitted", "complete"):
        return Fail(row.error)
    if can_fall_back and row.http == "at once":
        return RESEND_OVER_HTTP
    is_form = fault.kind in FORM_REJECTIONS
    if seen[fault.kind] < row.free_resends and not (
        is_form and sum(seen[kind] for kind in FORM_REJECTIONS) >= MAX_FORM_RESENDS
    ):
        return Resend(row.full_context, row.elsewhere, uses_budget=False, waits=row.waits)
    if fault.kind is FaultKind.EMPTY and fault.code != ONLY_THOUGHTS:
        return Complete("empty")
    if row.budgeted and budget_left > 0:
        never_spoke = phase == "connecting" or fault.kind is FaultKind.UNRESPONSIVE
        if can_fall_back and row.http == "uses_budget" and never_spoke:
            return replace(RESEND_OVER_HTTP, uses_budget=True)
        return Resend(row.full_context, row.elsewhere, uses_budget=True, waits=row.waits)
    if can_fall_back and row.falls_back(phase):
        return RESEND_OVER_HTTP
    return Fail(row.error)
