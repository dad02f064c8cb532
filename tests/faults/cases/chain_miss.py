"""The service no longer knows the response that is continued."""

from __future__ import annotations

from faults.rule import More, Rule, refusal
from rtllm import RequestRejected
from rtllm.retry.faults import FaultKind
from rtllm.simulator import FailedResponse

RULE = Rule(FaultKind.CHAIN_MISS, RequestRejected)
MISS = "previous_response_not_found"
AGAIN: More = {"always": True, "forgets": True}

CASES = (
    RULE.sent("the parent is unknown", refusal(MISS)),
    RULE.created("the parent is unknown, said by response.failed", FailedResponse(MISS)),
    RULE.sent("the parent is unknown, whatever is sent", refusal(MISS), RULE.fails(2), **AGAIN),
    RULE.given_out("the parent is unknown after words", FailedResponse(MISS)),
)
