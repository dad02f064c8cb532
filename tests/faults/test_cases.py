"""The list of cases leaves out no row of the recovery table and no phase in which it strikes."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from faults.cases import CASES
from faults.network_cases import NETWORK_CASES
from rtllm.errors import Phase
from rtllm.faults import Kind
from rtllm.recovery import TABLE

ALL = (*CASES, *NETWORK_CASES)
EVERYWHERE: tuple[Phase, ...] = ("connecting", "sent", "created", "given out", "whole")
BEGUN: tuple[Phase, ...] = ("created", "given out", "whole")

STRIKES: Mapping[Kind, tuple[Phase, ...]] = {
    # what the service says instead of an answer
    Kind.CHAIN_MISS: ("sent", "created", "given out"),
    Kind.ITEMS_REFUSED: ("sent",),
    Kind.LANES_REFUSED: ("sent",),
    Kind.LANE_LIMIT: ("sent",),
    Kind.PARAMETER_REFUSED: ("sent",),
    # what refuses the upgrade
    Kind.TOKEN_REFUSED: ("connecting",),
    Kind.NO_WEBSOCKET: ("connecting",),
    Kind.UNAUTHORISED: ("connecting", "sent"),
    Kind.FORBIDDEN: ("connecting", "sent"),
    Kind.NOT_FOUND: ("connecting", "sent"),
    # what may come at any time
    Kind.CONNECTION_LIMIT: EVERYWHERE,
    Kind.BUSY: EVERYWHERE,
    Kind.SERVER: EVERYWHERE,
    Kind.DROPPED: EVERYWHERE,
    Kind.SILENT: EVERYWHERE,
    Kind.MUTE: ("sent",),
    Kind.CLOSED: EVERYWHERE,
    Kind.QUOTA: EVERYWHERE,
    Kind.REFUSED: EVERYWHERE,
    Kind.GIVEN_UP: BEGUN,
    # where the frame is made, where the host closes, and a host that closes late
    Kind.TOO_LARGE: ("connecting", "sent", "given out"),
    Kind.NO_HTTP: ("sent",),
    Kind.EMPTY: ("created",),
    Kind.CUT_AT_ONCE: ("created",),
    Kind.SLIPPED: ("sent",),
    Kind.PASSING: ("connecting",),
    # hosts that differ from OpenAI: tests/transport/test_hosts.py
    Kind.FORM_REFUSED: (),
    Kind.PARENT_IGNORED: (),
    # below the socket
    Kind.UNREACHABLE: ("connecting",),
}


@pytest.mark.parametrize("kind", TABLE, ids=[kind.name.lower() for kind in TABLE])
def test_each_row_has_a_case_in_each_phase(kind: Kind) -> None:
    played = {case.phase for case in ALL if case.kind is kind}
    assert not set(STRIKES[kind]) - played


def test_no_two_cases_have_the_same_name() -> None:
    for cases in (CASES, NETWORK_CASES):
        names = [case.name for case in cases]
        assert len(names) == len(set(names))
