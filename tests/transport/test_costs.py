"""What turns, conversations and clients cost; drafts and estimates."""

import logging
import pickle
from dataclasses import replace
from datetime import date
from decimal import Decimal
from typing import Any

import pytest

from rtllm import (
    ChatClient,
    ConfigError,
    ConnectionLost,
    Message,
    ModelPrices,
    Prices,
    TextDelta,
    TraceEvent,
    TurnReport,
    load_prices,
)
from rtllm.content.call_identity import CallIdentity
from rtllm.content.usage import AttemptDetails, AttemptUsage, Usage
from rtllm.providers import price_library
from rtllm.providers.price_library import PROVIDERS, look_up
from rtllm.simulator import Close, Simulator, echo, fixed
from rtllm.trace import AttemptDiscarded, AttemptEnded
from support.waiting import until
from transport.caller import Caller, MakeClient

PRICES = Prices({"gpt-4.1": ModelPrices(Decimal(2), Decimal(8), Decimal("0.5"))})
LONG = Message.of("system", "You are a friendly receptionist, and brief. " * 40)


@pytest.fixture(autouse=True)
def says_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(price_library, "said", set())


async def test_turns_conversations_and_the_client_have_their_costs(
    make_client: MakeClient, reports: list[TurnReport]
) -> None:
    async with Simulator(echo()) as service:
        client = make_client(service, prices=PRICES)
        for name in ("one", "two"):
            caller = Caller(client, [LONG])
            await caller.say(f"Hello from {name}")
            await caller.say("And again")
    amounts = [report.cost.amount for report in reports]
    assert all(amount is not None and amount > 0 for amount in amounts)
    total = sum((amount for amount in amounts if amount is not None), Decimal(0))
    assert client.usage.cost.amount == total
    assert [one.usage.cost.amount for one in client.usage.conversations] == [
        sum((a for a in amounts[:2] if a), Decimal(0)),
        sum((a for a in amounts[2:] if a), Decimal(0)),
    ]
    assert client.usage.cost.saved == sum(r.cost.saved for r in reports) > 0
    assert client.usage.all.not_sent > 0
    assert pickle.loads(pickle.dumps(reports[0])).cost == reports[0].cost  # noqa: S301


async def test_an_unknown_price_is_unknown_and_said_once(
    make_client: MakeClient, reports: list[TurnReport], caplog: pytest.LogCaptureFixture
) -> None:
    load_prices()
    async with Simulator(echo()) as service:
        client = make_client(service)
        await Caller(client).say("Hello")
        with caplog.at_level(logging.WARNING, "rtllm.providers.price_library"):
            for _ in range(3):
                assert reports[0].cost.amount is None
                assert (client.usage.cost.unpriced, client.usage.cost.amount) == (1, None)
    assert [record.getMessage() for record in caplog.records] == [
        "no price is known for gpt-4.1 on 127.0.0.1, so its cost is unknown; pass prices="
    ]


async def test_a_known_host_is_priced_by_the_library(
    make_client: MakeClient, reports: list[TurnReport]
) -> None:
    async with Simulator(echo()) as service:
        await Caller(make_client(service, profile="openai", fallback=None)).say("Hello")
    used, cost = reports[0].usage, reports[0].cost
    assert used is not None
    assert cost.amount == (used.input * Decimal(2) + used.output * Decimal(8)) / 10**6
    assert cost.sources == (str(load_prices()),)
    assert "genai-prices" in cost.sources[0]


def looked_up(model: str, host: str, **usage: Any) -> ModelPrices | None:
    details = AttemptDetails(model, host)
    found = look_up(AttemptUsage("answered", Usage(1, 1, **usage), details).line())
    return found[0] if found is not None else None


def test_the_library_knows_tiers_long_contexts_and_what_cached_tokens_cost() -> None:
    ordinary, flex = looked_up("o3", "openai"), looked_up("o3", "openai", tier="flex")
    assert ordinary is not None
    assert flex is not None
    assert flex.input == ordinary.input / 2
    assert ordinary.cached is not None
    assert ordinary.cached < ordinary.input
    long = AttemptUsage("answered", Usage(300_000, 1), AttemptDetails("gpt-6-luna", "openai"))
    found, short = look_up(long.line()), looked_up("gpt-6-luna", "openai")
    assert found is not None
    assert short is not None
    assert found[0].input == 2 * short.input
    assert short.cache_write == short.input * Decimal("1.25")


def test_the_library_has_a_provider_for_each_host_that_it_is_said_to_know() -> None:
    load_prices()
    import genai_prices  # noqa: PLC0415

    known = {one.id for one in genai_prices.data_snapshot.get_snapshot().providers}
    assert set(PROVIDERS.values()) <= known


def test_prices_that_the_library_has_fetched_are_used_and_dated() -> None:
    before = looked_up("gpt-4.1", "openai")
    load_prices()
    import genai_prices  # noqa: PLC0415

    snapshots = genai_prices.data_snapshot
    providers = snapshots.get_snapshot().providers
    openai = next(one for one in providers if one.id == "openai")
    model = next(one for one in openai.models if one.id == "gpt-4.1")
    price = genai_prices.types.ModelPrice(input_mtok=Decimal(3), output_mtok=Decimal(9))
    dearer = replace(model, prices=price, price_variants=None)
    fetched = replace(openai, models=[dearer])
    snapshots.set_custom_snapshot(snapshots.DataSnapshot([fetched], from_auto_update=True))
    try:
        after = looked_up("gpt-4.1", "openai")
        assert before is not None
        assert after is not None
        assert (before.input, after.input) == (Decimal(2), Decimal(3))
        library = load_prices()
        assert library.updated is not None
        assert str(library).endswith(f"updated {library.updated:%Y-%m-%d}")
    finally:
        snapshots.set_custom_snapshot(None)
    assert looked_up("gpt-4.1", "openai") == before
    assert load_prices().newest is not None


def test_a_price_is_that_of_the_day_of_the_attempt() -> None:
    """The price of o3 fell on 2025-06-10."""
    spent = AttemptUsage("answered", Usage(1, 1), AttemptDetails("o3", "openai"))
    old, new = (look_up(spent.line(date(2025, 6, day))) for day in (1, 20))
    assert old is not None
    assert new is not None
    assert (old[0].input, new[0].input) == (Decimal(10), Decimal(2))


def test_without_the_library_costs_are_unknown_and_that_is_said_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(price_library, "find_library", lambda: None)
    for _ in range(2):
        assert looked_up("gpt-4.1", "openai") is None
    assert [record.getMessage() for record in caplog.records] == [
        "costs are unknown: pip install 'rtllm[prices]', or pass prices="
    ]
    with pytest.raises(ConfigError, match=r"pip install 'rtllm\[prices\]'"):
        load_prices()


@pytest.mark.parametrize("loaded", [True, False])
async def test_loading_inside_the_event_loop_is_warned_of(
    loaded: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    load_prices()
    monkeypatch.setattr(price_library, "is_loaded", lambda: loaded)
    for _ in range(2):
        assert looked_up("gpt-4.1", "openai") is not None
    warned = [record.getMessage() for record in caplog.records]
    assert len(warned) == (not loaded)
    assert all("call rtllm.load_prices() before calls begin" in one for one in warned)


async def test_prices_are_checked_at_the_call(make_client: MakeClient) -> None:
    async with Simulator(echo()) as service:
        wrong: Any = {"gpt-4.1": 2}
        with pytest.raises(ConfigError, match="prices is dict; expected Prices or None"):
            make_client(service, prices=wrong)
        with pytest.raises(ConfigError, match="prices is dict; expected Prices or None"):
            ChatClient.connect(api_key="k", base_url=service.base_url, prices=wrong)


async def test_usage_that_never_came_is_estimated_apart(make_client: MakeClient) -> None:
    fault = [Close(phase="output", after=4), None]
    async with Simulator(fixed("one two three four five six"), fault=fault) as service:
        client = make_client(service, prices=PRICES)
        caller = Caller(client, [LONG])
        with pytest.raises(ConnectionLost):
            await caller.say("Hello")
        await Caller(client, [LONG]).say("Hello")
    failed, answered = client.usage.failed, client.usage.answered
    assert (failed.unknown, failed.input, failed.output) == (1, 0, 0)
    assert 0.8 * answered.input < failed.estimated_input < 1.2 * answered.input
    assert 3 <= failed.estimated_output <= 6
    assert client.usage.costs["failed"].amount is None
    assert client.usage.costs["failed"].estimated > 0
    assert client.usage.cost.amount == client.usage.costs["answered"].amount


async def test_a_request_that_no_service_accepted_has_no_estimate(make_client: MakeClient) -> None:
    async with Simulator(echo(), fault=[Close(phase="sent"), None]) as service:
        client = make_client(service)
        await Caller(client).say("Hello")
    assert client.usage.all.unknown == 1
    assert client.usage.all.estimated_input == 0


@pytest.mark.parametrize("cancelled", [False, True])
async def test_a_draft_that_was_thrown_away_is_counted_apart(
    make_client: MakeClient, cancelled: bool
) -> None:
    async with Simulator(fixed("one two three four"), per_delta=0.01) as service:
        client = make_client(service)
        caller = Caller(client)
        await caller.say("Hello")
        caller.items.append(Message.of("user", "A table for you"))
        with client.ask(caller.request()) as draft:
            async for event in draft:
                if cancelled and isinstance(event, TextDelta):
                    break
        caller.items.pop()
        await caller.say("A table for two")
        await until(lambda: client.usage.all.attempts == 3)
        assert (client.usage.draft.attempts, client.usage.answered.attempts) == (1, 2)
        assert client.usage.cancelled.attempts == 0
        used = [entry.usage for entry in service.journal.entries]
        assert used[1] is not None
        assert client.usage.draft.input == used[1]["input_tokens"]
        [conversation] = client.usage.conversations
        assert conversation.usage.draft == client.usage.draft


@pytest.mark.parametrize("pieces", [None, 1])
async def test_a_draft_that_no_request_follows_can_be_discarded(
    make_client: MakeClient, pieces: int | None
) -> None:
    events: list[TraceEvent] = []
    reports: list[TurnReport] = []
    async with Simulator("Yes, of course.", per_delta=1.0) as service:
        client = make_client(service, on_turn=reports.append, on_trace=events.append)
        caller = Caller(client)
        await caller.say("Hello")
        if pieces is None:
            await caller.say("A table for you")
        else:
            await caller.hear_only("A table for you", pieces)
        client.discard(reports[0])  # a later turn has begun: it stays as it is
        client.discard(reports[1])
        client.discard(reports[1])
        await until(lambda: client.usage.all.attempts == 2)
        assert (client.usage.draft.attempts, client.usage.answered.attempts) == (1, 1)
        used: Any = service.journal.entries[1].usage
        assert client.usage.draft.input == used["input_tokens"]
        (conversation,) = client.usage.conversations
        assert conversation.usage.draft == client.usage.draft
    of_draft = [event for event in events if event.turn == reports[1].turn]
    last = of_draft[-1]
    if pieces is None:
        assert isinstance(last, AttemptDiscarded)
        assert (last.was, last.call) == ("answered", reports[1].call)
    else:
        assert isinstance(last, AttemptEnded)
        assert (last.category, last.drained) == ("draft", True)


async def test_the_first_draft_of_a_call_is_known_by_the_framework_s_name_of_the_call(
    make_client: MakeClient,
) -> None:
    async with Simulator(echo()) as service:
        client = make_client(service)
        for session, is_draft in (("a", True), (None, False)):
            before = client.usage.draft.attempts
            caller = Caller(client)
            for text in ("Half a", "Half a sentence"):
                caller.items.append(Message.of("user", text))
                request = replace(caller.request(), call=CallIdentity(session=session))
                await client.ask(request).text()
                caller.items.pop()
            assert client.usage.draft.attempts - before == is_draft


async def test_an_interrupted_answer_and_an_edited_context_are_not_drafts(
    make_client: MakeClient,
) -> None:
    async with Simulator(fixed("one two three four")) as service:
        client = make_client(service)
        caller = Caller(client)
        await caller.say("Hello")
        await caller.hear_only("And now", 2)
        await caller.say("Stop")
        caller.items = caller.items[:1]  # a window
        await caller.say("Begin again")
        await until(lambda: client.usage.all.attempts == 4)
        assert client.usage.draft.attempts == 0
