"""Money or quota is used up."""

from __future__ import annotations

from faults.rule import Rule, refusal, turned_away
from rtllm import RequestRejected
from rtllm.retry.faults import FaultKind
from rtllm.simulator import AcceptThen, FailedResponse

RULE = Rule(FaultKind.QUOTA, RequestRejected)
USED_UP = "insufficient_quota"
NO_UPGRADE = turned_away(429, USED_UP)
FRAME = refusal(USED_UP, 429)
AT_ONCE = AcceptThen(refusal(USED_UP, 429, tagged=False), close=1000)

CASES = (
    RULE.connecting("the upgrade gets a 429 for the quota", NO_UPGRADE, RULE.fails(0)),
    RULE.connecting("the connection is accepted, then refused", AT_ONCE, RULE.fails(0), lost=1),
    RULE.sent("an insufficient_quota frame", FRAME, RULE.fails(1)),
    RULE.created("the quota is used up at once", FailedResponse(USED_UP), RULE.fails(1)),
    RULE.given_out("the quota is used up after words", FailedResponse(USED_UP)),
    RULE.whole("the quota is used up after the answer", FailedResponse(USED_UP)),
)
