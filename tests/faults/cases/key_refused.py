"""The key is refused, and a function may give a fresh one."""

from __future__ import annotations

from faults.rule import More, Rule, refusal, turned_away
from rtllm import RequestRejected
from rtllm.retry.faults import FaultKind

FINAL = Rule(FaultKind.UNAUTHORISED, RequestRejected)
TOKEN = Rule(FaultKind.TOKEN_REFUSED, RequestRejected)
NO_KEY = turned_away(401, "invalid_api_key")
FRESH = "the upgrade gets a 401, and there is a fresh token"
AGAIN: More = {"always": True, "renewable": True}

CASES = (
    FINAL.connecting("the upgrade gets a 401", NO_KEY, FINAL.fails(0)),
    FINAL.sent("an invalid_api_key frame", refusal("invalid_api_key", 401), FINAL.fails(1)),
    TOKEN.connecting(FRESH, NO_KEY, renewable=True),
    TOKEN.connecting("every token is refused", NO_KEY, TOKEN.fails(0), **AGAIN),
)
