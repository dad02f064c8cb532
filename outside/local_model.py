"""rtllm against servers of local models: llama.cpp's by default, or one that already runs.

    uv run outside/local_model.py
    uv run outside/local_model.py --base-url http://127.0.0.1:8000/v1 --model noise

The first form starts llama.cpp's server with a random model (`llama_cpp_server.py`), from wheels in
an environment of its own. The text of such a model is random, so only the protocol is checked: text
in pieces, usage, an error with the server's text, a cancellation, and that the conversation
continues. The results are in ``docs/outside.md``.
"""

import argparse
import asyncio
import shutil
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from aimock import free_port, until_ready
from checks import Server, run_all
from lines import Api, Line
from livekit.agents import APIError
from over_http import over_each_line

from rtllm import TurnError

NO_SOCKET: frozenset[Api] = frozenset({"websocket"})
TOO_LONG = "word " * 6000  # beyond either model's 4096 tokens


@asynccontextmanager
async def own_server(script: str, ready: str) -> AsyncIterator[str]:
    """Start a server in an environment of its own; the first time uv downloads its wheels.

    Args:
        script: The script, next to this one. It gets a port, and serves until its input ends.
        ready: A path that is answered when the server is ready.
    """
    port = free_port()
    process = await asyncio.create_subprocess_exec(
        *(shutil.which("uv") or "uv", "run", "--quiet"),
        *(str(Path(__file__).with_name(script)), str(port)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    assert process.stdin is not None
    try:
        await until_ready(f"http://127.0.0.1:{port}{ready}", 120)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        process.stdin.close()
        try:
            async with asyncio.timeout(20):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()


async def a_conversation(line: Line) -> str:
    """Check that responses come in pieces with their usage, and each turn has the earlier ones."""
    pieces = [len(await line.ask(words)) for words in ("hello", "and then?", "goodbye")]
    assert all(pieces), pieces
    assert max(pieces) > 1, pieces
    usages = [report.usage for report in line.reports]
    read = [usage.input for usage in usages if usage is not None]
    assert read == sorted(set(read)), usages
    assert len(read) == len(pieces), usages
    assert all(usage is not None and usage.output for usage in usages), usages
    return f"{sum(pieces)} pieces, tokens in {read}; {told(line)}"


async def a_session(line: Line) -> str:
    """Run a real session with a tool, which a random model never calls."""
    said = await line.session("hello", "the weather, please", "goodbye")
    assert len(said) == 3, (said, [report.error for report in line.reports])
    return f"3 answers; {told(line)}"


async def an_error(line: Line) -> str:
    """Check that a context that is too long fails with the server's text, and a later one works."""
    await line.ask("hello")
    try:
        await line.ask(TOO_LONG)
    except (APIError, TurnError):
        error = str(line.reports[-1].error)
        assert "4" in error, error
    else:
        raise AssertionError("no error was raised")
    line.take_back()
    assert await line.ask("and now?")
    return f"{error[:70]}…; then answered"


async def a_cut(line: Line) -> str:
    """Check that a cancelled response does not come back, and the conversation continues."""
    for _ in range(3):  # sometimes a random response ends before it could be cancelled
        await line.ask("hello", pieces=1)
    assert await line.ask("goodbye")
    outcomes = [report.outcome for report in line.reports]
    assert "cancelled" in outcomes[:3], outcomes
    assert outcomes[3] == "completed", outcomes
    return f"{outcomes.count('cancelled')} cancelled, then answered"


def told(line: Line) -> str:
    """Summarize the faults of the requests."""
    assert {report.protocol for report in line.reports} == {"http"}
    faults = [f"{r.fault}: {r.action}" for report in line.reports for r in report.recoveries]
    return f"faults: {sorted(set(faults))}" if faults else "no faults"


CHECKS = (
    *over_each_line("a conversation", a_conversation),
    *over_each_line("a session", a_session),
    *over_each_line("an error", an_error),
    *over_each_line("a cut", a_cut),
)


async def main() -> int:
    """Run all checks; return the number of those that failed."""
    options = argparse.ArgumentParser(description="rtllm against a server of a local model")
    options.add_argument("--base-url", help="a running server; by default llama.cpp's is started")
    options.add_argument("--model", default="noise", help="the name of its model")
    options.add_argument("--forgets", action="store_true", help="it ignores the parent")
    options.add_argument("--any-length", action="store_true", help="it has no context limit")
    given = options.parse_args()
    if given.base_url:
        server = Server(
            given.base_url,
            given.base_url,
            model=given.model,
            lacks=NO_SOCKET,
            forgets=given.forgets,
        )
        without_error = [check for check in CHECKS if not check.name.endswith("an error")]
        return await run_all(server, without_error if given.any_length else CHECKS)
    async with own_server("llama_cpp_server.py", "/health") as url:
        server = Server("llama.cpp's server", url, model="noise", lacks=NO_SOCKET)
        return await run_all(server, CHECKS)


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
