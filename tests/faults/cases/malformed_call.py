"""The host could not read the model's call."""

from __future__ import annotations

from faults.rule import Rule, refusal
from rtllm import ResponseFailed
from rtllm.retry.faults import FaultKind

RULE = Rule(FaultKind.MALFORMED_CALL, ResponseFailed)

CASES = (RULE.sent("the model's call could not be read", refusal("tool_use_failed")),)
