"""The host knows no lanes, or has none free."""

from __future__ import annotations

from faults.rule import More, Rule, refusal
from rtllm import RequestRejected
from rtllm.retry.faults import FaultKind

REFUSED = Rule(FaultKind.LANES_REFUSED, RequestRejected)
LIMIT = Rule(FaultKind.LANE_LIMIT, RequestRejected)
NO_LANES = refusal("unknown_parameter", param="stream_id")
NONE_LEFT = refusal("websocket_stream_limit_reached", param="stream_id")
IN_FLIGHT = refusal("response_already_in_flight", 409)
LANES: More = {"lanes": True, "forgets": True}
AGAIN: More = {**LANES, "always": True}

CASES = (
    REFUSED.sent("lanes are refused", NO_LANES, **LANES),
    REFUSED.sent("lanes are refused, whatever is sent", NO_LANES, REFUSED.fails(2), **AGAIN),
    LIMIT.sent("no lane is left", NONE_LEFT),
    LIMIT.sent("another response is in flight", IN_FLIGHT),
    LIMIT.sent("no connection has a lane left", NONE_LEFT, LIMIT.fails(4), always=True),
)
