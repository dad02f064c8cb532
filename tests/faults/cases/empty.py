"""The answer is complete and empty, or ends before its first word."""

from __future__ import annotations

from faults.rule import CURED, More, Rule
from rtllm import ResponseFailed
from rtllm.retry.faults import FaultKind
from rtllm.simulator import CutResponse, Empty

RULE = Rule(FaultKind.EMPTY, ResponseFailed)
CUT = Rule(FaultKind.CUT_BEFORE_OUTPUT, ResponseFailed)
FILTERED = CutResponse(reason="content_filter")
ALWAYS: More = {"always": True, "silent": True}

CASES = (
    RULE.created("an empty answer", Empty()),
    RULE.created("only empty answers", Empty(), CURED, **ALWAYS),
    CUT.created("an answer that is filtered before its first word", FILTERED, CUT.fails(1)),
)
