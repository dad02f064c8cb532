"""What the tests of chaos share."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def _no_logs(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Thousands of failed turns fill no log; nothing of the developer's account takes part."""
    for name in ("API_KEY", "BASE_URL", "ORG_ID", "PROJECT_ID", "API_VERSION"):
        monkeypatch.delenv(f"OPENAI_{name}", raising=False)
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)
