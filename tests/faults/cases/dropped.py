"""The connection died: a reset, an end, a close with any code not named elsewhere."""

from __future__ import annotations

from faults.case import Ends
from faults.rule import CURED, ENDED, HTTP, OVER_HTTP, More, Rule
from rtllm import ConnectionLost
from rtllm.retry.faults import FaultKind
from rtllm.simulator import Abort, AcceptThen, Close, HangUp, Silence

RULE = Rule(FaultKind.DROPPED, ConnectionLost)
CLOSED, RESET, HUNG_UP = Close(), Abort(), HangUp()
AT_1000, AT_1001, AT_1011 = (AcceptThen(close=code) for code in (1000, 1001, 1011))
FALLBACK: More = {**OVER_HTTP, "lost": 4}
EACH: More = {"always": True, "lost": 4}

CASES = (
    RULE.connecting("a close between the turns", None, between="close"),
    RULE.connecting("a reset between the turns", None, between="abort"),
    RULE.connecting("the connection is accepted, then closed with 1000", AT_1000, lost=1),
    RULE.connecting("the connection is accepted, then closed with 1011", AT_1011, lost=1),
    RULE.connecting("the connection is accepted, then reset", AcceptThen(abort=True), lost=1),
    RULE.connecting("every connection is closed at once with 1000", AT_1000, RULE.fails(0), **EACH),
    RULE.connecting("every connection is closed at once with 1001", AT_1001, RULE.fails(0), **EACH),
    RULE.connecting("every connection is closed at once, with a fallback", AT_1001, **FALLBACK),
    RULE.sent("a close with 1000", Close(code=1000)),
    RULE.sent("a close with 1001", Close(code=1001)),
    RULE.sent("a close with 1011", Close(code=1011)),
    RULE.sent("a close with 1012", Close(code=1012)),
    RULE.sent("a close with 1013", Close(code=1013)),
    RULE.sent("a close when sent", CLOSED),
    RULE.sent("a reset when sent", RESET),
    RULE.sent("a hang-up when sent", HUNG_UP),
    RULE.created("a close when created", CLOSED),
    RULE.created("a reset when created", RESET),
    RULE.created("a hang-up when created", HUNG_UP),
    RULE.sent("a reset each time", RESET, RULE.fails(4), always=True),
    RULE.given_out("a close after words", CLOSED),
    RULE.given_out("a reset after words", RESET),
    RULE.given_out("a reset after words, with a fallback", RESET, options=HTTP),
    RULE.given_out("a hang-up after words", HUNG_UP),
    RULE.whole("a close after the answer", CLOSED, ENDED),
    RULE.whole("a reset after the answer", RESET, ENDED),
    RULE.whole("a hang-up after the answer", HUNG_UP, ENDED),
    RULE.in_a_call("a reset in a call's arguments", RESET),
    RULE.between_calls("a reset after the first of two calls", RESET),
    RULE.after_the_call("a reset after the call", RESET, Ends(2, runs=1)),
)

SENT: More = {"when": "amid", "fault": Silence()}
CREATED: More = {"when": "amid", "fault": Silence(phase="created")}
SPEAKING: More = {"when": "amid", "fault": Silence(phase="output", after=3)}
HALF_OPEN: More = {"how": "swallow", "idle": 60.0, "forgets": True}
CUT: More = {"when": "amid", "how": "cut", "simulator": {"per_delta": 0.8}}

NETWORK_CASES = (
    RULE.below("a reset between the turns", "connecting", how="reset"),
    RULE.below("a close between the turns", "connecting", how="close"),
    RULE.below("the heartbeat finds idle connections that died", "connecting", **HALF_OPEN),
    RULE.below("a reset when sent", "sent", CURED, how="reset", **SENT),
    RULE.below("a close when sent", "sent", CURED, how="close", **SENT),
    RULE.below("a reset when created", "created", CURED, how="reset", **CREATED),
    RULE.below("a close when created", "created", CURED, how="close", **CREATED),
    RULE.below("a reset after words", "emitted", RULE.fails(1), how="reset", **SPEAKING),
    RULE.below("a close after words", "emitted", RULE.fails(1), how="close", **SPEAKING),
    RULE.below("a reset in mid-frame", "emitted", RULE.fails(1), **CUT),
)
