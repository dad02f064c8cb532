"""The list of cases leaves out no row of the recovery table and no phase in which it strikes."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from faults.runs import CASES, NETWORK_CASES
from rtllm.errors import Phase
from rtllm.retry.faults import FaultKind
from rtllm.retry.policy import TABLE

ALL = (*CASES, *NETWORK_CASES)
EVERYWHERE: tuple[Phase, ...] = ("connecting", "sent", "created", "emitted", "complete")
BEGUN: tuple[Phase, ...] = ("created", "emitted", "complete")

STRIKES: Mapping[FaultKind, tuple[Phase, ...]] = {
    # what the service sends instead of an answer
    FaultKind.CHAIN_MISS: ("sent", "created", "emitted"),
    FaultKind.ITEMS_REFUSED: ("sent",),
    FaultKind.LANES_REFUSED: ("sent",),
    FaultKind.LANE_LIMIT: ("sent",),
    FaultKind.PARAMETER_REFUSED: ("sent",),
    # what refuses the upgrade
    FaultKind.TOKEN_REFUSED: ("connecting",),
    FaultKind.NO_WEBSOCKET: ("connecting",),
    FaultKind.UNAUTHORISED: ("connecting", "sent"),
    FaultKind.FORBIDDEN: ("connecting", "sent"),
    FaultKind.NOT_FOUND: ("connecting", "sent"),
    # what may come at any time
    FaultKind.CONNECTION_LIMIT: EVERYWHERE,
    FaultKind.THROTTLED: EVERYWHERE,
    FaultKind.SERVER: EVERYWHERE,
    FaultKind.DROPPED: EVERYWHERE,
    FaultKind.TIMEOUT: EVERYWHERE,
    FaultKind.UNRESPONSIVE: ("sent",),
    FaultKind.CLIENT_CLOSED: EVERYWHERE,
    FaultKind.QUOTA: EVERYWHERE,
    FaultKind.REFUSED: EVERYWHERE,
    FaultKind.RESPONSE_FAILED: BEGUN,
    # where the frame is made, where the host closes, and a host that closes late
    FaultKind.TOO_LARGE: ("connecting", "sent", "emitted"),
    FaultKind.NO_HTTP: ("sent",),
    FaultKind.EMPTY: ("created",),
    FaultKind.CUT_BEFORE_OUTPUT: ("created",),
    FaultKind.MALFORMED_CALL: ("sent",),
    FaultKind.UPGRADE_REFUSED: ("connecting",),
    # hosts that differ from OpenAI: tests/transport/test_hosts.py
    FaultKind.FORM_REFUSED: (),
    FaultKind.PARENT_IGNORED: (),
    # below the socket
    FaultKind.UNREACHABLE: ("connecting",),
}


@pytest.mark.parametrize("kind", TABLE, ids=[kind.name.lower() for kind in TABLE])
def test_each_row_has_a_case_in_each_phase(kind: FaultKind) -> None:
    played = {case.phase for case in ALL if case.kind is kind}
    assert not set(STRIKES[kind]) - played


def test_no_two_cases_have_the_same_name() -> None:
    for cases in (CASES, NETWORK_CASES):
        names = [case.name for case in cases]
        assert len(names) == len(set(names))
