"""Not allowed, or a redirect to another host."""

from __future__ import annotations

from faults.rule import HTTP, Rule, refusal, turned_away
from rtllm import RequestRejected
from rtllm.retry.faults import FaultKind
from rtllm.simulator import RefuseHandshake

RULE = Rule(FaultKind.FORBIDDEN, RequestRejected)
NO = turned_away(403)
ELSEWHERE = RefuseHandshake(302, "", {"location": "http://x.test/"})

CASES = (
    RULE.connecting("the upgrade gets a 403", NO, RULE.fails(0)),
    RULE.connecting("the upgrade gets a 403, with a fallback", NO, RULE.fails(0), options=HTTP),
    RULE.connecting("the upgrade gets a redirect", ELSEWHERE, RULE.fails(0)),
    RULE.sent("a permission_denied frame", refusal("permission_denied", 403), RULE.fails(1)),
)
