"""Options of all tests, and their environment."""

from __future__ import annotations

import os

import pytest

for _name in list(os.environ):
    if _name.startswith(("OPENAI_", "AZURE_OPENAI_")):
        del os.environ[_name]  # nothing of the developer's own account takes part


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("rtllm")
    group.addoption(
        "--chaos-turns",
        type=int,
        default=2500,
        help="how many turns chaos plays, all its tests together (default: %(default)s)",
    )
    group.addoption(
        "--chaos-seed",
        type=int,
        default=1,
        help="what chaos begins with (default: %(default)s); a failure names its own",
    )
    group.addoption(
        "--simulation-turns",
        type=int,
        default=2000,
        help="how many turns the simulation plays, all its tests together (default: %(default)s)",
    )
    group.addoption(
        "--simulation-seed",
        type=int,
        default=1,
        help="what the simulation begins with (default: %(default)s); a failure names its round",
    )
    group.addoption(
        "--soak",
        type=float,
        nargs="?",
        const=60.0,
        default=None,
        metavar="MINUTES",
        help="play a hundred conversations for so many minutes of call time (an hour)",
    )
