"""Random conversations through random faults: the laws hold at each step and at the end.

`--chaos-turns` says how many turns, `--chaos-seed` where to begin. A failure names the seed of
its round and the story, which hypothesis has made as short as it could::

    pytest tests/chaos -k videosdk --chaos-turns 100000 --chaos-seed 7
"""

from __future__ import annotations

import asyncio

import pytest

from chaos.rounds import PLAYS, play_round
from chaos.story import Story

PARTS = 4
"""Each way in so many tests, for as many cores."""


# A POST that is cancelled in the moment in which its TCP connection comes to be leaves the socket
# to the garbage collector: so do anyio and httpcore, now and then.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.timeout(0)
@pytest.mark.parametrize("part", range(PARTS))
@pytest.mark.parametrize("way", PLAYS)
def test_the_laws_hold_whatever_happens(
    way: str, part: int, request: pytest.FixtureRequest
) -> None:
    play, share = PLAYS[way]
    wanted = share * int(request.config.getoption("--chaos-turns")) / PARTS
    number = int(request.config.getoption("--chaos-seed")) * 1_000_000 + part * 100_000
    turns = 0
    while turns < wanted:
        try:
            turns += play_round(number, play)
        except AssertionError as error:
            error.add_note(f"way {way}, round {number}, after {turns} turns")
            raise
        number += 1


def test_a_round_can_be_played_again() -> None:
    """What a seed stands for doesn't depend on when it is played."""
    told: list[list[Story]] = []

    async def noted(story: Story) -> int:
        await asyncio.sleep(0)
        told[-1].append(story)
        return 1

    for _ in range(2):
        told.append([])
        play_round(7, noted)
    assert told[0] == told[1]
