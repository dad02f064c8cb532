"""Rounds of stories: from a seed, made as short as a failure allows."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from typing import Any, TypeAlias

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
