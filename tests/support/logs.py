"""What this project's loggers said."""

from __future__ import annotations

import logging

import pytest


def warned(caplog: pytest.LogCaptureFixture) -> list[str]:
    """The warnings, and worse."""
    return [
        r.getMessage()
        for r in caplog.records
        if r.name.startswith("rtllm") and r.levelno >= logging.WARNING
    ]
