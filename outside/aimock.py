"""rtllm against a Responses WebSocket server that nobody here wrote: @copilotkit/aimock (npm).

    uv run outside/aimock.py

aimock answers from fixtures, knows no lanes (it ignores ``stream_id``) and remembers nothing.
The script installs it into a temporary folder, so Node.js with npm must be there; without it
the script says so and ends with code 3. The result stands in ``docs/outside.md``.
"""

import asyncio
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp
from livekit.agents import Agent, AgentSession, function_tool
from rich.console import Console
from rich.table import Table

from rtllm import (
    Called,
    Client,
    Credentials,
    Delta,
    Ended,
    Item,
    Limits,
    Message,
    Request,
    Retry,
    ToolCall,
    TurnError,
    TurnReport,
    endpoint,
)
from rtllm_livekit import LLM

VERSION = "1.43.0"
HERE = Path(__file__).parent
NOT_HERE = 3


@asynccontextmanager
async def aimock() -> AsyncIterator[str]:
    """Install and start the server; gives its base URL."""
    npm = shutil.which("npm")
    if npm is None:
        print("npm is not on this machine: aimock can't be installed", file=sys.stderr)
        raise SystemExit(NOT_HERE)
    with tempfile.TemporaryDirectory() as folder, socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        free.close()
        install = ["install", "--silent", "--no-fund", "--no-audit", "--prefix", folder]
        await asyncio.to_thread(
            subprocess.run,
            [npm, *install, f"@copilotkit/aimock@{VERSION}"],
            check=True,
            timeout=100,
        )
        server = await asyncio.create_subprocess_exec(
            f"{folder}/node_modules/.bin/llmock",
            *("--port", str(port), "--fixtures", str(HERE / "aimock.json"), "--log-level", "warn"),
            stdout=subprocess.DEVNULL,
        )
        try:
            await _until_ready(f"http://127.0.0.1:{port}/health")
            yield f"http://127.0.0.1:{port}/v1"
        finally:
            server.terminate()
            await server.wait()


async def _until_ready(url: str) -> None:
    async with asyncio.timeout(20), aiohttp.ClientSession() as session:
        while True:
            try:
                async with session.get(url):
                    return
            except aiohttp.ClientError:
                await asyncio.sleep(0.05)


def as_recorded(output: tuple[Item, ...]) -> tuple[Item, ...]:
    """One message of all that was said, then the calls."""
    text = " ".join(i.text for i in output if isinstance(i, Message) and i.text)
    message = [Message.of("assistant", text)] if text else []
    return (*message, *(i for i in output if isinstance(i, ToolCall)))


class Talk:
    """A conversation with the core alone."""

    def __init__(self, base_url: str, *, lanes: bool = True) -> None:
        self.reports: list[TurnReport] = []
        self.client = Client(
            endpoint(base_url), Credentials("any"), lanes=lanes, on_turn=self.reports.append
        )
        self.items: list[Item] = [Message.of("system", "Be brief.")]

    async def ask(self, words: str, pieces: int | None = None) -> str:
        """Ask, and hear the answer whole or only some pieces of it."""
        self.items.append(Message.of("user", words))
        heard: list[str] = []
        request = Request(
            tuple(self.items), "gpt-4.1", as_recorded, limits=Limits.of(5.0), retry=Retry(0)
        )
        with self.client.ask(request) as answer:
            async for event in answer:
                if isinstance(event, Delta):
                    heard.append(event.text)
                if pieces is not None and len(heard) >= pieces:
                    break
                if isinstance(event, Ended | Called):
                    continue
        self.items.append(Message.of("assistant", "".join(heard)))
        return "".join(heard)


async def a_conversation(base_url: str) -> str:
    """Turns are answered and chained; the host is found to ignore lanes."""
    talk = Talk(base_url)
    said = [await talk.ask("hello"), await talk.ask("hello again"), await talk.ask("goodbye")]
    await talk.client.aclose()
    assert said == ["Hello! How can I help you today?"] * 2 + ["Goodbye!"], said
    chained = [report.chained for report in talk.reports]
    assert chained == [False, True, True], chained
    return f"chained {sum(chained)} of 2, lane at the end: {talk.reports[-1].lane}"


async def a_barge_in(base_url: str) -> str:
    """A cut answer runs out elsewhere; the next one is the right one."""
    talk = Talk(base_url)
    await talk.ask("hello")
    heard = await talk.ask("tell me a story", pieces=2)
    said = await talk.ask("goodbye")
    await talk.client.aclose()
    assert said == "Goodbye!", said
    return f"heard {heard!r}, then {said!r}"


async def an_error(base_url: str) -> str:
    """An error frame without status ends the turn with the server's words."""
    talk = Talk(base_url)
    try:
        await talk.ask("broken")
    except TurnError as error:
        return f"{type(error).__name__}: {error}"
    finally:
        await talk.client.aclose()
    raise AssertionError("no error was raised")


class Forecaster(Agent):
    """Tells the weather."""

    def __init__(self) -> None:
        super().__init__(instructions="Tell the weather.")

    @function_tool
    async def get_weather(self, city: str) -> str:
        """Look up the weather.

        Args:
            city: The city.
        """
        return {"Paris": "sunny", "Rome": "rain"}[city]


async def a_livekit_session(base_url: str) -> str:
    """A real session: turns, two parallel tools, and the answer to their outputs."""
    reports: list[TurnReport] = []
    llm = LLM(api_key="any", base_url=base_url, model="gpt-4.1", on_turn=reports.append)
    async with AgentSession[None](
        llm=llm, vad=None, turn_handling={"turn_detection": "manual"}
    ) as session:
        await session.start(Forecaster())
        for words in ("hello", "the weather, please", "goodbye"):
            await session.run(user_input=words)
        said = [m.text_content for m in session.history.messages() if m.role == "assistant"]
    await llm.aclose()
    assert said[1:] == ["Sunny in Paris, rain in Rome.", "Goodbye!"], said
    return (
        f"{len(reports)} requests, {sum(r.chained for r in reports)} chained, {len(said)} answers"
    )


@dataclass(frozen=True, slots=True)
class Check:
    """One thing to try."""

    name: str
    run: Callable[[str], Awaitable[str]]


CHECKS = (
    Check("core: a conversation", a_conversation),
    Check("core: a barge-in", a_barge_in),
    Check("core: an error frame", an_error),
    Check("LiveKit: a session with parallel tools", a_livekit_session),
)


async def main() -> int:
    """Run all checks; the number of those that failed."""
    failed = 0
    table = Table(title=f"rtllm against @copilotkit/aimock {VERSION}")
    for name in ("check", "result", "seen"):
        table.add_column(name)
    async with aimock() as base_url:
        for check in CHECKS:
            try:
                async with asyncio.timeout(30):
                    seen, result = await check.run(base_url), "works"
            except Exception as error:  # noqa: BLE001 - the table tells it, and the exit code
                seen, result = f"{type(error).__name__}: {error}", "FAILS"
                failed += 1
            table.add_row(check.name, result, seen)
    Console(width=120).print(table)
    return failed


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
