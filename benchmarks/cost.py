"""User CPU time of the client, per delta and per turn, compared with an older edition of rtllm.

    git worktree add ../first 9031681
    uv run benchmarks/cost.py --against ../first

Both editions run the same turns of LiveKit's `LLM.chat()` with one server. All three have a process
of their own. The editions' turns alternate, so that both meet the same changes of the machine's
speed. The table shows medians over the runs: of each edition's time, and of their ratio.
"""

import asyncio
import gc
import multiprocessing
import os
import resource
import statistics
import subprocess
import sys
from collections.abc import Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console
from rich.table import Table

Part = Literal["delta", "10 items", "100 items", "1000 items"]
DELTAS = 1000
PARTS: dict[Part, tuple[int, int, int, str]] = {
    "delta": (2, 10, 10, "deltas"),
    "10 items": (60, 4, 10, "go on"),
    "100 items": (6, 40, 100, "go on"),
    "1000 items": (1, 80, 1000, "go on"),
}
"""For each part: how many calls, how many measured turns in each, how many items the context has
in the middle of them, and the text of each request."""


def serve(pipe: Connection) -> None:
    """Answer each turn; a turn that requests many deltas gets them."""
    from rtllm.simulator import Reply, Request, Simulator, Text  # noqa: PLC0415

    def script(request: Request) -> Reply:
        words = (
            ("word " for _ in range(DELTAS))
            if "deltas" in str(request.body["input"][-1])
            else ("yes",)
        )
        return Reply.of(Text(pieces=tuple(words)))

    async def run() -> None:
        async with Simulator(script) as simulator:
            pipe.send(simulator.base_url)
            await asyncio.Event().wait()

    asyncio.run(run())


async def measure(part: Part, base_url: str) -> float:
    """Measure one run; return the microseconds of user CPU time per delta or turn.

    It takes part in `take_turns`: before each turn it waits for a line, and answers it afterwards.
    """
    from livekit.agents import llm  # noqa: PLC0415 - the parent doesn't need it

    from rtllm_livekit import LLM  # noqa: PLC0415

    model = LLM(api_key="key", base_url=base_url, lanes=True)
    # A garbage collection of everything that the frameworks' imports created takes a tenth of a
    # second, and would occur during the measured turns of one edition or the other by chance.
    gc.collect()
    gc.freeze()

    async def turn(ctx: llm.ChatContext, text: str) -> float:
        sys.stdin.readline()
        ctx.add_message(role="user", content=text)
        said = ""
        before = resource.getrusage(resource.RUSAGE_SELF).ru_utime
        async with model.chat(chat_ctx=ctx) as stream:
            async for chunk in stream:
                said += (chunk.delta and chunk.delta.content) or ""
        spent = resource.getrusage(resource.RUSAGE_SELF).ru_utime - before
        ctx.add_message(role="assistant", content=said)
        print(flush=True)
        return spent

    spent, units = 0.0, 0
    calls, turns, items, text = PARTS[part]
    for _ in range(calls):
        ctx = llm.ChatContext.empty()
        ctx.add_message(role="system", content="Be brief.")
        for index in range(items - turns - 2):
            role = "user" if index % 2 == 0 else "assistant"
            ctx.add_message(role=role, content=f"line {index}")  # type: ignore[arg-type]
        await turn(ctx, text)  # the first request of a call is sent with its full context
        for _ in range(turns):
            spent += await turn(ctx, text)
            units += DELTAS if part == "delta" else 1
    await model.aclose()
    return spent / units * 1e6


def start(edition: Path, part: Part, base_url: str) -> subprocess.Popen[str]:
    """Start one run of an edition in a process of its own."""
    folders = [edition / "packages" / name / "src" for name in ("core", "livekit_adapter")]
    path = os.pathsep.join(str(folder) for folder in folders)
    return subprocess.Popen(  # noqa: S603 - this very script
        [sys.executable, __file__, "--part", part, "--url", base_url],
        env={**os.environ, "PYTHONPATH": path},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def take_turns(part: Part, runs: Sequence[subprocess.Popen[str]]) -> list[float]:
    """Let runs take turns, and return what each has measured."""
    calls, turns, _, _ = PARTS[part]
    pipes = [(run.stdin, run.stdout) for run in runs if run.stdin and run.stdout]
    for _ in range(calls * (turns + 1)):
        for to_run, from_run in pipes:
            to_run.write("\n")
            to_run.flush()
            from_run.readline()
    measured = [float(from_run.readline()) for _, from_run in pipes]
    for run in runs:
        run.communicate()
    return measured


def compare(against: Path, runs: int) -> Table:
    """Run both editions side by side, and create a table of the medians."""
    here = Path(__file__).resolve().parent.parent
    table = Table("user CPU, µs", "older", "this", "ratio", title=f"medians of {runs} runs")
    ours, theirs = multiprocessing.Pipe()
    server = multiprocessing.get_context("spawn").Process(target=serve, args=(theirs,), daemon=True)
    server.start()
    try:
        base_url = ours.recv()
        for part in PARTS:
            found = [
                take_turns(part, [start(path, part, base_url) for path in (against, here)])
                for _ in range(runs)
            ]
            before, now = (statistics.median(times) for times in zip(*found, strict=True))
            ratio = statistics.median(new / old for old, new in found)
            table.add_row(part, f"{before:.1f}", f"{now:.1f}", f"{ratio:.2f}")
    finally:
        server.kill()
    return table


def main(
    against: Annotated[Path | None, typer.Option(help="The older edition's checkout.")] = None,
    runs: Annotated[int, typer.Option(help="Runs of each edition.")] = 11,
    part: Annotated[
        str | None, typer.Option(help="Measure only this part, in this process.")
    ] = None,
    url: Annotated[str, typer.Option(help="The server, with --part.")] = "",
) -> None:
    """Compare two editions and print the table."""
    if part is not None:
        name = next(known for known in PARTS if known == part)
        print(asyncio.run(measure(name, url)))
    elif against is not None:
        Console().print(compare(against.resolve(), runs))
    else:
        raise typer.BadParameter("pass --against: the folder of a checkout of the older edition")


if __name__ == "__main__":
    typer.run(main)
