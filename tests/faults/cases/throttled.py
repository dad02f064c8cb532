"""A rate limit or an overload: it passes by itself."""

from __future__ import annotations

from faults.rule import OVER_HTTP, Rule, refusal, turned_away
from rtllm import Overloaded, RateLimited
from rtllm.retry.faults import FaultKind
from rtllm.simulator import Close, FailedResponse, overloaded, rate_limited

RULE = Rule(FaultKind.THROTTLED, RateLimited)
LIMIT = "rate_limit_exceeded"
WAIT = turned_away(429, LIMIT, **{"retry-after": "1"})
NO_ROOM = turned_away(503)
SLOW_DOWN = refusal("slow_down", 503, kind="rate_limit_error")
OVERLOADED = RULE.fails(0, Overloaded)

CASES = (
    RULE.connecting("the upgrade gets a 429", WAIT),
    RULE.connecting("every upgrade gets a 503", NO_ROOM, OVERLOADED, always=True),
    RULE.connecting("every upgrade gets a 503, with a fallback", NO_ROOM, **OVER_HTTP),
    RULE.sent("the rate limit is reached", rate_limited()),
    RULE.sent("a close with 4429 names a wait", Close(code=4429, reason="try again in 1s")),
    RULE.sent("a 429 names a wait", rate_limited("3")),
    RULE.sent("the service is overloaded", overloaded()),
    RULE.sent("slow down", SLOW_DOWN),
    RULE.created("the rate limit is reached, by response.failed", FailedResponse(LIMIT)),
    RULE.sent("the rate limit is reached each time", rate_limited(), RULE.fails(3), always=True),
    RULE.sent("a 429 names a wait that is too long", rate_limited("60"), RULE.fails(1)),
    RULE.given_out("the rate limit is reached after words", FailedResponse(LIMIT)),
    RULE.whole("the rate limit is reached after the answer", FailedResponse(LIMIT)),
)
