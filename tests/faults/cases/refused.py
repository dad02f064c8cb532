"""The request is refused: other 4xx, a close with 1008 or 4000 to 4999."""

from __future__ import annotations

from faults.rule import Rule, refusal, turned_away
from rtllm import RequestRejected
from rtllm.retry.faults import FaultKind
from rtllm.simulator import Close, FailedResponse

RULE = Rule(FaultKind.REFUSED, RequestRejected)
BAD = FailedResponse("invalid_prompt")
THEN_CLOSED = refusal("invalid_prompt", then_close=1011)
TOO_LONG = refusal("context_length_exceeded")

CASES = (
    RULE.connecting("the upgrade gets a 400", turned_away(400), RULE.fails(0)),
    RULE.sent("a context_length_exceeded frame", TOO_LONG, RULE.fails(1)),
    RULE.sent("a refusal, then a close", THEN_CLOSED, RULE.fails(1)),
    RULE.sent("a close with 1008", Close(code=1008), RULE.fails(1)),
    RULE.sent("a close with 4402", Close(code=4402), RULE.fails(1)),
    RULE.given_out("a close with 1008 after words", Close(code=1008)),
    RULE.created("the prompt is refused at once", BAD, RULE.fails(1)),
    RULE.given_out("the prompt is refused after words", BAD),
    RULE.whole("the prompt is refused after the answer", BAD),
)
