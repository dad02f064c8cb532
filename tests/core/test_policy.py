"""The recovery table, row by row and phase by phase."""

from collections import Counter
from dataclasses import replace

import pytest

from rtllm.errors import (
    ConnectFailed,
    ConnectionLost,
    Phase,
    RateLimited,
    RequestRejected,
    ResponseFailed,
    TurnError,
    TurnTimeout,
)
from rtllm.retry.faults import Fault, FaultKind
from rtllm.retry.policy import RESEND_OVER_HTTP, TABLE, Action, Complete, Fail, Resend, decide

EARLY: tuple[Phase, ...] = ("connecting", "sent", "created")


def met(kind: FaultKind, phase: Phase, times_before: int = 0, budget: int = 0) -> Action:
    seen: Counter[FaultKind] = Counter({kind: times_before})
    return decide(Fault(kind, "why"), phase, seen, budget, can_fall_back=False)


# kind: error, free resends, then paid ones?, whole, elsewhere, waits
ROWS: list[tuple[FaultKind, type[TurnError], int, bool, str]] = [
    (FaultKind.CHAIN_MISS, RequestRejected, 1, False, "whole"),
    (FaultKind.CONNECTION_LIMIT, ConnectionLost, 1, True, "elsewhere"),
    (FaultKind.LANES_REFUSED, RequestRejected, 1, False, ""),
    (FaultKind.LANE_LIMIT, RequestRejected, 1, True, "elsewhere"),
    (FaultKind.PARAMETER_REFUSED, RequestRejected, 4, False, ""),
    (FaultKind.ITEMS_REFUSED, RequestRejected, 1, False, "whole"),
    (FaultKind.THROTTLED, RateLimited, 0, True, "waits"),
    (FaultKind.SERVER, ResponseFailed, 0, True, "whole elsewhere waits"),
    (FaultKind.DROPPED, ConnectionLost, 1, True, "elsewhere"),
    (FaultKind.UNREACHABLE, ConnectFailed, 0, True, "waits"),
    (FaultKind.TIMEOUT, TurnTimeout, 0, True, "elsewhere"),
    (FaultKind.UNRESPONSIVE, TurnTimeout, 0, True, "elsewhere"),
    (FaultKind.CLIENT_CLOSED, ConnectionLost, 0, False, ""),
    (FaultKind.QUOTA, RequestRejected, 0, False, ""),
    (FaultKind.UNAUTHORISED, RequestRejected, 0, False, ""),
    (FaultKind.TOKEN_REFUSED, RequestRejected, 1, False, "elsewhere"),
    (FaultKind.FORBIDDEN, RequestRejected, 0, False, ""),
    (FaultKind.NOT_FOUND, RequestRejected, 0, False, ""),
    (FaultKind.NO_WEBSOCKET, RequestRejected, 0, False, ""),
    (FaultKind.NO_HTTP, RequestRejected, 1, False, ""),
    (FaultKind.TOO_LARGE, RequestRejected, 0, False, ""),
    (FaultKind.REFUSED, RequestRejected, 0, False, ""),
    (FaultKind.RESPONSE_FAILED, ResponseFailed, 0, False, ""),
    (FaultKind.PARENT_IGNORED, RequestRejected, 1, False, "whole elsewhere"),
    (FaultKind.FORM_REFUSED, RequestRejected, 2, False, ""),
    (FaultKind.CUT_BEFORE_OUTPUT, ResponseFailed, 0, False, ""),
    (FaultKind.MALFORMED_CALL, ResponseFailed, 1, True, ""),
    (FaultKind.UPGRADE_REFUSED, RequestRejected, 1, False, ""),
]
rows = pytest.mark.parametrize(
    ("kind", "error", "free", "paid", "how"), ROWS, ids=[row[0].name.lower() for row in ROWS]
)


@rows
@pytest.mark.parametrize("phase", EARLY)
def test_before_the_first_word_a_fault_is_recovered_as_the_table_says(
    kind: FaultKind, error: type[TurnError], free: int, *, paid: bool, how: str, phase: Phase
) -> None:
    def resend(*, costs: bool) -> Resend:
        return Resend("whole" in how, "elsewhere" in how, costs, "waits" in how)

    for times in range(free):
        assert met(kind, phase, times, budget=0) == resend(costs=False)
    assert met(kind, phase, free, budget=0) == Fail(error)
    assert met(kind, phase, free, budget=1) == (resend(costs=True) if paid else Fail(error))


@rows
def test_after_the_first_word_nothing_is_sent_again(
    kind: FaultKind, error: type[TurnError], free: int, *, paid: bool, how: str
) -> None:
    del free, paid, how
    assert met(kind, "emitted", budget=5) == Fail(error)


@rows
def test_an_answer_that_lacks_only_its_end_is_never_sent_again(
    kind: FaultKind, error: type[TurnError], free: int, *, paid: bool, how: str
) -> None:
    del free, paid, how
    only_the_end = kind in (FaultKind.DROPPED, FaultKind.TIMEOUT, FaultKind.CONNECTION_LIMIT)
    expected = Complete("unfinished") if only_the_end else Fail(error)
    assert met(kind, "complete", budget=5) == expected


@pytest.mark.parametrize("phase", EARLY)
def test_an_empty_answer_is_asked_again_once_and_then_ends_as_empty(phase: Phase) -> None:
    assert met(FaultKind.EMPTY, phase, 0) == Resend(
        full_context=False, elsewhere=False, uses_budget=False, waits=False
    )
    assert met(FaultKind.EMPTY, phase, 1, budget=5) == Complete("empty")


AT_ONCE = {FaultKind.NO_WEBSOCKET, FaultKind.TOO_LARGE}
AT_LAST = {
    FaultKind.UPGRADE_REFUSED,
    FaultKind.CONNECTION_LIMIT,
    FaultKind.DROPPED,
    FaultKind.UNREACHABLE,
}
UNCONNECTED = {FaultKind.THROTTLED, FaultKind.SERVER}


@pytest.mark.parametrize("phase", EARLY)
@pytest.mark.parametrize("kind", list(FaultKind), ids=lambda kind: kind.name.lower())
def test_http_is_taken_where_the_socket_does_not_do(kind: FaultKind, phase: Phase) -> None:
    def met_with(times: int, budget: int) -> Action:
        seen = Counter({kind: times})
        return decide(Fault(kind, ""), phase, seen, budget, can_fall_back=True)

    at_last = kind in AT_LAST or (kind in UNCONNECTED and phase == "connecting")
    assert (met_with(0, 3) == RESEND_OVER_HTTP) is (kind in AT_ONCE)
    assert (met_with(9, 0) == RESEND_OVER_HTTP) is (kind in AT_ONCE or at_last)


def test_a_connection_that_does_not_come_is_waited_for_once() -> None:
    silent = Fault(FaultKind.TIMEOUT, "")
    action = decide(silent, "connecting", Counter(), 3, can_fall_back=True)
    assert action == replace(RESEND_OVER_HTTP, uses_budget=True)
    assert decide(silent, "connecting", Counter(), 0, can_fall_back=True) == Fail(TurnTimeout)


@pytest.mark.parametrize("kind", list(FaultKind), ids=lambda kind: kind.name.lower())
def test_nothing_goes_over_http_that_was_begun_to_be_spoken(kind: FaultKind) -> None:
    for phase in ("emitted", "complete"):
        action = decide(Fault(kind, ""), phase, Counter(), 9, can_fall_back=True)
        assert not isinstance(action, Resend)


def test_every_kind_has_its_row() -> None:
    assert {row[0] for row in ROWS} | {FaultKind.EMPTY} == set(FaultKind) == set(TABLE)


def test_faults_of_other_kinds_use_up_no_free_resend() -> None:
    seen: Counter[FaultKind] = Counter({FaultKind.DROPPED: 3})
    assert isinstance(
        decide(Fault(FaultKind.CHAIN_MISS, ""), "sent", seen, 0, can_fall_back=False), Resend
    )
