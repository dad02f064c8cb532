"""``rtllm simulate``: a simulated Responses service."""

import asyncio
from enum import StrEnum
from typing import Annotated

import typer

from rtllm.simulator import serve


class LaneMode(StrEnum):
    """How the host treats lanes."""

    ON = "on"
    OFF = "off"
    REFUSE = "refuse"
    IGNORE = "ignore"


class ScriptName(StrEnum):
    """The answer script."""

    ECHO = "echo"
    CALLS = "calls"


def simulate(
    port: Annotated[int, typer.Option(help="The port to listen on; 0 for any free one.")] = 8080,
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    lanes: Annotated[LaneMode, typer.Option(help="How the host treats lanes.")] = LaneMode.ON,
    script: Annotated[ScriptName, typer.Option(help="The answer script.")] = ScriptName.ECHO,
    api_key: Annotated[str | None, typer.Option(help="Reject every other key.")] = None,
    model: Annotated[
        list[str] | None, typer.Option(help="A model in addition to the public ones; repeatable.")
    ] = None,
    time_to_first: Annotated[float, typer.Option(help="Seconds before the first output.")] = 0.0,
    per_delta: Annotated[float, typer.Option(help="Seconds before each delta.")] = 0.0,
    lifetime: Annotated[float, typer.Option(help="Seconds that a connection lasts.")] = 3600.0,
    verbose: Annotated[bool, typer.Option(help="Also print the contents of requests.")] = False,
) -> None:
    """Run a Responses service that answers from a script, until interrupted."""
    running = serve(
        typer.echo,
        host=host,
        port=port,
        lanes=lanes.value,
        script=script.value,
        api_key=api_key,
        models=model or (),
        time_to_first=time_to_first,
        per_delta=per_delta,
        lifetime=lifetime,
        verbose=verbose,
    )
    try:
        asyncio.run(running)
    except KeyboardInterrupt:
        typer.echo("stopped")
    except OSError as error:
        typer.echo(f"can't listen on {host}:{port}: {error.strerror}; try another --port", err=True)
        raise typer.Exit(1) from error
