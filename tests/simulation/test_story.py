"""A seed is a run: the same trace whatever the hash seed; a failing run shrinks to a story."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from simulation.play import play
from simulation.saboteurs import SABOTEURS
from simulation.shrink import shortest_story

TESTS = Path(__file__).parents[1]
DIGESTS = """
import sys
sys.path.insert(0, sys.argv[1])
from simulation.play import play
print([play(seed, telling=True).digest for seed in range(10)])
"""


def digests(hash_seed: str) -> str:
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
    done = subprocess.run(
        [sys.executable, "-c", DIGESTS, str(TESTS)],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


def test_a_seed_reproduces_its_trace_whatever_the_hash_seed() -> None:
    assert digests("1") == digests("2") == digests("random")


@pytest.mark.parametrize("seed", range(10))
def test_recorded_choices_reproduce_a_round(seed: int) -> None:
    played = play(seed, recording=True, telling=True)
    again = play(seed, replayed=played.made, telling=True)
    assert again.digest == played.digest


def test_a_failing_round_shrinks_to_a_short_story() -> None:
    with SABOTEURS["replays after words were emitted"].broken():
        rounds = (play(seed) for seed in range(1, 400))
        seed = next(it.seed for it in rounds if it.violation is not None and it.facts > 500)
        long = play(seed, telling=True)
        story = shortest_story(seed, tries=60)
    assert len(story.splitlines()) < len(long.story) / 2
    assert str(long.violation and long.violation.law) in story
