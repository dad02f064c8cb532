"""The same model client on Azure OpenAI: over HTTP, and over the Responses WebSocket.

    uv run examples/videosdk/azure.py

Without AZURE_OPENAI_ENDPOINT it uses the built-in simulator; with it (and AZURE_OPENAI_API_KEY, or
a token) your resource. It prints two responses over each protocol. Over the WebSocket the second
request has one item, because the service already has the others.
"""

import asyncio
import os
from contextlib import AsyncExitStack
from typing import Annotated

import typer
from rich.console import Console
from videosdk.agents import ChatContext, ChatRole

from rtllm import RtllmError, TurnReport
from rtllm.simulator import Simulator, echo
from rtllm_videosdk import OpenAILLM


async def ask(llm: OpenAILLM, context: ChatContext, words: str) -> str:
    """Ask one question, and record the response."""
    context.add_message(role=ChatRole.USER, content=words)
    answer = "".join([chunk.content async for chunk in llm.chat(context)])
    context.add_message(role=ChatRole.ASSISTANT, content=answer)
    return answer


async def run(model: str, deployment: str | None) -> None:
    """Ask twice over each protocol."""
    console = Console()
    async with AsyncExitStack() as stack:
        endpoint, key = os.environ.get("AZURE_OPENAI_ENDPOINT"), None
        if endpoint is None:
            simulator = await stack.enter_async_context(Simulator(echo()))
            endpoint, key = simulator.azure_endpoint, "simulated"
            console.print("[dim]the built-in simulator, since AZURE_OPENAI_ENDPOINT is not set[/]")
        for streaming in (False, True):
            reports: list[TurnReport] = []
            llm = OpenAILLM.azure(
                model=model,
                azure_endpoint=endpoint,
                azure_deployment=deployment,
                api_key=key,
                # azure_ad_token_provider=…: a function, called for each request
                streaming=streaming,
                on_turn=reports.append,
            )
            stack.push_async_callback(llm.aclose)
            context = ChatContext.empty()
            console.print("[bold]WebSocket[/]" if streaming else "[bold]HTTP[/]")
            for words in ("Hello.", "Which day is it?"):
                console.print(f"  {await ask(llm, context, words)}")
            console.print(f"  items sent: {[report.items_sent for report in reports]}")


def main(
    model: Annotated[str, typer.Option(help="The deployment's model.")] = "gpt-5.6-luna",
    deployment: Annotated[str | None, typer.Option(help="The deployment's name.")] = None,
) -> None:
    """Ask a model on Azure, over HTTP and over the WebSocket."""
    try:
        asyncio.run(run(model, deployment))
    except RtllmError as error:
        typer.echo(f"{error}", err=True)
        raise typer.Exit(1) from None


if __name__ == "__main__":
    typer.run(main)
