"""The client is closed while the turn runs; on VideoSDK that is a cut."""

from __future__ import annotations

from faults.case import Ends
from faults.rule import More, Rule
from rtllm import ConnectionLost
from rtllm.retry.faults import FaultKind
from rtllm.simulator import DelayHandshake, Silence

RULE = Rule(FaultKind.CLIENT_CLOSED, ConnectionLost)
LATE = DelayHandshake(3600.0)
CLOSED: More = {"closed": True, "silent": True}
CUT: More = {**CLOSED, "videosdk": Ends(1)}
UNSENT: More = {**CLOSED, "videosdk": Ends(0)}

CASES = (
    RULE.connecting("the client is closed while it connects", LATE, RULE.fails(0), **UNSENT),
    RULE.sent("the client is closed before the answer", Silence(), RULE.fails(1), **CUT),
    RULE.created("the client is closed when created", Silence(), RULE.fails(1), **CUT),
    RULE.given_out("the client is closed after words", Silence(), **CUT),
    RULE.whole("the client is closed after the answer", Silence(), **CUT),
)
