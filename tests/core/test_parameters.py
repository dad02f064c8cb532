"""The table of parameters: values that are refused, families, and what refusals say."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from rtllm import ConfigError
from rtllm.parameters import (
    FAMILIES,
    TABLE,
    Api,
    Parameters,
    body_of,
    family_of,
    quickest_effort,
    takes_cache_breakpoints,
)
from rtllm.parameters.adjustments import (
    DROPPABLE,
    apply_rejection,
    find_replacement,
    supported_values,
)
from rtllm.parameters.catalog import FROM_THE_CONTEXT
from rtllm.parameters.families import nearest
from rtllm.simulator import models
from rtllm.simulator.refusal import unsupported_value


def settings(model: str, api: Api = "responses", **options: Any) -> dict[str, Any]:
    with_tools = options.pop("with_tools", False)
    return body_of(options, {}, api=api, model=model, with_tools=with_tools).settings


def warnings(model: str, api: Api = "responses", **options: Any) -> tuple[str, ...]:
    with_tools = options.pop("with_tools", False)
    return body_of(options, {}, api=api, model=model, with_tools=with_tools).warnings


# -- values -----------------------------------------------------------------------------------

_NOTHING_RIGHT: list[tuple[str, Any, str]] = [
    ("reasoning_effort", "fast", "'minimal'"),
    ("reasoning", {"effort": "fast"}, "'minimal'"),
    ("reasoning", {"summary": "long"}, "'concise'"),
    ("reasoning", {"context": "none"}, "'all_turns'"),
    ("reasoning", {"mode": 1}, "a text"),
    ("reasoning", {"efort": "low"}, "effort"),
    ("reasoning", "low", "object"),
    ("verbosity", "loud", "'low', 'medium', 'high'"),
    ("text", {"verbosity": "loud"}, "'low', 'medium', 'high'"),
    ("text", {"volume": 3}, "verbosity"),
    ("temperature", 5, "from 0 to 2"),
    ("temperature", "0.5", "from 0 to 2"),
    ("temperature", True, "from 0 to 2"),
    ("temperature", float("nan"), "from 0 to 2"),
    ("top_p", 1.1, "from 0 to 1"),
    ("top_logprobs", 21, "from 0 to 20"),
    ("logprobs", "yes", "True or False"),
    ("max_output_tokens", 5, "16 or more"),
    ("max_completion_tokens", 5, "16 or more"),
    ("max_tokens", 99.5, "16 or more"),
    ("tool_choice", "foo", "'auto', 'required', 'none'"),
    ("tool_choice", {"type": "function"}, "'auto', 'required', 'none'"),
    ("tool_choice", {"type": "allowed_tools", "mode": "none", "tools": []}, "'auto'"),
    ("parallel_tool_calls", 1, "True or False"),
    ("max_tool_calls", 0, "1 or more"),
    ("store", "no", "True or False"),
    ("include", ["everything"], "'reasoning.encrypted_content'"),
    ("include", "reasoning.encrypted_content", "a list of"),
    ("truncation", "on", "'auto', 'disabled'"),
    ("metadata", {"k": "v" * 513}, "512"),
    ("metadata", {"k" * 65: "v"}, "64"),
    ("metadata", {str(n): "" for n in range(17)}, "16 pairs"),
    ("metadata", {"k": 1}, "pairs of texts"),
    ("user", 7, "a text"),
    ("safety_identifier", "x" * 129, "128"),
    ("prompt_cache_key", "x" * 65, "64"),
    ("prompt_cache_options", {"mode": "always"}, "'implicit', 'explicit'"),
    ("prompt_cache_options", {"size": 1}, "mode"),
    ("prompt_cache_retention", "1h", "'in_memory', '24h'"),
    ("service_tier", "fastest", "'priority'"),
    ("response_format", {"type": "json_schema"}, "json_schema"),
    ("response_format", "json", "json_object"),
    ("frequency_penalty", 3, "from -2 to 2"),
    ("presence_penalty", -3, "from -2 to 2"),
    ("logit_bias", {"50256": 101}, "-100 to 100"),
    ("seed", 1.5, "whole number"),
    ("stop", ["a"] * 5, "1 to 4"),
    ("extra_body", [1], "object"),
    ("sead", 7, "extra_body"),
]


@pytest.mark.parametrize(("name", "value", "expected"), _NOTHING_RIGHT)
def test_a_wrong_value_is_refused_with_what_was_expected(
    name: str, value: Any, expected: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        body_of({name: value}, {}, api="responses", model="gpt-5.2", with_tools=False)
    assert name == "text" or name in str(caught.value)
    assert expected in str(caught.value)


@pytest.mark.parametrize(
    ("api", "name"),
    [
        *(("responses", n) for n in ("previous_response_id", "conversation", "input", "stream")),
        *(("responses", n) for n in ("stream_id", "generate", "background", "type", "n")),
        *(("chat", n) for n in ("messages", "stream", "n")),
    ],
)
@pytest.mark.parametrize("of_call", [False, True])
def test_a_field_that_the_protocol_determines_is_refused_in_the_extra_body(
    api: Api, name: str, *, of_call: bool
) -> None:
    given = {"extra_body": {"top_k": 5, name: None if name == "input" else 1}}
    options, call = ({}, given) if of_call else (given, {})
    with pytest.raises(ConfigError, match=f"^extra_body sets {name}, which"):
        body_of(options, call, api=api, model="gpt-5.2", with_tools=False)


def test_every_row_has_a_wrong_value_above() -> None:
    bare = {"moderation", "context_management", "prompt", "prediction", "web_search_options"}
    tried = {name for name, _, _ in _NOTHING_RIGHT} | bare | {"reasoning.generate_summary"}
    tried |= {f"reasoning.{n}" for _, v, _ in _NOTHING_RIGHT if isinstance(v, dict) for n in v}
    assert {row.name for row in TABLE} <= tried


@pytest.mark.parametrize("name", sorted(FROM_THE_CONTEXT))
def test_what_follows_from_the_context_cant_be_set(name: str) -> None:
    with pytest.raises(ConfigError, match=name):
        body_of({name: 1}, {}, api="responses", model="gpt-4.1", with_tools=False)


def test_what_the_other_api_alone_has_is_left_out_or_an_error() -> None:
    assert settings("gpt-4.1", seed=7, frequency_penalty=0.1) == {}
    assert len(warnings("gpt-4.1", seed=7, frequency_penalty=0.1)) == 2
    with pytest.raises(ConfigError, match="the Responses API has no stop"):
        settings("gpt-4.1", stop="X")
    with pytest.raises(ConfigError, match="Chat Completions has no max_tool_calls"):
        settings("gpt-4.1", "chat", max_tool_calls=1)
    assert settings("gpt-4.1", "chat", truncation="disabled") == {}
    with pytest.raises(ConfigError, match="ultrafast"):
        settings("gpt-4.1", "chat", service_tier="ultrafast")
    with pytest.raises(ConfigError, match="tool_choice"):
        settings("gpt-4.1", "chat", tool_choice={"type": "web_search"}, with_tools=True)


def test_one_parameter_has_one_value() -> None:
    with pytest.raises(ConfigError, match="the same parameter"):
        settings("gpt-4.1", max_tokens=50, max_completion_tokens=60)
    options, call = {"max_completion_tokens": 50}, {"max_tokens": 60}
    body = body_of(options, call, api="chat", model="o3", with_tools=False)
    assert body.settings == {"max_output_tokens": 60}
    body = body_of(options, call, api="chat", model="vllm-model", with_tools=False)
    assert body.settings == {"max_tokens": 60}


def test_a_call_wins_field_by_field() -> None:
    options = {"reasoning": {"effort": "high", "summary": "auto"}, "verbosity": "low"}
    call = {"reasoning_effort": "low", "text": {"format": {"type": "text"}}}
    body = body_of(options, call, api="responses", model="gpt-5.2", with_tools=False)
    assert body.settings == {
        "reasoning": {"effort": "low", "summary": "auto"},
        "text": {"verbosity": "low", "format": {"type": "text"}},
    }


def test_nulls_in_a_schema_stay() -> None:
    schema = {"type": "object", "properties": {"a": {"enum": ["x", None], "default": None}}}
    given = {"type": "json_schema", "json_schema": {"name": "n", "schema": schema, "strict": None}}
    text = settings("gpt-4.1", response_format=given)["text"]
    assert text == {"format": {"type": "json_schema", "name": "n", "schema": schema}}


def test_logprobs_are_included_in_responses() -> None:
    included = ["message.output_text.logprobs"]
    assert settings("gpt-4.1", logprobs=True) == {"include": included}
    assert settings("gpt-4.1", logprobs=False) == {}
    both = settings("gpt-4.1", logprobs=True, top_logprobs=3, include=included)
    assert both == {"include": included, "top_logprobs": 3}
    assert settings("o3", top_logprobs=3) == {}


# -- families ---------------------------------------------------------------------------------


@pytest.mark.parametrize("model", sorted(models.KNOWN_MODELS - {"gpt-5.3-codex"}))
def test_each_public_model_has_a_family_that_the_service_agrees_with(model: str) -> None:
    ours, theirs = family_of(model), models.family_of(model)
    assert ours is not None
    assert theirs is not None
    assert (ours.efforts, ours.default_effort) == (theirs.efforts, theirs.default_effort)
    assert set(ours.verbosity) == set(theirs.verbosity)
    assert ours.cache_options is theirs.cache_options
    assert set(ours.cache_retention) == set(theirs.cache_retention)
    if ours.sampling == "never":
        assert theirs.sampling == "never" or ours.name == "gpt-5.x-chat"


@pytest.mark.parametrize(
    "name",
    ["openai/gpt-5.2", "gpt-5.2-2025-12-11", "ft:gpt-5.2:org::id", "GPT-5.2", "gpt-5.2:online"],
)
def test_what_surrounds_a_name_doesnt_count(name: str) -> None:
    family = family_of(name)
    assert family is not None
    assert family.name == "gpt-5.2"


@pytest.mark.parametrize(
    "name",
    ["prod", "llama-3.1-70b", "gpt-oss-120b", "gpt-40", "o5", "gpt-7", "gpt-6.3-sol", "claude-4"],
)
def test_other_names_are_unknown(name: str) -> None:
    assert family_of(name) is None


def test_gpt_35_is_not_a_gpt_of_version_35() -> None:
    family = family_of("gpt-35-turbo")
    assert family is not None
    assert not family.reasons


@pytest.mark.parametrize(
    ("model", "effort"),
    [
        ("gpt-4.1", None),
        ("o4-mini", "low"),
        ("gpt-5", "minimal"),
        ("gpt-5.2", "none"),
        ("gpt-6-astra", "low"),
        ("gpt-5-pro", None),
        ("gpt-6.3-sol", "low"),
        ("gpt-5.3-codex", "low"),
        ("gpt-35-turbo", None),
        ("prod", None),
    ],
)
def test_the_quickest_effort(model: str, effort: str | None) -> None:
    assert quickest_effort(model) == effort


def test_breakpoints_of_later_models() -> None:
    taken = ["gpt-5.6-sol", "gpt-6-astra", "gpt-6.7-nova", "gpt-7"]
    assert [takes_cache_breakpoints(m) for m in [*taken, "gpt-5.5", "gpt-4.1", "prod"]] == [
        *[True] * 4,
        *[False] * 3,
    ]


# -- efforts ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "chosen", "sent"),
    [
        ("gpt-5", "none", "minimal"),
        ("gpt-5", "max", "high"),
        ("gpt-5.1", "minimal", "none"),
        ("gpt-5.1", "xhigh", "high"),
        ("o3", "none", "low"),
        ("gpt-6-astra", "none", "low"),
        ("gpt-5.2-pro", "none", "medium"),
        ("gpt-5-pro", "none", "high"),
        ("gpt-5.1-chat-latest", "low", "medium"),
    ],
)
def test_an_effort_is_stepped_to_the_nearest_or_refused(model: str, chosen: str, sent: str) -> None:
    assert settings(model, reasoning_effort=chosen) == {"reasoning": {"effort": sent}}
    (warning,) = warnings(model, reasoning_effort=chosen)
    assert repr(chosen) in warning
    assert repr(sent) in warning
    options = {"reasoning_effort": chosen}
    with pytest.raises(ConfigError, match=f"{chosen}.*expected one of.*{sent}"):
        body_of(options, {}, api="responses", model=model, with_tools=False, strict=True)
    untouched = body_of(
        options,
        {},
        api="responses",
        model=model,
        untouched=["reasoning_effort"],
        with_tools=False,
        strict=True,
    )
    assert (untouched.settings, untouched.warnings) == ({"reasoning": {"effort": sent}}, ())


def test_tools_over_chat_want_no_effort_from_5_4_on() -> None:
    assert settings("gpt-5.5", "chat", with_tools=True) == {"reasoning": {"effort": "none"}}
    assert warnings("gpt-5.5", "chat", with_tools=True) == ()
    low = {"reasoning_effort": "low"}
    assert settings("gpt-5.5", "chat", **low) == {"reasoning": {"effort": "low"}}
    assert settings("gpt-5.5", "chat", **low, with_tools=True) == {"reasoning": {"effort": "none"}}
    assert "with tools" in warnings("gpt-5.5", "chat", **low, with_tools=True)[0]
    assert settings("gpt-5.2", "chat", **low, with_tools=True) == {"reasoning": {"effort": "low"}}


def test_strict_refuses_what_would_be_left_out() -> None:
    for name, value in (("seed", 7), ("temperature", 0.5), ("verbosity", "low")):
        model = "o3" if name == "temperature" else "gpt-4.1"
        with pytest.raises(ConfigError, match=f"{name}.*strict_parameters"):
            body_of({name: value}, {}, api="responses", model=model, with_tools=False, strict=True)


def test_each_warning_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    parameters = Parameters()
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            parameters.body({"seed": 1}, {}, api="responses", model="gpt-4.1", with_tools=False)
            assert not parameters.breakpoints("gpt-4.1", wanted=True)
    assert len(caplog.records) == 2
    assert parameters.breakpoints("gpt-6-sol", wanted=True)
    assert parameters.breakpoints("prod", wanted=True)
    with pytest.raises(ConfigError, match="breakpoints"):
        Parameters(strict=True).breakpoints("gpt-4.1", wanted=True)


# -- after a refusal --------------------------------------------------------------------------

_LOW_UP = "Supported values are: 'low', 'medium', and 'high'."


@pytest.mark.parametrize("family", [f for f in FAMILIES if f.efforts], ids=lambda f: f.name)
def test_the_values_that_the_services_words_name_are_found(family: Any) -> None:
    words = str(unsupported_value("reasoning.effort", "x", "m", family.efforts))
    assert supported_values(words) == family.efforts


def test_a_refused_effort_is_stepped_and_others_are_left_out() -> None:
    body = {"reasoning": {"effort": "none", "summary": "auto"}, "temperature": 0.5}
    assert find_replacement(body, "reasoning.effort", _LOW_UP) == "low"
    assert find_replacement(body, "reasoning.effort", "Unsupported parameter.") is None
    assert find_replacement(body, "temperature", "Supported values are: '1'.") is None
    low = {**body, "reasoning": {"effort": "low", "summary": "auto"}}
    assert apply_rejection(body, "reasoning.effort", ("low", "high")) == low
    assert apply_rejection(low, "reasoning.effort", ("low", "high")) == low
    assert apply_rejection(body, "reasoning.effort", ()) == {
        "reasoning": {"summary": "auto"},
        "temperature": 0.5,
    }


def test_a_value_that_is_named_and_refused_all_the_same_is_left_out() -> None:
    assert find_replacement({"reasoning": {"effort": "low"}}, "reasoning.effort", _LOW_UP) is None


def test_of_two_as_near_the_lower_is_taken() -> None:
    assert nearest("minimal", ("low", "none")) == "none"
    assert nearest("unheard", ("low",)) is None
    assert nearest("low", ()) is None


def test_what_may_be_dropped_is_what_the_design_says() -> None:
    never = {"store", "tools", "tool_choice", "text.format", "max_output_tokens", "include"}
    assert not DROPPABLE & (never | {"truncation", "safety_identifier", "metadata"})
    assert {"reasoning.effort", "text.verbosity", "temperature", "top_p"} <= DROPPABLE
