"""Usage: every attempt is counted once, and unknown is not zero."""

from datetime import date

import pytest

from rtllm.content.call_identity import CallIdentity
from rtllm.content.usage import AttemptDetails, Totals, Usage, UsageCategory, add_usage
from rtllm.content.usage_ledger import CONVERSATIONS, UsageLedger


def test_total_is_input_and_output() -> None:
    assert Usage(3, 4, reasoning=2).total == 7


KNOWN = Usage(1, 2, 3, 4, 5, "flex")


@pytest.mark.parametrize(
    ("earlier", "later", "total"),
    [
        pytest.param(None, None, None, id="none is known"),
        pytest.param(KNOWN, None, KNOWN, id="only the earlier is known"),
        pytest.param(None, KNOWN, KNOWN, id="only the later is known"),
        pytest.param(
            KNOWN,
            Usage(10, 20, 30, 40, 50, "default"),
            Usage(11, 22, 33, 44, 55, "default"),
            id="both report all",
        ),
        pytest.param(KNOWN, Usage(10, 20), Usage(11, 22, 3, 4, 5, "flex"), id="the later less"),
        pytest.param(Usage(10, 20), KNOWN, Usage(11, 22, 3, 4, 5, "flex"), id="the later more"),
        pytest.param(Usage(1, 1), Usage(2, 2), Usage(3, 3), id="both report little"),
    ],
)
def test_usage_adds_up_and_unknown_counts_stay_unknown(
    earlier: Usage | None, later: Usage | None, total: Usage | None
) -> None:
    assert add_usage(earlier, later) == total


def test_an_unknown_attempt_is_counted_as_unknown() -> None:
    assert Totals.of(None) == Totals(attempts=1, unknown=1)


def test_details_that_were_not_reported_count_as_none() -> None:
    assert Totals.of(Usage(5, 6)) == Totals(1, 0, 5, 6)
    assert Totals.of(Usage(5, 6, 1, 2, 3)) == Totals(1, 0, 5, 6, 1, 2, 3)


def test_totals_add_up_field_by_field() -> None:
    one = Totals(1, 2, 3, 4, 5, 6, 7, 8, 9, 10)
    two = Totals(10, 20, 30, 40, 50, 60, 70, 80, 90, 100)
    assert one + two == Totals(11, 22, 33, 44, 55, 66, 77, 88, 99, 110)


@pytest.mark.parametrize(
    "category", ["answered", "cancelled", "failed", "superseded", "warm-up", "draft"]
)
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


def test_an_estimate_is_not_part_of_the_reported_tokens() -> None:
    guessed = AttemptDetails(estimate=Usage(100, 20))
    totals = Totals.of(None, guessed)
    assert (totals.unknown, totals.input, totals.output) == (1, 0, 0)
    assert (totals.estimated_input, totals.estimated_output) == (100, 20)
    assert Totals.of(Usage(5, 6), guessed) == Totals(1, 0, 5, 6)


def test_the_usage_of_each_conversation_is_kept_apart_up_to_a_limit() -> None:
    ledger = UsageLedger()
    for number in range(1, CONVERSATIONS + 10):
        ledger.record("answered", Usage(1, 1), AttemptDetails(conversation=number))
    ledger.record("warm-up", Usage(1, 1), AttemptDetails(conversation=-1))
    snapshot = ledger.snapshot()
    assert [one.conversation for one in snapshot.conversations[-2:]] == [520, 521]
    assert len(snapshot.conversations) == CONVERSATIONS
    assert all(one.usage.all.attempts == 1 for one in snapshot.conversations)
    assert snapshot.all.attempts == 522


def test_an_attempt_is_moved_to_the_category_that_it_belongs_to() -> None:
    ledger = UsageLedger()
    spoken, draft = AttemptDetails("m", conversation=1), AttemptDetails("m", conversation=1)
    ledger.record("answered", Usage(10, 1), spoken, date(2026, 11, 29))
    ledger.record("answered", Usage(20, 2), draft, date(2026, 11, 30))
    ledger.move("answered", "draft", Usage(20, 2), draft)
    for usage in (ledger.snapshot(), ledger.snapshot().conversations[0].usage):
        assert usage.answered == Totals(1, 0, 10, 1)
        assert usage.draft == Totals(1, 0, 20, 2)
        assert {line.day for line in usage.lines if line.category == "draft"} <= {
            date(2026, 11, 29),
            date(2026, 11, 30),
        }


def test_two_engines_number_their_conversations_apart() -> None:
    ledger = UsageLedger()
    for engine in ("a", "b"):
        ledger.record("answered", Usage(1, 1), AttemptDetails(conversation=1, engine=engine))
    assert [one.usage.all.attempts for one in ledger.snapshot().conversations] == [1, 1]


def test_a_conversation_has_the_names_of_its_call() -> None:
    ledger, call = UsageLedger(), CallIdentity("front desk", session="s1")
    ledger.record("answered", Usage(1, 1), AttemptDetails(conversation=1, call=call))
    ledger.record("answered", Usage(1, 1), AttemptDetails(conversation=2))
    assert [one.call for one in ledger.snapshot().conversations] == [call, CallIdentity()]


def test_moving_leaves_other_attempts_and_other_lines_as_they_are() -> None:
    ledger = UsageLedger()
    one, other = AttemptDetails("m", conversation=1), AttemptDetails("n", conversation=1)
    for details in (one, one, other):
        ledger.record("answered", Usage(10, 1), details)
    ledger.move("answered", "draft", Usage(10, 1), one)
    ledger.move("cancelled", "draft", Usage(10, 1), one)  # never recorded as that
    ledger.move("answered", "draft", Usage(10, 1), AttemptDetails("n", conversation=2))
    usage = ledger.snapshot()
    assert (usage.answered.attempts, usage.draft.attempts) == (1, 2)
    assert usage.conversations[0].usage.draft.attempts == 1
    assert usage.all.attempts == 3
