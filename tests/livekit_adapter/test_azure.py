"""`with_azure`: where it goes, with what, and which argument wins."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import openai
import pytest
from livekit.agents import llm
from livekit.agents.utils import http_context

from rtllm import ConfigError
from rtllm.simulator import HOSTS, Simulator
from rtllm_livekit import LLM, ChatLLM


@asynccontextmanager
async def azure(**options: Any) -> AsyncIterator[Simulator]:
    host = {**HOSTS["azure"], "models": ["my-deployment"], **options}
    async with http_context.open(), Simulator("hello", **host) as service:
        yield service


async def ask(model: llm.LLM[Any], text: str = "hi") -> str:
    context = llm.ChatContext.empty()
    context.add_message(role="user", content=text)
    return (await asyncio.wait_for(model.chat(chat_ctx=context).collect(), 10)).text


KINDS = pytest.mark.parametrize(
    ("kind", "options", "path"),
    [
        (LLM, {}, "websocket"),
        (LLM, {"use_websocket": False}, "http"),
        (LLM, {"use_websocket": False, "api_version": "2025-04-01-preview"}, "http"),
        (ChatLLM, {}, "http"),
        (ChatLLM, {"api_version": "2024-10-21"}, "http"),
    ],
    ids=["websocket", "responses v1", "responses dated", "chat v1", "chat dated"],
)


@KINDS
async def test_a_deployment_answers_over_each_way(
    kind: type[LLM | ChatLLM], options: dict[str, Any], path: str
) -> None:
    async with azure(api_key="azure-key") as service:
        model = kind.with_azure(
            model="gpt-4.1",
            azure_endpoint=service.azure_endpoint,
            azure_deployment="my-deployment",
            api_key="azure-key",
            **options,
        )
        assert type(model) is kind
        assert model.provider == "azure"
        assert await ask(model) == "hello"
        await model.aclose()
        (entry,) = service.journal.entries
        assert entry.transport == path
        if path == "websocket" or "api_version" not in options or kind is LLM:
            assert entry.body["model"] == "my-deployment"
        assert entry.lane is None


@KINDS
@pytest.mark.parametrize("is_async", [True, False])
async def test_a_token_is_requested_again(
    kind: type[LLM | ChatLLM], options: dict[str, Any], path: str, *, is_async: bool
) -> None:
    asked = 0

    def provide() -> str:
        nonlocal asked
        asked += 1
        return "fresh"

    async def provide_later() -> str:
        return provide()

    async with azure(api_key="fresh") as service:
        model = kind.with_azure(
            azure_endpoint=service.azure_endpoint,
            azure_deployment="my-deployment",
            azure_ad_token_provider=provide_later if is_async else provide,
            **options,
        )
        await ask(model, "one")
        await ask(model, "two")
        await model.aclose()
        assert asked >= (1 if path == "websocket" else 2)


async def test_a_subclass_gives_the_subclass() -> None:
    class Mine(LLM):
        pass

    model = Mine.with_azure(azure_endpoint="https://x.openai.azure.com", api_key="k")
    assert type(model) is Mine


async def test_an_argument_beats_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    async with azure(api_key="given") as service:
        monkeypatch.setenv("AZURE_OPENAI_AD_TOKEN", "other")
        monkeypatch.setenv("AZURE_OPENAI_API_KEY", "another")
        monkeypatch.setenv("AZURE_OPENAI_ENDPOINT", "https://nowhere.invalid")
        model = LLM.with_azure(
            azure_endpoint=service.azure_endpoint,
            azure_deployment="my-deployment",
            api_key="given",
        )
        assert await ask(model) == "hello"
        await model.aclose()


async def test_the_environment_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    async with azure(api_key="token") as service:
        monkeypatch.setenv("AZURE_OPENAI_AD_TOKEN", "token")
        monkeypatch.setenv("AZURE_OPENAI_API_KEY", "key")
        monkeypatch.setenv("AZURE_OPENAI_ENDPOINT", service.azure_endpoint)
        monkeypatch.setenv("AZURE_OPENAI_DEPLOYMENT", "my-deployment")
        model = LLM.with_azure()
        assert await ask(model) == "hello"
        await model.aclose()


@pytest.mark.parametrize("kind", [LLM, ChatLLM])
def test_what_is_missing_is_named(kind: type[LLM | ChatLLM]) -> None:
    with pytest.raises(ConfigError, match="AZURE_OPENAI_ENDPOINT"):
        kind.with_azure(api_key="k")
    with pytest.raises(ConfigError, match="AZURE_OPENAI_API_KEY"):
        kind.with_azure(azure_endpoint="https://x.openai.azure.com")


@pytest.mark.parametrize("use_websocket", [True, False])
async def test_a_client_of_the_users_will_do(*, use_websocket: bool) -> None:
    async with azure(api_key="theirs") as service:
        client = openai.AsyncAzureOpenAI(
            azure_endpoint=service.azure_endpoint,
            api_key="theirs",
            api_version="2025-04-01-preview",
            azure_deployment="my-deployment",
        )
        model = LLM(client=client, use_websocket=use_websocket, model_family="gpt-4.1")
        assert await ask(model) == "hello"
        await model.aclose()
        await client.close()
