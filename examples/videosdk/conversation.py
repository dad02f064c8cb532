"""Run a conversation of a VideoSDK agent with tools and one barge-in, and show each turn.

    uv run examples/videosdk/conversation.py

Without OPENAI_API_KEY it uses the built-in simulator; with it, the real service. It prints six
turns with eight requests. The first request has the full context. Every later one is chained over
one connection, including the one after the barge-in. Both tool calls of the second turn run, and no
text is spoken twice.
"""

import asyncio
import logging
import sys
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from videosdk.agents import Agent, AgentSession, Pipeline, function_tool

from rtllm_videosdk import OpenAILLM

sys.path.append(str(Path(__file__).parents[1] / "shared"))
from restaurant import (
    CALLER,
    INSTRUCTIONS,
    INTERRUPTED,
    Watch,
    book_table,
    find_table,
    host,
    print_figures,
    run_example,
)


class Receptionist(Agent):  # type: ignore[misc]  # the framework has no types
    """Answers the phone of a small restaurant."""

    def __init__(self) -> None:
        tools = [function_tool(find_table), function_tool(book_table)]
        super().__init__(instructions=INSTRUCTIONS, tools=tools)

    async def on_enter(self) -> None:
        """Say nothing: the caller begins."""

    async def on_exit(self) -> None:
        """Say nothing."""


class Ear:
    """Prints the agent's words as they come, and tells when enough was heard."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self.words = 0
        self.enough = asyncio.Event()

    def hear(self, chunk: dict[str, Any]) -> None:
        """Take a piece of the response."""
        self._console.print(chunk["content"], end="", highlight=False)
        self.words += len(chunk["content"].split())
        if self.words >= 6:
            self.enough.set()

    def begin(self) -> None:
        """Wait for another response."""
        self.words = 0
        self.enough.clear()


async def talk(pipeline: Any, console: Console) -> None:
    """Hold the conversation, on the path of recognised speech."""
    line, ear = pipeline.orchestrator, Ear(console)

    def hear(chunk: dict[str, Any]) -> None:
        ear.hear(chunk)

    line.content_generation.on("generation_chunk", hear)
    for number, words in enumerate(CALLER):
        console.print(f"[bold green]caller[/]  {words}\n[bold cyan]agent [/]  ", end="")
        ear.begin()
        await line._process_final_transcript(words)  # there is no public method without audio
        answer = line._current_generation_task
        if number == INTERRUPTED:
            await ear.enough.wait()
            await line.interrupt()
            console.print(" [red]… interrupted[/]", end="")
        await asyncio.wait([answer])
        console.print()


async def run(model: str) -> None:
    """Set everything up, talk, and print the figures."""
    logging.disable(logging.ERROR)  # the framework reports a missing room, and tracebacks
    console, watch = Console(), Watch()
    async with AsyncExitStack() as stack:
        keywords = await stack.enter_async_context(host(model, console))
        llm = OpenAILLM(streaming=True, on_turn=watch.note, **keywords)
        stack.push_async_callback(llm.aclose)
        pipeline = Pipeline(llm=llm)
        session = AgentSession(agent=Receptionist(), pipeline=pipeline)
        await session.start()
        await watch.until_failure(talk(pipeline, console))
        usage = llm.usage
        logging.disable(logging.CRITICAL)  # its analytics report a missing session id at the end
        await session.close()
    print_figures(console, watch.reports, usage)


def main(
    model: Annotated[str, typer.Option(help="The model.")] = "gpt-5.6-luna",
) -> None:
    """Run a conversation of a VideoSDK agent, and show the cost of each turn."""
    run_example(run(model))


if __name__ == "__main__":
    typer.run(main)
