"""What looks like a fault, and needs no recovery."""

from __future__ import annotations

from faults.rule import ENDED, Rule
from rtllm import ResponseFailed
from rtllm.simulator import GARBAGE, CutResponse, Dribble, Garbage

RULE = Rule(None, ResponseFailed)
NONSENSE = [Garbage(frame, phase="output", after=2) for frame in GARBAGE.values()]
SLOW = Dribble(every=1.5, after=12)

CASES = (
    RULE.given_out("the service cuts the answer short", CutResponse(), ENDED),
    RULE.given_out("frames that make no sense", NONSENSE, ENDED),
    RULE.given_out("speech that dribbles, and no floor", SLOW, ENDED),
)

NETWORK_CASES = (
    RULE.below("a long way", "emitted", when="throughout", how="delay"),
    RULE.below("a thin line", "emitted", when="throughout", how="throttle"),
)
