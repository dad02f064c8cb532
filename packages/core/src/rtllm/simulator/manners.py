"""Differences of hosts from OpenAI, as switches of the simulator. No I/O.

Each is a host that was *seen* in a public report, with that host's rejection text. They can be
combined: ``Simulator(manners=["one leading system", "no strict tools"])``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping
from itertools import pairwise
from typing import Any

from rtllm.simulator import refusal
from rtllm.simulator.refusal import RequestError

Body = dict[str, Any]
SIGNATURE = "CsUBAXLI2nyQ" + "A1b2C3d4" * 30
"""The fields that a host with thought signatures adds to calls."""
THOUGHT = "The caller wants it."
"""The reasoning that a host with reasoning next to calls sends."""
THOUGHTS: Mapping[str, tuple[str, ...]] = {
    "thinks in the words": ("<th", "ink>The caller ", "greets me.</thi", "nk>\n\n"),
    "thinks in channels": (
        *("<|channel|>anal", "ysis<|message|>The caller ", "greets me.<|end|><|sta"),
        *("rt|>assistant<|channel|>fin", "al<|message|>"),
    ),
}
"""What hosts write into the text before the answer, by the names of the manners."""


def check(body: Body, manners: Collection[str]) -> None:
    """Reject what a host with these manners rejects.

    Raises:
        RequestError: With the host's text.
    """
    for manner in manners:
        if (refuses := REFUSALS.get(manner)) is not None:
            refuses(body)


def dressed(chunk: dict[str, Any], manners: Collection[str]) -> Iterator[dict[str, Any]]:
    """Yield a chunk of a chat completion as a host with these manners sends it."""
    choice: dict[str, Any] = (chunk.get("choices") or [{}])[0]
    delta: dict[str, Any] = choice.get("delta") or {}
    calls: list[dict[str, Any]] = delta.get("tool_calls") or []
    begins = bool(calls) and "id" in calls[0]
    if begins and "thinks beside calls" in manners:
        yield _with_delta(chunk, {"content": None, "reasoning_content": THOUGHT})
    if begins and "signs calls" in manners:
        extra = {"google": {"thought_signature": SIGNATURE}}
        calls = [{**calls[0], "extra_content": extra}, *calls[1:]]
        chunk = _with_delta(chunk, {**delta, "tool_calls": calls})
    yield chunk
    if delta.get("role"):
        for manner in manners:
            for piece in THOUGHTS.get(manner, ()):
                yield _with_delta(chunk, {"content": piece})


def _with_delta(chunk: dict[str, Any], delta: Mapping[str, Any]) -> dict[str, Any]:
    choice = {**chunk["choices"][0], "delta": dict(delta)}
    return {**chunk, "choices": [choice]}


def opened(response: dict[str, Any], asked: str | None, manners: Collection[str]) -> dict[str, Any]:
    """Return the ``response`` object as a host with these manners sends it.

    Args:
        response: The object as OpenAI would send it.
        asked: The requested parent.
        manners: The manners.
    """
    name = "previous_response_id"
    if asked is None:
        return response
    if "hides parents" in manners:
        return {**response, name: None}
    if "omits parents" in manners:
        return {key: value for key, value in response.items() if key != name}
    if "renames parents" in manners:
        return {**response, name: f"{asked}_of_the_host"}
    return {**response, name: asked} if "claims parents" in manners else response


def missed(error: RequestError, manners: Collection[str]) -> RequestError:
    """Return the error of an unknown parent as a host with these manners sends it."""
    return RequestError("Conversation state is gone.") if "vague misses" in manners else error


# -- rejections -----------------------------------------------------------------------------


def _messages(body: Body) -> list[dict[str, Any]]:
    """Return the messages of either API; a tool output counts as a tool's message."""
    found = body.get("messages")
    if isinstance(found, list):
        return found
    given = body.get("input")
    items = given if isinstance(given, list) else [{"role": "user", "content": given}]
    return [{"role": "tool"} if i.get("type") == "function_call_output" else i for i in items]


def _functions(body: Body) -> list[dict[str, Any]]:
    return [tool.get("function") or tool for tool in body.get("tools") or ()]


def _role(message: dict[str, Any]) -> str:
    role = str(message.get("role"))
    return "system" if role == "developer" else role


def _no_strict_tools(body: Body) -> None:
    if any("strict" in function for function in _functions(body)):
        raise RequestError(
            "invalid value for parameter 'tools'", code="invalid_value", param="tools"
        )


def _no_mixed_strict_tools(body: Body) -> None:
    if len({bool(function.get("strict")) for function in _functions(body)}) > 1:
        raise RequestError(
            "Tools with mixed values for 'strict' are not allowed.", param="tools", status=422
        )


_SCHEMA_WORDS = ("additionalProperties", "anyOf", "$ref", "$defs", "const", "default")


def _plain_schemas(body: Body) -> None:
    for place, function in enumerate(_functions(body)):
        if word := next((w for w in _SCHEMA_WORDS if w in _words_of(function)), None):
            where = f"'tools[0].function_declarations[{place}].parameters'"
            raise RequestError(
                f'Invalid JSON payload received. Unknown name "{word}" at {where}: '
                "Cannot find field.",
                kind="INVALID_ARGUMENT",
            )


def _words_of(node: object) -> Iterator[str]:
    if isinstance(node, Mapping):
        yield from map(str, node)
        for value in node.values():
            yield from _words_of(value)
    elif isinstance(node, list):
        for value in node:
            yield from _words_of(value)


def _user_first(body: Body) -> None:
    roles = [_role(m) for m in _messages(body) if _role(m) != "system"]
    if roles[:1] != ["user"]:
        raise RequestError(
            "After the (optional) system message(s), user or tool message(s) should alternate "
            "with assistant message(s).",
            kind="invalid_message",
        )


def _user_last(body: Body) -> None:
    if [_role(m) for m in _messages(body)][-1:] == ["assistant"]:
        raise RequestError(
            "This model does not support assistant message prefill. The conversation must end with "
            "a user message."
        )


def _named_outputs(body: Body) -> None:
    for place, message in enumerate(body.get("messages") or ()):
        if message.get("role") == "tool" and not message.get("name"):
            where = f"GenerateContentRequest.contents[{place}].parts[0].function_response.name"
            raise RequestError(f"* {where}: Name cannot be empty.", kind="INVALID_ARGUMENT")


def _ids_of_letters(body: Body) -> None:
    for message in _messages(body):
        for call in message.get("tool_calls") or ():
            if not re.fullmatch(r"[a-zA-Z0-9_-]+", call.get("id", "")):
                raise RequestError(
                    "messages.1.content.0.tool_use.id: String should match pattern "
                    "'^[a-zA-Z0-9_-]+$'"
                )


def _one_leading_system(body: Body) -> None:
    if any(_role(message) == "system" for message in _messages(body)[1:]):
        raise RequestError("System message must be at the beginning.", kind="BadRequestError")


def _no_system(body: Body) -> None:
    if any(_role(message) == "system" for message in _messages(body)):
        raise RequestError("System role not supported", kind="BadRequestError")


def _no_developer(body: Body) -> None:
    if any(message.get("role") == "developer" for message in _messages(body)):
        raise RequestError("Unknown role: developer", kind="BadRequestError")


def _no_user_behind_tool(body: Body) -> None:
    roles = [_role(message) for message in _messages(body) if "role" in message]
    for before, after in pairwise(roles):
        if before == "tool" and after not in ("tool", "assistant"):
            raise RequestError(
                f"Unexpected role '{after}' after role 'tool'",
                code="3230",
                kind="invalid_request_message_order",
            )


def _alternating_roles(body: Body) -> None:
    roles = [_role(m) for m in _messages(body) if _role(m) in ("user", "assistant")]
    if any(before == after == "user" for before, after in pairwise(roles)):
        raise RequestError("Conversation roles must alternate user/assistant/user/assistant/...")


def _content_everywhere(body: Body) -> None:
    for place, message in enumerate(_messages(body)):
        if message.get("role") == "assistant" and "content" not in message:
            raise RequestError(
                f"[{{'type': 'missing', 'loc': ('body', 'messages', {place}, 'content'), "
                "'msg': 'Field required'}]",
                kind="BadRequestError",
            )


def _typed_messages(body: Body) -> None:
    if any("role" in m and m.get("type") != "message" for m in body.get("input") or ()):
        raise RequestError("", status=500, kind="server_error")


def _nine_characters(body: Body) -> None:
    for message in _messages(body):
        ids = [call.get("id", "") for call in message.get("tool_calls") or ()]
        bad = [i for i in ids if not re.fullmatch(r"[a-zA-Z0-9]{9}", i)]
        if bad:
            raise RequestError(
                f"Tool call id was {bad[0]} but must be a-z, A-Z, 0-9, with a length of 9."
            )


def _no_stream_options(body: Body) -> None:
    if "stream_options" in body:
        raise RequestError(
            '{"detail": [{"type": "extra_forbidden", "loc": ["body", "stream_options"], '
            '"msg": "Extra inputs are not permitted", "input": {}}]}',
            status=422,
        )


def _only_max_tokens(body: Body) -> None:
    if "max_completion_tokens" in body:
        raise RequestError("Extra inputs are not permitted: max_completion_tokens", status=422)


def _no_effort(body: Body) -> None:
    for name in ("reasoning_effort", "reasoning", "verbosity"):
        if name in body:
            raise RequestError(f"Unrecognized request argument supplied: {name}")


def _no_store(body: Body) -> None:
    if "store" in body:
        raise RequestError("Unsupported parameter: store")


def _no_tool_choice(body: Body) -> None:
    if "tool_choice" in body:
        raise RequestError("tool_choice: Extra inputs are not permitted", status=422)


def _wants_signatures(body: Body) -> None:
    for message in _messages(body):
        first = next(iter(message.get("tool_calls") or ()), None)
        google = ((first or {}).get("extra_content") or {}).get("google") or {}
        if first is not None and not google.get("thought_signature"):
            raise RequestError(
                "Function call is missing a thought_signature in functionCall parts.",
                code="400",
            )


def _wants_thoughts(body: Body) -> None:
    if any(m.get("tool_calls") and "reasoning_content" not in m for m in _messages(body)):
        raise RequestError(
            "The `reasoning_content` in the thinking mode must be passed back to the API.",
            code="invalid_request_error",
        )


def _no_unknown_fields(body: Body) -> None:
    for message in body.get("messages") or ():
        known = {"role", "content", "tool_calls", "tool_call_id", "name"}
        if more := sorted(set(message) - known):
            raise RequestError(f"property '{more[0]}' is unsupported")
        for call in message.get("tool_calls") or ():
            if more := sorted(set(call) - {"id", "type", "function"}):
                raise RequestError(f"property '{more[0]}' is unsupported")


def _no_parent(body: Body) -> None:
    if body.get("previous_response_id"):
        raise RequestError("Invalid Responses API request", code="invalid_prompt")


def _no_generate(body: Body) -> None:
    if "generate" in body:
        raise refusal.unknown_parameter("generate")


def _no_nulls(body: Body) -> None:
    for place, item in enumerate(body.get("input") or ()):
        if any(value is None for value in item.values()):
            raise RequestError("Invalid payload", code="invalid_payload", param=f"/input/{place}")


REFUSALS: Mapping[str, Callable[[Body], None]] = {
    "no strict tools": _no_strict_tools,
    "no mixed strict tools": _no_mixed_strict_tools,
    "plain schemas": _plain_schemas,
    "user first": _user_first,
    "user last": _user_last,
    "named outputs": _named_outputs,
    "ids of letters": _ids_of_letters,
    "one leading system": _one_leading_system,
    "no system": _no_system,
    "no developer": _no_developer,
    "no user behind tool": _no_user_behind_tool,
    "alternating roles": _alternating_roles,
    "content everywhere": _content_everywhere,
    "typed messages": _typed_messages,
    "nine characters": _nine_characters,
    "no stream_options": _no_stream_options,
    "only max_tokens": _only_max_tokens,
    "no effort": _no_effort,
    "no store": _no_store,
    "no tool_choice": _no_tool_choice,
    "signs calls": _wants_signatures,
    "thinks beside calls": _wants_thoughts,
    "no unknown fields": _no_unknown_fields,
    "no parent": _no_parent,
    "no nulls": _no_nulls,
    "no generate": _no_generate,
}
"""The rejections, by the names of the manners."""

_OF_STATE = (
    "ignores parents",
    "hides parents",
    "omits parents",
    "renames parents",
    "claims parents",
    "vague misses",
    "ignores generate",
    "counts only input",
    "repeats ids",
)
MANNERS: tuple[str, ...] = (*REFUSALS, *THOUGHTS, *_OF_STATE)
"""All manners.

``ignores parents``: a parent is accepted and ignored, as the response shows. The other ones of the
state are assumed, so that code can be tested that asks for them. ``hides parents``, ``omits
parents``, ``renames parents``: a parent is continued, but the response names none, lacks the field,
or names another one; ``claims parents``: it names the requested one, also if that was ignored.
``vague misses``: the error of an unknown parent names neither code nor field. ``ignores generate``:
``generate: false`` is accepted, and a response is generated. ``counts only input``: the input
tokens leave out what the parent had. ``repeats ids``: all responses have the same id, and the
newest one is continued.
"""
