"""What is tried against each foreign server: conversations, a barge-in, an error, a session."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

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


@dataclass(frozen=True, slots=True)
class Server:
    """A foreign server that runs.

    Attributes:
        name: What it is, with its version.
        base_url: Its API's root.
        key: A key that it accepts.
    """

    name: str
    base_url: str
    key: str = "any"


def as_recorded(output: tuple[Item, ...]) -> tuple[Item, ...]:
    """One message of all that was said, then the calls."""
    text = " ".join(i.text for i in output if isinstance(i, Message) and i.text)
    message = [Message.of("assistant", text)] if text else []
    return (*message, *(i for i in output if isinstance(i, ToolCall)))


class Talk:
    """A conversation with the core alone."""

    def __init__(self, server: Server) -> None:
        self.reports: list[TurnReport] = []
        self.client = Client(
            endpoint(server.base_url),
            Credentials(server.key),
            lanes=True,
            on_turn=self.reports.append,
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


async def a_conversation(server: Server) -> str:
    """Turns are answered and chained; the host is found to ignore lanes."""
    talk = Talk(server)
    said = [await talk.ask("hello"), await talk.ask("hello again"), await talk.ask("goodbye")]
    await talk.client.aclose()
    assert said == ["Hello! How can I help you today?"] * 2 + ["Goodbye!"], said
    chained = [report.chained for report in talk.reports]
    assert chained == [False, True, True], chained
    return f"chained {sum(chained)} of 2, lane at the end: {talk.reports[-1].lane}"


async def a_barge_in(server: Server) -> str:
    """A cut answer runs out elsewhere; the next one is the right one."""
    talk = Talk(server)
    await talk.ask("hello")
    heard = await talk.ask("tell me a story", pieces=2)
    said = await talk.ask("goodbye")
    await talk.client.aclose()
    assert said == "Goodbye!", said
    return f"heard {heard!r}, then {said!r}"


async def an_error(server: Server) -> str:
    """An error frame without status ends the turn with the server's words."""
    talk = Talk(server)
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


async def a_livekit_session(server: Server) -> str:
    """A real session: turns, two parallel tools, and the answer to their outputs."""
    reports: list[TurnReport] = []
    llm = LLM(
        api_key=server.key,
        base_url=server.base_url,
        model="gpt-4.1",
        lanes=True,
        on_turn=reports.append,
    )
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
    run: Callable[[Server], Awaitable[str]]


CHECKS = (
    Check("core: a conversation", a_conversation),
    Check("core: a barge-in", a_barge_in),
    Check("core: an error frame", an_error),
    Check("LiveKit: a session with parallel tools", a_livekit_session),
)


async def run_all(server: Server) -> int:
    """Run all checks and print a table; the number of those that failed."""
    failed = 0
    table = Table(title=f"rtllm against {server.name}")
    for name in ("check", "result", "seen"):
        table.add_column(name)
    for check in CHECKS:
        try:
            async with asyncio.timeout(30):
                seen, result = await check.run(server), "works"
        except Exception as error:  # noqa: BLE001 - the table tells it, and the exit code
            seen, result = f"{type(error).__name__}: {error}", "FAILS"
            failed += 1
        table.add_row(check.name, result, seen)
    Console(width=120).print(table)
    return failed
