"""The service broke: 408, 500 and above, `server_error`."""

from __future__ import annotations

from faults.case import Ends
from faults.rule import OVER_HTTP, Rule, turned_away
from rtllm import ResponseFailed
from rtllm.retry.faults import FaultKind
from rtllm.simulator import ErrorFrame, FailedResponse, RefuseHandshake, RefuseRequest

RULE = Rule(FaultKind.SERVER, ResponseFailed)
FAILED = FailedResponse()
ERROR = ErrorFrame()
PROXY = RefuseHandshake(502, "<html>Bad gateway</html>")
GATEWAY = RefuseRequest(502, "<html>Bad gateway</html>")
BROKEN = turned_away(500)
ONE_CALL = RULE.fails(2, runs=1)

CASES = (
    RULE.connecting("the upgrade gets a proxy's 502", PROXY),
    RULE.connecting("every upgrade gets a 500", BROKEN, RULE.fails(0), always=True),
    RULE.connecting("every upgrade gets a 500, with a fallback", BROKEN, **OVER_HTTP),
    RULE.sent("a server error of shape a", ErrorFrame(shape="a")),
    RULE.sent("a server error of shape b", ErrorFrame(shape="b")),
    RULE.sent("a server error of shape c", ErrorFrame(shape="c")),
    RULE.sent("a server error of shape d", ErrorFrame(shape="d")),
    RULE.sent("a server error of shape e", ErrorFrame(shape="e")),
    RULE.sent("a server error of shape f", ErrorFrame(shape="f")),
    RULE.sent("an untagged server error", ErrorFrame(tagged=False)),
    RULE.sent("a server error, then a close", ErrorFrame(then_close=1011)),
    RULE.sent("a gateway's 502 as a frame", GATEWAY),
    RULE.sent("a server error each time", ERROR, RULE.fails(3), always=True),
    RULE.created("the response fails at once", FAILED),
    RULE.created("a server error when created", ERROR),
    RULE.given_out("the response fails after words", FAILED),
    RULE.given_out("a server error after words", ERROR),
    RULE.whole("the response fails after its words", FAILED),
    RULE.in_a_call("the response fails in a call's arguments", FAILED),
    RULE.between_calls("the response fails after the first of two calls", FAILED),
    RULE.after_the_call("the response fails after its call", FAILED, ONE_CALL, Ends(3, runs=1)),
)
