"""Each case of the list in a VideoSDK pipeline."""

from __future__ import annotations

import pytest

from faults.pipeline import in_pipeline
from faults.play import Played
from faults.runs import RUNS


@pytest.mark.parametrize("name", RUNS)
async def test_a_fault_in_a_pipeline(name: str) -> None:
    case, host = RUNS[name]
    async with in_pipeline(case, host) as (st, line):
        ends = case.videosdk or case.ends
        await Played(case, st, line, ends, store=host.store).play()
