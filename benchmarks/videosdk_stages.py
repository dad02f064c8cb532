"""The stage and the checker of the VideoSDK tests, for the benchmarks."""

import sys
from pathlib import Path

import videosdk

_TESTS = Path(__file__).parents[1] / "tests"
sys.path.insert(0, str(_TESTS))
if str(_TESTS / "videosdk") not in videosdk.__path__:  # looked for once, at its first import
    videosdk.__path__.append(str(_TESTS / "videosdk"))

from videosdk.stage import Plain, Stage, Talk, stage, talk, tool, until  # noqa: E402 - only now

__all__ = ["Plain", "Stage", "Talk", "stage", "talk", "tool", "until"]
