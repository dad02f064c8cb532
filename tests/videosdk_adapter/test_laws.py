"""The laws over conversations by chance: faithful, chained where possible, nothing refused."""

from __future__ import annotations

from typing import Any

import pytest

from videosdk_adapter.dice import ACTIONS, Chance, act
from videosdk_adapter.stage import stage
from videosdk_adapter.talks import Plain, talk


@pytest.mark.parametrize("seed", range(40))
@pytest.mark.parametrize(
    "host",
    [
        pytest.param({"streaming": True}, id="unstored"),
        pytest.param({"streaming": True, "store": True}, id="stored"),
        pytest.param({"streaming": True, "lanes": "off"}, id="off"),
        pytest.param({"streaming": False}, id="http"),
    ],
)
async def test_law_any_conversation(host: dict[str, Any], seed: int) -> None:
    chance = Chance(seed)
    chance.agent = Plain(tools=[chance.work])
    async with stage(chance.reply, **host) as st, talk(st.llm, chance.agent) as c:
        chance.gate.set()
        done = []
        for _ in range(chance.dice.randint(4, 10)):
            done.append(chance.dice.choice(ACTIONS))
            await act(chance, st, c, done[-1])
        await c.turn("goodbye")
        assert c.last[0] == "assistant", done
        chance.gate.set()
        assert st.errors == []
        assert len(chance.ran) == len(set(chance.ran)), "a call ran twice"
        st.reordered = True
        await st.check(connections=None)
