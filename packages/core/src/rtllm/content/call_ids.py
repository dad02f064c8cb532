"""Call ids that carry data of their host, which must come back as they are."""


def carries_data(call_id: str) -> bool:
    """Tell whether a call's id holds what its host wants back; seen: LiteLLM's ``__thought__``."""
    return "__thought__" in call_id
