"""Replies that several modules play."""

from __future__ import annotations

from rtllm.simulator import Call, Reasoning, Refusal, Reply, Text

RICH = Reply.of(
    Reasoning("Thinking it over."),
    Text("One moment.", phase="commentary"),
    Call("get_weather", {"city": "Paris"}),
    Text("Here you are.", phase="final_answer"),
    Refusal("That I can't."),
)
"""All kinds of items."""
