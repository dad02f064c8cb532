"""The stage and the checker of the VideoSDK tests, for the benchmarks."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from videosdk_adapter.stage import Plain, Stage, Talk, stage, talk, tool, until

__all__ = ["Plain", "Stage", "Talk", "stage", "talk", "tool", "until"]
