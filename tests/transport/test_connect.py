"""Clients from a key and an address, and the text of a response."""

from __future__ import annotations

from contextlib import aclosing

import pytest

from rtllm import ChatClient, Client, ConfigError, Message, Request, RequestRejected
from rtllm.simulator import ErrorFrame, Simulator, echo, only

ASKED = Request((Message.of("user", "Hi"),), "gpt-4.1")


@pytest.mark.parametrize("kind", [Client, ChatClient])
async def test_a_client_in_one_call_and_the_text_of_its_response(
    kind: type[Client | ChatClient],
) -> None:
    async with (
        Simulator(echo()) as service,
        aclosing(kind.connect(api_key="key", base_url=service.base_url)) as client,
    ):
        stream = client.ask(ASKED)
        assert await stream.text() == "You said: Hi"
        assert stream.report is not None
        assert client.usage.all.attempts == 1


async def test_the_text_of_a_failed_turn_is_its_error() -> None:
    fault = only(0, ErrorFrame(status=400, code="invalid_prompt", kind="invalid_request_error"))
    async with (
        Simulator(echo(), fault=fault) as service,
        aclosing(Client.connect(api_key="key", base_url=service.base_url)) as client,
    ):
        with pytest.raises(RequestRejected):
            await client.ask(ASKED).text()


@pytest.mark.parametrize("kind", [Client, ChatClient])
def test_a_missing_key_is_refused_at_once(
    kind: type[Client | ChatClient], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with pytest.raises(ConfigError, match="OPENAI_API_KEY"):
        kind.connect()


@pytest.mark.parametrize("kind", [Client, ChatClient])
async def test_prewarm_takes_only_the_model(kind: type[Client | ChatClient]) -> None:
    async with (
        Simulator(echo()) as service,
        aclosing(kind.connect(api_key="key", base_url=service.base_url)) as client,
    ):
        client.prewarm("gpt-4.1")
        assert await client.ask(ASKED).text() == "You said: Hi"
