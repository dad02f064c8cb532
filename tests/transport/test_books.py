"""The usage of a client is that of the service, to the token, and so is its cost."""

import asyncio
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rtllm import (
    ChatClient,
    Client,
    Credentials,
    Message,
    ModelPrices,
    Prices,
    Request,
    Totals,
    TurnError,
    TurnReport,
    UsageSnapshot,
    endpoint,
)
from rtllm.simulator import (
    Abort,
    Call,
    Close,
    CutResponse,
    Entry,
    FailedResponse,
    Fault,
    HangUp,
    Reply,
    Simulator,
    overloaded,
    rate_limited,
)
from rtllm.simulator.script import Request as Asked
from rtllm.simulator.service import LaneMode
from rtllm_livekit.testing import run_in_virtual_time
from support.waiting import until
from transport.caller import Caller

PRICES = Prices({"*": ModelPrices(Decimal(3), Decimal(12), Decimal("0.75"), Decimal("3.75"))})

FAULTS: tuple[Fault | None, ...] = (
    None,
    None,
    None,
    rate_limited(),
    overloaded(),
    FailedResponse(),
    FailedResponse(phase="output", after=2),
    CutResponse(phase="output", after=3),
    Close(phase="created"),
    Close(phase="output", after=2),
    HangUp(phase="output", after=1),
    Abort(phase="sent"),
)
ACTS = st.sampled_from(
    ["listen", "listen", "leave", "leave early", "draft", "discard", "drop", "warm up"]
)


def spent(entries: list[Entry]) -> Totals:
    """The sum of what a simulator reported, as a client must have counted it."""
    total = Totals()
    for entry in entries:
        if (usage := entry.usage) is None:
            continue
        chat = entry.api == "chat"
        sides = ("prompt", "completion") if chat else ("input", "output")
        given, made = usage[f"{sides[0]}_tokens_details"], usage[f"{sides[1]}_tokens_details"]
        total += Totals(
            1,
            0,
            usage[f"{sides[0]}_tokens"],
            usage[f"{sides[1]}_tokens"],
            given["cached_tokens"],
            given["cache_write_tokens"],
            made["reasoning_tokens"],
        )
    return total


def known(usage: UsageSnapshot) -> Totals:
    """The reported part of a client's usage, without what a service does not report."""
    total = usage.all
    return Totals(
        total.attempts - total.unknown,
        0,
        total.input,
        total.output,
        total.cached,
        total.cache_write,
        total.reasoning,
    )


def amount_of(totals: Totals) -> Decimal:
    price = PRICES.models["*"]
    ordinary = totals.input - totals.cached - totals.cache_write
    counts = (ordinary, totals.cached, totals.cache_write, totals.output)
    prices = (price.input, price.cached, price.cache_write, price.output)
    millions = [n * (price or 0) for n, price in zip(counts, prices, strict=True)]
    return sum(millions, Decimal(0)) / Decimal(10**6)


def script(asked: Asked) -> Reply | str:
    if asked.last_user_text.endswith("?"):
        return Reply.of("Let me see.", Call("look"))
    return f"This is answer number {asked.index}, and it has some more words."


async def act(caller: Caller, name: str, number: int) -> None:
    """One thing that a caller does."""
    try:
        match name:
            case "listen":
                await caller.say(f"Hello for the {number}. time.")
            case "leave":
                await caller.hear_only(f"Wait, {number}.", 2)
            case "leave early":
                caller.items.append(Message.of("user", f"No, {number}."))
                with caller.client.ask(caller.request()) as stream:
                    await asyncio.wait_for(anext(stream), 3)
            case "draft" | "discard":
                caller.items.append(Message.of("user", f"Half a sentence {number}"))
                draft = caller.client.ask(caller.request())
                await draft.text()
                caller.items.pop()
                if name == "discard" and draft.report is not None:
                    caller.client.discard(draft.report)
            case "drop":
                await asyncio.wait_for(caller.say(f"Never mind {number}."), 7)
            case _ if isinstance(caller.client, Client):
                head = Request(tuple(caller.items[:1]), caller.model)
                await caller.client.warm_up(head)
    except (TurnError, TimeoutError, StopAsyncIteration):
        pass


def clients_of(service: Simulator, way: str, reports: list[TurnReport]) -> Client | ChatClient:
    options: dict[str, Any] = {"prices": PRICES, "on_turn": reports.append}
    if way == "chat":
        return ChatClient.connect(api_key="k", base_url=service.base_url, **options)
    where, credentials = endpoint(service.base_url), Credentials("k")
    return Client(where, credentials, lanes=way == "lanes", websocket=way != "http", **options)


@pytest.mark.parametrize("way", ["lanes", "no lanes", "http", "chat"])
@given(
    stories=st.lists(st.lists(ACTS, min_size=1, max_size=6), min_size=1, max_size=3),
    faults=st.lists(st.sampled_from(FAULTS), max_size=12),
    models=st.lists(st.sampled_from(["gpt-4.1", "gpt-5.6-luna"]), min_size=3, max_size=3),
)
@settings(
    max_examples=12,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)
def test_the_sums_are_the_service_s_to_the_token(
    way: str, stories: list[list[str]], faults: list[Any], models: list[str]
) -> None:
    run_in_virtual_time(check_books(way, stories, faults, models))


async def check_books(
    way: str, stories: list[list[str]], faults: list[Any], models: list[str]
) -> None:
    reports: list[TurnReport] = []
    mode: LaneMode = "on" if way in ("lanes", "chat") else "off"
    plan = [*faults, None]
    async with Simulator(
        script, lanes=mode, fault=plan, per_delta=1.0, time_to_first=4.0
    ) as service:
        client = clients_of(service, way, reports)
        callers = [
            Caller(client, [Message.of("system", f"You are agent {n}. " * 20)])
            for n in range(len(stories))
        ]
        for caller, model in zip(callers, models, strict=False):
            caller.model = model

        async def live(caller: Caller, acts: list[str]) -> None:
            for number, name in enumerate(acts):
                await act(caller, name, number)

        await asyncio.gather(*map(live, callers, stories))
        await service.journal.wait_idle()
        await until(lambda: client.usage.all.attempts >= len(service.journal.entries))
        usage, expected = client.usage, spent(service.journal.entries)
        assert known(usage) == expected, service.journal
        assert usage.cost.amount in (amount_of(expected), None if not expected.attempts else -1)
        assert usage.cost.unknown == usage.all.unknown
        of_conversations = [one.usage for one in usage.conversations]
        summed = sum((one.all.input for one in of_conversations), usage.warm_up.input)
        assert summed == expected.input
        await client.aclose()
