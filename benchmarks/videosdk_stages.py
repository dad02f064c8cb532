"""The stage and the checker of the VideoSDK tests, for the benchmarks."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from support.waiting import until
from videosdk_adapter.stage import Stage, stage
from videosdk_adapter.talks import Plain, Talk, talk, tool

__all__ = ["Plain", "Stage", "Talk", "stage", "talk", "tool", "until"]
