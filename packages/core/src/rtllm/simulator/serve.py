"""The simulator as a program, for ``rtllm simulate``."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection

from rtllm.simulator.journal import Entry
from rtllm.simulator.script import Script, calls_on_demand, echo
from rtllm.simulator.server import Simulator
from rtllm.simulator.service import LaneMode

SCRIPTS: dict[str, Callable[[], Script]] = {"echo": echo, "calls": calls_on_demand}
"""The scripts of `rtllm simulate`, by name."""


_KEEP = 1000  # a program's early requests are not looked up later


async def serve(
    say: Callable[[str], None],
    *,
    host: str = "127.0.0.1",
    port: int = 8080,
    lanes: LaneMode = "on",
    script: str = "echo",
    api_key: str | None = None,
    models: Collection[str] = (),
    time_to_first: float = 0.0,
    per_delta: float = 0.0,
    lifetime: float = 3600.0,
    verbose: bool = False,
) -> None:
    """Run a simulator until cancelled, with a line for each request.

    Args:
        say: Prints a line.
        host: The address to listen on.
        port: The port to listen on.
        lanes: How the host treats lanes; see ``Simulator``.
        script: The name of a ready-made script, one of ``SCRIPTS``.
        api_key: If set, any other key is rejected.
        models: Models in addition to the public ones.
        time_to_first: Seconds before the first output.
        per_delta: Seconds before each delta.
        lifetime: Seconds until a connection has reached its limit.
        verbose: Whether lines show the texts. By default no caller's words are printed.

    Raises:
        ValueError: If no script has this name.
    """
    if script not in SCRIPTS:
        raise ValueError(f"script is {script!r}; expected one of {', '.join(sorted(SCRIPTS))}")
    simulator = Simulator(
        SCRIPTS[script](),
        host=host,
        port=port,
        lanes=lanes,
        api_key=api_key,
        models=models,
        time_to_first=time_to_first,
        per_delta=per_delta,
        lifetime=lifetime,
        keep=_KEEP,
    )
    simulator.journal.listen(lambda entry: say(line(entry, verbose=verbose)))
    async with simulator:
        say(f"Responses service on {simulator.base_url} (WebSocket {simulator.websocket_url})")
        await asyncio.Event().wait()


def line(entry: Entry, *, verbose: bool = False) -> str:
    """Format a request as one line: its connection, size, parent and outcome."""
    parent = f" after {entry.previous_response_id}" if entry.previous_response_id else ""
    where = f"connection {entry.connection} lane {entry.lane or '-'}"
    if entry.transport == "http":
        where = f"POST {entry.api}"
    told = (
        f"#{entry.index} {where} {len(entry.input)} items {entry.bytes} B{parent}: {entry.outcome}"
    )
    if entry.outcome in {"completed", "incomplete"}:
        used = entry.usage or {}
        names = ("input", "output") if entry.api == "responses" else ("prompt", "completion")
        taken, made = (used.get(f"{name}_tokens") for name in names)
        told += f" {entry.response_id}, {taken} tokens in, {made} out"
    if entry.error_code or entry.error_message:
        told += f" ({entry.error_code or 'no code'})"
    if verbose:
        said = [text for role, text in entry.texts() if role == "user"][-1:]
        told += "".join(f"\n    user: {text}" for text in said)
        told += f"\n    {entry.error_message}" if entry.error_message else ""
        told += f"\n    assistant: {entry.reply_text}" if entry.reply_text else ""
    return told
