"""Record the trace of a VideoSDK agent's phone call with troubles, on the simulator.

    uv run examples/videosdk/record_trace.py calls.jsonl
    uv run rtllm trace calls.jsonl

One caller books a table: a slow handshake, a tool, a barge-in, a dropped connection, a parameter
that the host rejects, instructions that change during the call, reasoning, and a request that is
rejected. It takes about 20 seconds. An example in the documentation is recorded by it.
"""

import asyncio
import logging
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from videosdk.agents import Agent, AgentSession, Pipeline, function_tool

from rtllm import TraceListener, UsageSnapshot
from rtllm_videosdk import OpenAILLM

sys.path.append(str(Path(__file__).parents[1] / "shared"))
from troubles import GREETING, OPTIONS, THINKING, call, find_table, instructions, run


class Receptionist(Agent):  # type: ignore[misc]  # the framework has no types
    """Answers the phone of a restaurant."""

    def __init__(self) -> None:
        super().__init__(instructions=instructions(GREETING), tools=[function_tool(find_table)])

    async def on_enter(self) -> None:
        """Say nothing: the caller begins."""

    async def on_exit(self) -> None:
        """Say nothing."""


class Phone:
    """A call to the agent, on the path of recognised speech."""

    def __init__(self, llm: OpenAILLM, line: Any, agent: Receptionist) -> None:
        self._llm, self._line, self._agent = llm, line, agent
        self._words = 0
        self._wanted = 0
        self._enough = asyncio.Event()

        def hear(chunk: dict[str, Any]) -> None:
            self._words += len(chunk["content"].split())
            if self._words >= self._wanted:
                self._enough.set()

        self._hear = hear  # the framework keeps no reference to it
        line.content_generation.on("generation_chunk", hear)

    async def say(self, text: str, *, words: int | None = None) -> None:
        """Say something, and listen to the answer, or to so many words of it at least."""
        self._words, self._wanted = 0, words or 0
        self._enough.clear()
        await self._line._process_final_transcript(text)  # there is no public method without audio
        answer = self._line._current_generation_task
        if words is not None:
            await self._enough.wait()
            await self._line.interrupt()
        await asyncio.wait([answer])
        await asyncio.sleep(THINKING)

    async def greet(self, greeting: str) -> None:
        """Let the agent's instructions begin with another greeting."""
        self._agent.chat_context.items[0].content = [instructions(greeting)]

    def set_tier(self, tier: str) -> None:
        """Let the agent's LLM ask for a service tier."""
        self._llm.extra_body = {"service_tier": tier}


async def play(base_url: str, on_trace: list[TraceListener], /) -> UsageSnapshot:
    """Hold the conversation with an agent at a host, and return what it used."""
    logging.disable(logging.CRITICAL)  # the framework reports a missing room, and tracebacks
    llm = OpenAILLM(streaming=True, base_url=base_url, on_trace=on_trace, **OPTIONS)
    agent, pipeline = Receptionist(), Pipeline(llm=llm)
    session = AgentSession(agent=agent, pipeline=pipeline)
    await session.start()
    await call(Phone(llm, pipeline.orchestrator, agent))
    await session.close()
    await llm.aclose()
    return llm.usage


def main(path: Annotated[Path, typer.Argument(help="The file to write.")]) -> None:
    """Record the call."""
    run(play, path)


if __name__ == "__main__":
    typer.run(main)
