"""Requests by themselves: what is accepted, and what is refused with which words."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from rtllm.simulator.checks import check_body, check_context
from rtllm.simulator.inputs import check_ids, check_pairs
from rtllm.simulator.memory import Store
from rtllm.simulator.refusal import RequestError

GPT = "gpt-4.1"
MINI = "gpt-5-mini"
TOOL: dict[str, Any] = {"type": "function", "name": "look", "parameters": {"type": "object"}}
IMAGE = {"type": "input_image", "image_url": "data:image/png;base64,AA=="}


def body(**fields: Any) -> dict[str, Any]:
    return {"type": "response.create", "model": GPT, "input": "Hi", **fields}


def items(*sent: Any) -> dict[str, Any]:
    return body(input=list(sent))


def says(role: str, *parts: Any, **fields: Any) -> dict[str, Any]:
    return {"role": role, "content": list(parts), **fields}


def tool(**changes: Any) -> dict[str, Any]:
    return body(tools=[{**TOOL, **changes}])


def strict(properties: Any, required: Any = None, **schema: Any) -> dict[str, Any]:
    parameters = {
        "type": "object",
        "properties": properties,
        "required": list(properties) if required is None else required,
        "additionalProperties": False,
        **schema,
    }
    return tool(strict=True, parameters=parameters)


def call(name: str = "c1", **fields: Any) -> dict[str, Any]:
    return {
        "type": "function_call",
        "call_id": name,
        "name": "look",
        "arguments": "{}",
        **fields,
    }


def output(name: str = "c1", sent: Any = "seen") -> dict[str, Any]:
    return {"type": "function_call_output", "call_id": name, "output": sent}


def format_(**fields: Any) -> dict[str, Any]:
    return {"format": fields}


def nested(depth: int) -> dict[str, Any]:
    return {"type": "array", "items": nested(depth - 1)} if depth else {"type": "string"}


SCHEMA = {
    "type": "object",
    "properties": {"a": {"type": ["string", "null"]}},
    "required": ["a"],
    "additionalProperties": False,
}

ACCEPTED: dict[str, dict[str, Any]] = {
    "the least": body(),
    "a snapshot": body(model="gpt-4.1-2025-04-14"),
    "short messages": items(
        {"role": "developer", "content": "Be brief."},
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Hello", "phase": "final_answer"},
    ),
    "parts of every kind": items(
        says("user", {"type": "input_text", "text": "Look"}, IMAGE),
        says("user", {"type": "input_file", "file_id": "file_1"}),
        says("assistant", {"type": "output_text", "text": "Yes", "annotations": []}),
        says("assistant", {"type": "refusal", "refusal": "No"}),
    ),
    "an output made of parts": items(call(), output(sent=[IMAGE])),
    "nulls where they are allowed": body(
        instructions=None, temperature=None, metadata=None, previous_response_id=None
    ),
    "no input behind a parent": {"type": "response.create", "model": GPT}
    | {"previous_response_id": "resp_1"},
    "an empty list behind a parent": body(input=[], previous_response_id="resp_1"),
    "sampling on a model that doesn't think": body(temperature=0.7, top_p=1, top_logprobs=3),
    "sampling on 5.1, which by default doesn't think": body(model="gpt-5.1", temperature=0.2),
    "sampling on 5.6-luna without effort": body(
        model="gpt-5.6-luna", temperature=0.2, reasoning={"effort": "none"}
    ),
    "minimal effort": body(model=MINI, reasoning={"effort": "minimal"}),
    "verbosity": body(model=MINI, text={"verbosity": "low"}),
    "medium verbosity before gpt-5": body(text={"verbosity": "medium"}),
    "encrypted reasoning": body(model=MINI, include=["reasoning.encrypted_content"]),
    "a tool whose strict is omitted": tool(),
    "a tool whose strict is null": tool(strict=None, parameters=None),
    "a strict tool without parameters": strict({}),
    "a strict tool with an optional": strict({"a": {"type": ["string", "null"]}}),
    "a strict tool with a reference": strict(
        {"a": {"$ref": "#/$defs/A"}, "b": {"$ref": "#"}},
        **{"$defs": {"A": {"enum": ["x", "y"]}}},
    ),
    "a hosted tool": body(tools=[{"type": "web_search", "user_location": {"type": "x"}}]),
    "a forced function": body(tools=[TOOL], tool_choice={"type": "function", "name": "look"}),
    "allowed tools": body(
        tools=[TOOL],
        tool_choice={
            "type": "allowed_tools",
            "mode": "auto",
            "tools": [{"type": "function", "name": "look"}],
        },
    ),
    "no tools and words about them": body(tools=[], tool_choice="auto", parallel_tool_calls=True),
    "a warm-up": body(generate=False, stream_id="a"),
    "prewarming": body(model="gpt-5.6-sol", prompt_cache_options={"prewarm": True}),
    "a JSON schema": body(text=format_(type="json_schema", name="x", schema=SCHEMA, strict=True)),
    "every setting": body(
        store=False,
        service_tier="priority",
        truncation="auto",
        metadata={"k": "v"},
        safety_identifier="s" * 128,
        prompt_cache_key="k" * 64,
        prompt_cache_retention="24h",
        max_output_tokens=16,
        max_tool_calls=2,
        user="u",
        context_management=[{"type": "compaction", "compact_threshold": 1000}],
    ),
    "an item that only the service understands": items(
        {"type": "compaction", "encrypted_content": "x"}, {"role": "user", "content": "Hi"}
    ),
}


@pytest.mark.parametrize("sent", ACCEPTED.values(), ids=ACCEPTED.keys())
def test_accepted(sent: dict[str, Any]) -> None:
    check_body(sent)


REFUSED: dict[str, tuple[dict[str, Any], str | None, str | None]] = {
    "an unknown field": (body(modle="x"), "unknown_parameter", "modle"),
    "an envelope": (body(response={}), "unknown_parameter", "response"),
    "a field of the other API": (body(messages=[]), "unknown_parameter", "messages"),
    "an unknown field in a message": (
        items({"role": "user", "content": "x", "foo": 1}),
        "unknown_parameter",
        "input[0].foo",
    ),
    "background": (body(background=False), "unsupported_parameter", "background"),
    "stream_options": (body(stream_options={}), "unsupported_parameter", "stream_options"),
    "no model": (
        {"type": "response.create", "input": "x"},
        "missing_required_parameter",
        "model",
    ),
    "an unknown model": (body(model="gpt-9"), "model_not_found", "model"),
    "a null that is none": (body(tools=None), "invalid_type", "tools"),
    "a null input": (body(input=None), "invalid_type", "input"),
    "a null text": (body(text=None), "invalid_type", "text"),
    "a null mode": (
        body(model=MINI, reasoning={"mode": None}),
        "invalid_type",
        "reasoning.mode",
    ),
    "a number as text": (body(temperature="hot"), "invalid_type", "temperature"),
    "a boolean as number": (body(max_output_tokens=True), "invalid_type", "max_output_tokens"),
    "a temperature above 2": (
        body(temperature=2.5),
        "decimal_above_max_value",
        "temperature",
    ),
    "too few output tokens": (
        body(max_output_tokens=15),
        "integer_below_min_value",
        "max_output_tokens",
    ),
    "no input and no parent": (body(input=[]), "missing_required_parameter", None),
    "an empty string and no parent": (body(input=""), "missing_required_parameter", None),
    "a conversation with a parent": (
        body(conversation="conv_1", previous_response_id="resp_1"),
        "mutually_exclusive_parameters",
        None,
    ),
    "an unknown role": (
        items({"role": "tool", "content": "x"}),
        "invalid_value",
        "input[0].role",
    ),
    "a user's output_text": (
        items(says("user", {"type": "output_text", "text": "x"})),
        "invalid_value",
        "input[0].content[0]",
    ),
    "an image that is no address": (
        items(says("user", {"type": "input_image", "image_url": "AA=="})),
        "invalid_value",
        "input[0].content[0].image_url",
    ),
    "an image without anything": (
        items(says("user", {"type": "input_image"})),
        "missing_required_parameter",
        "input[0].content[0].image_url",
    ),
    "content null": (
        items({"role": "assistant", "content": None}),
        "invalid_type",
        "input[0].content",
    ),
    "an unknown item": (items({"type": "thought"}), "invalid_value", "input[0].type"),
    "a call without call_id": (
        items({"type": "function_call", "name": "a", "arguments": ""}),
        "missing_required_parameter",
        "input[0].call_id",
    ),
    "a call_id of 65 characters": (
        items(call("c" * 65)),
        "string_above_max_length",
        "input[0].call_id",
    ),
    "arguments as an object": (
        items(call(arguments={})),
        "invalid_type",
        "input[0].arguments",
    ),
    "a call with a foreign id": (items(call(id="item_1")), "invalid_value", "input[0].id"),
    "an output as an object": (items(output(sent={})), "invalid_type", "input[0].output"),
    "an output with output_text": (
        items(output(sent=[{"type": "output_text", "text": "x"}])),
        "invalid_value",
        "input[0].output[0]",
    ),
    "a tool in the form of Chat": (
        body(tools=[{"type": "function", "function": {"name": "x"}}]),
        "unknown_parameter",
        "tools[0].function",
    ),
    "a tool's bad name": (tool(name="a b"), "invalid_value", "tools[0].name"),
    "two tools of a name": (body(tools=[TOOL, TOOL]), "invalid_value", "tools"),
    "a missing forced function": (
        body(tools=[TOOL], tool_choice={"type": "function", "name": "x"}),
        "invalid_value",
        "tool_choice",
    ),
    "a forced function in the form of Chat": (
        body(tools=[TOOL], tool_choice={"type": "function", "function": {"name": "look"}}),
        "unknown_parameter",
        "tool_choice.function",
    ),
    "a choice that is no word": (
        body(tools=[TOOL], tool_choice="any"),
        "invalid_value",
        "tool_choice",
    ),
    "an include nobody knows": (body(include=["all"]), "invalid_value", "include[0]"),
    "encrypted reasoning on a model without": (
        body(include=["reasoning.encrypted_content"]),
        None,
        "include",
    ),
    "effort on a model without": (
        body(reasoning={"effort": "low"}),
        "unsupported_parameter",
        "reasoning.effort",
    ),
    "minimal effort after gpt-5": (
        body(model="gpt-5.1", reasoning={"effort": "minimal"}),
        "unsupported_value",
        "reasoning.effort",
    ),
    "no effort on astra": (
        body(model="gpt-6-astra", reasoning={"effort": "none"}),
        "unsupported_value",
        "reasoning.effort",
    ),
    "temperature on a model that thinks": (
        body(model=MINI, temperature=1),
        "unsupported_parameter",
        "temperature",
    ),
    "temperature on 5.1 with effort": (
        body(model="gpt-5.1", temperature=1, reasoning={"effort": "low"}),
        "unsupported_parameter",
        "temperature",
    ),
    "parallel calls with minimal effort": (
        body(
            model=MINI,
            reasoning={"effort": "minimal"},
            tools=[TOOL],
            parallel_tool_calls=True,
        ),
        "unsupported_value",
        "parallel_tool_calls",
    ),
    "low verbosity before gpt-5": (
        body(text={"verbosity": "low"}),
        "unsupported_value",
        "text.verbosity",
    ),
    "cache options before 5.6": (
        body(prompt_cache_options={"mode": "explicit"}),
        "unsupported_parameter",
        "prompt_cache_options",
    ),
    "short retention on 5.5": (
        body(model="gpt-5.5", prompt_cache_retention="in_memory"),
        "unsupported_value",
        "prompt_cache_retention",
    ),
    "17 pairs of metadata": (
        body(metadata={str(n): "x" for n in range(17)}),
        "object_above_max_properties",
        "metadata",
    ),
    "a long value of metadata": (
        body(metadata={"k": "v" * 513}),
        "string_above_max_length",
        "metadata.k",
    ),
    "an unknown tier": (body(service_tier="best"), "invalid_value", "service_tier"),
    "an unknown format": (body(text=format_(type="yaml")), "invalid_value", "text.format.type"),
    "a format in the form of Chat": (
        body(text=format_(type="json_schema", json_schema={})),
        "unknown_parameter",
        "text.format.json_schema",
    ),
    "a format that isn't strict enough": (
        body(text=format_(type="json_schema", name="x", strict=True, schema={})),
        "invalid_json_schema",
        "text.format.schema",
    ),
}


@pytest.mark.parametrize(("sent", "code", "param"), REFUSED.values(), ids=REFUSED.keys())
def test_refused(sent: dict[str, Any], code: str | None, param: str | None) -> None:
    with pytest.raises(RequestError) as caught:
        check_body(sent)
    assert (caught.value.code, caught.value.param) == (code, param)
    assert caught.value.kind == "invalid_request_error"


STRICT_MISFITS: dict[str, dict[str, Any]] = {
    "an open object": strict({}, additionalProperties=True),
    "a map": strict({"a": {"type": "object", "additionalProperties": {"type": "string"}}}),
    "an optional property": strict({"a": {"type": "string"}}, required=[]),
    "a required property that isn't there": strict({}, required=["a"]),
    "an open object inside": strict({"a": {"type": "array", "items": {"type": "object"}}}),
    "oneOf": strict({"a": {"oneOf": [{"type": "string"}]}}),
    "allOf": strict({"a": {"allOf": [{"type": "string"}]}}),
    "a default": strict({"a": {"type": "string", "default": ""}}),
    "a length": strict({"a": {"type": "string", "minLength": 1}}),
    "no type": strict({"a": {"description": "anything"}}),
    "a reference to nothing": strict({"a": {"$ref": "#/$defs/A"}}),
    "a reference with siblings": strict({"a": {"$ref": "#", "description": "x"}}),
    "a strange format": strict({"a": {"type": "string", "format": "uri"}}),
    "a root that is a union": strict({}, anyOf=[{"type": "object"}]),
    "no parameters at all": tool(strict=True, parameters=None),
    "too deep": strict({"a": nested(11)}),
}


@pytest.mark.parametrize("sent", STRICT_MISFITS.values(), ids=STRICT_MISFITS.keys())
def test_strict_is_refused_where_the_schema_is_not(sent: dict[str, Any]) -> None:
    with pytest.raises(RequestError, match="Invalid schema for function 'look'") as caught:
        check_body(sent)
    assert caught.value.code == "invalid_function_parameters"
    sent["tools"][0].update(strict=False)
    if sent["tools"][0]["parameters"] is not None and "anyOf" not in str(sent):
        check_body(sent)


def test_the_texts_are_those_that_clients_parse() -> None:
    with pytest.raises(RequestError) as caught:
        check_body(body(model="gpt-5.1", reasoning={"effort": "xhigh"}))
    assert caught.value.message == (
        "Unsupported value: 'xhigh' is not supported with the 'gpt-5.1' model. "
        "Supported values are: 'none', 'low', 'medium', and 'high'."
    )
    with pytest.raises(RequestError) as caught:
        check_body(items(says("assistant", {"type": "input_text", "text": "x"})))
    assert caught.value.message == (
        "Invalid value: 'input_text'. Supported values are: 'output_text' and 'refusal'."
    )


def test_a_deployment_takes_what_no_table_forbids() -> None:
    check_body(body(model="mine", temperature=1, reasoning={"effort": "low"}), ["mine"])


@pytest.mark.parametrize(
    ("context", "message"),
    [
        ([call()], "No tool output found for function call c1."),
        ([call("a"), call("b"), output("a")], "No tool output found for function call b."),
        ([output()], "No tool call found for function call output with call_id c1."),
        ([output(), call()], "No tool call found for function call output with call_id c1."),
        ([call(), output(), output()], "Duplicate function call output found with call_id c1."),
    ],
)
def test_calls_and_outputs_must_pair_up(context: list[Any], message: str) -> None:
    with pytest.raises(RequestError) as caught:
        check_pairs(context)
    error = caught.value
    assert (error.message, error.code, error.param) == (message, None, "input")


@pytest.mark.parametrize(
    "context",
    [
        [call("a"), call("b"), output("b"), output("a")],
        [call(), says("user"), output()],
        [call(), call(), output()],
    ],
    ids=["any order", "something in between", "a call sent again with its output"],
)
def test_pairs_that_are_accepted(context: list[Any]) -> None:
    check_pairs(context)


def test_an_async_tool_may_be_answered_later() -> None:
    check_context(tool(**{"async": True}), [call()])


def test_json_object_needs_the_word_json() -> None:
    wanted = body(text=format_(type="json_object"))
    with pytest.raises(RequestError, match="must contain the word 'json'"):
        check_context(wanted, [says("user", {"type": "input_text", "text": "Hi"})])
    check_context(wanted, [says("user", {"type": "input_text", "text": "As JSON"})])


def reasoned() -> tuple[Store, list[Any]]:
    """A store that has sent a reasoning item and the call it led to."""
    store = Store()
    born = [
        {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "sealed"},
        call(id="fc_1"),
    ]
    store.note_output(born)
    return store, born


@pytest.mark.parametrize(
    "sent",
    [
        [{"type": "item_reference", "id": "msg_1"}],
        [{"role": "assistant", "content": "x", "id": "msg_1"}],
        [call(id="fc_1")],
        [{"type": "reasoning", "id": "rs_9", "summary": []}],
    ],
    ids=["reference", "message", "call", "reasoning"],
)
def test_ids_of_what_was_not_stored_are_refused(sent: list[Any]) -> None:
    with pytest.raises(RequestError, match="Items are not persisted when `store`") as caught:
        check_ids(sent, Store(), stored=False)
    assert caught.value.status == 404


def test_a_whole_reasoning_item_vouches_for_the_ids_after_it() -> None:
    store, born = reasoned()
    check_ids([*born, output()], store, stored=False)
    check_ids([call()], store, stored=False)


def test_an_item_without_its_reasoning_is_refused() -> None:
    store, born = reasoned()
    with pytest.raises(RequestError, match="without its required 'reasoning' item: 'rs_1'"):
        check_ids(born[1:], store, stored=True)


def test_reasoning_that_was_not_sealed_here_is_refused() -> None:
    forged = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "x"}
    with pytest.raises(RequestError, match="could not be verified"):
        check_ids([forged], reasoned()[0], stored=False)


# Words that mean something somewhere, so that arbitrary JSON gets past the first checks.
WORDS = (
    "type",
    "input",
    "tools",
    "tool_choice",
    "text",
    "format",
    "reasoning",
    "effort",
    "name",
    "parameters",
    "strict",
    "schema",
    "properties",
    "required",
    "enum",
    "anyOf",
    "items",
    "$ref",
    "$defs",
    "content",
    "role",
    "call_id",
    "output",
    "arguments",
    "function",
    "json_schema",
    "object",
    "string",
    "user",
    "assistant",
    "summary",
    "id",
    "metadata",
    "include",
)
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(max_size=8)
    | st.sampled_from(WORDS),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(WORDS), inner, max_size=4)
    ),
    max_leaves=12,
)


ANY = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


def judged(error: RequestError) -> None:
    assert error.message
    assert error.status in {400, 404}


@ANY
@given(st.dictionaries(st.sampled_from(WORDS), JSON, max_size=6))
def test_whatever_is_sent_is_accepted_or_refused_in_words(fields: dict[str, Any]) -> None:
    try:
        check_body({"type": "response.create", "model": GPT, "input": "x", **fields})
    except RequestError as error:
        judged(error)


@ANY
@example({"$ref": None, "properties": True})
@given(JSON)
def test_every_schema_is_judged(schema: Any) -> None:
    try:
        check_body(tool(strict=True, parameters=schema))
    except RequestError as error:
        judged(error)


@ANY
@given(JSON)
def test_every_item_is_judged(item: Any) -> None:
    try:
        check_body(items(item))
        check_ids([item], Store(), stored=False)
        check_pairs([item])
    except RequestError as error:
        judged(error)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"required": None}, "None is not of type 'array'"),
        ({"properties": None}, "None is not of type 'object'"),
        ({"properties": {"a": {"type": "string", "enum": None}}}, "None is not of type 'array'"),
        ({"properties": {"a": None}}, "None is not of type 'object', 'boolean'"),
        ({"properties": {"a": {"type": "int"}}}, "'int' is not valid under any of the given"),
    ],
)
def test_a_schema_that_json_schema_does_not_allow_is_refused(
    changes: dict[str, Any], says: str
) -> None:
    sent = tool(strict=False, parameters={"type": "object", "properties": {}, **changes})
    with pytest.raises(RequestError, match=f"Invalid schema for function 'look': {says}"):
        check_body(sent)
