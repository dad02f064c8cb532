"""Entry point of the command line; each command has a module of its own."""

import typer

from rtllm._version import __version__
from rtllm.cli.doctor import doctor
from rtllm.cli.simulate import simulate
from rtllm.cli.trace import trace

app = typer.Typer(
    help="Tools around rtllm, the model client for voice agents.",
    pretty_exceptions_show_locals=False,  # a traceback with local variables might show a key
)
app.command()(simulate)
app.command()(doctor)
app.command()(trace)


@app.command()
def version() -> None:
    """Print the version."""
    typer.echo(__version__)


def main() -> None:
    """Run the command line."""
    app()
