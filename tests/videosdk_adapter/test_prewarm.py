"""`prewarm`: the socket, and the agent's instructions prepared by the service."""

import logging
from typing import Any

import pytest

from rtllm.simulator import echo
from support.oracle import is_chained
from videosdk_adapter.stage import stage
from videosdk_adapter.talks import Plain, talk


@pytest.mark.parametrize("store", [True, False])
@pytest.mark.parametrize("lanes", ["on", "off"])
async def test_the_first_turn_goes_on_from_the_prepared_instructions(
    lanes: str, store: bool
) -> None:
    host: dict[str, Any] = {"lanes": lanes, "store": store, "streaming": True}
    async with stage(echo(), **host) as st:
        await st.llm.prewarm(instructions="Be kind.", tools=[])
        async with talk(st.llm, Plain("Be kind.")) as call:
            await call.say("hello")
            await call.say("thanks")
        warm_up, *turns = st.service.journal.entries
        assert warm_up.body["generate"] is False
        assert [is_chained(entry) for entry in turns] == [True, True]
        assert [len(entry.input) for entry in turns] == [1, 1]
        assert turns[0].texts() == [("system", "Be kind."), ("user", "hello")]
        assert st.llm.usage.warm_up.attempts == 1


async def test_a_warm_up_that_fails_costs_the_first_turn_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    host: dict[str, Any] = {"lanes": "on", "extra_body": {"truncation": "sometimes"}}
    async with stage(echo(), **host) as st:
        with caplog.at_level(logging.WARNING):
            await st.llm.prewarm(instructions="Be kind.")
        assert "could not be warmed up" in caplog.text
        st.llm.extra_body = None
        async with talk(st.llm, Plain("Be kind.")) as call:
            await call.say("hello")
            assert call.last == ("assistant", "You said: hello")


async def test_without_instructions_only_the_socket_is_opened() -> None:
    async with stage(echo(), lanes="on", streaming=True) as st:
        await st.llm.prewarm()
        await st.service.journal.wait(lambda journal: journal.open_connections)
        assert not st.service.journal.entries
