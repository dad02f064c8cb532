"""Replies that several modules play."""

from __future__ import annotations

from typing import Any

from livekit.agents import function_tool

from rtllm.simulator import (
    Call,
    Reasoning,
    Refusal,
    Reply,
    Text,
)

RICH = Reply.of(
    Reasoning("Thinking it over."),
    Text("One moment.", phase="commentary"),
    Call("get_weather", {"city": "Paris"}),
    Text("Here you are.", phase="final_answer"),
    Refusal("That I can't."),
)
"""All kinds of items."""


@function_tool
async def get_weather(city: str, days: int | None = None) -> str:
    """Tell the weather of a city.

    Args:
        city: Where.
        days: How many days ahead, today if left out.
    """
    return f"rain in {city}"


WEATHER: dict[str, Any] = {
    "type": "function",
    "name": "get_weather",
    "description": "The weather of a city.",
    "strict": True,
    "parameters": {
        "type": "object",
        "properties": {"city": {"type": "string"}},
        "required": ["city"],
        "additionalProperties": False,
    },
}
