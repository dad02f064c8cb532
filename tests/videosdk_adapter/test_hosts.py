"""Hosts as they are, in a pipeline: what they hang on calls, what they refuse, what they think."""

from __future__ import annotations

from typing import Any

import pytest
from videosdk.agents import ChatContext

from rtllm import ConfigError
from rtllm.simulator import Incomplete, Reply, Simulator, echo
from rtllm_videosdk import OpenAILLM
from support.hosts import calls_once
from videosdk_adapter.requests import chunks_of, hello, text_of
from videosdk_adapter.talks import Plain, talk, tool

SORRY = "Sorry, say that again."


@tool
async def weather(city: str) -> str:
    """Tell the weather."""
    return f"sunny in {city}"


def llm_of(service: Simulator, **options: Any) -> OpenAILLM:
    return OpenAILLM(api_key="key", base_url=service.base_url, model="some-model", **options)


@pytest.mark.parametrize("manner", ["signs calls", "thinks beside calls"])
async def test_what_a_host_hangs_on_a_call_goes_back_over_turns(manner: str) -> None:
    async with Simulator(calls_once, manners=[manner], strict=False) as service:
        llm = llm_of(service)
        async with talk(llm, Plain("Be kind.", [weather])) as call:
            for text in ("How is the weather?", "Thanks."):
                await call.say(text)
                assert call.last == ("assistant", "It is sunny.")
        assert len(service.journal.entries) == 3
        await llm.aclose()


async def test_a_signature_survives_the_process_in_the_frameworks_context() -> None:
    async with Simulator(calls_once, manners=["signs calls"], strict=False) as service:
        first = llm_of(service)
        async with talk(first, Plain("Be kind.", [weather])) as call:
            await call.say("How is the weather?")
            kept = call.agent.chat_context.to_dict()
        await first.aclose()
        second = llm_of(service)
        before = len(service.journal.entries)
        context = ChatContext.from_dict(kept)
        chunks, error = await chunks_of(second, context, tools=[weather])
        assert error is None
        assert text_of(chunks) == "It is sunny."
        assert len(service.journal.entries) == before + 1
        await second.aclose()


async def test_thoughts_are_not_spoken_unless_wanted() -> None:
    async with Simulator(echo(), manners=["thinks in the words"], strict=False) as service:
        for options, spoken in (({}, "You said: Hello"), ({"think_tags": "speak"}, "<think>")):
            llm = llm_of(service, **options)
            chunks, _ = await chunks_of(llm, hello())
            assert text_of(chunks).startswith(spoken)
            await llm.aclose()


async def test_an_answer_cut_before_its_first_word_is_not_silence() -> None:
    async with Simulator(Reply((), Incomplete("content_filter"))) as service:
        llm = llm_of(service, failure_text=SORRY)
        chunks, _ = await chunks_of(llm, hello())
        assert text_of(chunks) == SORRY
        await llm.aclose()


@pytest.mark.parametrize("use_websocket", [True, False])
async def test_the_default_of_store_fails_no_turn_on_a_host_without_the_field(
    *, use_websocket: bool, caplog: pytest.LogCaptureFixture
) -> None:
    async with Simulator("Hi.", manners=["no store"], strict=False) as service:
        llm = llm_of(service, streaming=True, use_websocket=use_websocket)
        for _ in range(2):
            chunks, error = await chunks_of(llm, hello())
            assert error is None
            assert text_of(chunks) == "Hi."
        requests = service.journal.entries
        assert [entry.body.get("store") for entry in requests] == [False, None, None]
        (warning,) = [r.getMessage() for r in caplog.records if r.levelname == "WARNING"]
        assert "dialect={'store': 'if set'}" in warning
        await llm.aclose()


@pytest.mark.parametrize(
    "options",
    [{"store": False}, {"extra_body": {"store": False}}, {"parameters": {"store": False}}],
)
async def test_a_user_who_forbids_storing_is_obeyed(options: dict[str, Any]) -> None:
    async with Simulator("Hi.", manners=["no store"], strict=False) as service:
        llm = llm_of(service, streaming=True, **options)
        _, error = await chunks_of(llm, hello())
        assert "store" in str(error)
        assert [entry.body.get("store") for entry in service.journal.entries] == [False]
        await llm.aclose()


@pytest.mark.parametrize("streaming", [True, False])
async def test_the_default_of_tool_choice_costs_one_refused_request(*, streaming: bool) -> None:
    async with Simulator("Hi.", manners=["no tool_choice"], strict=False) as service:
        llm = llm_of(service, streaming=streaming)
        for _ in range(2):
            chunks, error = await chunks_of(llm, hello(), tools=[weather])
            assert error is None
            assert text_of(chunks) == "Hi."
        sent = [entry.body.get("tool_choice") for entry in service.journal.entries]
        assert sent == ["auto", None, None]
        llm.tool_choice = "required"
        _, error = await chunks_of(llm, hello(), tools=[weather])
        assert "tool_choice" in str(error)  # what the user set is not dropped
        await llm.aclose()


async def test_nothing_is_stored_unless_the_user_wants_it() -> None:
    async with Simulator("Hi.") as service:
        llm = llm_of(service, streaming=True)
        for store in (None, True, False):
            llm.store = store
            await chunks_of(llm, hello())
        assert [entry.body.get("store") for entry in service.journal.entries] == [
            False,
            True,
            False,
        ]
        await llm.aclose()


async def test_defaults_of_azure_go_only_to_models_known_to_fit() -> None:
    async with Simulator("Hi.", models=["prod"], manners=["no effort"], strict=False) as service:
        llm = OpenAILLM.azure(
            azure_endpoint=service.azure_endpoint, api_key="k", model="prod", api_version="latest"
        )
        chunks, error = await chunks_of(llm, hello())
        assert error is None
        assert text_of(chunks) == "Hi."
        assert len(service.journal.entries) == 1
        await llm.aclose()


@pytest.mark.parametrize(
    ("end", "version"),
    [
        ("", None),
        ("/", "2024-10-21"),
        ("/openai", "2024-10-21"),
        ("/openai/v1/", None),
        ("/openai/v1/chat/completions", None),
        ("/openai/deployments/prod/chat/completions?api-version=2024-10-21", None),
        ("/openai/deployments/prod", "2024-10-21"),
        ("", "preview"),
        ("", "latest"),
    ],
)
async def test_every_address_that_a_portal_shows_is_understood(
    end: str, version: str | None
) -> None:
    async with Simulator("Hi.", models=["prod"]) as service:
        llm = OpenAILLM.azure(
            azure_endpoint=service.azure_endpoint + end,
            api_key="k",
            azure_deployment="prod",
            api_version=version,
        )
        chunks, error = await chunks_of(llm, hello())
        assert error is None
        assert text_of(chunks) == "Hi."
        assert service.journal.entries[0].headers["api-key"] == "k"
        assert "Authorization" not in service.journal.entries[0].headers
        await llm.aclose()


def test_an_address_without_a_scheme_is_refused_at_once() -> None:
    with pytest.raises(ConfigError, match="is not a valid URL"):
        OpenAILLM.azure(azure_endpoint="r.openai.azure.com", api_key="k")


async def _later(_: object) -> None: ...


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"host_profile": "mistal"}, "did you mean 'mistral'"),
        ({"dialect": {"nonsense": "x"}}, "dialect has 'nonsense'"),
        ({"streaming": "yes"}, "streaming is 'yes'"),
        ({"streaming": True, "lanes": "on"}, "lanes is 'on'"),
        ({"streaming": True, "chaining": "on"}, "chaining is 'on'"),
        ({"on_turn": _later}, "on_turn is async"),
    ],
)
async def test_bad_input_is_refused_when_it_is_given(options: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        OpenAILLM(api_key="k", base_url="http://127.0.0.1:9/v1", **options)
