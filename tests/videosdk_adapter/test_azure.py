"""Azure: addresses and credentials of all kinds, over HTTP and over the socket."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import openai
import pytest

from rtllm import ConfigError
from rtllm.adapters import resolve_azure
from rtllm.simulator import Simulator
from rtllm_videosdk import OpenAILLM
from videosdk_adapter.requests import chunks_of, hello, text_of
from videosdk_adapter.talks import tool


@tool
async def weather(city: str) -> str:
    """Tell the weather."""
    return "fine"


def header(service: Simulator, name: str) -> str | None:
    journal = service.journal
    if journal.connections:
        return journal.connections[-1].headers.get(name)
    return journal.entries[-1].headers.get(name)


async def ask(llm: Any, **call: Any) -> str:
    chunks, error = await chunks_of(llm, hello(), **call)
    if error is not None:
        raise error
    return text_of(chunks)


DATED: dict[str, Any] = {"api_version": "2024-10-21"}


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize("version", [None, "2024-10-21"])
async def test_key_deployment_and_version(streaming: bool, version: str | None) -> None:
    async with Simulator("Hi.", models=["prod"]) as service:
        llm = OpenAILLM.azure(
            azure_endpoint=service.azure_endpoint,
            azure_deployment="prod",
            api_version=version,
            api_key="key-1",
            streaming=streaming,
        )
        assert await ask(llm) == "Hi."
        entry = service.journal.entries[0]
        assert entry.body["model"] == "prod"
        dated = version is not None and not streaming
        assert entry.query.get("api-version") == (version if dated else None)
        # As Azure's own pages have it over HTTP; the socket takes a bearer.
        name, value = ("Authorization", "Bearer key-1") if streaming else ("api-key", "key-1")
        assert header(service, name) == value
        if streaming:
            assert "api-version" not in service.journal.connections[0].query
            assert "model" not in service.journal.connections[0].query
            assert entry.lane is None
        await llm.aclose()


@pytest.mark.parametrize("streaming", [False, True])
async def test_another_deployment_of_a_live_llm(streaming: bool) -> None:
    async with Simulator("Hi.", models=["prod", "next"]) as service:
        llm = OpenAILLM.azure(
            azure_endpoint=service.azure_endpoint,
            azure_deployment="prod",
            api_key="k",
            streaming=streaming,
        )
        await ask(llm)
        llm.update_options(model="next")
        await ask(llm)
        assert [entry.body["model"] for entry in service.journal.entries] == ["prod", "next"]
        await llm.aclose()


@pytest.mark.parametrize("model", ["gpt-5", "gpt-5.2", "o4-mini", "gpt-4o-mini", "gpt-6-sol"])
@pytest.mark.parametrize("streaming", [False, True])
async def test_default_arguments_work_with_every_family(
    model: str, streaming: bool, caplog: pytest.LogCaptureFixture
) -> None:
    async with Simulator("Hi.", models=["prod"]) as service:
        llm = OpenAILLM.azure(
            model=model, azure_endpoint=service.azure_endpoint, api_key="k", streaming=streaming
        )
        assert await ask(llm, tools=[weather]) == "Hi."
        assert len(service.journal.entries) == 1
        await llm.aclose()
    assert [r for r in caplog.records if r.name.startswith("rtllm_videosdk")] == []


@pytest.mark.parametrize(
    ("arguments", "environment", "wanted"),
    [
        ({"azure_ad_token": "t"}, {"API_KEY": "k"}, "Bearer t"),
        ({"api_key": "k"}, {"AD_TOKEN": "t"}, "k"),
        ({}, {"AD_TOKEN": "t", "API_KEY": "k"}, "Bearer t"),
        ({}, {"API_KEY": "k"}, "k"),
        ({"azure_ad_token_provider": lambda: "p"}, {"API_KEY": "k", "AD_TOKEN": "t"}, "Bearer p"),
    ],
)
@pytest.mark.parametrize("streaming", [False, True])
async def test_an_argument_beats_the_environment(
    arguments: dict[str, Any],
    environment: dict[str, str],
    wanted: str,
    streaming: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(f"AZURE_OPENAI_{name}", value)
    async with Simulator("Hi.", models=["prod"]) as service:
        monkeypatch.setenv("AZURE_OPENAI_ENDPOINT", service.azure_endpoint)
        monkeypatch.setenv("AZURE_OPENAI_DEPLOYMENT", "prod")
        monkeypatch.setenv("OPENAI_API_VERSION", "2024-10-21")
        llm = OpenAILLM.azure(**arguments, streaming=streaming)
        assert await ask(llm) == "Hi."
        bearer = wanted if wanted.startswith("Bearer") else f"Bearer {wanted}"
        if streaming or wanted.startswith("Bearer"):
            assert header(service, "Authorization") == bearer
        else:
            assert header(service, "api-key") == wanted
        assert service.journal.entries[0].body["model"] == "prod"
        await llm.aclose()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"api_key": "k"}, "Azure endpoint must be provided"),
        ({"azure_endpoint": "https://r.openai.azure.com"}, "Either API key or Azure AD token"),
        (
            {"azure_endpoint": "https://r.example", "api_key": "k", "azure_ad_token": "t"},
            "api_key and azure_ad_token are set; pass only one",
        ),
        (
            {
                "azure_endpoint": "https://r.example",
                "api_key": "k",
                "base_url": "https://s.example",
            },
            "both azure_endpoint and base_url are set",
        ),
    ],
)
def test_what_is_missing_is_a_value_error(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        OpenAILLM.azure(**arguments)
    assert isinstance(caught.value, ConfigError)


@pytest.mark.parametrize("is_async", [False, True])
async def test_a_provider_is_asked_for_each_request_over_http(is_async: bool) -> None:
    given: list[str] = []

    def provide() -> str:
        given.append(f"token-{len(given)}")
        return given[-1]

    async def provide_later() -> str:
        await asyncio.sleep(0)
        return provide()

    for version in (None, "2024-10-21"):
        given.clear()
        async with Simulator("Hi.", models=["prod"]) as service:
            llm = OpenAILLM.azure(
                azure_endpoint=service.azure_endpoint,
                azure_ad_token_provider=provide_later if is_async else provide,
                api_version=version,
            )
            for _ in range(2):
                assert await ask(llm) == "Hi."
            bearers = [e.headers["Authorization"] for e in service.journal.entries]
            assert len(set(bearers)) == 2
            await llm.aclose()


@pytest.mark.parametrize("is_async", [False, True])
async def test_a_provider_is_asked_for_each_handshake(is_async: bool) -> None:
    given: list[str] = []

    def provide() -> str:
        given.append(f"token-{len(given)}")
        return given[-1]

    async def provide_later() -> str:
        await asyncio.sleep(0)
        return provide()

    async with Simulator("Hi.", models=["prod"]) as service:
        llm = OpenAILLM.azure(
            azure_endpoint=service.azure_endpoint,
            azure_ad_token_provider=provide_later if is_async else provide,
            streaming=True,
            warm_connections=0,
        )
        assert await ask(llm) == "Hi."
        await llm.aclose()
        assert await ask(llm) == "Hi."
        bearers = [c.headers["Authorization"] for c in service.journal.connections]
        assert len(set(bearers)) == len(bearers) >= 2
        await llm.aclose()


@pytest.mark.parametrize("streaming", [False, True])
async def test_base_url_alone_is_an_address(streaming: bool) -> None:
    async with Simulator("Hi.", models=["prod"]) as service:
        llm = OpenAILLM.azure(
            base_url=f"{service.azure_endpoint}/openai/v1", api_key="k", streaming=streaming
        )
        assert await ask(llm) == "Hi."
        await llm.aclose()


async def test_base_url_of_a_deployment_with_a_version() -> None:
    async with Simulator("Hi.", models=["prod"]) as service:
        llm = OpenAILLM.azure(
            base_url=f"{service.azure_endpoint}/openai/deployments/prod", api_key="k", **DATED
        )
        assert await ask(llm) == "Hi."
        assert service.journal.entries[0].query["api-version"] == DATED["api_version"]
        await llm.aclose()


@pytest.mark.parametrize("streaming", [False, True])
async def test_a_client_of_the_users(streaming: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-of-the-environment")
    async with Simulator("Hi.", models=["prod"]) as service:
        client = openai.AsyncAzureOpenAI(
            azure_endpoint=service.azure_endpoint,
            azure_deployment="prod",
            api_key="key-of-the-client",
            **DATED,
        )
        for llm in (
            OpenAILLM.azure(client=client, streaming=streaming),
            OpenAILLM(client=client, streaming=streaming),
        ):
            assert await ask(llm) == "Hi."
            name = "Authorization" if streaming else "api-key"
            assert "key-of-the-client" in str(header(service, name))
            await llm.aclose()
        assert not client.is_closed()
        await client.close()


async def test_a_client_of_ours_is_closed_with_the_object() -> None:
    made: list[Any] = []
    async with Simulator("Hi.", models=["prod"]) as service:
        reach = resolve_azure(
            model="prod",
            azure_endpoint=service.azure_endpoint,
            azure_deployment=None,
            azure_ad_token=None,
            azure_ad_token_provider=None,
            api_key="k",
            **DATED,
        )

        def make_client(where: Any) -> Any:
            assert reach.make_client is not None
            made.append(reach.make_client(where))
            return made[-1]

        llm = OpenAILLM(model="prod", client=replace(reach, make_client=make_client))
        assert await ask(llm) == "Hi."
        await llm.aclose()
        assert made[0].is_closed()
        assert await ask(llm) == "Hi."
        await llm.aclose()


def test_a_subclass_gives_the_subclass() -> None:
    class Mine(OpenAILLM):
        pass

    llm = Mine.azure(azure_endpoint="https://r.openai.azure.com", api_key="secret-key")
    assert type(llm) is Mine
    assert "secret-key" not in f"{llm!r} {vars(llm)}"


async def test_the_organization_travels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_ORG_ID", "org-1")
    async with Simulator("Hi.", models=["prod"]) as service:
        llm = OpenAILLM.azure(
            azure_endpoint=service.azure_endpoint, api_key="k", project="p", **DATED
        )
        assert await ask(llm) == "Hi."
        assert header(service, "OpenAI-Organization") == "org-1"
        assert header(service, "OpenAI-Project") == "p"
        await llm.aclose()
