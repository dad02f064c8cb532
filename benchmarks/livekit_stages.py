"""The stage and the checker of the LiveKit tests, for the benchmarks."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from livekit_adapter.requests import turn
from livekit_adapter.sessions import session_of
from livekit_adapter.stage import Stage, stage
from support.waiting import until

__all__ = ["Stage", "session_of", "stage", "turn", "until"]
