"""The connection has reached the host's lifetime."""

from __future__ import annotations

from faults.rule import ENDED, Rule
from rtllm import ConnectionLost
from rtllm.retry.faults import FaultKind
from rtllm.simulator import AcceptThen, connection_limit

RULE = Rule(FaultKind.CONNECTION_LIMIT, ConnectionLost)
OVER = connection_limit()
AT_ONCE = AcceptThen(error=OVER, close=1000)

CASES = (
    RULE.connecting("the connection is at its limit at once", AT_ONCE, lost=1),
    RULE.sent("the connection is at its limit when sent", OVER),
    RULE.created("the connection is at its limit when created", OVER),
    RULE.given_out("the connection is at its limit after words", OVER),
    RULE.whole("the connection is at its limit after the answer", OVER, ENDED),
    RULE.sent("every connection is at its limit", OVER, RULE.fails(4), always=True),
)
