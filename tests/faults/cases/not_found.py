"""The model, or what the request names, isn't there."""

from __future__ import annotations

from faults.rule import Rule, refusal, turned_away
from rtllm import RequestRejected
from rtllm.retry.faults import FaultKind

RULE = Rule(FaultKind.NOT_FOUND, RequestRejected)
NO_MODEL = turned_away(404, "model_not_found")

CASES = (
    RULE.connecting("the upgrade gets a 404 for the model", NO_MODEL, RULE.fails(0)),
    RULE.sent("a model_not_found frame", refusal("model_not_found", 404), RULE.fails(1)),
)
