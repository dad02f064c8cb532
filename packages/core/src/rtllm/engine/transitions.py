"""State machines as tables: a change of state is allowed or an error that names it."""

from collections.abc import Mapping
from typing import TypeVar

State = TypeVar("State", bound=str)


def change(
    what: str, table: Mapping[State, frozenset[State]], present: State, wanted: State
) -> State:
    """Check a change of state against a table.

    Args:
        what: The object that changes, for the error.
        table: The allowed changes.
        present: Its current state.
        wanted: Its new state.

    Returns:
        The new state.

    Raises:
        RuntimeError: If the change is not allowed; a bug in this library.
    """
    if wanted not in table[present]:
        raise RuntimeError(f"{what} can't change from {present} to {wanted}; a bug in rtllm")
    return wanted
