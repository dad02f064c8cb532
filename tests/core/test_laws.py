"""The laws hold whatever the frameworks do."""

import pytest
from hypothesis import settings
from hypothesis.stateful import run_state_machine_as_test

from core.law_machines import Anything, Driver, OrdinaryVoice


class StoredOnLanes(Anything):
    store = True


class WithoutLanes(Anything):
    lanes = False


class StoredWithoutLanes(Anything):
    lanes = False
    store = True


@pytest.mark.parametrize(
    "machine", [Anything, StoredOnLanes, WithoutLanes, StoredWithoutLanes, OrdinaryVoice]
)
def test_laws_hold_for(machine: type[Driver]) -> None:
    run_state_machine_as_test(machine, settings=settings())  # type: ignore[no-untyped-call]
