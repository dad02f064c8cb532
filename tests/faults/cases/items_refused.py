"""An item, its id, a call's output or encrypted reasoning is refused."""

from __future__ import annotations

from faults.rule import More, Rule, refusal
from rtllm import RequestRejected
from rtllm.retry.faults import FaultKind

RULE = Rule(FaultKind.ITEMS_REFUSED, RequestRejected)
NO_OUTPUT = refusal(None, message="No tool output found for function call call_X.", param="input")
NO_ITEM = refusal(None, 404, message="Item with id 'rs_1' not found.", param="input")
UNSEALED = refusal(
    "invalid_encrypted_content",
    message="The encrypted content for item rs_1 could not be verified. "
    "Reason: Encrypted content could not be decrypted or parsed.",
)
AGAIN: More = {"always": True, "forgets": True}

CASES = (
    RULE.sent("a call lacks its output", NO_OUTPUT),
    RULE.sent("an item is unknown", NO_ITEM),
    RULE.sent("encrypted reasoning can't be read", UNSEALED),
    RULE.sent("an item is unknown, whatever is sent", NO_ITEM, RULE.fails(2), **AGAIN),
)
