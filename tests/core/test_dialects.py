"""Dialects: one table, what refusals teach, and how requests are then said."""

from __future__ import annotations

from typing import Any

import pytest

from rtllm.codec.carried_fields import CarriedFields, pack, unpack
from rtllm.codec.chat_forms import convert_messages
from rtllm.codec.thoughts import ThoughtFilter, without_thoughts
from rtllm.content.items import ToolCall
from rtllm.errors import ConfigError
from rtllm.providers.dialects import (
    POINTS,
    Dialect,
    checked_points,
    dialect_of,
    dialect_with,
    plain_points,
    wanted_points,
)
from rtllm.providers.host_dialects import HostDialects
from rtllm.providers.hosts import PROFILES, profile_named, profile_of
from rtllm.retry.error_bodies import error_object, read_body
from rtllm.retry.faults import FaultKind, from_error
from rtllm.simulator import MANNERS
from rtllm.simulator.manners import REFUSALS
from rtllm.tools.function import FunctionTool
from rtllm.tools.repair import repaired

SYSTEM = {"role": "system", "content": "Be kind."}
LATE = {"role": "system", "content": "The caller is angry."}
USER = {"role": "user", "content": "Hello"}
HI = {"role": "assistant", "content": "Hi."}
CALLED = {
    "role": "assistant",
    "tool_calls": [
        {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    ],
}
RESULT = {"role": "tool", "tool_call_id": "call_1", "content": "sunny"}


def roles(messages: list[dict[str, Any]]) -> list[str]:
    return [message["role"] for message in messages]


# -- the table ------------------------------------------------------------------------------------


def test_each_point_is_a_field_of_the_dialect_and_has_its_values() -> None:
    plain = Dialect()
    for point in POINTS:
        assert getattr(plain, point.name) == point.values[0]
        said = {*point.hosts.values(), *(refusal.value for refusal in point.refusals)}
        assert said | ({point.plain} - {""}) <= set(point.values), point.name
        assert point.source
    assert len({point.name for point in POINTS}) == len(POINTS)


def test_each_host_in_the_table_has_a_profile() -> None:
    for point in POINTS:
        assert set(point.hosts) <= set(PROFILES), point.name
    for profile in PROFILES.values():
        assert profile.source, profile.name


@pytest.mark.parametrize(
    ("host", "name"),
    [
        ("api.openai.com", "openai"),
        ("r.openai.azure.com", "azure"),
        ("r.services.ai.azure.com", "azure-foundry"),
        ("generativelanguage.googleapis.com", "gemini"),
        ("us-central1-aiplatform.googleapis.com", "vertex"),
        ("api.deepseek.com", "deepseek"),
        ("api.mistral.ai", "mistral"),
        ("api.groq.com", "groq"),
        ("openrouter.ai", "openrouter"),
        ("voice.example", "voice.example"),
    ],
)
def test_hosts_are_known_by_address(host: str, name: str) -> None:
    assert profile_of(host).name == name


def test_an_unknown_host_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match="did you mean 'mistral'"):
        profile_named("mistal")


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"system": "leading"}, "dialect has 'system'"),
        ({"system_messages": "first"}, "expected one of 'anywhere'"),
    ],
)
def test_what_a_user_sets_is_checked(given: dict[str, str], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        checked_points(given)


def test_keywords_are_points() -> None:
    assert dialect_with(None, strict_tools=False) == {"strict_tools": "left out"}
    assert dialect_with({"store": "sent"}, think_tags="speak") == {
        "store": "sent",
        "thoughts": "spoken",
    }
    with pytest.raises(ConfigError, match="think_tags"):
        dialect_with(None, think_tags="never")  # type: ignore[arg-type]


# -- what refusals ask for ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "point", "value"),
    [
        ("System message must be at the beginning.", "system_messages", "leading"),
        (
            "Unknown name \"$schema\" at 'tools[0].function_declarations[0]'",
            "tool_schemas",
            "plain",
        ),
        ("Invalid schema for function 'f': anyOf is not supported", "tool_schemas", "plain"),
        ("type must be a string, got array ['string','null']", "tool_schemas", "plain"),
        ("No user query found in messages.", "missing_user", "added"),
        ("at least one message with role 'user' is required", "missing_user", "added"),
        ("First message must be a user message", "missing_user", "added"),
        ("The conversation must end with a user message.", "missing_user", "added"),
        ("* GenerateContentRequest.contents: contents is not specified", "missing_user", "added"),
        ("* function_response.name: Name cannot be empty.", "tool_names", "sent"),
        ("messages.3.tool.name: Field required", "tool_names", "sent"),
        ("tool_use.id: String should match pattern '^[a-zA-Z0-9_-]+$'", "call_ids", "nine"),
        ("Only one system message is allowed", "system_messages", "leading"),
        ("Jinja: System messages must come first!", "system_messages", "leading"),
        ("Unexpected role 'system' after role 'assistant'", "system_messages", "leading"),
        ("System role not supported", "system_messages", "user"),
        ("Unexpected role 'user' after role 'tool'", "user_behind_tool", "bridged"),
        ("Conversation roles must alternate user/assistant", "same_role_in_a_row", "merged"),
        ("Tools with mixed values for 'strict' are not allowed.", "strict_tools", "left out"),
        ("invalid value for parameter 'tools'", "strict_tools", "left out"),
        ("Unknown role: developer", "developer_role", "system"),
        ("is missing a thought_signature in functionCall parts", "extra_content", "always"),
        ("The `reasoning_content` must be passed back", "reasoning_content", "always"),
        ("property 'reasoning_content' is unsupported", "reasoning_content", "never"),
        ("Tool call id must be a-z, with a length of 9.", "call_ids", "nine"),
        ("Extra inputs: max_completion_tokens", "output_limit", "max_tokens"),
        ("stream_options.include_usage: Extra inputs", "stream_options", "left out"),
        ("Unsupported parameter: store", "store", "if set"),
        ("Unrecognized request argument supplied: store", "store", "if set"),
        ('json: unknown field "store"', "store", "if set"),
        (
            "[{'loc': ('body', 'store'), 'msg': 'Extra inputs are not permitted'}]",
            "store",
            "if set",
        ),
        ("property 'store' is unsupported", "store", "if set"),
        ("This model does not support the parameter `store`.", "store", "if set"),
        ("Additional properties are not allowed ('store' was unexpected)", "store", "if set"),
        ("store=false is not supported", "store", "if set"),
    ],
)
def test_a_sentence_tells_which_value_is_wanted(words: str, point: str, value: str) -> None:
    assert (point, value) in wanted_points(words, Dialect())


@pytest.mark.parametrize(
    "words",
    [
        (
            "Item with id 'rs_1' not found. Items are not persisted when `store` is set to false. "
            "Try again with `store` set to true, or remove this item from your input."
        ),
        "Previous response can't be found because `store` was false.",
        "The data store is not available",
    ],
)
def test_a_sentence_about_something_else_than_the_field_leaves_store_as_it_is(words: str) -> None:
    assert "store" not in dict(wanted_points(words, Dialect()))


def test_a_value_that_is_in_use_is_not_wanted_again() -> None:
    words = "System message must be at the beginning."
    assert wanted_points(words, Dialect(system_messages="leading")) == ()


def test_what_a_refusal_taught_is_logged_once_and_kept_for_its_model(
    caplog: pytest.LogCaptureFixture,
) -> None:
    known = HostDialects("h")
    for _ in range(2):
        known.learn("m", (("system_messages", "leading"),), "System message first")
    assert known.of("m").system_messages == "leading"
    assert known.of("other").system_messages == "anywhere"
    assert len(caplog.records) == 1
    assert "dialect={'system_messages': 'leading'}" in caplog.text


def test_what_the_user_set_is_not_learnt_away() -> None:
    known = HostDialects("h", {"system_messages": "anywhere"})
    assert known.settable((("system_messages", "leading"), ("store", "left out"))) == (
        ("store", "left out"),
    )


def test_a_later_rejection_undoes_no_earlier_one() -> None:
    learned = Dialect(system_messages="user")
    words = "Conversation roles must alternate user/assistant/user/assistant/..."
    assert ("system_messages", "leading") in wanted_points(words, Dialect())
    for points in (wanted_points(words, learned), plain_points(learned, on_a_guess=False)):
        assert ("same_role_in_a_row", "merged") in points
        assert "system_messages" not in dict(points)


def test_a_guess_that_does_not_help_is_undone_unless_a_request_was_taken() -> None:
    known = HostDialects("h")
    points = plain_points(known.of("m"))
    known.learn("m", points, "no", guessed={name for name, _ in points})
    known.refused_again("m")
    assert known.of("m") == Dialect()
    assert not known.may_try_plain("m")

    known.learn("n", points, "no", guessed={name for name, _ in points})
    known.took("n")
    known.refused_again("n")
    assert known.of("n").strict_tools == "left out"
    assert known.of("n").system_messages == "anywhere"  # the model would see a difference


# -- how it is said -------------------------------------------------------------------------------


def test_system_messages_become_one_at_the_beginning() -> None:
    said = convert_messages([SYSTEM, LATE, USER], Dialect(system_messages="leading"))
    assert roles(said) == ["system", "user"]
    assert said[0]["content"] == "Be kind.\n\nThe caller is angry."


def test_a_system_message_at_the_end_is_what_is_asked() -> None:
    said = convert_messages([SYSTEM, USER, HI, LATE], Dialect(system_messages="leading"))
    assert roles(said) == ["system", "user", "assistant", "user"]
    assert convert_messages([SYSTEM, LATE], Dialect(system_messages="leading")) == [
        {"role": "system", "content": "Be kind.\n\nThe caller is angry."}
    ]


def test_a_user_after_a_tool_is_bridged() -> None:
    said = convert_messages([USER, CALLED, RESULT, USER], Dialect(user_behind_tool="bridged"))
    assert roles(said) == ["user", "assistant", "tool", "assistant", "user"]


def test_words_in_a_row_are_merged_and_pictures_kept() -> None:
    picture = {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "u"}}]}
    said = convert_messages([USER, picture, HI, HI], Dialect(same_role_in_a_row="merged"))
    assert roles(said) == ["user", "assistant"]
    assert [part["type"] for part in said[0]["content"]] == ["text", "image_url"]


@pytest.mark.parametrize(("value", "content"), [("empty", ""), ("null", None)])
def test_content_is_next_to_calls(value: str, content: str | None) -> None:
    said = convert_messages([CALLED], Dialect(content_beside_calls=value))
    assert said[0]["content"] == content
    assert "content" not in convert_messages([CALLED], Dialect(content_beside_calls="absent"))[0]


def test_ids_of_nine_characters_follow_from_the_ids() -> None:
    said = convert_messages([CALLED, RESULT], Dialect(call_ids="nine"))
    call_id = said[0]["tool_calls"][0]["id"]
    assert len(call_id) == 9
    assert said[1]["tool_call_id"] == call_id


def test_what_is_given_is_left_as_it_is() -> None:
    before = repr([SYSTEM, LATE, USER, CALLED, RESULT])
    for point in POINTS:
        for value in point.values:
            convert_messages([SYSTEM, LATE, USER, CALLED, RESULT], Dialect(**{point.name: value}))
    assert repr([SYSTEM, LATE, USER, CALLED, RESULT]) == before


def test_mistral_is_known() -> None:
    dialect = dialect_of("mistral")
    assert (dialect.call_ids, dialect.system_messages) == ("nine", "leading")
    assert dialect_of("openai").thoughts == "spoken"


# -- what goes back -------------------------------------------------------------------------------


def test_what_a_host_hung_on_a_call_goes_back_to_it_alone() -> None:
    carried = pack({"extra_content": {"a": 1}}, {"reasoning_content": "hm"}, "h")
    assert unpack(carried, "h") == ({"extra_content": {"a": 1}}, {"reasoning_content": "hm"})
    assert unpack(carried, "other") == ({}, {})
    assert unpack(b"\xff", "h") == ({}, {})
    assert pack({}, {}, "h") is None


def test_it_is_remembered_by_conversation() -> None:
    known = CarriedFields()
    carried = pack({"extra_content": {"a": 1}}, {}, "h")
    known.note(1, ToolCall("c", "f", '{"x": 1, "y": 2}', carried=carried))
    assert known.of(1, ToolCall("c", "f", "{}")) == carried
    assert known.of(1, ToolCall("c-2", "f", '{"y":2,"x":1}')) == carried
    assert known.of(2, ToolCall("c", "f", "{}")) is None


def test_a_call_without_fields_gets_none_of_an_equal_one() -> None:
    known = CarriedFields()
    carried = pack({"extra_content": {"a": 1}}, {}, "h")
    known.note(1, ToolCall("c-1", "f", "{}", carried=carried))
    known.note(1, ToolCall("c-2", "f", "{}"))
    assert known.of(1, ToolCall("c-2", "f", "{}")) is None
    assert known.of(1, ToolCall("c-1", "f", "{}")) == carried
    assert known.of(1, ToolCall("renamed", "f", "{}")) == carried


def test_what_a_framework_keeps_with_a_call_is_preferred_to_that_of_an_equal_one() -> None:
    known = CarriedFields()
    own, others = (pack({"extra_content": {"a": n}}, {}, "h") for n in (1, 2))
    known.note(1, ToolCall("c-2", "f", "{}", carried=others))
    assert known.of(1, ToolCall("c-1", "f", "{}", carried=own)) == own


def test_calls_without_fields_are_remembered_within_a_limit() -> None:
    known = CarriedFields()
    carried = pack({"extra_content": {"a": 1}}, {}, "h")
    for number in range(10_000):
        known.note(1, ToolCall(f"c-{number}", "f", "{}"))
    known.note(1, ToolCall("c", "f", "{}", carried=carried))
    assert known.of(1, ToolCall("c-9999", "f", "{}")) is None
    assert known.of(1, ToolCall("c-0", "f", "{}")) == carried


# -- thoughts -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "spoken"),
    [
        ("<think>hm</think>\n\nHi.", "Hi."),
        ("\n<think>a</think> <think>b</think>Hi.", "Hi."),
        ("<THINK>hm</THINK>Hi.", "Hi."),
        ("[THINK]hm[/THINK]Hi.", "Hi."),
        ("<|channel>thought\nhm<channel|>Hi.", "Hi."),
        ("<unused94>thought\nhm<unused95>Hi.", "Hi."),
        (
            "<|channel|>analysis<|message|>a<|end|><|start|>assistant<|channel|>final<|message|>Hi.",
            "Hi.",
        ),
        ("<|channel|>final<|message|>Hi.", "Hi."),
        ("<think>\u0130stanbul</think>\u0130yi.", "\u0130yi."),  # longer in lower case
        ("\u0130yi.</think> Peki.", "\u0130yi. Peki."),
        ("words</think> and more", "words and more"),
        ("Say <think> aloud</think>.", "Say <think> aloud</think>."),
        ("1 < 2, <b>bold</b>, 3 <", "1 < 2, <b>bold</b>, 3 <"),
        ("<thing> is no tag", "<thing> is no tag"),
        ("<think>never closed", ""),
    ],
)
@pytest.mark.parametrize("size", [1, 2, 5, 100])
def test_thoughts_are_not_spoken_however_they_are_cut(text: str, spoken: str, size: int) -> None:
    thoughts = ThoughtFilter()
    said = "".join(thoughts.feed(text[at : at + size]) for at in range(0, len(text), size))
    assert said + thoughts.finish() == spoken


def test_an_answer_may_begin_inside_a_thought() -> None:
    assert without_thoughts("hm</think>Hi.", prefilled=True) == "Hi."


def test_no_word_waits_longer_than_a_tag() -> None:
    thoughts = ThoughtFilter()
    assert thoughts.feed("Hello ") == "Hello "
    assert thoughts.feed("a < b and so on") == "a < b and so on"


# -- bodies of errors -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b'{"error":{"message":"Oh"}}', "Oh"),
        (b'{"error":"model not found","code":"x y"}', "model not found"),
        (b'[{"error":{"code":400,"message":"bad"}}]', "bad"),
        (b'{"detail":"Unsupported parameter"}', "Unsupported parameter"),
        (
            b'{"detail":[{"loc":["body","messages",0,"mood"],"msg":"Extra inputs"}]}',
            "messages.0.mood: Extra inputs",
        ),
        (b'{"message":{"detail":[{"loc":["body","x"],"msg":"No"}]},"code":3001}', "x: No"),
        (b"Access denied by the firewall.", "Access denied by the firewall."),
        (b"<html><head><title>Sign in</title></head></html>", "a web page (HTML): Sign in"),
        (b'"just a text"', "just a text"),
        (
            (
                b'{"error":{"message":"Filtered","innererror":{"content_filter_result":'
                b'{"self_harm":{"filtered":true,"severity":"medium"}}}}}'
            ),
            "Filtered (self_harm: medium)",
        ),
    ],
)
def test_an_error_has_the_hosts_own_words(body: bytes, says: str) -> None:
    assert error_object(read_body(body))["message"] == says


def test_a_body_without_words_says_nothing() -> None:
    assert "message" not in error_object(read_body(b"{}"))
    assert from_error({}, 400).kind is FaultKind.REFUSED


# -- schemas of others ----------------------------------------------------------------------------


def test_a_union_at_the_root_is_merged() -> None:
    made = repaired(
        {
            "type": "object",
            "anyOf": [
                {
                    "properties": {"a": {"type": "string"}, "c": {"type": "string"}},
                    "required": ["a"],
                },
                {"properties": {"b": {"type": "array"}, "c": {"type": "null"}}, "required": ["b"]},
            ],
        }
    )
    assert made["properties"]["a"] == {"type": "string"}
    assert made["properties"]["b"] == {"type": "array", "items": {}}
    assert made["properties"]["c"] == {"anyOf": [{"type": "string"}, {"type": "null"}]}
    assert "required" not in made
    assert made["description"] == "Give one of these: a; or b."


def test_keywords_that_are_null_are_left_out() -> None:
    node = {"type": "string", "enum": None, "description": None, "default": None}
    schema = {"type": "object", "properties": {"a": node, "b": None}, "required": None}
    assert repaired(schema) == {
        "type": "object",
        "properties": {"a": {"type": "string", "default": None}, "b": {}},
    }
    tool = FunctionTool.of_schema("look", {"type": None, "properties": None, "required": None})
    assert tool.parameters["type"] == "object"
    assert tool.parameters["properties"] == {}


def test_types_are_named_as_in_json_schema() -> None:
    schema = {"type": "OBJECT", "properties": {"type": {"type": ["STRING", "Null"]}}}
    assert repaired(schema) == {
        "type": "object",
        "properties": {"type": {"type": ["string", "null"]}},
    }
    schema = {"type": "dict", "properties": {"a": {"type": "int"}, "b": {"type": "any"}}}
    assert repaired(schema) == {
        "type": "object",
        "properties": {"a": {"type": "integer"}, "b": {}},
    }


def test_a_lawful_schema_is_left_as_it_is() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "array", "items": {"type": "string"}}}}
    assert repaired(schema) == schema


# -- the simulator --------------------------------------------------------------------------------


def test_the_simulator_has_a_switch_for_each_point() -> None:
    assert set(REFUSALS) < set(MANNERS)
    switches = " ".join(MANNERS)
    for word in ("strict", "system", "developer", "content", "behind tool", "alternating"):
        assert word in switches
    for word in ("typed", "nine", "thinks", "signs", "max_tokens", "stream_options", "store"):
        assert word in switches
