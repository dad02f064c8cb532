"""`ChatLLM`: sessions over Chat Completions."""

from __future__ import annotations

import inspect
from typing import Any

import openai
import pytest
from livekit.agents import Agent, function_tool, llm
from livekit.agents.types import APIConnectOptions
from livekit.agents.utils import http_context
from livekit.plugins import openai as stock
from pydantic import BaseModel

from livekit_adapter.sessions import session_of
from rtllm import ConfigError
from rtllm.simulator import Call, Close, Reply, Request, Simulator, rate_limited
from rtllm_livekit import LLM, ChatLLM


@function_tool
async def look(what: str) -> str:
    """Look something up.

    Args:
        what: What to look up.
    """
    return f"found {what}"


def model(request: Request) -> Reply | str:
    if request.trailing_outputs:
        return f"It is so, says {request.index}."
    if "look" in request.last_user_text:
        return Reply.of(*(Call("look", {"what": f"{n}"}) for n in range(2)))
    return f"Answer {request.index}."


def test_every_keyword_of_the_original_is_there() -> None:
    theirs = inspect.signature(stock.LLM.__init__).parameters
    ours = inspect.signature(ChatLLM.__init__).parameters
    missing = [name for name in theirs if name not in ours and not name.startswith("_")]
    assert not missing
    theirs = inspect.signature(stock.LLM.with_azure).parameters
    ours = inspect.signature(ChatLLM.with_azure).parameters
    options = inspect.signature(ChatLLM.__init__).parameters
    assert all(name in ours or name in options for name in theirs)


async def test_a_session() -> None:
    async with http_context.open(), Simulator(model) as service:
        ours = ChatLLM(api_key="k", base_url=service.base_url)
        async with session_of(ours, Agent(instructions="Be kind.", tools=[look])) as session:
            for words in ("Hello", "Please look", "Thanks"):
                await session.run(user_input=words)
        await ours.aclose()
        entries = service.journal.entries
        assert [e.outcome for e in entries] == ["completed"] * 4
        assert {e.api for e in entries} == {"chat"}
        said = entries[-1].texts()
        assert said[0] == ("system", "Be kind.")
        assert [t for r, t in said if r == "function_call_output"] == ["found 0", "found 1"]
        assert said[-1] == ("user", "Thanks")
        assert ours.usage.all.attempts == 4


async def ask(ours: llm.LLM[Any], retries: int = 3, **options: Any) -> str:
    context = llm.ChatContext.empty()
    context.add_message(role="user", content="hi")
    conn = APIConnectOptions(max_retry=retries, retry_interval=0.0, timeout=10.0)
    return (await ours.chat(chat_ctx=context, conn_options=conn, **options).collect()).text


async def test_a_second_try_recovers() -> None:
    faults = [rate_limited("0"), Close(phase="created"), None]
    async with http_context.open(), Simulator("hello", fault=faults) as service:
        ours = ChatLLM(api_key="k", base_url=service.base_url)
        assert await ask(ours) == "hello"
        await ours.aclose()


async def test_max_retries_replaces_the_sessions_budget() -> None:
    faults = [rate_limited("0"), rate_limited("0"), None]
    async with http_context.open(), Simulator("hello", fault=faults) as service:
        ours = ChatLLM(api_key="k", base_url=service.base_url, max_retries=2)
        assert await ask(ours, retries=0) == "hello"
        await ours.aclose()
    with pytest.raises(ConfigError, match="max_retries"):
        ChatLLM(api_key="k", max_retries=-1)


async def test_headers_query_and_body_go_along() -> None:
    async with http_context.open(), Simulator("hello") as service:
        ours = ChatLLM(
            api_key="k",
            base_url=service.base_url,
            extra_headers={"x-tenant": "7"},
            extra_query={"trace": "on"},
            extra_body={"seed": 3},
        )
        await ask(ours, extra_kwargs={"extra_headers": {"x-call": "9"}})
        await ours.aclose()
        (entry,) = service.journal.entries
        assert (entry.headers["x-tenant"], entry.headers["x-call"]) == ("7", "9")
        assert entry.query["trace"] == "on"
        assert entry.body["seed"] == 3


async def test_a_client_of_the_users_is_used_and_left_open() -> None:
    async with http_context.open(), Simulator("hello", api_key="theirs") as service:
        client = openai.AsyncClient(api_key="theirs", base_url=service.base_url)
        ours = ChatLLM(client=client)
        assert await ask(ours) == "hello"
        await ours.aclose()
        assert not client.is_closed()
        await client.close()


class Weather(BaseModel):
    """What the weather is like."""

    city: str
    degrees: int


@pytest.mark.parametrize("kind", [LLM, ChatLLM])
@pytest.mark.parametrize("place", ["response_format", "extra_kwargs"])
async def test_a_pydantic_model_is_the_form_of_the_answer(
    kind: type[LLM | ChatLLM], place: str
) -> None:
    async with http_context.open(), Simulator('{"city":"Ulm","degrees":20}') as service:
        ours = kind(api_key="k", base_url=service.base_url)
        told: dict[str, Any] = {"response_format": Weather}
        said = await ask(ours, **({place: told} if place == "extra_kwargs" else told))
        assert Weather.model_validate_json(said).degrees == 20
        await ours.aclose()
        body = service.journal.entries[0].body
        form = body["text"]["format"] if kind is LLM else body["response_format"]["json_schema"]
        assert form["strict"] is True
        assert set(form["schema"]["properties"]) == {"city", "degrees"}
