"""A wait ran out, also on a connection that never said a word."""

from __future__ import annotations

from faults.case import Ends
from faults.rule import ENDED, OVER_HTTP, More, Rule
from rtllm import TurnTimeout
from rtllm.retry.faults import FaultKind
from rtllm.simulator import DelayHandshake, Dribble, Silence

RULE = Rule(FaultKind.TIMEOUT, TurnTimeout)
UNRESPONSIVE = Rule(FaultKind.UNRESPONSIVE, TurnTimeout)
LATE = DelayHandshake(3600.0)
MUTE = Silence()
PROGRESS = Silence(noise="in_progress", every=1.0)
KEEPALIVE = Silence(noise="keepalive", every=1.0)
DEAD = Silence(scope="connection", pongs=False)
NO_WORD = Silence(scope="connection")
SLOW = Dribble(every=2.0, after=12)
FLOOR: More = {"speech_floor": 5.0}
PATIENT: More = {"silence_limit": None}

CASES = (
    RULE.connecting("the upgrade isn't answered", LATE),
    RULE.connecting("no upgrade is answered", LATE, RULE.fails(0), always=True),
    RULE.connecting("no upgrade is answered, with a fallback", LATE, **OVER_HTTP),
    RULE.sent("silence when sent", MUTE),
    RULE.sent("a dead connection", DEAD),
    UNRESPONSIVE.sent("a connection that never says a word", NO_WORD, between="close"),
    RULE.sent("silence each time", MUTE, RULE.fails(3), always=True, options=PATIENT),
    RULE.created("nothing but in_progress when created", PROGRESS),
    RULE.created("nothing but keepalive when created", KEEPALIVE),
    RULE.in_a_call("silence in a call's arguments", MUTE),
    RULE.given_out("silence after words", KEEPALIVE),
    RULE.whole("silence after the answer", MUTE, ENDED),
    RULE.after_the_call("silence after the call", MUTE, Ends(2, runs=1)),
    RULE.between_calls("silence after the first of two calls", MUTE),
    RULE.given_out("speech that dribbles below the floor", SLOW, options=FLOOR),
)

UPGRADE: More = {"when": "connecting", "how": "swallow"}
DIED: More = {"how": "swallow", "lost": 2, "forgets": True, "waits": 11.0}
SPEAKING: More = {**DIED, "when": "amid", "fault": Silence(phase="output", after=3)}

NETWORK_CASES = (
    RULE.below("the upgrade is swallowed", "connecting", **UPGRADE),
    RULE.below("every upgrade is swallowed", "connecting", RULE.fails(0), always=True, **UPGRADE),
    RULE.below("the idle connections die silently", "sent", **DIED),
    RULE.below("half-open after words", "emitted", RULE.fails(1), **SPEAKING),
)
