"""Each row of the table of parameters, through the adapter, against the strict service."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from livekit.agents import function_tool, llm
from livekit.agents._exceptions import APIStatusError
from livekit.agents.utils import http_context

from livekit_adapter.requests import ONCE, hello
from rtllm import ConfigError
from rtllm.parameters import TABLE
from rtllm.simulator import Simulator
from rtllm_livekit import LLM
from support.logs import warned


@function_tool
async def weather(city: str) -> str:
    """Tell the weather."""
    return "fine"


@asynccontextmanager
async def talking(model: str, **options: Any) -> AsyncIterator[tuple[LLM, Simulator]]:
    async with http_context.open(), Simulator("Hi.", models=[model]) as service:
        talker = LLM(api_key="k", base_url=service.base_url, model=model, **options)
        try:
            yield talker, service
        finally:
            await talker.aclose()


async def ask(model: LLM, *, tools: bool = False, **call: Any) -> None:
    stream = model.chat(
        chat_ctx=hello("Say JSON."),
        tools=[weather] if tools else None,
        conn_options=ONCE,
        **call,
    )
    assert (await stream.collect()).text == "Hi."


@dataclass(frozen=True)
class Case:
    """What is said to which model, what arrives of it, and whether there is a warning."""

    model: str
    options: Mapping[str, Any]
    body: Mapping[str, Any]
    warns: bool = False
    tools: bool = False
    extra: Mapping[str, Any] = field(default_factory=dict)
    absent: tuple[str, ...] = ()


_FORMAT = {"type": "json_schema", "name": "n", "schema": {"type": "object"}, "strict": False}
_CHAT_FORMAT = {
    "type": "json_schema",
    "json_schema": {"name": "n", "schema": {"type": "object"}, "strict": False},
}
_ALLOWED = {"mode": "auto", "tools": [{"type": "function", "function": {"name": "weather"}}]}
_LOGPROBS = ["message.output_text.logprobs"]

CASES: dict[str, Case] = {
    "effort": Case("gpt-5.2", {"reasoning": {"effort": "low"}}, {"reasoning": {"effort": "low"}}),
    "effort by default": Case("gpt-6-astra", {}, {"reasoning": {"effort": "low"}}),
    "effort stepped": Case(
        "gpt-6-astra", {"reasoning": {"effort": "none"}}, {"reasoning": {"effort": "low"}}, True
    ),
    "effort of a model without": Case(
        "gpt-4.1", {"reasoning": {"effort": "low"}}, {}, True, absent=("reasoning",)
    ),
    "summary": Case(
        "gpt-5.2", {"reasoning": {"summary": "auto"}}, {"reasoning": {"summary": "auto"}}
    ),
    "the old summary": Case(
        "gpt-5.2",
        {"parameters": {"reasoning": {"generate_summary": "concise"}}},
        {"reasoning": {"generate_summary": "concise"}},
    ),
    "context and mode of reasoning": Case(
        "gpt-6-sol",
        {"reasoning": {"context": "all_turns", "mode": "pro"}},
        {"reasoning": {"context": "all_turns", "mode": "pro"}},
    ),
    "summary of a model without": Case(
        "gpt-4.1", {"reasoning": {"summary": "auto"}}, {}, True, absent=("reasoning",)
    ),
    "verbosity": Case("gpt-5.2", {"verbosity": "low"}, {"text": {"verbosity": "low"}}),
    "verbosity of a model without": Case(
        "gpt-4.1", {"verbosity": "low"}, {}, True, absent=("text",)
    ),
    "format": Case(
        "gpt-4.1", {}, {"text": {"format": _FORMAT}}, extra={"text": {"format": _FORMAT}}
    ),
    "Chat's format": Case(
        "gpt-4.1", {}, {"text": {"format": _FORMAT}}, extra={"response_format": _CHAT_FORMAT}
    ),
    "temperature": Case("gpt-4.1", {"temperature": 0.3}, {"temperature": 0.3}),
    "temperature beside the effort none": Case(
        "gpt-5.2", {"temperature": 0.3}, {"temperature": 0.3, "reasoning": {"effort": "none"}}
    ),
    "temperature beside another effort": Case(
        "gpt-5.2",
        {"temperature": 0.3, "reasoning": {"effort": "low"}},
        {},
        True,
        absent=("temperature",),
    ),
    "top_p": Case("gpt-4.1", {"parameters": {"top_p": 0.9}}, {"top_p": 0.9}),
    "top_logprobs": Case(
        "gpt-4.1",
        {"parameters": {"top_logprobs": 2}},
        {"top_logprobs": 2, "include": _LOGPROBS},
    ),
    "logprobs": Case("gpt-4.1", {"parameters": {"logprobs": True}}, {"include": _LOGPROBS}),
    "output cap": Case("gpt-4.1", {"max_output_tokens": 50}, {"max_output_tokens": 50}),
    "Chat's output cap": Case(
        "o3", {"parameters": {"max_completion_tokens": 50}}, {"max_output_tokens": 50}
    ),
    "the old output cap": Case("o3", {}, {"max_output_tokens": 50}, extra={"max_tokens": 50}),
    "tool_choice": Case(
        "gpt-4.1", {"tool_choice": "required"}, {"tool_choice": "required"}, tools=True
    ),
    "tool_choice by name": Case(
        "gpt-4.1",
        {"tool_choice": {"type": "function", "function": {"name": "weather"}}},
        {"tool_choice": {"type": "function", "name": "weather"}},
        tools=True,
    ),
    "allowed tools": Case(
        "gpt-4.1",
        {"tool_choice": {"type": "allowed_tools", "allowed_tools": _ALLOWED}},
        {
            "tool_choice": {
                "type": "allowed_tools",
                "mode": "auto",
                "tools": [{"type": "function", "name": "weather"}],
            }
        },
        tools=True,
    ),
    "tool_choice without tools": Case(
        "gpt-4.1",
        {"tool_choice": "required", "parallel_tool_calls": False},
        {},
        absent=("tool_choice", "parallel_tool_calls"),
    ),
    "parallel_tool_calls": Case(
        "gpt-4.1", {"parallel_tool_calls": False}, {"parallel_tool_calls": False}, tools=True
    ),
    "parallel_tool_calls with the effort minimal": Case(
        "gpt-5", {"parallel_tool_calls": True}, {}, True, True, absent=("parallel_tool_calls",)
    ),
    "max_tool_calls": Case("gpt-4.1", {"parameters": {"max_tool_calls": 3}}, {"max_tool_calls": 3}),
    "store": Case("gpt-4.1", {"store": False}, {"store": False}),
    "include": Case(
        "gpt-5.2",
        {"parameters": {"include": ["reasoning.encrypted_content"]}},
        {"include": ["reasoning.encrypted_content"]},
    ),
    "truncation": Case("gpt-4.1", {"parameters": {"truncation": "auto"}}, {"truncation": "auto"}),
    "metadata": Case("gpt-4.1", {"metadata": {"k": "v"}}, {"metadata": {"k": "v"}}),
    "user": Case("gpt-4.1", {"user": "u"}, {"user": "u"}),
    "safety_identifier": Case(
        "gpt-4.1", {"parameters": {"safety_identifier": "s"}}, {"safety_identifier": "s"}
    ),
    "prompt_cache_key": Case(
        "gpt-4.1", {"parameters": {"prompt_cache_key": "k"}}, {"prompt_cache_key": "k"}
    ),
    "prompt_cache_options": Case(
        "gpt-6-sol",
        {"prompt_cache_options": {"mode": "explicit", "ttl": "12h"}},
        {"prompt_cache_options": {"mode": "explicit", "ttl": "12h"}},
    ),
    "prompt_cache_options of a model without": Case(
        "gpt-4.1",
        {"prompt_cache_options": {"mode": "explicit"}},
        {},
        True,
        absent=("prompt_cache_options",),
    ),
    "prompt_cache_retention": Case(
        "gpt-5.5",
        {"parameters": {"prompt_cache_retention": "24h"}},
        {"prompt_cache_retention": "24h"},
    ),
    "prompt_cache_retention that the model hasn't": Case(
        "gpt-5.5",
        {"parameters": {"prompt_cache_retention": "in_memory"}},
        {},
        True,
        absent=("prompt_cache_retention",),
    ),
    "service_tier": Case("gpt-4.1", {"service_tier": "ultrafast"}, {"service_tier": "ultrafast"}),
    "moderation": Case("gpt-4.1", {"parameters": {"moderation": {}}}, {"moderation": {}}),
    "prompt": Case(
        "gpt-4.1", {"parameters": {"prompt": {"id": "pmpt_1"}}}, {"prompt": {"id": "pmpt_1"}}
    ),
    "context_management": Case(
        "gpt-4.1",
        {"parameters": {"context_management": [{"type": "compaction"}]}},
        {"context_management": [{"type": "compaction"}]},
    ),
    "what only Chat has": Case(
        "gpt-4.1",
        {"parameters": {"seed": 7}},
        {},
        True,
        absent=("seed",),
    ),
    "extra_body": Case("gpt-4.1", {"parameters": {"extra_body": {"user": "x"}}}, {"user": "x"}),
    "a deployment with a family": Case(
        "prod", {"model_family": "gpt-5"}, {"reasoning": {"effort": "minimal"}}
    ),
    "a deployment without": Case(
        "prod",
        {"reasoning": {"effort": "max"}, "verbosity": "low", "temperature": 2},
        {"reasoning": {"effort": "max"}, "text": {"verbosity": "low"}, "temperature": 2},
    ),
}


def test_each_row_of_the_table_has_a_case() -> None:
    """Fields that are set by the SDK's names alone count by their place in a body."""
    arrived = {
        f"{outer}.{inner}" if outer in ("reasoning", "text") else outer
        for case in CASES.values()
        for outer, value in case.body.items()
        for inner in ((isinstance(value, Mapping) and value) or (None,))
    }
    assert {row.responses for row in TABLE if row.responses is not None} <= arrived


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
async def test_what_is_said_arrives_as_the_table_says(
    case: Case, caplog: pytest.LogCaptureFixture
) -> None:
    async with talking(case.model, **case.options) as (model, service):
        for _ in range(2):
            await ask(model, tools=case.tools, extra_kwargs=dict(case.extra))
        entries = service.journal.entries
        assert len(entries) == 2  # so nothing was refused
        for entry in entries:
            assert {k: entry.body.get(k) for k in case.body} == case.body
            assert not set(case.absent) & entry.body.keys()
    assert len(warned(caplog)) == case.warns


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"model": "gpt-5.2", "reasoning": {"effort": "fast"}}, "'minimal', 'low'"),
        ({"verbosity": "loud"}, "'low', 'medium', 'high'"),
        ({"temperature": 5}, "from 0 to 2"),
        ({"tool_choice": "foo"}, "'auto', 'required', 'none'"),
        ({"service_tier": "fastest"}, "'priority'"),
        ({"metadata": {"k": "v" * 513}}, "512"),
        ({"parameters": {"stop": "X"}}, "stop"),
        ({"parameters": {"sead": 7}}, "extra_body"),
        ({"parameters": [7]}, "expected an object"),
        ({"parameters": {"model": "gpt-5"}}, "model"),
        ({"parameters": {"extra_headers": {"X": "y"}}}, "extra_headers"),
        (
            {"model": "gpt-6-astra", "reasoning": {"effort": "none"}, "strict_parameters": True},
            "low",
        ),
        ({"model": "o3", "temperature": 0.5, "strict_parameters": True}, "temperature"),
    ],
)
def test_a_wrong_value_is_refused_when_it_is_given(options: dict[str, Any], expected: str) -> None:
    with pytest.raises(ConfigError) as caught:
        LLM(api_key="k", **options)
    assert expected in str(caught.value)


async def test_a_wrong_value_of_a_call_is_refused_there() -> None:
    model = LLM(api_key="k", model="gpt-5.2")
    for call in ({"reasoning_effort": "fast"}, {"service_tier": "fastest"}, {"sead": 1}):
        with pytest.raises(ConfigError, match=next(iter(call))):
            model.chat(chat_ctx=hello(), extra_kwargs=call)


async def test_a_refused_effort_is_stepped_to_the_nearest_that_the_service_names(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The table doesn't know this model; the service does."""
    async with talking("gpt-6.7-nova", reasoning={"effort": "none"}) as (model, service):
        for _ in range(3):
            await ask(model)
        sent = [entry.body["reasoning"]["effort"] for entry in service.journal.entries]
    assert sent == ["none", "low", "low", "low"]
    assert len(warned(caplog)) == 1
    assert "'low'" in warned(caplog)[0]


async def test_a_refused_default_is_stepped_silently(caplog: pytest.LogCaptureFixture) -> None:
    async with talking("gpt-6.7-nova", model_family="gpt-5.2") as (model, service):
        await ask(model)
        sent = [entry.body["reasoning"]["effort"] for entry in service.journal.entries]
    assert sent == ["none", "low"]
    assert warned(caplog) == []


async def test_a_refused_effort_is_the_turns_error_where_the_user_insists() -> None:
    options = {"reasoning": {"effort": "none"}, "strict_parameters": True}
    async with talking("gpt-6.7-nova", **options) as (model, service):
        for _ in range(2):
            with pytest.raises(APIStatusError, match="Supported values are"):
                await ask(model)
        assert len(service.journal.entries) == 2


async def test_breakpoints_go_to_models_that_take_them(
    caplog: pytest.LogCaptureFixture,
) -> None:
    for name, family, marked in (
        ("gpt-6-sol", None, True),
        ("gpt-4.1", None, False),
        ("prod", "gpt-4.1", False),
        ("prod", None, True),
    ):
        options: dict[str, Any] = {"prompt_cache_breakpoints": True, "model_family": family}
        async with talking(name, **options) as (model, service):
            ctx = llm.ChatContext.empty()
            ctx.add_message(role="system", content=["Be kind.", llm.CacheBreakpoint()])
            ctx.add_message(role="user", content="Hello")
            await model.chat(chat_ctx=ctx, conn_options=ONCE).collect()
            (entry,) = service.journal.entries
            assert ("prompt_cache_breakpoint" in str(entry.body["input"])) is marked
    assert len(warned(caplog)) == 2
