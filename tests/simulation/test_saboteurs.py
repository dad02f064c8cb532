"""What the oracle must find, it finds: each broken engine is caught within 2,000 turns."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from simulation.saboteurs import SABOTEURS, catch


@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", SABOTEURS)
def test_a_broken_engine_is_caught(
    name: str, pytestconfig: pytest.Config, record_property: Callable[[str, object], None]
) -> None:
    """Print the row of the table: the defect, the turns until it was caught, the seed."""
    saboteur = SABOTEURS[name]
    caught = catch(saboteur, saboteur.turns, pytestconfig.getoption("--simulation-seed") * 100_000)
    assert caught is not None, f"an engine that {name} survives {saboteur.turns} turns"
    assert "TypeError" not in caught.what, "the defect itself is broken: it does not fit the engine"
    record_property("turns", caught.turns)
    row = f"{name:48} | {saboteur.law:7} | {caught.turns:5} | {caught.seed} | {caught.what[:60]}"
    print(row)  # noqa: T201


def test_each_law_and_each_warning_has_its_saboteurs() -> None:
    covered = {mark for saboteur in SABOTEURS.values() for mark in saboteur.law.split(", ")}
    assert covered >= {str(law) for law in range(1, 9)}
    assert covered >= {f"w{warning}" for warning in range(1, 12)}
