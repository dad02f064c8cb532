"""The recovery table, row by row and phase by phase."""

from collections import Counter
from dataclasses import replace

import pytest

from rtllm.errors import Busy, Dropped, Failed, Phase, Refused, Silent, TurnError, Unreachable
from rtllm.faults import Fault, Kind
from rtllm.recovery import BY_HTTP, TABLE, Action, Fail, Finish, Resend, decide

EARLY: tuple[Phase, ...] = ("connecting", "sent", "created")


def met(kind: Kind, phase: Phase, times_before: int = 0, budget: int = 0) -> Action:
    seen: Counter[Kind] = Counter({kind: times_before})
    return decide(Fault(kind, "why"), phase, seen, budget, can_fall_back=False)


# kind: error, free resends, then paid ones?, whole, elsewhere, waits
ROWS: list[tuple[Kind, type[TurnError], int, bool, str]] = [
    (Kind.CHAIN_MISS, Refused, 1, False, "whole"),
    (Kind.CONNECTION_LIMIT, Dropped, 1, True, "elsewhere"),
    (Kind.LANES_REFUSED, Refused, 1, False, ""),
    (Kind.LANE_LIMIT, Refused, 1, True, "elsewhere"),
    (Kind.PARAMETER_REFUSED, Refused, 4, False, ""),
    (Kind.ITEMS_REFUSED, Refused, 1, False, "whole"),
    (Kind.BUSY, Busy, 0, True, "waits"),
    (Kind.SERVER, Failed, 0, True, "whole elsewhere waits"),
    (Kind.DROPPED, Dropped, 1, True, "elsewhere"),
    (Kind.UNREACHABLE, Unreachable, 0, True, "waits"),
    (Kind.SILENT, Silent, 0, True, "elsewhere"),
    (Kind.MUTE, Silent, 0, True, "elsewhere"),
    (Kind.CLOSED, Dropped, 0, False, ""),
    (Kind.QUOTA, Refused, 0, False, ""),
    (Kind.UNAUTHORISED, Refused, 0, False, ""),
    (Kind.TOKEN_REFUSED, Refused, 1, False, "elsewhere"),
    (Kind.FORBIDDEN, Refused, 0, False, ""),
    (Kind.NOT_FOUND, Refused, 0, False, ""),
    (Kind.NO_WEBSOCKET, Refused, 0, False, ""),
    (Kind.NO_HTTP, Refused, 1, False, ""),
    (Kind.TOO_LARGE, Refused, 0, False, ""),
    (Kind.REFUSED, Refused, 0, False, ""),
    (Kind.GIVEN_UP, Failed, 0, False, ""),
    (Kind.PARENT_IGNORED, Refused, 1, False, "whole elsewhere"),
    (Kind.FORM_REFUSED, Refused, 2, False, ""),
    (Kind.CUT_AT_ONCE, Failed, 0, False, ""),
    (Kind.SLIPPED, Failed, 1, True, ""),
    (Kind.PASSING, Refused, 1, False, ""),
]
rows = pytest.mark.parametrize(
    ("kind", "error", "free", "paid", "how"), ROWS, ids=[row[0].name.lower() for row in ROWS]
)


@rows
@pytest.mark.parametrize("phase", EARLY)
def test_before_the_first_word_a_fault_is_recovered_as_the_table_says(
    kind: Kind, error: type[TurnError], free: int, *, paid: bool, how: str, phase: Phase
) -> None:
    def resend(*, costs: bool) -> Resend:
        return Resend("whole" in how, "elsewhere" in how, costs, "waits" in how)

    for times in range(free):
        assert met(kind, phase, times, budget=0) == resend(costs=False)
    assert met(kind, phase, free, budget=0) == Fail(error)
    assert met(kind, phase, free, budget=1) == (resend(costs=True) if paid else Fail(error))


@rows
def test_after_the_first_word_nothing_is_sent_again(
    kind: Kind, error: type[TurnError], free: int, *, paid: bool, how: str
) -> None:
    del free, paid, how
    assert met(kind, "given out", budget=5) == Fail(error)


@rows
def test_an_answer_that_lacks_only_its_end_is_never_sent_again(
    kind: Kind, error: type[TurnError], free: int, *, paid: bool, how: str
) -> None:
    del free, paid, how
    only_the_end = kind in (Kind.DROPPED, Kind.SILENT, Kind.CONNECTION_LIMIT)
    expected = Finish("unfinished") if only_the_end else Fail(error)
    assert met(kind, "whole", budget=5) == expected


@pytest.mark.parametrize("phase", EARLY)
def test_an_empty_answer_is_asked_again_once_and_then_ends_as_empty(phase: Phase) -> None:
    assert met(Kind.EMPTY, phase, 0) == Resend(
        whole=False, elsewhere=False, paid=False, waits=False
    )
    assert met(Kind.EMPTY, phase, 1, budget=5) == Finish("empty")


AT_ONCE = {Kind.NO_WEBSOCKET, Kind.TOO_LARGE}
AT_LAST = {Kind.PASSING, Kind.CONNECTION_LIMIT, Kind.DROPPED, Kind.UNREACHABLE}
UNCONNECTED = {Kind.BUSY, Kind.SERVER}


@pytest.mark.parametrize("phase", EARLY)
@pytest.mark.parametrize("kind", list(Kind), ids=lambda kind: kind.name.lower())
def test_http_is_taken_where_the_socket_does_not_do(kind: Kind, phase: Phase) -> None:
    def met_with(times: int, budget: int) -> Action:
        seen = Counter({kind: times})
        return decide(Fault(kind, ""), phase, seen, budget, can_fall_back=True)

    at_last = kind in AT_LAST or (kind in UNCONNECTED and phase == "connecting")
    assert (met_with(0, 3) == BY_HTTP) is (kind in AT_ONCE)
    assert (met_with(9, 0) == BY_HTTP) is (kind in AT_ONCE or at_last)


def test_a_connection_that_does_not_come_is_waited_for_once() -> None:
    silent = Fault(Kind.SILENT, "")
    action = decide(silent, "connecting", Counter(), 3, can_fall_back=True)
    assert action == replace(BY_HTTP, paid=True)
    assert decide(silent, "connecting", Counter(), 0, can_fall_back=True) == Fail(Silent)


@pytest.mark.parametrize("kind", list(Kind), ids=lambda kind: kind.name.lower())
def test_nothing_goes_over_http_that_was_begun_to_be_spoken(kind: Kind) -> None:
    for phase in ("given out", "whole"):
        action = decide(Fault(kind, ""), phase, Counter(), 9, can_fall_back=True)
        assert not isinstance(action, Resend)


def test_every_kind_has_its_row() -> None:
    assert {row[0] for row in ROWS} | {Kind.EMPTY} == set(Kind) == set(TABLE)


def test_faults_of_other_kinds_use_up_no_free_resend() -> None:
    seen: Counter[Kind] = Counter({Kind.DROPPED: 3})
    assert isinstance(
        decide(Fault(Kind.CHAIN_MISS, ""), "sent", seen, 0, can_fall_back=False), Resend
    )
