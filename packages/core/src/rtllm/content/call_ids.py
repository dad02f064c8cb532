"""Call ids that carry data of their host and must be sent back unchanged."""


def carries_data(call_id: str) -> bool:
    """Whether a call id contains data that its host wants back; seen: LiteLLM's ``__thought__``."""
    return "__thought__" in call_id
