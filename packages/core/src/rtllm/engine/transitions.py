"""State machines as tables: one place that allows a change or names what is wrong."""

from collections.abc import Mapping
from typing import TypeVar

State = TypeVar("State", bound=str)


def change(
    what: str, table: Mapping[State, frozenset[State]], present: State, wanted: State
) -> State:
    """Check a change of state.

    Args:
        what: What changes, for the error.
        table: Every change that there is.
        present: The state that it has.
        wanted: The state that it is to have.

    Returns:
        The wanted state.

    Raises:
        RuntimeError: If there is no such change; a bug of this library.
    """
    if wanted not in table[present]:
        raise RuntimeError(f"{what} is {present}; it can't become {wanted}")
    return wanted
