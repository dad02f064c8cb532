"""Each case of the list in a LiveKit session."""

from __future__ import annotations

import pytest

from faults.play import Played
from faults.runs import RUNS
from faults.session import in_session


@pytest.mark.parametrize("name", RUNS)
async def test_a_fault_in_a_session(name: str) -> None:
    case, host = RUNS[name]
    async with in_session(case, host) as (st, line):
        await Played(case, st, line, case.ends, store=host.store).play()
