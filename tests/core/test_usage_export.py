"""Usage as pydantic models and JSON lines: nothing lost, exact, estimates apart."""

import json
from datetime import date
from decimal import Decimal

from rtllm import ModelPrices, Prices, Usage, UsageLedger, UsageSnapshot
from rtllm.content.call_identity import CallIdentity
from rtllm.content.prices import Pricing
from rtllm.content.usage import AttemptDetails
from rtllm.usage import LineRecord, UsageRecord, export_usage, usage_json_lines

OWN = Pricing(Prices({"m": ModelPrices(Decimal("0.1"), Decimal("0.3"))}, date=date(2026, 11, 1)))


def used() -> UsageSnapshot:
    ledger, today = UsageLedger(), date(2026, 11, 29)
    call = CallIdentity("front desk", room="r1")
    first = AttemptDetails("m", "openai", 1, "m-2026", not_sent=7, call=call)
    guessed = AttemptDetails("m", "openai", 2, estimate=Usage(100, 10))
    ledger.record("answered", Usage(10, 1, 4, 2, 0, "default"), first, today)
    ledger.record("cancelled", None, guessed, today)
    ledger.record("answered", Usage(1, 1), AttemptDetails("other", "host", 2), today)
    return ledger.snapshot(OWN)


def test_a_model_holds_everything_and_is_read_back_from_its_json() -> None:
    usage = used()
    record = export_usage(usage)
    assert record.all.input == usage.all.input == 11
    assert (record.all.unknown, record.all.estimated_input, record.all.not_sent) == (1, 100, 7)
    assert record.cost.amount == usage.cost.amount == Decimal("0.0000013")
    assert record.cost.estimated == Decimal("0.000013")
    assert (record.cost.unknown, record.cost.unpriced) == (1, 1)
    assert record.cost.sources == ("own prices of 2026-11-01",)
    assert set(record.categories) == set(record.costs) == set(usage.by_category)
    assert {number: len(lines) for number, lines in record.conversations.items()} == {1: 1, 2: 2}
    assert UsageRecord.model_validate_json(record.model_dump_json()) == record


def test_json_lines_add_up_to_the_sums() -> None:
    lines = [json.loads(line) for line in usage_json_lines(used())]
    assert all("\n" not in line for line in usage_json_lines(used()))
    sums = [line for line in lines if line["conversation"] is None]
    apart = [line for line in lines if line["conversation"] is not None]
    for some in (sums, apart):
        assert sum(line["tokens"]["input"] for line in some) == 11
        known = [Decimal(line["cost"]["amount"]) for line in some if line["cost"]["amount"]]
        assert sum(known) == Decimal("0.0000013")
    assert {line["kind"] for line in lines} == {"usage"}
    assert [line["call"]["room"] for line in apart] == ["r1", None, None]
    assert LineRecord.model_validate(lines[0]).day == date(2026, 11, 29)
