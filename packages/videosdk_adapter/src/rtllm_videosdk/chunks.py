"""What the framework reads: chunks with text, a call, or the metadata at the end."""

import json
from typing import Any

from videosdk.agents import ChatRole, LLMResponse

from rtllm import ToolCall
from rtllm.adapters import EmittedOutput, signature_of
from rtllm_videosdk.usage_metadata import usage_metadata


def text_chunk(text: str, metadata: dict[str, Any] | None = None) -> LLMResponse:
    """Create a chunk with text, or with metadata at the end."""
    return LLMResponse(content=text, role=ChatRole.ASSISTANT, metadata=metadata)


def call_chunk(call: ToolCall, name: str, metadata: dict[str, Any] | None = None) -> LLMResponse:
    """Create a chunk with a call to run. The framework reads ``call_id``, others ``id``.

    Args:
        call: The call, whose arguments are a JSON object.
        name: The framework's name of the tool.
        metadata: What belongs to the end of the response.
    """
    function = {
        "name": name,
        "arguments": json.loads(call.arguments.strip() or "{}"),
        "id": call.call_id,
        "call_id": call.call_id,
    }
    if (signature := signature_of(call.carried)) is not None:
        function["thought_signature"] = signature  # the only field that the framework keeps
    return text_chunk("", {**(metadata or {}), "function_call": function})


def final_metadata(output: EmittedOutput, decision: Any = None) -> dict[str, Any]:
    """Create the metadata of a response's last chunk: its usage, and anything unusual.

    Args:
        output: The response.
        decision: A graph's decision; None if there is none.
    """
    metadata: dict[str, Any] = {}
    if usage := usage_metadata(output.spent):
        metadata["usage"] = usage
    if output.finish_reason is not None:
        metadata["finish_reason"] = output.finish_reason
    if output.refusal:
        metadata["refusal"] = output.refusal
    if decision is not None:
        metadata["graph_response"] = decision
    return metadata
