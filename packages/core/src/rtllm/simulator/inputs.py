"""Checks of the input: the form of each item, and the pairs of calls and outputs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from rtllm.simulator import refusal, shapes
from rtllm.simulator.memory import Item, Store

_STATUS = shapes.one_of("in_progress", "completed", "incomplete")
_CALL_ID = shapes.string(longest=64)
_BREAKPOINT = shapes.struct(
    {"mode": shapes.one_of("explicit")}, {"ttl": shapes.one_of("30m", "12h")}
)
_CALLER = shapes.nullable(shapes.mapping)

_TEXT_PART = shapes.struct(
    {"type": shapes.anything, "text": shapes.string()}, {"prompt_cache_breakpoint": _BREAKPOINT}
)
_IMAGE_FIELDS = shapes.struct(
    {"type": shapes.anything},
    {
        "image_url": shapes.nullable(shapes.string()),
        "file_id": shapes.nullable(shapes.string()),
        "detail": shapes.one_of("low", "high", "auto", "original"),
        "prompt_cache_breakpoint": _BREAKPOINT,
    },
)
_FILE_PART = shapes.struct(
    {"type": shapes.anything},
    {
        "file_data": shapes.nullable(shapes.string()),
        "file_id": shapes.nullable(shapes.string()),
        "file_url": shapes.nullable(shapes.string()),
        "filename": shapes.nullable(shapes.string()),
        "detail": shapes.one_of("auto", "low", "high"),
        "prompt_cache_breakpoint": _BREAKPOINT,
    },
)
_OUTPUT_TEXT_PART = shapes.struct(
    {"type": shapes.anything, "text": shapes.string()},
    {
        "annotations": shapes.list_of(shapes.mapping),
        "logprobs": shapes.nullable(shapes.list_of(shapes.mapping)),
    },
)
_REFUSAL_PART = shapes.struct({"type": shapes.anything, "refusal": shapes.string()}, {})


def _image_part(part: Any, param: str) -> None:
    _IMAGE_FIELDS(part, param)
    url = part.get("image_url")
    if url is None and part.get("file_id") is None:
        raise refusal.missing_parameter(f"{param}.image_url")
    if url is not None and not url.startswith(("https://", "data:image/")):
        raise refusal.RequestError(
            f"Invalid '{param}.image_url'. Expected a valid URL, but got a value with an "
            "invalid format.",
            code="invalid_value",
            param=f"{param}.image_url",
        )


_INPUT_PARTS: dict[str, shapes.Check] = {
    "input_text": _TEXT_PART,
    "input_image": _image_part,
    "input_file": _FILE_PART,
}
_ASSISTANT_PARTS: dict[str, shapes.Check] = {
    "output_text": _OUTPUT_TEXT_PART,
    "refusal": _REFUSAL_PART,
}


def _content(parts: dict[str, shapes.Check]) -> shapes.Check:
    as_list = shapes.list_of(shapes.tagged(parts, at_type=False))

    def check(value: Any, param: str) -> None:
        if isinstance(value, str):
            return
        if not isinstance(value, list):
            raise refusal.invalid_type(param, "one of a string or array of content parts", value)
        as_list(value, param)

    return check


_INPUT_CONTENT = _content(_INPUT_PARTS)
_MESSAGE = {"id": shapes.string(), "type": shapes.one_of("message"), "status": _STATUS}
_INPUT_MESSAGE = shapes.struct({"role": shapes.anything, "content": _INPUT_CONTENT}, _MESSAGE)
_ASSISTANT_MESSAGE = shapes.struct(
    {"role": shapes.anything, "content": _content(_ASSISTANT_PARTS)},
    {**_MESSAGE, "phase": shapes.nullable(shapes.one_of("commentary", "final_answer"))},
)
_ROLES = ("user", "assistant", "system", "developer")


def _message(item: Any, param: str) -> None:
    if "role" not in item:
        raise refusal.missing_parameter(f"{param}.role")
    shapes.one_of(*_ROLES)(item["role"], f"{param}.role")
    check = _ASSISTANT_MESSAGE if item["role"] == "assistant" else _INPUT_MESSAGE
    check(item, param)


def _call_item_id(value: Any, param: str) -> None:
    shapes.string()(value, param)
    if not value.startswith("fc"):
        raise refusal.RequestError(
            f"Invalid '{param}': '{value}'. Expected an ID that begins with 'fc'.",
            code="invalid_value",
            param=param,
        )


_FUNCTION_CALL = shapes.struct(
    {
        "type": shapes.anything,
        "call_id": _CALL_ID,
        "name": shapes.string(longest=64, pattern=r"[a-zA-Z0-9_-]+"),
        "arguments": shapes.string(),
    },
    {
        "id": _call_item_id,
        "status": _STATUS,
        "namespace": shapes.string(),
        "async": shapes.boolean,
        "caller": _CALLER,
    },
)
_FUNCTION_CALL_OUTPUT = shapes.struct(
    {"type": shapes.anything, "call_id": _CALL_ID, "output": _INPUT_CONTENT},
    {
        "id": shapes.nullable(shapes.string()),
        "status": shapes.nullable(_STATUS),
        "name": shapes.nullable(shapes.string()),
        "namespace": shapes.nullable(shapes.string()),
        "caller": _CALLER,
    },
)
_CUSTOM_CALL = shapes.struct(
    {
        "type": shapes.anything,
        "call_id": _CALL_ID,
        "name": shapes.string(),
        "input": shapes.string(),
    },
    {
        "id": shapes.string(),
        "namespace": shapes.string(),
        "async": shapes.boolean,
        "caller": _CALLER,
        "status": _STATUS,
    },
)
_CUSTOM_CALL_OUTPUT = shapes.struct(
    {"type": shapes.anything, "call_id": _CALL_ID, "output": _INPUT_CONTENT},
    {"id": shapes.string(), "caller": _CALLER},
)
_REASONING = shapes.struct(
    {
        "type": shapes.anything,
        "id": shapes.string(),
        "summary": shapes.list_of(
            shapes.struct({"type": shapes.one_of("summary_text"), "text": shapes.string()}, {})
        ),
    },
    {
        "content": shapes.nullable(shapes.list_of(shapes.mapping)),
        "encrypted_content": shapes.nullable(shapes.string()),
        "status": shapes.nullable(_STATUS),
    },
)
_REFERENCE = shapes.struct(
    {"id": shapes.string()}, {"type": shapes.nullable(shapes.one_of("item_reference"))}
)

_ITEMS: dict[str, shapes.Check] = {
    "message": _message,
    "function_call": _FUNCTION_CALL,
    "function_call_output": _FUNCTION_CALL_OUTPUT,
    "custom_tool_call": _CUSTOM_CALL,
    "custom_tool_call_output": _CUSTOM_CALL_OUTPUT,
    "reasoning": _REASONING,
    "item_reference": _REFERENCE,
}
# Items of hosted tools and of the newest models. Only the service reads their fields; a client
# passes them through.
_OPAQUE = (
    "file_search_call",
    "computer_call",
    "computer_call_output",
    "web_search_call",
    "tool_search_call",
    "tool_search_output",
    "additional_tools",
    "configuration_update",
    "compaction",
    "image_generation_call",
    "code_interpreter_call",
    "local_shell_call",
    "local_shell_call_output",
    "shell_call",
    "shell_call_output",
    "apply_patch_call",
    "apply_patch_call_output",
    "mcp_list_tools",
    "mcp_approval_request",
    "mcp_approval_response",
    "mcp_call",
    "compaction_trigger",
    "program",
    "program_output",
)
_ITEMS.update(dict.fromkeys(_OPAQUE, shapes.mapping))


def type_of(item: Item) -> str:
    """Return an item's type, even if the short form leaves it out."""
    if item.get("type") is not None:
        return str(item["type"])
    return "item_reference" if "id" in item and "role" not in item else "message"


def check_items(items: Any, param: str = "input") -> None:
    """Check the form of every item of a list."""
    if not isinstance(items, list):
        raise refusal.invalid_type(param, "one of a string or array of input items", items)
    for index, item in enumerate(items):
        place = f"{param}[{index}]"
        shapes.mapping(item, place)
        kind = type_of(item)
        if kind not in _ITEMS:
            raise refusal.invalid_value(f"{place}.type", kind, tuple(_ITEMS))
        _ITEMS[kind](item, place)


def has_breakpoint(items: Sequence[Item]) -> str | None:
    """Return the path of the first cache breakpoint, which models before gpt-5.6 reject."""
    for index, item in enumerate(items):
        for name in ("content", "output"):
            parts = item.get(name)
            for place, part in enumerate(parts if isinstance(parts, list) else []):
                if "prompt_cache_breakpoint" in part:
                    return f"input[{index}].{name}[{place}].prompt_cache_breakpoint"
    return None


def check_ids(items: Sequence[Item], store: Store, *, stored: bool) -> None:
    """Check the item ids that a client sends back.

    An id must name a stored item, or directly follow the complete reasoning item that it was
    created with. Requests without stored items have no other way to prove an id.

    Args:
        items: The input.
        store: The items that the server has sent.
        stored: Whether the request stores its response.
    """
    vouched = False
    before: Item | None = None
    for item in items:
        kind = type_of(item)
        if kind == "reasoning":
            _check_reasoning(item, store)
            vouched = True
        elif item.get("role", "assistant") != "assistant" or kind.endswith("_output"):
            vouched = False
        item_id = item.get("id")
        if item_id is not None and kind != "reasoning" and not vouched:
            _check_id(item_id, kind, before, store, stored=stored)
        before = item


def check_reasoning_kept(items: Sequence[Item], store: Store) -> None:
    """Check that calls of the current turn follow the reasoning that led to them.

    The reasoning of calls before the last user message may be left out.
    """
    last_user = max((i for i, item in enumerate(items) if item.get("role") == "user"), default=-1)
    seen: set[str] = set()
    for item in items[last_user + 1 :]:
        kind = type_of(item)
        if kind == "reasoning":
            seen.add(item["id"])
        elif kind == "function_call" and item["call_id"] in store.calls:
            item_id, reasoning = store.calls[item["call_id"]]
            if reasoning not in seen:
                raise refusal.reasoning_missing(item_id, kind, reasoning)


def _check_reasoning(item: Item, store: Store) -> None:
    sealed = item.get("encrypted_content")
    if sealed is None:
        if item["id"] not in store.items:
            raise refusal.item_not_found(item["id"])
    elif store.sealed.get(sealed) != item["id"]:
        raise refusal.RequestError(
            f"The encrypted content for item {item['id']} could not be verified. "
            "Reason: Encrypted content could not be decrypted or parsed.",
            code="invalid_encrypted_content",
        )


def _check_id(item_id: str, kind: str, before: Item | None, store: Store, *, stored: bool) -> None:
    reasoning = store.births.get(item_id)
    known = item_id in store.items
    if not known and (kind == "item_reference" or not stored):
        raise refusal.item_not_found(item_id)
    if reasoning is not None and (before is None or before.get("id") != reasoning):
        named = store.items[item_id]["type"] if known else kind
        raise refusal.reasoning_missing(item_id, named, reasoning)


_CALLS = {"function_call": "function call", "custom_tool_call": "custom tool call"}


def check_pairs(context: Iterable[Item], later: frozenset[str] = frozenset()) -> None:
    """Check that every call of a context has one output after it.

    A call that is repeated before its output counts once: some clients send a parent's call again
    together with its output, and the service accepts it.

    Args:
        context: Everything that the model would see.
        later: Names of async tools, whose outputs may still be missing.
    """
    calls: dict[str, Item] = {}
    answered: set[str] = set()
    for item in context:
        kind = type_of(item)
        if kind in _CALLS:
            calls.setdefault(item["call_id"], item)
        elif kind.removesuffix("_output") in _CALLS:
            _check_output(item["call_id"], _CALLS[kind.removesuffix("_output")], calls, answered)
    for call_id, call in calls.items():
        if call_id not in answered and call["name"] not in later:
            raise refusal.RequestError(
                f"No tool output found for {_CALLS[type_of(call)]} {call_id}.", param="input"
            )


def _check_output(call_id: str, name: str, calls: dict[str, Item], answered: set[str]) -> None:
    if call_id not in calls:
        raise refusal.RequestError(
            f"No tool call found for {name} output with call_id {call_id}.", param="input"
        )
    if call_id in answered:
        raise refusal.RequestError(
            f"Duplicate {name} output found with call_id {call_id}.", param="input"
        )
    answered.add(call_id)
