"""Each row of the table of parameters, both ways, through the adapter to the strict service."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from rtllm import ConfigError, RequestRejected
from rtllm.parameters import TABLE
from rtllm.simulator import Simulator
from rtllm_videosdk import OpenAILLM
from support.logs import warned
from videosdk_adapter.requests import chunks_of, hello, text_of
from videosdk_adapter.talks import tool


@tool
async def weather(city: str) -> str:
    """Tell the weather."""
    return "fine"


@pytest.fixture(params=["responses", "chat"])
def api(request: pytest.FixtureRequest) -> str:
    value: str = request.param
    return value


@asynccontextmanager
async def talking(
    api: str, model: str, **options: Any
) -> AsyncIterator[tuple[OpenAILLM, Simulator]]:
    options.setdefault("streaming", api == "responses")
    async with Simulator("Hi.", models=[model]) as service:
        talker = OpenAILLM(api_key="k", base_url=service.base_url, model=model, **options)
        try:
            yield talker, service
        finally:
            await talker.aclose()


async def ask(model: OpenAILLM, *, tools: bool = False, **call: Any) -> None:
    offered = [weather] if tools else None
    chunks, error = await chunks_of(model, hello("Say JSON."), tools=offered, **call)
    assert (text_of(chunks), error) == ("Hi.", None)


@dataclass(frozen=True)
class Case:
    """What is said to which model, and what arrives of it.

    Attributes:
        responses: What arrives over the socket; None if it is an error.
        chat: What arrives over Chat Completions.
        warns: The ways on which there is a warning.
    """

    model: str
    options: Mapping[str, Any]
    responses: Mapping[str, Any] | None
    chat: Mapping[str, Any] | None
    warns: str = ""
    tools: bool = False
    absent: tuple[str, ...] = ()


def same(model: str, options: Mapping[str, Any], body: Mapping[str, Any], **rest: Any) -> Case:
    return Case(model, options, body, body, **rest)


def other(model: str, name: str, value: Any) -> Case:
    """A parameter without a keyword of its own, that is the same over both APIs."""
    return same(model, {"parameters": {name: value}}, {name: value})


def not_taken(model: str, name: str, value: Any) -> Case:
    """A parameter that the model doesn't take."""
    options = {"parameters": {name: value}}
    return Case(model, options, {}, {}, "responses chat", absent=(name,))


_FORMAT = {"type": "json_schema", "name": "n", "schema": {"type": "object"}, "strict": False}
_CHAT_FORMAT = {
    "type": "json_schema",
    "json_schema": {"name": "n", "schema": {"type": "object"}, "strict": False},
}
_NAMED = [{"type": "function", "name": "weather"}]
_CHAT_NAMED = [{"type": "function", "function": {"name": "weather"}}]
_LOGPROBS = ["message.output_text.logprobs"]
_BOTH = "responses chat"

CASES: dict[str, Case] = {
    "effort": Case(
        "gpt-5.2",
        {"reasoning_effort": "low"},
        {"reasoning": {"effort": "low"}},
        {"reasoning_effort": "low"},
    ),
    "effort stepped": Case(
        "gpt-6-astra",
        {"reasoning_effort": "none"},
        {"reasoning": {"effort": "low"}},
        {"reasoning_effort": "low"},
        _BOTH,
    ),
    "effort of a model without": Case(
        "gpt-4.1",
        {"reasoning_effort": "low"},
        {},
        {},
        _BOTH,
        absent=("reasoning", "reasoning_effort"),
    ),
    "effort beside tools": Case(
        "gpt-5.5",
        {"reasoning_effort": "low"},
        {"reasoning": {"effort": "low"}},
        {"reasoning_effort": "none"},
        "chat",
        tools=True,
    ),
    "summary": Case(
        "gpt-5.2",
        {"parameters": {"reasoning": {"summary": "auto"}}},
        {"reasoning": {"summary": "auto"}},
        {},
        "chat",
    ),
    "the old summary": Case(
        "gpt-5.2",
        {"parameters": {"reasoning": {"generate_summary": "concise"}}},
        {"reasoning": {"generate_summary": "concise"}},
        {},
        "chat",
    ),
    "context and mode of reasoning": Case(
        "gpt-6-sol",
        {"parameters": {"reasoning": {"context": "all_turns", "mode": "pro"}}},
        {"reasoning": {"context": "all_turns", "mode": "pro"}},
        None,
    ),
    "verbosity": Case(
        "gpt-5.2", {"verbosity": "low"}, {"text": {"verbosity": "low"}}, {"verbosity": "low"}
    ),
    "verbosity of a model without": Case(
        "gpt-4.1", {"verbosity": "low"}, {}, {}, _BOTH, absent=("text", "verbosity")
    ),
    "format": Case(
        "gpt-4.1",
        {"parameters": {"response_format": _CHAT_FORMAT}},
        {"text": {"format": _FORMAT}},
        {"response_format": _CHAT_FORMAT},
    ),
    "the other format": Case(
        "gpt-4.1",
        {"parameters": {"text": {"format": _FORMAT}}},
        {"text": {"format": _FORMAT}},
        {"response_format": _CHAT_FORMAT},
    ),
    "temperature": same("gpt-4.1", {"temperature": 0.3}, {"temperature": 0.3}),
    "temperature by default": same("gpt-5", {}, {}, absent=("temperature",)),
    "temperature of a model without": same(
        "gpt-5", {"temperature": 0.3}, {}, warns=_BOTH, absent=("temperature",)
    ),
    "temperature beside the effort none": Case(
        "gpt-5.2",
        {"temperature": 0.3, "reasoning_effort": "none"},
        {"temperature": 0.3, "reasoning": {"effort": "none"}},
        {"temperature": 0.3, "reasoning_effort": "none"},
    ),
    "top_p": same("gpt-4.1", {"top_p": 0.9}, {"top_p": 0.9}),
    "top_logprobs": Case(
        "gpt-4.1",
        {"parameters": {"top_logprobs": 2}},
        {"top_logprobs": 2, "include": _LOGPROBS},
        {"top_logprobs": 2, "logprobs": True},
    ),
    "logprobs": Case(
        "gpt-4.1", {"parameters": {"logprobs": True}}, {"include": _LOGPROBS}, {"logprobs": True}
    ),
    "output cap": Case(
        "gpt-4.1",
        {"max_completion_tokens": 50},
        {"max_output_tokens": 50},
        {"max_completion_tokens": 50},
    ),
    "the old output cap": Case(
        "o3",
        {"parameters": {"max_tokens": 50}},
        {"max_output_tokens": 50},
        {"max_completion_tokens": 50},
    ),
    "the old output cap for an old host": Case(
        "prod",
        {"parameters": {"max_tokens": 50}},
        {"max_output_tokens": 50},
        {"max_tokens": 50},
    ),
    "frequency_penalty": Case(
        "gpt-4.1", {"frequency_penalty": 0.1}, {}, {"frequency_penalty": 0.1}, "responses"
    ),
    "presence_penalty": Case(
        "gpt-4.1", {"presence_penalty": 0.1}, {}, {"presence_penalty": 0.1}, "responses"
    ),
    "a penalty of a model without": same(
        "gpt-5", {"presence_penalty": 0.1}, {}, warns=_BOTH, absent=("presence_penalty",)
    ),
    "seed": Case("gpt-4.1", {"seed": 7}, {}, {"seed": 7}, "responses"),
    "logit_bias": Case(
        "gpt-4.1",
        {"parameters": {"logit_bias": {"50256": -100}}},
        {},
        {"logit_bias": {"50256": -100}},
        "responses",
    ),
    "stop": Case("gpt-4.1", {"parameters": {"stop": ["X"]}}, None, {"stop": ["X"]}),
    "stop of a model without": Case("gpt-5", {"parameters": {"stop": ["X"]}}, None, None),
    "prediction": Case(
        "gpt-4.1",
        {"parameters": {"prediction": {"type": "content", "content": "x"}}},
        {},
        {"prediction": {"type": "content", "content": "x"}},
        "responses",
    ),
    "tool_choice": same(
        "gpt-4.1", {"tool_choice": "required"}, {"tool_choice": "required"}, tools=True
    ),
    "allowed tools": Case(
        "gpt-4.1",
        {"tool_choice": {"type": "allowed_tools", "mode": "auto", "tools": _CHAT_NAMED}},
        {"tool_choice": {"type": "allowed_tools", "mode": "auto", "tools": _NAMED}},
        {
            "tool_choice": {
                "type": "allowed_tools",
                "allowed_tools": {"mode": "auto", "tools": _CHAT_NAMED},
            }
        },
        tools=True,
    ),
    "tool_choice without tools": same(
        "gpt-4.1",
        {"tool_choice": "required", "parallel_tool_calls": False},
        {},
        absent=("tool_choice", "parallel_tool_calls"),
    ),
    "parallel_tool_calls": same(
        "gpt-4.1", {"parallel_tool_calls": False}, {"parallel_tool_calls": False}, tools=True
    ),
    "parallel_tool_calls of a model without": Case(
        "o3",
        {"parallel_tool_calls": False},
        {"parallel_tool_calls": False},
        {},
        "chat",
        tools=True,
    ),
    "store": Case("gpt-4.1", {"store": True}, {"store": True}, {}),
    "store over Chat": other("gpt-4.1", "store", True),
    "metadata": Case(
        "gpt-4.1", {"parameters": {"metadata": {"k": "v"}}}, {"metadata": {"k": "v"}}, {}, "chat"
    ),
    "metadata of what is stored": same(
        "gpt-4.1",
        {"parameters": {"metadata": {"k": "v"}, "store": True}},
        {"metadata": {"k": "v"}},
    ),
    "include": Case(
        "gpt-5.2",
        {"parameters": {"include": ["reasoning.encrypted_content"]}},
        {"include": ["reasoning.encrypted_content"]},
        None,
    ),
    "truncation": Case(
        "gpt-4.1", {"parameters": {"truncation": "auto"}}, {"truncation": "auto"}, None
    ),
    "no truncation": Case(
        "gpt-4.1", {"parameters": {"truncation": "disabled"}}, {"truncation": "disabled"}, {}
    ),
    "max_tool_calls": Case(
        "gpt-4.1", {"parameters": {"max_tool_calls": 3}}, {"max_tool_calls": 3}, None
    ),
    "user": other("gpt-4.1", "user", "u"),
    "safety_identifier": other("gpt-4.1", "safety_identifier", "s"),
    "prompt_cache_key": other("gpt-4.1", "prompt_cache_key", "k"),
    "prompt_cache_options": other("gpt-6-sol", "prompt_cache_options", {"ttl": "30m"}),
    "prompt_cache_options of a model without": not_taken(
        "gpt-4.1", "prompt_cache_options", {"ttl": "30m"}
    ),
    "prompt_cache_retention": other("gpt-4.1", "prompt_cache_retention", "in_memory"),
    "prompt_cache_retention of a model without": not_taken(
        "gpt-6-sol", "prompt_cache_retention", "24h"
    ),
    "service_tier": other("gpt-4.1", "service_tier", "priority"),
    "the tier that Chat hasn't": Case(
        "gpt-4.1",
        {"parameters": {"service_tier": "ultrafast"}},
        {"service_tier": "ultrafast"},
        None,
    ),
    "moderation": other("gpt-4.1", "moderation", {}),
    "prompt": Case(
        "gpt-4.1",
        {"parameters": {"prompt": {"id": "pmpt_1"}}},
        {"prompt": {"id": "pmpt_1"}},
        None,
    ),
    "context_management": Case(
        "gpt-4.1",
        {"parameters": {"context_management": [{"type": "compaction"}]}},
        {"context_management": [{"type": "compaction"}]},
        None,
    ),
    "web_search_options": Case(
        "gpt-4.1", {"parameters": {"web_search_options": {}}}, None, {"web_search_options": {}}
    ),
    "a deployment": Case(
        "prod",
        {"reasoning_effort": "max", "verbosity": "low", "presence_penalty": 1, "temperature": 2},
        {"reasoning": {"effort": "max"}, "text": {"verbosity": "low"}, "temperature": 2},
        {"reasoning_effort": "max", "verbosity": "low", "presence_penalty": 1, "temperature": 2},
        "responses",
    ),
}


def test_each_row_of_the_table_has_a_case() -> None:
    """Fields that are set by the SDK's names alone count by their place in a body."""
    arrived = {
        f"{outer}.{inner}" if outer in ("reasoning", "text") else outer
        for case in CASES.values()
        for outer, value in (case.responses or {}).items()
        for inner in ((isinstance(value, Mapping) and value) or (None,))
    }
    assert {row.responses for row in TABLE if row.responses is not None} <= arrived
    over_chat = {name for case in CASES.values() for name in case.chat or ()}
    assert {row.chat for row in TABLE if row.chat is not None} <= over_chat


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
async def test_what_is_said_arrives_as_the_table_says(
    case: Case, api: str, caplog: pytest.LogCaptureFixture
) -> None:
    wanted = case.responses if api == "responses" else case.chat
    if wanted is None:
        with pytest.raises(ConfigError, match=str(next(iter(case.options["parameters"])))):
            OpenAILLM(api_key="k", model=case.model, streaming=api == "responses", **case.options)
        return
    async with talking(api, case.model, **case.options) as (model, service):
        for _ in range(2):
            await ask(model, tools=case.tools)
        entries = service.journal.entries
        assert len(entries) == 2  # so nothing was refused
        for entry in entries:
            assert {k: entry.body.get(k) for k in wanted} == wanted
            elsewhere = (case.chat or {}) if api == "responses" else (case.responses or {})
            assert not (set(case.absent) | (elsewhere.keys() - wanted.keys())) & entry.body.keys()
    assert len(warned(caplog)) == (api in case.warns)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"model": "gpt-5.2", "reasoning_effort": "fast"}, "'minimal', 'low'"),
        ({"verbosity": "loud"}, "'low', 'medium', 'high'"),
        ({"temperature": 5}, "from 0 to 2"),
        ({"tool_choice": "foo"}, "'auto', 'required', 'none'"),
        ({"parameters": {"service_tier": "fastest"}}, "'priority'"),
        ({"parameters": {"metadata": {"k": "v" * 513}}}, "512"),
        ({"parameters": {"sead": 7}}, "extra_body"),
        ({"parameters": [7]}, "expected an object"),
        ({"parameters": {"timeout": 3}}, "timeout"),
        ({"seed": "7"}, "whole number"),
        ({"model": "o3", "reasoning_effort": "none", "strict_parameters": True}, "'low'"),
        ({"model": "o3", "temperature": 0.5, "strict_parameters": True}, "temperature"),
    ],
)
def test_a_wrong_value_is_refused_when_it_is_given(
    options: dict[str, Any], expected: str, api: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        OpenAILLM(api_key="k", streaming=api == "responses", **options)
    assert expected in str(caught.value)


async def test_a_wrong_value_of_a_call_is_refused_there(api: str) -> None:
    async with talking(api, "gpt-5.2") as (model, service):
        for call in ({"reasoning_effort": "fast"}, {"service_tier": "fastest"}, {"sead": 1}):
            _, error = await chunks_of(model, hello(), **call)
            assert isinstance(error, ConfigError)
            assert next(iter(call)) in str(error)
        assert service.journal.entries == []


async def test_parameters_may_be_assigned_at_run_time(api: str) -> None:
    async with talking(api, "gpt-4.1", parameters={"user": "a"}) as (model, service):
        await ask(model)
        model.parameters = {"user": "b"}
        await ask(model)
        assert [entry.body["user"] for entry in service.journal.entries] == ["a", "b"]
        assert "'b'" not in f"{model!r} {vars(model)}"


async def test_a_refused_effort_is_stepped_to_the_nearest_that_the_service_names(
    api: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The table doesn't know this model; the service does."""
    async with talking(api, "gpt-6.7-nova", reasoning_effort="none", temperature=0.7) as (
        model,
        service,
    ):
        for _ in range(3):
            await ask(model)
        bodies = [entry.body for entry in service.journal.entries]
    efforts = [
        body["reasoning"]["effort"] if api == "responses" else body["reasoning_effort"]
        for body in bodies
    ]
    assert efforts == ["none", "low", "low", "low", "low"]
    assert ["temperature" in body for body in bodies] == [True, True, False, False, False]
    assert len(warned(caplog)) == 1  # the temperature was left at its default
    assert "'low'" in warned(caplog)[0]


async def test_a_refused_effort_is_the_turns_error_where_the_user_insists(api: str) -> None:
    options: dict[str, Any] = {"reasoning_effort": "none", "strict_parameters": True}
    async with talking(api, "gpt-6.7-nova", **options) as (model, service):
        _, error = await chunks_of(model, hello())
        assert isinstance(error, RequestRejected)
        assert "Supported values are" in str(error)
        assert len(service.journal.entries) == 1


async def test_what_a_default_taught_holds_for_no_choice_of_a_strict_user(api: str) -> None:
    """A default that was dropped silently doesn't drop what is chosen later."""
    async with talking(api, "gpt-6.7-nova", strict_parameters=True) as (model, service):
        await ask(model)
        model.temperature = 0.3
        _, error = await chunks_of(model, hello())
        assert isinstance(error, RequestRejected)
        sent = ["temperature" in entry.body for entry in service.journal.entries]
        assert sent == [True, False, True]
