"""Checks over a WebSocket of another project's server; running all checks, and their table."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

import aiohttp
from lines import Api, LiveKitLine, Options
from rich.console import Console
from rich.table import Table

from rtllm import (
    Client,
    Credentials,
    Item,
    Message,
    Request,
    ResponseEnded,
    RetryPolicy,
    TextDelta,
    Timeouts,
    ToolCall,
    ToolCallReady,
    TurnError,
    TurnReport,
    endpoint,
)
from rtllm_livekit import LLM


@dataclass(frozen=True, slots=True)
class Server:
    """A running server of another project.

    Attributes:
        name: Its name and version.
        base_url: Its API's root.
        key: A key that it accepts.
        model: The model.
        lacks: The APIs that it doesn't have.
        forgets: Whether it accepts `previous_response_id` and ignores it.
    """

    name: str
    base_url: str
    key: str = "any"
    model: str = "gpt-4.1"
    lacks: frozenset[Api] = frozenset()
    forgets: bool = False

    @property
    def options(self) -> Options:
        """Return the options of each LLM."""
        return {
            "base_url": self.base_url,
            "api_key": self.key,
            "model": self.model,
            "chaining": "auto" if self.forgets else True,
        }


def as_recorded(output: tuple[Item, ...]) -> tuple[Item, ...]:
    """Return one message with all text, then the calls."""
    text = " ".join(i.text for i in output if isinstance(i, Message) and i.text)
    message = [Message.of("assistant", text)] if text else []
    return (*message, *(i for i in output if isinstance(i, ToolCall)))


class Talk:
    """A conversation with the core alone."""

    def __init__(self, server: Server) -> None:
        self.model = server.model
        self.reports: list[TurnReport] = []
        self.client = Client(
            endpoint(server.base_url),
            Credentials(server.key),
            lanes=True,
            chaining=True,  # these servers keep responses, but name no parent in `created`
            on_turn=self.reports.append,
        )
        self.items: list[Item] = [Message.of("system", "Be brief.")]

    async def ask(self, words: str, pieces: int | None = None) -> str:
        """Ask, and read the full response or only some pieces of it."""
        self.items.append(Message.of("user", words))
        heard: list[str] = []
        request = Request(
            tuple(self.items),
            self.model,
            as_recorded,
            limits=Timeouts.of(5.0),
            retry=RetryPolicy(0),
        )
        with self.client.ask(request) as answer:
            async for event in answer:
                if isinstance(event, TextDelta):
                    heard.append(event.text)
                if pieces is not None and len(heard) >= pieces:
                    break
                if isinstance(event, ResponseEnded | ToolCallReady):
                    continue
        self.items.append(Message.of("assistant", "".join(heard)))
        return "".join(heard)


async def a_conversation(server: Server) -> str:
    """Check that turns are answered and chained, and the host is found to ignore lanes."""
    talk = Talk(server)
    said = [await talk.ask("hello"), await talk.ask("hello again"), await talk.ask("goodbye")]
    await talk.client.aclose()
    assert said == ["Hello! How can I help you today?"] * 2 + ["Goodbye!"], said
    chained = [report.chained for report in talk.reports]
    assert chained == [False, True, True], chained
    return f"chained {sum(chained)} of 2, lane at the end: {talk.reports[-1].lane}"


async def a_barge_in(server: Server) -> str:
    """Check that a cancelled response drains, and the next one is correct."""
    talk = Talk(server)
    await talk.ask("hello")
    heard = await talk.ask("tell me a story", pieces=2)
    said = await talk.ask("goodbye")
    await talk.client.aclose()
    assert said == "Goodbye!", said
    return f"heard {heard!r}, then {said!r}"


async def an_error(server: Server) -> str:
    """Check that an error frame without status fails the turn with the server's text."""
    talk = Talk(server)
    try:
        await talk.ask("broken")
    except TurnError as error:
        return f"{type(error).__name__}: {error}"
    finally:
        await talk.client.aclose()
    raise AssertionError("no error was raised")


async def a_livekit_session(server: Server) -> str:
    """Run a real session: turns, two parallel tools, and the response to their outputs."""
    line = LiveKitLine(LLM, {**server.options, "lanes": True})
    said = await line.session("hello", "the weather, please", "goodbye")
    await line.aclose()
    assert said[1:] == ["Sunny in Paris, rain in Rome.", "Goodbye!"], said
    assert sorted(line.looked_up) == ["Paris", "Rome"], line.looked_up
    chained = sum(report.chained for report in line.reports)
    return f"{len(line.reports)} requests, {chained} chained, {len(said)} answers"


@dataclass(frozen=True, slots=True)
class Check:
    """One check, and the API that it needs."""

    name: str
    api: Api
    run: Callable[[Server], Awaitable[str]]


OVER_THE_SOCKET = (
    Check("core: a conversation", "websocket", a_conversation),
    Check("core: a barge-in", "websocket", a_barge_in),
    Check("core: an error frame", "websocket", an_error),
    Check("LiveKit: a session with parallel tools", "websocket", a_livekit_session),
)


async def is_missing(server: Server, api: Api) -> bool:
    """Whether a server indeed doesn't have an API that it should lack."""
    path = "/chat/completions" if api == "chat" else "/responses"
    async with aiohttp.ClientSession() as http:
        url = server.base_url + path
        if api != "websocket":
            async with http.post(url, json={}) as answer:
                return answer.status in (404, 405, 501)
        try:
            await (await http.ws_connect(url)).close()
        except aiohttp.WSServerHandshakeError:
            return True
        return False


async def run_all(server: Server, checks: Sequence[Check]) -> int:
    """Run the checks and print a table; return the number of those that failed."""
    failed = 0
    table = Table(title=f"rtllm against {server.name}")
    for name in ("check", "result", "seen"):
        table.add_column(name, overflow="fold")
    for check in checks:
        try:
            async with asyncio.timeout(60):
                if check.api not in server.lacks:
                    seen, result = await check.run(server), "works"
                else:
                    assert await is_missing(server, check.api), "the server has this API"
                    seen, result = f"the server has no {check.api}", "left out"
        except Exception as error:  # noqa: BLE001 - shown in the table, and in the exit code
            seen, result = f"{type(error).__name__}: {error}", "FAILS"
            failed += 1
        table.add_row(check.name, result, seen)
    Console(width=120).print(table)
    return failed
