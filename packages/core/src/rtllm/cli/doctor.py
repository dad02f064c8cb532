"""``rtllm doctor``: examines with the user's own key what is between an agent and its model."""

import asyncio
import logging
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated

import msgspec
import typer

from rtllm.cli.doctor_target import DEFAULT_MODEL, TargetOptions
from rtllm.content.usage import Totals
from rtllm.doctor import (
    CannotCheckError,
    Estimate,
    Report,
    Target,
    cost,
    cost_of_comparison,
    cost_of_diagnosis,
    diagnose,
    scrub,
    target_of,
    to_data,
    to_markdown,
)
from rtllm.doctor import compare as run_comparison
from rtllm.doctor import verify_protocol as run_verification
from rtllm.doctor.money import price_of
from rtllm.doctor.simulated import simulated_host
from rtllm.errors import ConfigError
from rtllm.providers.config import resolve_provider

COULD_NOT_CHECK = 2
INTERRUPTED = 130
_HINTS = {
    401: "Check the key.",
    403: "Check the key's permissions, and the address.",
    404: "Check --model and the address.",
}


class TransportName(StrEnum):
    """What is checked."""

    WEBSOCKET = "websocket"
    HTTP = "http"
    BOTH = "both"


@dataclass(frozen=True, slots=True)
class _Task:
    """What to do with a host, and what that costs."""

    run: Callable[[Target, str], Awaitable[Report]]
    cost: Callable[[Target], Estimate]


def doctor(
    *,
    verify_protocol: Annotated[
        bool,
        typer.Option(
            "--verify-protocol",
            help="Check only what this library assumes about the protocol, but all of it.",
        ),
    ] = False,
    compare: Annotated[
        bool,
        typer.Option(
            "--compare",
            help="Hold the same conversation with this library and with the stock plugins.",
        ),
    ] = False,
    model: Annotated[
        str | None, typer.Option(help=f"The model; at OpenAI {DEFAULT_MODEL} by default.")
    ] = None,
    base_url: Annotated[
        str | None, typer.Option(help="The API's root. Default: OPENAI_BASE_URL.")
    ] = None,
    wss_url: Annotated[
        str | None, typer.Option(help="The Responses WebSocket, if it isn't under the root.")
    ] = None,
    api_key_env: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="The environment variable with the key. Default: OPENAI_API_KEY; with --azure "
            "AZURE_OPENAI_AD_TOKEN or AZURE_OPENAI_API_KEY.",
        ),
    ] = None,
    organization: Annotated[
        str | None, typer.Option(help="The OpenAI organization. Default: OPENAI_ORG_ID.")
    ] = None,
    project: Annotated[
        str | None, typer.Option(help="The OpenAI project. Default: OPENAI_PROJECT_ID.")
    ] = None,
    proxy: Annotated[
        str | None, typer.Option(help="The URL of a proxy. Default: HTTPS_PROXY.")
    ] = None,
    client: Annotated[
        str | None, typer.Option(metavar="MODULE:NAME", help="An openai client of your own.")
    ] = None,
    token_provider: Annotated[
        str | None,
        typer.Option(metavar="MODULE:NAME", help="A function that returns a key or a token."),
    ] = None,
    azure: Annotated[bool, typer.Option("--azure", help="The host is Azure OpenAI.")] = False,
    azure_endpoint: Annotated[
        str | None, typer.Option(help="The resource. Default: AZURE_OPENAI_ENDPOINT.")
    ] = None,
    azure_deployment: Annotated[
        str | None, typer.Option(help="The deployment. Default: AZURE_OPENAI_DEPLOYMENT.")
    ] = None,
    api_version: Annotated[
        str | None, typer.Option(help="Azure's API version. Default: OPENAI_API_VERSION.")
    ] = None,
    host_profile: Annotated[
        str | None, typer.Option(help="A known host, if the address doesn't tell.")
    ] = None,
    transport: Annotated[
        TransportName, typer.Option(help="What --verify-protocol checks.")
    ] = TransportName.BOTH,
    patience: Annotated[
        float,
        typer.Option(
            metavar="MINUTES",
            min=0.0,
            help="How long --verify-protocol keeps a connection open, to see how long it lasts.",
        ),
    ] = 0.0,
    simulate: Annotated[
        bool, typer.Option("--simulate", help="Check a simulated host, without a key.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Don't ask before sending requests.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Examine with your own key everything between an agent and its model.

    Exit status: 0 if nothing is wrong, 1 if something is to be changed (the report names the
    keywords to set), 2 if no turn can succeed or nothing could be checked.
    """
    options = TargetOptions(
        model=model,
        base_url=base_url,
        wss_url=wss_url,
        api_key_env=api_key_env,
        organization=organization,
        project=project,
        proxy=proxy,
        client=client,
        token_provider=token_provider,
        azure=azure,
        azure_endpoint=azure_endpoint,
        azure_deployment=azure_deployment,
        api_version=api_version,
        host_profile=host_profile,
    )
    if verify_protocol and compare:
        raise _fail("pass --verify-protocol or --compare, one at a time")
    lacks_key = not simulate and not options.has_key
    if lacks_key and options.names_host:
        raise _fail(
            f"there is no key: set {options.key_variables} (to any word if the host needs none); "
            "--simulate checks a simulated host without one"
        )
    if lacks_key:
        typer.echo(
            f"There is no key ({options.key_variables} is not set), so a simulated host is "
            "checked: the report shows only what one looks like.",
            err=True,
        )
    task = _Task(_diagnosis, cost_of_diagnosis)
    if verify_protocol:
        task = _verification(transport, patience)
    elif compare:
        task = _Task(_comparison, cost_of_comparison)
    report = _run(task, options, simulate=simulate or lacks_key, yes=yes)
    if json:
        typer.echo(msgspec.json.format(msgspec.json.encode(to_data(report)), indent=2).decode())
    else:
        typer.echo(to_markdown(report))
    raise typer.Exit(COULD_NOT_CHECK if lacks_key else report.exit_status)


def _fail(sentence: str) -> typer.Exit:
    """Print why nothing was checked; return the exit to raise."""
    typer.echo(f"rtllm doctor: {sentence}", err=True)
    return typer.Exit(COULD_NOT_CHECK)


def _progress(names: str) -> None:
    typer.echo(f"checking: {names}", err=True)


def _verification(transport: TransportName, patience: float) -> _Task:
    """Create the task of ``--verify-protocol``."""
    return _Task(
        lambda target, on: run_verification(
            target, on=on, transport=transport.value, patience=patience, progress=_progress
        ),
        lambda target: cost(target, transport.value, patience),
    )


async def _comparison(target: Target, on: str) -> Report:
    return await run_comparison(target, on=on, progress=_progress)


async def _diagnosis(target: Target, on: str) -> Report:
    return await diagnose(target, on=on, progress=_progress)


def _run(task: _Task, options: TargetOptions, *, simulate: bool, yes: bool) -> Report:
    """Run a task to its end, to its failure or to an interrupt."""
    logging.getLogger("rtllm").setLevel(logging.CRITICAL)  # the report says what went wrong
    try:
        if simulate:
            return asyncio.run(_run_simulated(task, options))
        target = options.target()
        # Outside the event loop, which would keep Ctrl+C from ending the wait for the answer.
        _ask_for_permission(target, task.cost(target), yes=yes)
        report = asyncio.run(_checked(task, target))
        return replace(report, money=price_of(target, report.totals) or "")
    except (KeyboardInterrupt, typer.Abort):
        typer.echo("interrupted; every connection is closed", err=True)
        raise typer.Exit(INTERRUPTED) from None
    except ConfigError as error:
        raise _fail(str(error)) from error


async def _run_simulated(task: _Task, options: TargetOptions) -> Report:
    """Run a task on a simulated host."""
    profile = options.host_profile or "openai"
    async with simulated_host(profile) as host:
        config = resolve_provider(api_key="simulated", base_url=host.base_url)
        return await _checked(task, target_of(config, options.model or DEFAULT_MODEL, profile))


async def _checked(task: _Task, target: Target) -> Report:
    """Run a task on a target; if nothing can be checked, exit with one sentence."""
    try:
        return await task.run(target, f"{datetime.now(UTC):%Y-%m-%d}")
    except CannotCheckError as error:
        fault = error.fault
        said = scrub(fault.message, target.secrets).rstrip(".")
        hint = _HINTS.get(fault.status or 0, "")
        sentence = f"{target.endpoint.host} could not be checked: {said}. {hint}"
        raise _fail(sentence.rstrip()) from None


def _ask_for_permission(target: Target, estimate: Estimate, *, yes: bool) -> None:
    """Tell what the checks cost, and ask whether to make them."""
    totals = Totals(estimate.requests, 0, estimate.input_tokens, estimate.output_tokens)
    price = price_of(target, totals)
    money = f" (about {price})" if price is not None else ""
    typer.echo(
        f"This sends up to {estimate.requests} requests to {target.endpoint.host} "
        f"({target.shown_model}): about {estimate.input_tokens} input and "
        f"{estimate.output_tokens} output tokens{money}, "
        f"at most {estimate.most_output} output tokens. "
        f"{estimate.stored} of them ask the host to store the response.",
        err=True,
    )
    if yes:
        return
    if not sys.stdin.isatty():
        raise _fail("nothing was sent: there is no terminal to ask on; pass --yes to agree")
    if not typer.confirm("Send them?", err=True):
        raise _fail("nothing was sent")
