"""Checks over HTTP with both adapters, for a server that answers from fixtures."""

from collections.abc import Awaitable, Callable

from checks import Check, Server
from lines import LINES, Line
from livekit.agents import APIError

from rtllm import TurnError

HELLO = "Hello! How can I help you today?"
FORECAST = "Sunny in Paris, rain in Rome."
GOODBYE = "Goodbye!"


async def a_conversation(line: Line) -> str:
    """Run three turns, chained if the API can continue responses."""
    said = ["".join(await line.ask(words)) for words in ("hello", "hello again", "goodbye")]
    assert said == [HELLO, HELLO, GOODBYE], said
    return chained(line)


async def a_session(line: Line) -> str:
    """Run a real session with two parallel tools and the response to their outputs."""
    said = await line.session("hello", "the weather, please", "goodbye")
    assert said[1:] == [FORECAST, GOODBYE], said
    assert sorted(line.looked_up) == ["Paris", "Rome"], line.looked_up
    assert len(line.reports) == len(said) + 1, line.reports
    return f"{chained(line)}, {len(line.looked_up)} tools ran"


async def an_error(line: Line) -> str:
    """Check that the server's rate limit fails the turn with its text, and the next turn works."""
    try:
        await line.ask("broken")
    except (APIError, TurnError) as error:
        text = f"{type(error).__name__}: {error}"
        assert "Rate limited by the mock." in text, text
        assert line.reports[-1].recoveries[-1].fault == "throttled", line.reports[-1].recoveries
    else:
        raise AssertionError("no error was raised")
    assert "".join(await line.ask("goodbye")) == GOODBYE
    return f"{line.reports[0].error}".splitlines()[0][:60] + "…; then answered"


async def a_cut(line: Line) -> str:
    """Check that a cancelled response does not come back, and the next one is correct."""
    await line.ask("hello")
    heard = "".join(await line.ask("tell me a story", pieces=2))
    said = "".join(await line.ask("goodbye"))
    outcomes = [report.outcome for report in line.reports]
    assert said == GOODBYE, said
    assert outcomes == ["completed", "cancelled", "completed"], outcomes
    return f"heard {heard!r}, then {said!r}"


def chained(line: Line) -> str:
    """Count the requests, and how many of them continued a response."""
    ways = {report.protocol for report in line.reports}
    assert ways == {"http"}, ways
    count = sum(report.chained for report in line.reports)
    can = line.reports[0].full_context_reason != "no chaining here"
    assert count == (len(line.reports) - 1 if can else 0), line.reports
    return f"{len(line.reports)} requests, {count} chained"


def over_each_line(what: str, try_out: Callable[[Line], Awaitable[str]]) -> list[Check]:
    """Create a check for each HTTP protocol of both adapters."""

    def on(name: str) -> Check:
        api, begin = LINES[name]

        async def run(server: Server) -> str:
            line = begin(server.options)
            try:
                return await try_out(line)
            finally:
                await line.aclose()

        return Check(f"{name}: {what}", api, run)

    return [on(name) for name in LINES]


OVER_HTTP = (
    *over_each_line("a conversation", a_conversation),
    *over_each_line("a session with parallel tools", a_session),
    *over_each_line("an error", an_error),
    *over_each_line("a cut", a_cut),
)
