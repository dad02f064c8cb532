"""Settings, of the constructor and of a call, reach the service."""

from __future__ import annotations

from typing import Any

import pytest
from livekit.agents import function_tool
from livekit.agents._exceptions import APIError
from openai.types import Reasoning

from livekit_adapter.requests import (
    answer,
    hello,
)
from livekit_adapter.stage import stage
from rtllm.simulator import (
    echo,
)
from rtllm_livekit import LLM
from support.stock import both

# -- settings -----------------------------------------------------------------------------------


@both
async def test_what_a_call_sets_wins_over_the_constructor(stock: bool) -> None:
    options: dict[str, Any] = {
        "temperature": 0.9,
        "tool_choice": "required",
        "parallel_tool_calls": True,
    }

    @function_tool
    async def verdict() -> None:
        """Judge."""

    async with stage(echo(), stock=stock, **options) as st:
        await answer(
            st,
            hello(),
            tools=[verdict],
            tool_choice="auto",
            parallel_tool_calls=False,
            extra_kwargs={"temperature": 0},
        )
        body = st.entries[0].body
        assert body["temperature"] == (0.9 if stock else 0)
        if not stock:
            assert body["tool_choice"] == "auto"
            assert body["parallel_tool_calls"] is False
            await answer(st, hello("Again"), tools=[verdict])
            again = st.entries[1].body
            assert (again["temperature"], again["tool_choice"]) == (0.9, "required")


@both
async def test_a_response_format_becomes_a_text_format(stock: bool) -> None:
    schema = {
        "type": "object",
        "properties": {"ok": {"type": "boolean"}},
        "required": ["ok"],
        "additionalProperties": False,
    }
    response_format = {
        "type": "json_schema",
        "json_schema": {"name": "verdict", "schema": schema, "strict": True},
    }
    async with stage('{"ok": true}', stock=stock) as st:
        call = {"extra_kwargs": {"response_format": response_format}}
        if stock:
            with pytest.raises(APIError):
                await answer(st, hello(), **call)
            return
        await answer(st, hello(), **call)
        assert st.entries[0].body["text"]["format"] == {
            "type": "json_schema",
            "name": "verdict",
            "schema": schema,
            "strict": True,
        }
        assert "response_format" not in st.entries[0].body


async def test_every_setting_reaches_the_service() -> None:
    options: dict[str, Any] = {
        "model": "gpt-5.1",
        "user": "caller-1",
        "reasoning": {"effort": "low"},
        "service_tier": "priority",
        "verbosity": "low",
        "max_output_tokens": 300,
        "store": True,
    }
    async with stage(echo(), **options) as st:
        await answer(st, hello())
        body = st.entries[0].body
        assert body["user"] == "caller-1"
        assert body["reasoning"] == {"effort": "low"}
        assert body["service_tier"] == "priority"
        assert body["text"]["verbosity"] == "low"
        assert body["max_output_tokens"] == 300
        assert body["store"] is True
        assert body["model"] == "gpt-5.1"
        await st.check()


async def test_no_field_is_null() -> None:
    async with stage(echo(), model="gpt-5.1", reasoning=Reasoning(effort="none")) as st:
        await answer(st, hello(), extra_kwargs={"top_p": None})
        assert None not in st.entries[0].body.values()
        assert st.entries[0].body["reasoning"] == {"effort": "none"}
        await st.check()


# -- names, spans -------------------------------------------------------------------------------


async def test_model_and_provider_are_names() -> None:
    async with stage(echo(), model="gpt-5.1") as st:
        assert (st.llm.model, st.llm.provider) == ("gpt-5.1", "127.0.0.1")
    assert LLM(api_key="k").provider == "openai"
