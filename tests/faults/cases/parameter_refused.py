"""A parameter is refused that may be left out or stepped, or may not."""

from __future__ import annotations

from faults.rule import More, Rule, refusal
from rtllm import RequestRejected
from rtllm.retry.faults import FaultKind
from rtllm.simulator import refusing

RULE = Rule(FaultKind.PARAMETER_REFUSED, RequestRejected)
FINAL = Rule(FaultKind.REFUSED, RequestRejected)
WARM: More = {"options": {"temperature": 0.5}}
LEFT_OUT = refusal("unsupported_parameter", param="temperature")
NEEDED = refusal("unsupported_parameter", param="store")
AGAIN: More = {**WARM, "always": True}

CASES = (
    RULE.sent("a parameter is refused that may be left out", refusing("temperature"), **WARM),
    RULE.sent("a parameter is refused though it was left out", LEFT_OUT, RULE.fails(5), **AGAIN),
    FINAL.sent("a parameter is refused that may not be left out", NEEDED, FINAL.fails(1)),
)
