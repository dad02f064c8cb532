"""A VideoSDK pipeline in which a case is played."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from faults.case import Case, Host
from faults.play import BUDGET, script_of
from support.oracle import KEY
from videosdk_adapter.phone import Voice
from videosdk_adapter.stage import Stage, stage
from videosdk_adapter.talks import Plain, Talk, talk, tool

SORRY = "Sorry, once more?"


class Caller(Plain):
    """An agent with a tool that notes its runs."""

    def __init__(self) -> None:
        super().__init__(tools=[self.look])
        self.looked: list[str] = []

    @tool
    async def look(self, what: str) -> str:
        """Look something up.

        Args:
            what: What to look up.
        """
        self.looked.append(what)
        return f"found {what}"


class Line:
    """A pipeline on the voice path, without sound."""

    def __init__(self, st: Stage, on: Talk, agent: Caller, voice: Voice) -> None:
        self._stage = st
        self._talk = on
        self._agent = agent
        self._voice = voice

    @property
    def spoken(self) -> list[str]:
        return self._voice.said

    @property
    def recorded(self) -> list[str]:
        return [text for role, text in self._talk.history() if role == "assistant"]

    @property
    def runs(self) -> list[str]:
        return self._agent.looked

    @property
    def errors(self) -> list[Any]:
        return self._stage.errors

    async def says(self, text: str) -> None:
        await self._talk.turn(text, limit=300.0)  # virtual seconds


@asynccontextmanager
async def in_pipeline(case: Case, host: Host, **more: Any) -> AsyncIterator[tuple[Stage, Line]]:
    """A pipeline on a host with a scripted model."""
    options: dict[str, Any] = {**host.options, **case.options, "max_retries": BUDGET, **more}
    if case.renewable:
        options["api_key"] = lambda: KEY
    options |= {"streaming": True, "failure_text": SORRY}
    async with stage(script_of(case), simulator=case.simulator, **options) as st:
        agent, voice = Caller(), Voice()
        async with talk(st.llm, agent, tts=voice) as on:
            yield st, Line(st, on, agent, voice)
