"""A call on a stage, and one check of what must hold after any call.

The answers are made of words that occur nowhere else, so that each word tells whether it was
played, how often, and whether the model saw it in a later context.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from livekit.agents import Agent

from livekit_adapter.stage import Stage, stage
from rtllm.simulator import Reply, Request, Script
from rtllm_livekit.testing import PhoneCall
from support.oracle import is_chained

PROMPT = "You are a kind receptionist."
_WORD = re.compile(r"\bw\d+x\d+\b")


def answer_of(index: int, words: int = 10) -> str:
    """An answer whose words occur in no other."""
    return " ".join(f"w{index}x{n}" for n in range(words))


def numbered(words: int = 10) -> Script:
    """Answer each request with words of its own."""
    return lambda request: answer_of(request.index, words)


def has_results(request: Request) -> bool:
    """Whether tools were run since the caller spoke last."""
    for item in reversed(request.context):
        if item.get("role") == "user":
            return False
        if item.get("type") == "function_call_output":
            return True
    return False


@dataclass
class Line:
    """A call, its service, and what both noted."""

    stage: Stage
    call: PhoneCall

    @property
    def keeps_older_states(self) -> bool:
        """Whether the state before the newest answer can still be continued."""
        return self.stage.lanes == "on" or self.stage.store is not False

    @property
    def contexts(self) -> list[list[tuple[str, str]]]:
        """What the model saw with each request that wasn't refused: role and text."""
        return [e.texts() for e in self.stage.entries if e.outcome != "refused"]

    @property
    def played(self) -> list[str]:
        """All words that the caller heard, in order."""
        return [word for heard in self.call.heard for word in heard.text.split()]

    @property
    def chained(self) -> list[bool]:
        """Which requests continued another, without the refused ones."""
        return [is_chained(e) for e in self.stage.entries if e.outcome != "refused"]

    async def check(self, **expected: Any) -> None:
        """Check everything that must hold of any call."""
        __tracebackhide__ = True
        await self.stage.check(**expected)
        self.check_heard()

    def check_heard(self) -> None:
        """Nothing was played twice, and the model saw only what was played."""
        twice = [w for w, count in Counter(self.played).items() if _WORD.match(w) and count > 1]
        assert not twice, f"played twice: {twice}"
        assert self.told_unheard() == set(), self.stage.story()

    def told_unheard(self) -> set[str]:
        """Words of answers in the model's contexts that were never played."""
        told = {
            word
            for context in self.contexts
            for role, text in context
            if role == "assistant"
            for word in _WORD.findall(text)
        }
        return told - {word for text in self.played for word in _WORD.findall(text)}


@asynccontextmanager
async def line(
    host: Mapping[str, Any],
    script: Script | Reply | str | None = None,
    *,
    agent: Agent | None = None,
    simulator: Mapping[str, Any] | None = None,
    whole: Collection[int] = (),
    connections: int | None = 1,
    refused: int | None = None,
    checked: bool = True,
    stock: bool = False,
    **options: Any,
) -> AsyncIterator[Line]:
    """A call that is under way; when it is over, everything is checked."""
    async with stage(
        script if script is not None else numbered(), simulator=simulator, stock=stock, **host
    ) as st:
        async with PhoneCall(agent or Agent(instructions=PROMPT), llm=st.llm, **options) as call:
            on = Line(st, call)
            yield on
            await call.quiet()
        if checked:
            await on.check(whole=whole, connections=connections, refused=refused)
