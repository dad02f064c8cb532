"""Usage: every attempt is counted once, and unknown is not zero."""

import pytest

from rtllm.content.usage import Totals, Usage, UsageCategory, UsageLedger


def test_total_is_input_and_output() -> None:
    assert Usage(3, 4, reasoning=2).total == 7


def test_an_unknown_attempt_is_counted_as_unknown() -> None:
    assert Totals.of(None) == Totals(attempts=1, unknown=1)


def test_details_that_were_not_reported_count_as_none() -> None:
    assert Totals.of(Usage(5, 6)) == Totals(1, 0, 5, 6)
    assert Totals.of(Usage(5, 6, 1, 2, 3)) == Totals(1, 0, 5, 6, 1, 2, 3)


def test_totals_add_up_field_by_field() -> None:
    one, two = Totals(1, 2, 3, 4, 5, 6, 7), Totals(10, 20, 30, 40, 50, 60, 70)
    assert one + two == Totals(11, 22, 33, 44, 55, 66, 77)


@pytest.mark.parametrize("category", ["answered", "cancelled", "failed", "superseded", "warm-up"])
def test_each_category_is_kept_apart_and_counts_in_all(category: UsageCategory) -> None:
    usage_ledger = UsageLedger()
    usage_ledger.record(category, Usage(5, 6))
    usage_ledger.record(category, None)
    snapshot = usage_ledger.snapshot()
    expected = Totals(2, 1, 5, 6)
    assert getattr(snapshot, category.replace("-", "_")) == expected
    assert snapshot.all == expected


def test_a_snapshot_does_not_change_afterwards() -> None:
    usage_ledger = UsageLedger()
    before = usage_ledger.snapshot()
    usage_ledger.record("cancelled", Usage(1, 1))
    assert before.all == Totals()
