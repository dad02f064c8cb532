"""The engine in a world that does its worst: all laws hold at each step.

`--simulation-turns` says how many turns are played, `--simulation-seed` where to begin, and
`--simulation-callers` how many callers talk at a time (else each round has its own number). A
failure names the seed of its round and tells the shortest story that was found::

    pytest tests/simulation --simulation-turns 100000
    python -m simulation 1234          # from the folder of the tests: the story of one round
"""

from __future__ import annotations

import time
from collections import Counter

import pytest

from simulation.play import play
from simulation.shrink import shortest_story
from simulation.worlds import KINDS, sized, world_of

SHARDS = 8
"""In so many tests, for as many cores."""
ROUNDS = 10_000
"""The most rounds that a shard plays."""


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("shard", range(SHARDS))
def test_all_laws_hold_whatever_a_service_or_a_network_does(
    shard: int, pytestconfig: pytest.Config
) -> None:
    left = pytestconfig.getoption("--simulation-turns") // SHARDS
    callers = pytestconfig.getoption("--simulation-callers")
    first = (pytestconfig.getoption("--simulation-seed") * SHARDS + shard) * ROUNDS
    figures: Counter[str] = Counter()
    for seed in range(first, first + ROUNDS):
        if left <= 0:
            break
        world, turns = world_of(seed, callers)
        outcome = play(seed, world=world, turns=turns)
        left -= outcome.turns
        figures += outcome.figures
        if outcome.violation is not None:
            pytest.fail(shortest_story(seed, callers=callers), pytrace=False)
    assert figures["ended completed"] > figures["ended failed"]


def test_each_kind_of_world_comes_to_turns_that_are_answered() -> None:
    answered: Counter[str] = Counter()
    for seed in range(2 * len(KINDS)):
        outcome = play(seed)
        assert outcome.violation is None, shortest_story(seed)
        answered[outcome.world.kind] += outcome.figures["ended completed"]
    assert min(answered.values()) > 0


def test_in_calm_worlds_nearly_every_request_after_the_first_is_chained() -> None:
    figures: Counter[str] = Counter()
    for seed in range(0, 80, len(KINDS)):
        outcome = play(seed)
        assert outcome.world.kind == "calm"
        assert outcome.violation is None, shortest_story(seed)
        figures += outcome.figures
    assert figures["ended failed"] == 0
    assert figures["chained"] > 0.6 * figures["first sends"]


@pytest.mark.parametrize("callers", [10, 300])
def test_speed(callers: int) -> None:
    """Print how many turns a second are played; a machine's speed proves nothing."""
    began, turns = time.perf_counter(), 0
    for seed in range(2):
        outcome = play(seed, world=sized(callers), turns=400)
        assert outcome.violation is None, str(outcome.violation)
        turns += outcome.turns
    speed = turns / (time.perf_counter() - began)
    print(f"{callers} callers: {speed:.0f} turns a second")  # noqa: T201
