"""No connection could be made."""

from __future__ import annotations

from faults.rule import HTTP, More, Rule
from rtllm import ConnectFailed
from rtllm.retry.faults import FaultKind

RULE = Rule(FaultKind.UNREACHABLE, ConnectFailed)
NEVER = RULE.fails(0)
REFUSED: More = {"when": "connecting", "how": "refuse"}
RESET: More = {"when": "connecting", "how": "reset"}
NO_HTTP: More = {**REFUSED, "always": True, "options": HTTP, "next_way": None, "lost": 1}

NETWORK_CASES = (
    RULE.below("the port is closed for a moment", "connecting", **REFUSED),
    RULE.below("the port stays closed", "connecting", NEVER, always=True, **REFUSED),
    RULE.below("the port stays closed, over HTTP too", "connecting", NEVER, **NO_HTTP),
    RULE.below("a reset before the upgrade", "connecting", **RESET),
    RULE.below("a reset before every upgrade", "connecting", NEVER, always=True, **RESET),
)
