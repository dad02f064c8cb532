"""Tell the story of a round: ``python -m simulation SEED`` in the folder of the tests."""

from __future__ import annotations

import argparse

from simulation.play import play
from simulation.shrink import shortest_story


def main() -> None:
    """Play a round and tell its story."""
    parser = argparse.ArgumentParser(prog="simulation", description=__doc__)
    parser.add_argument("seed", type=int)
    parser.add_argument("--shortest", action="store_true", help="make the story short")
    options = parser.parse_args()
    if options.shortest:
        print(shortest_story(options.seed))  # noqa: T201
        return
    outcome = play(options.seed, telling=True)
    print(outcome.world)  # noqa: T201
    for line in outcome.story:
        print(line)  # noqa: T201


if __name__ == "__main__":
    main()
