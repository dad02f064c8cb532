"""The upgrade gets a 403 that says nothing."""

from __future__ import annotations

from faults.rule import Rule
from rtllm import RequestRejected
from rtllm.retry.faults import FaultKind
from rtllm.simulator import RefuseHandshake

RULE = Rule(FaultKind.UPGRADE_REFUSED, RequestRejected)

CASES = (RULE.connecting("the upgrade gets an empty 403", RefuseHandshake(403, "")),)
