"""Changes of a live LLM's settings that both adapters refuse."""

from __future__ import annotations

from typing import Any

INVALID_CHANGES: list[tuple[dict[str, Any], str]] = [
    ({"lanes": False}, "lanes can't be changed; create another LLM for that"),
    ({"temprature": 1.0}, "temprature can't be changed"),
    ({"silence_limit": -1}, "expected"),
    ({"on_refusal": "sing"}, "expected 'speak' or 'error'"),
    ({"failure_text": 3}, "failure_text is 3"),
    ({"conversation": ""}, "conversation is ''"),
    ({"model_family": "gpt-77"}, "gpt-77"),
    ({"parameters": {"stream": True}}, "stream"),
]
"""The changed keywords, and words of the error."""
