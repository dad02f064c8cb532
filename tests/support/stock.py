"""Playing a scene on the stock plugin too, to show what it gets wrong and that the test bites."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import pytest

both = pytest.mark.parametrize("stock", [False, True], ids=["rtllm", "stock"])
"""Play it on ours and on the stock plugin."""


def finds_fault(stock: bool) -> Any:
    """The check passes; on the stock plugin it must find something."""
    return pytest.raises(AssertionError) if stock else nullcontext()
