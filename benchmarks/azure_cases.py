"""Azure cases: `OpenAILLM.azure(...)` of both plugins, case by case.

    uv run benchmarks/run.py --only azure

The simulator simulates an Azure host: it has a dated and a v1 API, knows the deployments by name,
and rejects parameters that a model doesn't accept. A case works if the response comes, and in the
way that the case requires.
"""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from unittest import mock

import openai
from rich.table import Table
from videosdk.agents import ChatContext, ChatRole
from videosdk.plugins.openai import OpenAILLM as StockLLM

from rtllm.simulator import Simulator
from rtllm_videosdk import OpenAILLM

Plugin = type[Any]  # the two classes have no common base but the framework's untyped one
ANSWER = "This is Azure."
DATED: dict[str, Any] = {"api_version": "2024-10-21"}
CASE_LIMIT = 5.0  # seconds


@dataclass(frozen=True, slots=True)
class Case:
    """One use of Azure.

    Attributes:
        name: Its name in the table.
        works: Runs it; False, or any error, if it doesn't work.
    """

    name: str
    works: Callable[[Plugin, Simulator], Awaitable[bool]]


@asynccontextmanager
async def _open(
    plugin: Plugin, service: Simulator, environment: Mapping[str, str] | None = None, **options: Any
) -> AsyncIterator[Any]:
    """Create an object with `azure(...)`, in an environment with no other variables."""
    kept = {n: v for n, v in os.environ.items() if not n.startswith(("OPENAI_", "AZURE_"))}
    with mock.patch.dict(os.environ, {**kept, **(environment or {})}, clear=True):
        if "client" not in options and "base_url" not in options:
            options = {"azure_endpoint": service.azure_endpoint, **options}
        model = plugin.azure(**options)
        try:
            yield model
        finally:
            await model.aclose()


async def _answers(model: Any) -> bool:
    ctx = ChatContext.empty()
    ctx.add_message(role=ChatRole.SYSTEM, content="Be kind.")
    ctx.add_message(role=ChatRole.USER, content="Hello")
    pieces = [response.content async for response in model.chat(ctx)]
    return "".join(pieces) == ANSWER


def _asks(**options: Any) -> Callable[[Plugin, Simulator], Awaitable[bool]]:
    """Return a case that works if an object with these options gets a response."""

    async def works(plugin: Plugin, service: Simulator) -> bool:
        async with _open(plugin, service, **options) as model:
            return await _answers(model)

    return works


def _authorised(
    expected: Mapping[str, str], environment: Mapping[str, str], **options: Any
) -> Callable[[Plugin, Simulator], Awaitable[bool]]:
    """Return a case that works if the request had this credential and no other."""

    async def works(plugin: Plugin, service: Simulator) -> bool:
        async with _open(plugin, service, environment, **DATED, **options) as model:
            answered = await _answers(model)
        headers = service.journal.entries[-1].headers
        sent = {n: headers[n] for n in ("api-key", "Authorization") if n in headers}
        return answered and sent == expected

    return works


def _refreshed(*, is_async: bool) -> Callable[[Plugin, Simulator], Awaitable[bool]]:
    """Return a case that works if each request has a new token."""

    async def works(plugin: Plugin, service: Simulator) -> bool:
        given: list[str] = []

        def token() -> str:
            given.append(f"token-{len(given)}")
            return given[-1]

        async def token_later() -> str:
            await asyncio.sleep(0)
            return token()

        provider = token_later if is_async else token
        async with _open(plugin, service, **DATED, azure_ad_token_provider=provider) as model:
            answered = [await _answers(model) for _ in range(2)]
        sent = {entry.headers["Authorization"] for entry in service.journal.entries}
        return all(answered) and len(sent) == 2

    return works


async def _socket(plugin: Plugin, service: Simulator) -> bool:
    async with _open(plugin, service, api_key="key", streaming=True) as model:
        return await _answers(model) and len(service.journal.connections) == 1


async def _own_deployment(plugin: Plugin, service: Simulator) -> bool:
    options = {"api_key": "key", "azure_deployment": "prod", **DATED}
    async with _open(plugin, service, model="gpt-4o-mini", **options) as model:
        return await _answers(model)


async def _subclass(plugin: Plugin, service: Simulator) -> bool:
    mine = type("Mine", (plugin,), {})
    async with _open(mine, service, api_key="key", **DATED) as model:
        return isinstance(model, mine) and await _answers(model)


async def _users_client(plugin: Plugin, service: Simulator) -> bool:
    async with (
        openai.AsyncAzureOpenAI(
            azure_endpoint=service.azure_endpoint, api_key="key", **DATED
        ) as client,
        _open(plugin, service, client=client) as model,
    ):
        return await _answers(model) and not client.is_closed()


async def _closed_with_the_object(plugin: Plugin, service: Simulator) -> bool:
    """Check that all clients which the object created are closed with it."""
    made: list[Any] = []
    make = openai.AsyncAzureOpenAI.__init__

    def noted(client: Any, *args: Any, **options: Any) -> None:
        made.append(client)
        make(client, *args, **options)

    with mock.patch.object(openai.AsyncAzureOpenAI, "__init__", noted):
        async with _open(plugin, service, api_key="key", **DATED) as model:
            answered = await _answers(model)
    return answered and bool(made) and all(client.is_closed() for client in made)


CASES = (
    Case("the defaults with a key and an api_version", _asks(api_key="key", **DATED)),
    Case("no api_version: the v1 API", _asks(api_key="key")),
    Case('model="gpt-5" with defaults', _asks(model="gpt-5", api_key="key", **DATED)),
    Case('model="o4-mini" with defaults', _asks(model="o4-mini", api_key="key", **DATED)),
    Case("a deployment with a name of its own", _own_deployment),
    Case(
        "azure_ad_token= and AZURE_OPENAI_API_KEY",
        _authorised(
            {"Authorization": "Bearer t"},
            {"AZURE_OPENAI_API_KEY": "k"},
            azure_ad_token="t",  # noqa: S106 - of the simulator
        ),
    ),
    Case(
        "api_key= and AZURE_OPENAI_AD_TOKEN",
        _authorised({"api-key": "k"}, {"AZURE_OPENAI_AD_TOKEN": "t"}, api_key="k"),
    ),
    Case(
        "everything from the environment",
        _authorised({"api-key": "k"}, {"AZURE_OPENAI_API_KEY": "k"}),
    ),
    Case("azure_ad_token_provider=, plain", _refreshed(is_async=False)),
    Case("azure_ad_token_provider=, async", _refreshed(is_async=True)),
    Case("streaming=True: the Responses WebSocket", _socket),
    Case("a subclass's azure() returns the subclass", _subclass),
    Case("a client of the user's", _users_client),
    Case("its own client is closed with the object", _closed_with_the_object),
)


async def works(case: Case, plugin: Plugin) -> bool:
    """Run a case on a new host."""
    async with Simulator(ANSWER, lanes="off", models=["prod"]) as service:
        with contextlib.suppress(Exception):  # an error means that it does not work
            return await asyncio.wait_for(case.works(plugin, service), CASE_LIMIT)
        return False


async def run() -> list[tuple[Case, bool, bool]]:
    """Run all cases with the stock plugin and with rtllm."""
    return [(case, await works(case, StockLLM), await works(case, OpenAILLM)) for case in CASES]


def table_of(rows: list[tuple[Case, bool, bool]]) -> Table:
    """Create a table of the cases that work, with their number."""
    table = Table(title="VideoSDK: OpenAILLM.azure(…)")
    for name in ("case", "stock", "rtllm"):
        table.add_column(name)
    for case, stock, ours in rows:
        table.add_row(case.name, *("works" if worked else "-" for worked in (stock, ours)))
    of = len(rows)
    table.add_section()
    counts = (sum(stock for _, stock, _ in rows), sum(ours for _, _, ours in rows))
    table.add_row("works", *(f"{count} of {of}" for count in counts))
    return table
