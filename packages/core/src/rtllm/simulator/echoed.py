"""The ``response`` object at its start: the request's settings, echoed. No I/O."""

from __future__ import annotations

import time
from typing import Any

from rtllm.simulator import models


def tier_used(tier: str | None) -> str:
    """Return the tier that serves a request, by the requested one."""
    return {None: "default", "auto": "default", "fast": "priority"}.get(tier, tier or "default")


def opening_response(response_id: str, body: dict[str, Any]) -> dict[str, Any]:
    """Create the ``response`` object with every setting echoed and defaults filled in."""
    family = models.family_of(body.get("model", "")) or models.Family()
    reasoning = body.get("reasoning") or {}
    text = body.get("text") or {}
    echoed: dict[str, Any] = {
        "instructions": None,
        "max_output_tokens": None,
        "max_tool_calls": None,
        "parallel_tool_calls": True,
        "previous_response_id": None,
        "prompt_cache_key": None,
        "prompt_cache_retention": None,
        "safety_identifier": None,
        "service_tier": "auto",
        "store": True,
        "temperature": 1.0,
        "tool_choice": "auto",
        "top_logprobs": 0,
        "top_p": 1.0,
        "truncation": "disabled",
        "user": None,
        "metadata": {},
    }
    return {
        "id": response_id,
        "object": "response",
        "created_at": int(time.time()),
        "completed_at": None,
        "status": "in_progress",
        "background": False,
        "error": None,
        "incomplete_details": None,
        "model": body.get("model"),
        "output": [],
        "usage": None,
        **{name: _given(body.get(name), default) for name, default in echoed.items()},
        "reasoning": {
            "effort": reasoning.get("effort") or family.default_effort,
            "summary": reasoning.get("summary"),
        },
        "text": {
            "format": text.get("format") or {"type": "text"},
            "verbosity": text.get("verbosity") or "medium",
        },
        "tools": [_echoed_tool(tool) for tool in body.get("tools") or ()],
    }


def _given(value: Any, default: Any) -> Any:
    return default if value is None else value


def _echoed_tool(tool: dict[str, Any]) -> dict[str, Any]:
    """Fill in the omitted fields of a function; strict is the default."""
    if tool.get("type") != "function":
        return tool
    return {
        "description": None,
        "parameters": None,
        **tool,
        "strict": _given(tool.get("strict"), default=True),
    }
