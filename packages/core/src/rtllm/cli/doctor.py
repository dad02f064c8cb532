"""``rtllm doctor``: checks with the user's own key what this library assumes about a host."""

import asyncio
import sys
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated

import msgspec
import typer

from rtllm.doctor import (
    CannotCheckError,
    Report,
    Target,
    cost,
    scrub,
    target_of,
    to_data,
    to_markdown,
    verify_protocol,
)
from rtllm.doctor.simulated import simulated_host
from rtllm.errors import ConfigError
from rtllm.providers import environment
from rtllm.providers.azure import resolve_azure
from rtllm.providers.config import ProviderConfig, resolve_provider

DEFAULT_MODEL = "gpt-5.6-luna"
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
class _Options:
    """The options that say where the host is."""

    model: str | None
    base_url: str | None
    wss_url: str | None
    api_key_env: str | None
    azure: bool
    azure_endpoint: str | None
    azure_deployment: str | None
    api_version: str | None
    host_profile: str | None


def doctor(
    *,
    verify_protocol: Annotated[
        bool,
        typer.Option("--verify-protocol", help="Check what this library assumes about the host."),
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
    transport: Annotated[TransportName, typer.Option(help="What to check.")] = TransportName.BOTH,
    simulate: Annotated[
        bool, typer.Option("--simulate", help="Check a simulated host, without a key.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Don't ask before sending requests.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Check with your own key what this library assumes about a host.

    Exit status: 0 if all assumptions hold, 1 if one does not (the report names the keywords to
    set), 2 if nothing could be checked.
    """
    if not verify_protocol:
        raise _fail("pass --verify-protocol, the only part so far; --help lists the options")
    options = _Options(
        model,
        base_url,
        wss_url,
        api_key_env,
        azure,
        azure_endpoint,
        azure_deployment,
        api_version,
        host_profile,
    )
    if not simulate and not _has_key(options):
        raise _fail(
            "there is no key: set OPENAI_API_KEY, or name its variable with --api-key-env; "
            "--simulate checks a simulated host without one"
        )
    try:
        report = asyncio.run(_checked(options, transport, simulate=simulate, yes=yes))
    except KeyboardInterrupt:
        typer.echo("interrupted; every connection is closed", err=True)
        raise typer.Exit(INTERRUPTED) from None
    except ConfigError as error:
        raise _fail(str(error)) from error
    if json:
        typer.echo(msgspec.json.format(msgspec.json.encode(to_data(report)), indent=2).decode())
    else:
        typer.echo(to_markdown(report))
    raise typer.Exit(report.exit_status)


def _fail(sentence: str) -> typer.Exit:
    """Print why nothing was checked; return the exit to raise."""
    typer.echo(f"rtllm doctor: {sentence}", err=True)
    return typer.Exit(COULD_NOT_CHECK)


def _has_key(options: _Options) -> bool:
    """Whether the environment has a key."""
    if options.api_key_env is not None:
        names: tuple[str, ...] = (options.api_key_env,)
    elif options.azure:
        names = (environment.AZURE_AD_TOKEN, environment.AZURE_API_KEY)
    else:
        names = (environment.API_KEY,)
    return any(environment.variable(name) for name in names)


def _config(options: _Options, model: str) -> ProviderConfig:
    """Resolve the address and the key."""
    name = options.api_key_env
    key = environment.variable(name) if name is not None else None
    if not options.azure:
        return resolve_provider(api_key=key, base_url=options.base_url, wss_url=options.wss_url)
    return resolve_azure(
        model=model,
        azure_endpoint=options.azure_endpoint,
        azure_deployment=options.azure_deployment,
        api_version=options.api_version,
        api_key=key,
        azure_ad_token=None,
        azure_ad_token_provider=None,
        base_url=options.base_url,
        wss_url=options.wss_url,
    )


def _target(options: _Options) -> Target:
    """Create the target that the options name.

    Raises:
        ConfigError: If the address, the key or the model is missing or not valid.
    """
    config = _config(options, options.model or DEFAULT_MODEL)
    target = target_of(config, options.model or DEFAULT_MODEL, options.host_profile)
    is_named = options.model is not None or config.deployment is not None
    if not is_named and (options.azure or target.endpoint.host != "api.openai.com"):
        wanted = "--azure-deployment" if options.azure else "--model"
        raise ConfigError(f"pass {wanted}: only at OpenAI there is a default model")
    return target


async def _checked(
    options: _Options, transport: TransportName, *, simulate: bool, yes: bool
) -> Report:
    """Create the target, ask for permission, and run the checks."""
    async with AsyncExitStack() as stack:
        if simulate:
            profile = options.host_profile or "openai"
            host = await stack.enter_async_context(simulated_host(profile))
            config = resolve_provider(api_key="simulated", base_url=host.base_url)
            target = target_of(config, options.model or DEFAULT_MODEL, profile)
        else:
            target = _target(options)
            _ask_for_permission(target, transport, yes=yes)
        try:
            return await verify_protocol(
                target,
                on=f"{datetime.now(UTC):%Y-%m-%d}",
                transport=transport.value,
                progress=lambda names: typer.echo(f"checking: {names}", err=True),
            )
        except CannotCheckError as error:
            fault = error.fault
            said = scrub(fault.message, target.secrets).rstrip(".")
            hint = _HINTS.get(fault.status or 0, "")
            sentence = f"{target.endpoint.host} could not be checked: {said}. {hint}"
            raise _fail(sentence.rstrip()) from None


def _ask_for_permission(target: Target, transport: TransportName, *, yes: bool) -> None:
    """Tell what the checks cost, and ask whether to make them."""
    estimate = cost(target, transport.value)
    typer.echo(
        f"This sends up to {estimate.requests} requests to {target.endpoint.host} "
        f"({target.shown_model}): about {estimate.input_tokens} input and "
        f"{estimate.output_tokens} output tokens, at most {estimate.most_output} output tokens. "
        f"{estimate.stored} of them ask the host to store the response.",
        err=True,
    )
    if yes:
        return
    if not sys.stdin.isatty():
        raise _fail("nothing was sent: there is no terminal to ask on; pass --yes to agree")
    if not typer.confirm("Send them?", err=True):
        raise _fail("nothing was sent")
