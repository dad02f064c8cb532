"""Scripts for hosts as they are."""

from __future__ import annotations

from rtllm.simulator import Call, Completed, Reply, Request


def calls_once(request: Request) -> Reply | str:
    """Call the tool for the weather, then tell it."""
    if any(item.get("type") == "function_call_output" for item in request.context):
        return "It is sunny."
    return Reply((Call("weather", {"city": "Rome"}),), Completed())
