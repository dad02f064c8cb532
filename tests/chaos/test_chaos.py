"""Random conversations through random faults: the laws hold at each step and at the end.

`--chaos-turns` says how many turns, `--chaos-seed` where to begin. A failure names the seed of
its round and the story, which hypothesis has made as short as it could::

    pytest tests/chaos -k videosdk --chaos-turns 100000 --chaos-seed 7
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from typing import Any, TypeAlias

import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings

from chaos import on_livekit, on_videosdk
from chaos.story import Story, stories
from rtllm_livekit.testing import run_in_virtual_time

STORIES_A_ROUND = 20
PATIENCE = 0.0002
"""Real seconds for I/O before a jump in time: both ends are on one loop."""

Playing: TypeAlias = Callable[[Story], Coroutine[Any, Any, int]]

PLAYS: dict[str, tuple[Playing, float]] = {
    "livekit": (partial(on_livekit.play, sessions=False), 0.4),
    "livekit-sessions": (partial(on_livekit.play, sessions=True), 0.2),
    "videosdk": (on_videosdk.play, 0.4),
}
"""How stories are played, and each one's share of the turns."""

PHASES = (Phase.generate, Phase.shrink)

PARTS = 4
"""Each way in so many tests, for as many cores."""


async def played(play: Playing, story: Story) -> int:
    """Play a story; a broken one leaves no task that its loop would wait for."""
    try:
        return await play(story)
    except BaseException:
        for _ in range(5):  # the frameworks' tasks swallow the first cancellations
            left = asyncio.all_tasks() - {asyncio.current_task()}
            for task in left:
                task.cancel()
            if left:
                await asyncio.wait(left, timeout=10.0)
        raise


def play_round(number: int, play: Playing, phases: Sequence[Phase] = PHASES) -> int:
    """Play a round of stories from a seed; returns how many turns there were."""
    turns = 0

    @seed(number)
    @settings(
        max_examples=STORIES_A_ROUND,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
        phases=phases,
        report_multiple_bugs=False,
    )
    @given(stories)
    def of_stories(story: Story) -> None:
        nonlocal turns
        turns += run_in_virtual_time(played(play, story), patience=PATIENCE)

    of_stories()
    return turns


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
