"""Prices and costs: exact, unknown if a price is, and estimates apart."""

from datetime import date
from decimal import Decimal
from typing import Any

import pytest

from rtllm import ConfigError, Cost, ModelPrices, Prices, Usage, UsageLedger
from rtllm.content.prices import UNPRICED, Pricing, cost_of
from rtllm.content.usage import AttemptDetails, AttemptUsage, UsageLine

PRICES = ModelPrices(
    "2",  # type: ignore[arg-type]
    "8",  # type: ignore[arg-type]
    "0.5",  # type: ignore[arg-type]
    "2.5",  # type: ignore[arg-type]
    tiers={"priority": ModelPrices(Decimal(4), Decimal(16))},
)
OWN = Pricing(Prices({"model": PRICES}, date=date(2026, 11, 1)))


def line(usage: Usage | None, model: str = "model", **details: Any) -> UsageLine:
    return AttemptUsage("answered", usage, AttemptDetails(model, **details)).line()


def test_each_kind_of_token_has_its_price() -> None:
    cost = cost_of([line(Usage(1_000_000, 100_000, 600_000, 100_000))], OWN)
    assert cost == Cost(
        attempts=1,
        input=Decimal("0.6"),
        cached=Decimal("0.3"),
        cache_write=Decimal("0.25"),
        output=Decimal("0.8"),
        saved=Decimal("0.85"),  # 0.9 less for what was cached, 0.05 more for what was written
        sources=("own prices of 2026-11-01",),
    )
    assert cost.amount == Decimal("1.95")


def test_the_service_tier_decides_and_others_cost_the_ordinary_price() -> None:
    amounts = [
        cost_of([line(Usage(1_000_000, 0, tier=tier))], OWN).amount
        for tier in (None, "default", "priority")
    ]
    assert amounts == [2, 2, 4]


def test_without_a_price_for_cached_tokens_they_cost_as_much_as_others() -> None:
    own = Pricing(Prices({"*": ModelPrices(Decimal(3), Decimal(0))}))
    cost = cost_of([line(Usage(1_000_000, 5, 900_000), "any model")], own)
    assert (cost.amount, cost.saved) == (Decimal(3), Decimal(0))


def test_unknown_prices_and_unknown_usage_stay_unknown() -> None:
    assert cost_of([line(Usage(5, 6), "other")], OWN) == Cost(attempts=1, unpriced=1)
    assert cost_of([line(Usage(5, 6), "other")], OWN).amount is None
    assert cost_of([line(None)], OWN).amount is None
    mixed = cost_of([line(Usage(1_000_000, 0)), line(None), line(Usage(1, 1), "other")], OWN)
    assert (mixed.attempts, mixed.unknown, mixed.unpriced) == (3, 1, 1)
    assert mixed.amount == 2
    assert cost_of([], OWN).amount == 0


def test_an_estimate_is_not_part_of_the_amount() -> None:
    guess = Usage(1_000_000, 100_000)
    cost = cost_of([line(None, estimate=guess), line(Usage(1_000_000, 0))], OWN)
    assert (cost.amount, cost.estimated) == (Decimal(2), Decimal("2.8"))
    assert str(cost) == (
        "2 USD, 1 without reported usage, about 2.8 for them, own prices of 2026-11-01"
    )


def test_a_currency_of_ones_own_is_never_mixed_with_the_library_s() -> None:
    listed = lambda line: (PRICES, "list")  # noqa: E731
    euros = Pricing(Prices({"model": PRICES}, "EUR"), listed)
    assert cost_of([line(Usage(1_000_000, 0))], euros).amount == 2
    assert cost_of([line(Usage(1_000_000, 0), "other")], euros).amount is None
    dollars = Pricing(Prices({"model": PRICES}), listed)
    assert cost_of([line(Usage(1_000_000, 0), "other")], dollars).sources == ("list",)
    with pytest.raises(ValueError, match="EUR and in USD"):
        cost_of([], euros) + cost_of([], dollars)


def test_a_deployment_is_priced_by_the_model_that_answers() -> None:
    [known] = [cost_of([line(Usage(1_000_000, 0), "deployment", served="model")], OWN)]
    assert known.amount == 2


def test_categories_and_conversations_have_their_costs() -> None:
    ledger = UsageLedger()
    ledger.record("answered", Usage(1_000_000, 0), AttemptDetails("model", conversation=1))
    ledger.record("cancelled", Usage(500_000, 0), AttemptDetails("model", conversation=2))
    usage = ledger.snapshot(OWN)
    assert usage.cost.amount == 3
    assert {name: cost.amount for name, cost in usage.costs.items() if cost.attempts} == {
        "answered": 2,
        "cancelled": 1,
    }
    assert [one.usage.cost.amount for one in usage.conversations] == [2, 1]
    assert ledger.snapshot().cost.amount is None


def test_attempts_of_unusual_size_are_priced_one_by_one() -> None:
    lines = [line(Usage(size, 0)) for size in (10, 99_999, 150_000, 300_000)]
    assert [one.size for one in lines] == [0, 0, 150_000, 300_000]


@pytest.mark.parametrize(
    ("make", "wrong"),
    [
        (lambda: ModelPrices(0.15, Decimal(1)), "input is 0.15; expected a Decimal"),  # type: ignore[arg-type]
        (lambda: ModelPrices(Decimal(1), None), "output is None"),  # type: ignore[arg-type]
        (lambda: ModelPrices(Decimal(1), Decimal(-1)), "output is Decimal"),
        (lambda: ModelPrices("one", 1), "input is 'one'"),  # type: ignore[arg-type]
        (lambda: ModelPrices(True, 1), "input is True"),  # type: ignore[arg-type]
        (lambda: ModelPrices(1, 1, tiers={"flex": 1}), "tiers"),  # type: ignore[arg-type, dict-item]
        (lambda: Prices({"m": 1}), "the prices of 'm' are 1"),  # type: ignore[dict-item]
        (lambda: Prices([]), "expected a mapping"),  # type: ignore[arg-type]
        (lambda: Prices({}, currency=""), "currency is ''"),
        (lambda: Prices({}, date="2026-11-01"), "date is '2026-11-01'"),  # type: ignore[arg-type]
    ],
)
def test_prices_are_checked_when_they_are_made(make: Any, wrong: str) -> None:
    with pytest.raises(ConfigError, match=wrong):
        make()


def test_nothing_is_priced_without_prices() -> None:
    assert UNPRICED.of(line(Usage(1, 1))) is None
