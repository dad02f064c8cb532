"""Options of all tests, and their environment."""

from __future__ import annotations

import asyncio
import os

import pytest

from support.event_loops import LoopFactory, loop_factory

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
        "--simulation-callers",
        type=int,
        help="how many callers talk at a time in the simulation (default: each round its own)",
    )
    group.addoption(
        "--fuzz-seconds",
        type=float,
        default=2.0,
        help="how long the engine is fuzzed (default: %(default)s s)",
    )
    group.addoption(
        "--fuzz-seed",
        type=int,
        default=1,
        help="the first round of the fuzz target (default: %(default)s); a failure names its own",
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
    group.addoption(
        "--event-loop",
        choices=("default", "eager", "uvloop"),
        default="default",
        help="the event loop: asyncio's, with eager tasks (Python 3.12 and later), or uvloop's",
    )


def pytest_configure(config: pytest.Config) -> None:
    if (chosen := config.getoption("--event-loop")) != "default":
        config.pluginmanager.register(_EventLoops(chosen))


class _EventLoops:
    """Lets every test run on another event loop than asyncio's own."""

    def __init__(self, chosen: str) -> None:
        self._chosen = chosen

    @pytest.hookimpl(trylast=True)  # a folder in virtual time stays in it
    def pytest_asyncio_loop_factories(self) -> dict[str, LoopFactory]:
        return loop_factory(self._chosen, asyncio.new_event_loop)
