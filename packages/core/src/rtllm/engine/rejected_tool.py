"""The tool that a rejection names, so that one bad tool costs only itself."""

import re
from collections.abc import Sequence

from rtllm.codec.frames import decode_object
from rtllm.retry.faults import Fault

# Seen: "Invalid schema for function 'x': …" (OpenAI), "tools[3].function.parameters" and
# "tools.3.parameters" as the field, "function_declarations[3].parameters" in a sentence (Gemini).
_INDEX = re.compile(r"(?:tools|function_declarations)[\[./]+(\d+)")
_NAME = re.compile(r"(?:functions?|tools?)\W{1,4}([A-Za-z0-9_-]{1,64})", re.IGNORECASE)
_OF_A_TOOL = re.compile(r"schema|parameters|declaration|definition|description", re.IGNORECASE)
_OTHER_FIELDS = ("tool_choice", "input", "messages", "parallel_tool_calls")


def find_rejected_tool(fault: Fault, tools: Sequence[bytes]) -> bytes | None:
    """Find the tool whose definition a host rejects.

    Args:
        fault: The rejection.
        tools: The tools that were sent, encoded, in order.

    Returns:
        The tool; None if the rejection is about something else, or names none of them.
    """
    if not tools or (fault.param or "").lstrip("/").startswith(_OTHER_FIELDS):
        return None
    if not _OF_A_TOOL.search(fault.words):
        return None
    by_name = {tool_name(tool): tool for tool in tools}
    for name in _NAME.findall(fault.words):
        if name in by_name and not name.isdecimal():
            return by_name[name]
    for index in _INDEX.findall(fault.words):
        if int(index) < len(tools):
            return tools[int(index)]
    return None


def tool_name(tool: bytes) -> str:
    """Return the name of an encoded tool; of a hosted one its type."""
    fields = decode_object(tool)
    return str(fields.get("name") or fields.get("type"))
