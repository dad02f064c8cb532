"""The same agent's model on Azure OpenAI: over the Responses WebSocket, and over HTTP.

    uv run examples/livekit/azure.py [--entra]

Without AZURE_OPENAI_ENDPOINT it uses the built-in simulator; with it (and AZURE_OPENAI_API_KEY, or
--entra) your resource. It prints two responses over each protocol. Over the WebSocket the second
request has one item, because the service already has the others.

--entra signs in with azure-identity (`pip install "rtllm[azure]"`, then `az login` or a managed
identity); a token is requested for each handshake and each HTTP request.
"""

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Annotated

import typer
from livekit.agents import APIError, llm
from livekit.agents.utils import http_context
from rich.console import Console

from rtllm import ConfigError, TurnReport
from rtllm.simulator import HOSTS, Simulator, echo
from rtllm_livekit import LLM

SCOPE = "https://ai.azure.com/.default"


async def entra(stack: AsyncExitStack) -> Callable[[], Awaitable[str]]:
    """Return a function that returns tokens of the user who is signed in."""
    try:
        from azure.identity.aio import (  # noqa: PLC0415 - an extra
            DefaultAzureCredential,
            get_bearer_token_provider,
        )
    except ImportError:
        raise typer.BadParameter('--entra needs: pip install "rtllm[azure]"') from None
    credential = await stack.enter_async_context(DefaultAzureCredential())
    provider: Callable[[], Awaitable[str]] = get_bearer_token_provider(credential, SCOPE)
    return provider


async def ask(model: LLM, context: llm.ChatContext, words: str) -> str:
    """Ask one question, and record the response."""
    context.add_message(role="user", content=words)
    answer = (await model.chat(chat_ctx=context).collect()).text
    context.add_message(role="assistant", content=answer)
    return answer


async def run(model: str, deployment: str | None, *, with_entra: bool) -> None:
    """Ask twice over each protocol."""
    console = Console()
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(http_context.open())
        endpoint, key = os.environ.get("AZURE_OPENAI_ENDPOINT"), None
        provider = await entra(stack) if with_entra else None
        if endpoint is None:
            simulator = await stack.enter_async_context(Simulator(echo(), **HOSTS["azure"]))
            endpoint, key = simulator.azure_endpoint, None if with_entra else "simulated"
            console.print("[dim]the built-in simulator, since AZURE_OPENAI_ENDPOINT is not set[/]")
        for use_websocket in (True, False):
            reports: list[TurnReport] = []
            asked = LLM.with_azure(
                model=model,
                azure_endpoint=endpoint,
                azure_deployment=deployment,
                api_key=key,
                azure_ad_token_provider=provider,
                use_websocket=use_websocket,
                on_turn=reports.append,
            )
            stack.push_async_callback(asked.aclose)
            context = llm.ChatContext.empty()
            console.print("[bold]WebSocket[/]" if use_websocket else "[bold]HTTP[/]")
            for words in ("Hello.", "Which day is it?"):
                console.print(f"  {await ask(asked, context, words)}")
            console.print(f"  items sent: {[report.items_sent for report in reports]}")


def main(
    model: Annotated[str, typer.Option(help="The deployment's model.")] = "gpt-5.6-luna",
    deployment: Annotated[str | None, typer.Option(help="The deployment's name.")] = None,
    entra: Annotated[bool, typer.Option("--entra", help="Sign in with azure-identity.")] = False,
) -> None:
    """Ask a model on Azure, over the WebSocket and over HTTP."""
    logging.disable(logging.ERROR)  # the framework logs a failed turn with its traceback
    try:
        asyncio.run(run(model, deployment, with_entra=entra))
    except (APIError, ConfigError) as error:
        typer.echo(f"{error.message if isinstance(error, APIError) else error}", err=True)
        raise typer.Exit(1) from None


if __name__ == "__main__":
    typer.run(main)
