"""The request exceeds the host's frame limit."""

from __future__ import annotations

from faults.rule import ENDED, HTTP, More, Rule
from rtllm import HostProfile, RequestRejected
from rtllm.retry.faults import FaultKind
from rtllm.simulator import Close

RULE = Rule(FaultKind.TOO_LARGE, RequestRejected)
BIG = Close(code=1009, reason="message too big")
LONG: More = {"caller": "blah " * 1000, "next_way": None}
BY_HOST: More = {**LONG, "lost": 1, "options": HTTP, "simulator": {"max_frame": 4096}}
NARROW = HostProfile("narrow", max_frame=4096)
PROFILE: More = {**LONG, "options": {**HTTP, "host_profile": NARROW}}

CASES = (
    RULE.sent("the request is too large for a frame", BIG, RULE.fails(1)),
    RULE.sent("the request is too large for the host, with a fallback", None, ENDED, **BY_HOST),
    RULE.connecting("the request is too large for the profile, with a fallback", None, **PROFILE),
    RULE.given_out("a close with 1009 after words, with a fallback", BIG, options=HTTP),
)
