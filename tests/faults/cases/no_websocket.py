"""The host has no WebSocket, or no HTTP either."""

from __future__ import annotations

from faults.rule import HTTP, OVER_HTTP, More, Rule
from rtllm import RequestRejected
from rtllm.retry.faults import FaultKind
from rtllm.simulator import RefuseHandshake, RefuseRequest

RULE = Rule(FaultKind.NO_WEBSOCKET, RequestRejected)
NEITHER = Rule(FaultKind.NO_HTTP, RequestRejected)
NO_404, NO_405, NO_426 = (RefuseHandshake(status, "<html>No</html>") for status in (404, 405, 426))
NO_POST = RefuseRequest(404, "<html>No</html>")
FAILS = RULE.fails(0)
NOTHING: More = {
    "handshake": NO_404,
    "always": True,
    "options": HTTP,
    "next_way": None,
    "blames_parent": True,
}

CASES = (
    RULE.connecting("the host has no WebSocket (404), and no fallback", NO_404, FAILS, always=True),
    RULE.connecting("the host has no WebSocket (405), and no fallback", NO_405, FAILS, always=True),
    RULE.connecting("the host has no WebSocket (426), and no fallback", NO_426, FAILS, always=True),
    RULE.connecting("the host has no WebSocket (404)", NO_404, **OVER_HTTP),
    RULE.connecting("the host has no WebSocket (405)", NO_405, **OVER_HTTP),
    RULE.connecting("the host has no WebSocket (426)", NO_426, **OVER_HTTP),
    NEITHER.sent("the host has neither WebSocket nor HTTP", NO_POST, NEITHER.fails(1), **NOTHING),
)
