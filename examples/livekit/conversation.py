"""Run a conversation of a LiveKit agent with tools and one barge-in, and show each turn.

    uv run examples/livekit/conversation.py

Without OPENAI_API_KEY it uses the built-in simulator; with it, the real service. It prints six
turns with eight requests. The first request has the full context. Every later one is chained over
one connection, including the one after the barge-in, and no text is spoken twice.
"""

import asyncio
import logging
import sys
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Annotated

import typer
from livekit.agents import Agent, AgentSession, function_tool
from livekit.agents.voice.io import TextOutput
from rich.console import Console

from rtllm_livekit import LLM

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


class Receptionist(Agent):
    """Answers the phone of a small restaurant."""

    def __init__(self) -> None:
        super().__init__(
            instructions=INSTRUCTIONS,
            tools=[function_tool(find_table), function_tool(book_table)],
        )


class Transcript(TextOutput):
    """Prints the agent's words as they come, and records whether it has begun."""

    def __init__(self, console: Console) -> None:
        super().__init__(label="transcript", next_in_chain=None)
        self._console = console
        self.words = 0
        self.interrupted = False
        self.spoke = asyncio.Event()

    async def capture_text(self, text: str) -> None:
        """Print a piece of the response."""
        if not self.words:
            self._console.print("[bold cyan]agent [/]  ", end="")
        self.words += len(text.split())
        self._console.print(text, end="", highlight=False)
        if self.words >= 6:
            self.spoke.set()

    def flush(self) -> None:
        """End the line."""
        if self.words:
            self._console.print("[red]… interrupted[/]" if self.interrupted else "")
        self.words = 0
        self.spoke.clear()


async def talk(session: AgentSession[None], heard: Transcript, console: Console) -> None:
    """Hold the conversation."""
    for number, words in enumerate(CALLER):
        console.print(f"[bold green]caller[/]  {words}")
        answer = session.generate_reply(user_input=words)
        if number == INTERRUPTED:
            await heard.spoke.wait()
            heard.interrupted = True
            await session.interrupt()
        await answer
        heard.interrupted = False


async def run(model: str) -> None:
    """Set everything up, talk, and print the figures."""
    logging.disable(logging.ERROR)  # the framework logs a failed turn with its traceback
    console, watch = Console(), Watch()
    async with AsyncExitStack() as stack:
        keywords = await stack.enter_async_context(host(model, console))
        llm = LLM(on_turn=watch.note, **keywords)
        stack.push_async_callback(llm.aclose)
        session = await stack.enter_async_context(
            AgentSession[None](llm=llm, vad=None, turn_handling={"turn_detection": "manual"})
        )
        heard = Transcript(console)
        session.output.transcription = heard
        await session.start(Receptionist())
        await watch.until_failure(talk(session, heard, console))
    print_figures(console, watch.reports, llm.usage)


def main(
    model: Annotated[str, typer.Option(help="The model.")] = "gpt-5.6-luna",
) -> None:
    """Run a conversation of a LiveKit agent, and show the cost of each turn."""
    run_example(run(model))


if __name__ == "__main__":
    typer.run(main)
