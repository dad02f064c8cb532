"""Record the trace of a LiveKit agent's phone call with troubles, on the simulator.

    uv run examples/livekit/record_trace.py calls.jsonl
    uv run rtllm trace calls.jsonl

One caller books a table: a slow handshake, a tool, a barge-in, a dropped connection, a parameter
that the host rejects, instructions that change during the call, reasoning, and a request that is
rejected. It takes about 20 seconds. An example in the documentation is recorded by it.
"""

import asyncio
import logging
import sys
from pathlib import Path
from typing import Annotated

import typer
from livekit.agents import Agent, AgentSession, function_tool
from livekit.agents.voice.io import TextOutput

from rtllm import TraceListener, UsageSnapshot
from rtllm_livekit import LLM

sys.path.append(str(Path(__file__).parents[1] / "shared"))
from troubles import GREETING, OPTIONS, THINKING, call, find_table, instructions, run


class Ear(TextOutput):
    """Counts the words that the agent says."""

    def __init__(self) -> None:
        super().__init__(label="ear", next_in_chain=None)
        self._words = 0
        self._wanted = 0
        self.enough = asyncio.Event()

    def wait_for(self, words: int) -> None:
        """Set `enough` after so many words of the next answer."""
        self._words, self._wanted = 0, words
        self.enough.clear()

    async def capture_text(self, text: str) -> None:
        """Take a piece of the answer."""
        self._words += len(text.split())
        if self._words >= self._wanted:
            self.enough.set()

    def flush(self) -> None:
        """Do nothing at the end of an answer."""


class Phone:
    """A call to the agent."""

    def __init__(self, llm: LLM, session: AgentSession[None], agent: Agent) -> None:
        self._llm, self._session, self._agent = llm, session, agent
        self._ear = Ear()
        session.output.transcription = self._ear

    async def say(self, text: str, *, words: int | None = None) -> None:
        """Say something, and listen to the answer, or to so many words of it at least."""
        self._ear.wait_for(words or 0)
        answer = self._session.generate_reply(user_input=text)
        if words is not None:
            await self._ear.enough.wait()
            await self._session.interrupt()
        await answer
        await asyncio.sleep(THINKING)

    async def greet(self, greeting: str) -> None:
        """Let the agent's instructions begin with another greeting."""
        await self._agent.update_instructions(instructions(greeting))

    def set_tier(self, tier: str) -> None:
        """Let the agent's LLM ask for a service tier."""
        self._llm.update_options(service_tier=tier)


async def play(base_url: str, on_trace: list[TraceListener], /) -> UsageSnapshot:
    """Hold the conversation with an agent at a host, and return what it used."""
    logging.disable(logging.ERROR)  # the framework logs a failed turn with its traceback
    llm = LLM(base_url=base_url, on_trace=on_trace, **OPTIONS)
    agent = Agent(instructions=instructions(GREETING), tools=[function_tool(find_table)])
    async with AgentSession[None](
        llm=llm, vad=None, turn_handling={"turn_detection": "manual"}
    ) as session:
        await session.start(agent)
        await call(Phone(llm, session, agent))
    await llm.aclose()
    return llm.usage


def main(path: Annotated[Path, typer.Argument(help="The file to write.")]) -> None:
    """Record the call."""
    run(play, path)


if __name__ == "__main__":
    typer.run(main)
