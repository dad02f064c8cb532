"""Laws of bodies: whatever is said, what is sent is right for the API and the family."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from rtllm import ConfigError
from rtllm.codec.chat_encoder import parameters as chat_body
from rtllm.parameters import Api, Body, body_of, family_of
from rtllm.parameters.catalog import ROWS
from rtllm.parameters.families import EFFORTS, VERBOSITIES
from rtllm.simulator import chat_checks, checks, models
from rtllm.simulator.refusal import RequestError

_SCHEMA = {"type": "json_schema", "name": "n", "schema": {"type": "object"}, "strict": False}
_TOOL: dict[str, Any] = {
    "type": "function",
    "name": "weather",
    "parameters": {"type": "object", "properties": {}},
    "strict": False,
}
_ENCODED = json.dumps(_TOOL).encode()

_SHORT = st.text(max_size=20)
VALUES: Mapping[str, st.SearchStrategy[Any]] = {
    "reasoning_effort": st.sampled_from(EFFORTS),
    "reasoning": st.fixed_dictionaries(
        {},
        optional={
            "effort": st.sampled_from(EFFORTS),
            "summary": st.sampled_from(["auto", "concise", "detailed", None]),
        },
    ),
    "verbosity": st.sampled_from(VERBOSITIES),
    "response_format": st.sampled_from([{"type": "text"}, _SCHEMA]),
    "temperature": st.floats(0, 2) | st.sampled_from([0, 1, 2]),
    "top_p": st.floats(0, 1),
    "max_completion_tokens": st.integers(16, 10_000),
    "tool_choice": st.sampled_from(
        [
            "auto",
            "none",
            {"type": "function", "name": "weather"},
            {"type": "function", "function": {"name": "weather"}},
            {
                "type": "allowed_tools",
                "mode": "auto",
                "tools": [{"type": "function", "name": "weather"}],
            },
        ]
    ),
    "parallel_tool_calls": st.booleans(),
    "store": st.booleans(),
    "logprobs": st.booleans(),
    "top_logprobs": st.integers(0, 20),
    "frequency_penalty": st.floats(-2, 2),
    "presence_penalty": st.floats(-2, 2),
    "logit_bias": st.dictionaries(st.sampled_from(["1", "2"]), st.integers(-100, 100)),
    "seed": st.integers(0, 99),
    "metadata": st.dictionaries(_SHORT, _SHORT, max_size=4),
    "user": _SHORT,
    "safety_identifier": _SHORT,
    "prompt_cache_key": _SHORT,
    "prompt_cache_options": st.fixed_dictionaries(
        {}, optional={"mode": st.sampled_from(["implicit", "explicit"]), "ttl": st.just("30m")}
    ),
    "prompt_cache_retention": st.sampled_from(["in_memory", "24h"]),
    "service_tier": st.sampled_from(["auto", "flex", "priority"]),
}
_ONE_API: Mapping[str, st.SearchStrategy[Any]] = {
    "stop": st.text(min_size=1, max_size=5),
    "include": st.just(["reasoning.encrypted_content"]),
    "truncation": st.sampled_from(["auto", "disabled"]),
    "max_tool_calls": st.integers(1, 9),
}

OPTIONS = st.fixed_dictionaries({}, optional={**VALUES, **_ONE_API})
APIS: st.SearchStrategy[Api] = st.sampled_from(["responses", "chat"])
# Sampling with the effort "none" is unproven on some, so it is sent there and may be refused.
MODELS = st.sampled_from(sorted(models.KNOWN_MODELS - {"gpt-5.3-codex"}))
_SAMPLING = {"temperature", "top_p", "logprobs", "top_logprobs", "include"}


def made(options: Mapping[str, Any], api: Api, model: str, *, with_tools: bool) -> Body | None:
    """Make a body; None if the options can't be sent to that API or model."""
    try:
        return body_of(options, {}, api=api, model=model, with_tools=with_tools)
    except ConfigError:
        return None


def refusal_of(
    settings: Mapping[str, Any], api: Api, model: str, *, with_tools: bool
) -> RequestError | None:
    """What the strict simulator says against a body with these settings."""
    try:
        if api == "responses":
            tools = {"tools": [_TOOL]} if with_tools else {}
            checks.check_body({"model": model, "input": "Say JSON.", **tools, **settings})
        else:
            sent = chat_body(settings, [_ENCODED] if with_tools else [])
            messages = [{"role": "user", "content": "Say JSON."}]
            chat_checks.check_body({"model": model, "messages": messages, **sent})
    except RequestError as refusal:
        return refusal
    return None


def _has_null(value: object) -> bool:
    if isinstance(value, Mapping):
        return any(v is None or _has_null(v) for v in value.values())
    return isinstance(value, list) and any(v is None or _has_null(v) for v in value)


@given(OPTIONS, APIS, MODELS, st.booleans(), st.randoms())
def test_law_the_same_settings_give_the_same_bytes(
    options: dict[str, Any], api: Api, model: str, with_tools: bool, random: Any
) -> None:
    shuffled = list(options.items())
    random.shuffle(shuffled)
    first = made(options, api, model, with_tools=with_tools)
    again = made(dict(shuffled), api, model, with_tools=with_tools)
    assert (first is None) == (again is None)
    if first is not None and again is not None:
        assert json.dumps(first.settings) == json.dumps(again.settings)
        assert not _has_null(first.settings)


@given(OPTIONS, APIS, MODELS, st.booleans())
def test_law_a_known_model_gets_only_what_it_takes(
    options: dict[str, Any], api: Api, model: str, with_tools: bool
) -> None:
    """The judge is the strict simulator, which reads the protocol by itself."""
    body = made(options, api, model, with_tools=with_tools)
    if body is None:
        return
    family = family_of(model)
    assert family is not None
    effort = body.settings.get("reasoning", {}).get("effort")
    assert effort is None or effort in family.efforts
    refusal = refusal_of(body.settings, api, model, with_tools=with_tools)
    unproven = _SAMPLING if family.sampling == "effort none" else set()
    never = family.chat_tools == "never" and with_tools and api == "chat"
    expected = unproven | ({"reasoning_effort"} if never else set())
    assert refusal is None or refusal.param in expected, refusal.message


@given(st.fixed_dictionaries({}, optional=VALUES), APIS)
def test_law_an_unknown_model_gets_what_was_said(options: dict[str, Any], api: Api) -> None:
    options.pop("reasoning", None)
    body = body_of(options, {}, api=api, model="prod-x", with_tools=True)
    for name, value in options.items():
        row = ROWS[name]
        if not row.has_place(api) or name in ("tool_choice", "logprobs"):
            continue
        outer, _, inner = row.place.partition(".")
        sent = body.settings[outer][inner] if inner else body.settings[outer]
        assert sent == value
    places = {ROWS[name].place.partition(".")[0] for name in options if ROWS[name].has_place(api)}
    assert body.settings.keys() <= places | {"include"}


@given(st.fixed_dictionaries({}, optional=VALUES))
def test_law_each_row_lands_where_the_table_says_over_chat(options: dict[str, Any]) -> None:
    options.pop("reasoning", None)
    body = body_of(options, {}, api="chat", model="prod-x", with_tools=True)
    sent = chat_body(body.settings, [_ENCODED])
    assert sent.keys() - {"tools", "logprobs"} == {
        ROWS[name].chat for name in options if name != "logprobs"
    }
