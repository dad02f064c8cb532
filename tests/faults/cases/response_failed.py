"""`response.failed` with a code that isn't tried again."""

from __future__ import annotations

from faults.rule import Rule
from rtllm import ResponseFailed
from rtllm.retry.faults import FaultKind
from rtllm.simulator import FailedResponse

RULE = Rule(FaultKind.RESPONSE_FAILED, ResponseFailed)
FAILED = FailedResponse("vector_store_timeout")

CASES = (
    RULE.created("the response fails for good at once", FAILED, RULE.fails(1)),
    RULE.given_out("the response fails for good after words", FAILED),
    RULE.whole("the response fails for good after the answer", FAILED),
)
