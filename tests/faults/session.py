"""A LiveKit session in which a case is played."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

from livekit.agents import Agent, AgentSession, RunContext, function_tool
from livekit.agents._exceptions import APIError
from livekit.agents.types import APIConnectOptions
from livekit.agents.voice.agent_session import SessionConnectOptions

from faults.case import Case, Host
from faults.play import BUDGET, script_of
from livekit_adapter.sessions import errors_of, said_in, session_of
from livekit_adapter.stage import Stage, stage
from rtllm_livekit.testing import FakeTextOutput
from support.oracle import KEY

OPTIONS = SessionConnectOptions(llm_conn_options=APIConnectOptions(max_retry=BUDGET))


class Caller(Agent):
    """An agent with a tool that notes its runs."""

    def __init__(self) -> None:
        super().__init__(instructions="Be kind.")
        self.runs: list[str] = []

    @function_tool
    async def look(self, context: RunContext[Any], what: str) -> str:
        """Look something up.

        Args:
            what: What to look up.
        """
        self.runs.append(context.function_call.call_id)
        return f"found {what}"


class Line:
    """A session in text mode."""

    def __init__(self, st: Stage, session: AgentSession[Any], agent: Caller) -> None:
        self._session = session
        self._agent = agent
        self._events = errors_of(st.llm)
        self._captions = FakeTextOutput()
        session.output.transcription = self._captions

    @property
    def spoken(self) -> list[str]:
        return self._captions.segments

    @property
    def recorded(self) -> list[str]:
        return [text for role, text in said_in(self._session) if role == "assistant"]

    @property
    def runs(self) -> list[str]:
        return self._agent.runs

    @property
    def errors(self) -> list[Any]:
        assert not any(event.recoverable for event in self._events)
        return [event.error.__cause__ for event in self._events]

    async def says(self, text: str) -> None:
        with suppress(APIError):
            await self._session.run(user_input=text)


@asynccontextmanager
async def in_session(case: Case, host: Host, **more: Any) -> AsyncIterator[tuple[Stage, Line]]:
    """A session on a host with a scripted model."""
    options: dict[str, Any] = {**host.options, **case.options, **more}
    if case.renewable:
        options["api_key"] = lambda: KEY
    async with stage(script_of(case), simulator=case.simulator, **options) as st:
        agent = Caller()
        async with session_of(st.llm, agent, conn_options=OPTIONS) as session:
            yield st, Line(st, session, agent)
