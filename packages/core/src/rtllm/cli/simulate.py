"""``rtllm simulate``: a stand-in for the Responses service."""

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
    """What is answered."""

    ECHO = "echo"
    CALLS = "calls"


def simulate(
    port: Annotated[int, typer.Option(help="Where to listen; 0 takes a free one.")] = 8080,
    host: Annotated[str, typer.Option(help="Where to listen.")] = "127.0.0.1",
    lanes: Annotated[LaneMode, typer.Option(help="How the host treats lanes.")] = LaneMode.ON,
    script: Annotated[ScriptName, typer.Option(help="What is answered.")] = ScriptName.ECHO,
    api_key: Annotated[str | None, typer.Option(help="Refuse every other key.")] = None,
    model: Annotated[
        list[str] | None, typer.Option(help="A model beside the public ones; repeatable.")
    ] = None,
    time_to_first: Annotated[float, typer.Option(help="Seconds before the first output.")] = 0.0,
    per_delta: Annotated[float, typer.Option(help="Seconds before each delta.")] = 0.0,
    lifetime: Annotated[float, typer.Option(help="Seconds that a connection lives.")] = 3600.0,
    verbose: Annotated[bool, typer.Option(help="Print what was said, too.")] = False,
) -> None:
    """Run a Responses service that answers by a script, until interrupted."""
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
        typer.echo(f"can't listen on {host}:{port}: {error.strerror}", err=True)
        raise typer.Exit(1) from error
