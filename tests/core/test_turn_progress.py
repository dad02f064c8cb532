"""One turn: its phases, its deadlines, and what it may still try."""

from typing import Any

import pytest

from rtllm.content.retries import RetryPolicy
from rtllm.content.timeouts import Timeouts
from rtllm.engine.progress import TurnProgress
from rtllm.errors import ConfigError, RateLimited, ResponseFailed, TurnTimeout
from rtllm.retry.faults import Fault, FaultKind
from rtllm.retry.policy import Complete, Fail, Resend

BUSY = Fault(FaultKind.THROTTLED, "slow down", "rate_limit_exceeded", 429, request_id="req_1")


def turn(limits: Timeouts | None = None, retry: RetryPolicy | None = None) -> TurnProgress:
    return TurnProgress(
        limits or Timeouts(base=10, connect=3, open_item=30, total=120), retry or RetryPolicy(), 0.0
    )


def sent(at: float = 1.0) -> TurnProgress:
    it = turn()
    it.record_connecting(0.0)
    it.record_sent(at)
    return it


def ends(it: TurnProgress) -> float:
    return it.deadline()[0]


@pytest.mark.parametrize(
    ("base", "connect", "expected"),
    [
        (10, None, (10, 10, 30)),
        (10, 5, (10, 5, 30)),
        (5, 20, (5, 5, 30)),
        (20, None, (20, 20, 60)),
    ],
)
def test_all_limits_follow_from_the_base_limit(
    base: float, connect: float | None, expected: tuple[float, float, float]
) -> None:
    limits = Timeouts.of(base, connect)
    assert (limits.base, limits.connect, limits.open_item) == expected
    assert limits.total == 120


def test_connecting_has_its_own_limit_for_each_attempt() -> None:
    it = turn()
    it.record_connecting(1.0)
    assert it.deadline() == (4.0, "a connection", 3)
    it.record_connecting(9.0)
    assert ends(it) == 12.0


def test_created_is_not_progress() -> None:
    it = sent(1.0)
    assert it.deadline() == (11.0, "the first output", 10)
    it.record_created()
    assert it.deadline() == (11.0, "the first output", 10)


def test_each_output_gives_a_new_gap() -> None:
    it = sent(1.0)
    it.record_output(5.0)
    assert it.deadline() == (15.0, "more output", 10)


def test_an_open_slow_item_may_take_longer_and_its_own_events_count() -> None:
    it = sent(1.0)
    it.record_slow_item(2.0, is_open=True)
    assert it.deadline() == (32.0, "more output", 30)
    it.record_slow_item(20.0, is_open=True)
    assert ends(it) == 50.0
    it.record_slow_item(21.0, is_open=False)
    assert ends(it) == 31.0


def test_the_end_of_an_item_that_was_not_open_is_not_progress() -> None:
    it = sent(1.0)
    it.record_slow_item(9.0, is_open=False)
    assert ends(it) == 11.0


def test_a_new_attempt_forgets_the_open_item_and_waits_for_its_first_output() -> None:
    it = sent(1.0)
    it.record_output(2.0)
    it.record_slow_item(2.0, is_open=True)
    it.record_connecting(40.0)
    it.record_sent(41.0)
    assert it.deadline() == (51.0, "the first output", 10)


def test_the_whole_turn_is_limited_whatever_comes() -> None:
    it = sent(1.0)
    it.record_output(119.0)
    assert it.deadline() == (120.0, "the whole turn", 120)


def test_a_wait_that_ran_out_says_for_what_and_how_long() -> None:
    fault = sent().make_timeout()
    assert (fault.kind, fault.code) == (FaultKind.TIMEOUT, "timeout")
    assert fault.message == "waited 10 s for the first output"


def test_phases_follow_each_other() -> None:
    it = turn()
    it.record_created()
    assert it.phase() == "connecting"
    it.record_sent(1.0)
    assert it.phase() == "sent"
    it.record_created()
    assert it.phase() == "created"
    it.record_emitted(text=3)
    assert it.phase() == "emitted"
    assert it.phase(is_complete=True) == "complete"


def test_emitted_text_is_remembered_over_attempts() -> None:
    it = sent()
    it.record_emitted(calls=1)
    it.record_connecting(2.0)
    it.record_sent(3.0)
    assert it.has_emitted
    assert it.phase() == "emitted"
    assert it.attempts == 2


def test_the_first_resend_waits_a_tenth_and_later_ones_the_interval() -> None:
    it = sent()
    waits = [it.decide(BUSY, 1.0, 0.5) for _ in range(4)]
    assert waits == [
        Resend(False, False, True, True, 0.1),
        Resend(False, False, True, True, 2.0),
        Resend(False, False, True, True, 2.0),
        Fail(RateLimited),
    ]
    assert (it.budget_used, len(it.recoveries)) == (3, 4)


@pytest.mark.parametrize(("jitter", "wait"), [(0.0, 0.05), (1.0, 0.15)])
def test_jitter_spreads_the_wait(jitter: float, wait: float) -> None:
    action = sent().decide(BUSY, 1.0, jitter)
    assert isinstance(action, Resend)
    assert action.wait == pytest.approx(wait)


def test_retry_after_is_obeyed() -> None:
    action = sent().decide(Fault(FaultKind.THROTTLED, "", retry_after=1.25), 1.0, 0.5)
    assert isinstance(action, Resend)
    assert action.wait == 1.25


def test_a_wait_longer_than_allowed_ends_the_turn() -> None:
    it = sent()
    assert it.decide(Fault(FaultKind.THROTTLED, "", retry_after=8.5), 1.0, 0.5) == Fail(RateLimited)
    assert it.budget_used == 0


def test_a_wait_beyond_the_whole_turn_ends_it() -> None:
    assert sent().decide(Fault(FaultKind.THROTTLED, "", retry_after=5), 116.0, 0.5) == Fail(
        RateLimited
    )


def test_a_free_resend_costs_nothing_and_waits_for_nothing() -> None:
    it = turn(retry=RetryPolicy(budget=0))
    it.record_sent(1.0)
    action = it.decide(Fault(FaultKind.CHAIN_MISS, ""), 1.0, 0.5)
    assert action == Resend(True, False, False, False)
    assert it.budget_used == 0
    assert isinstance(it.decide(Fault(FaultKind.CHAIN_MISS, ""), 1.0, 0.5), Fail)


def test_a_whole_answer_ends_normally_when_its_last_event_is_missing() -> None:
    it = sent()
    it.record_emitted(text=5)
    assert it.decide(Fault(FaultKind.DROPPED, ""), 2.0, 0.5, is_complete=True) == Complete(
        "unfinished"
    )


def test_the_error_of_a_turn_tells_all_that_is_known() -> None:
    it = sent()
    it.record_emitted(text=5, calls=1)
    error = it.make_error(ResponseFailed, BUSY)
    details = error.details
    assert (error.message, details.code, details.status) == ("slow down", BUSY.code, 429)
    assert (details.request_id, details.phase, details.attempts) == ("req_1", "emitted", 1)
    assert details.emitted == (5, 1)
    assert "after 5 characters and 1 tool calls" in str(error)


# -- dribbling speech --------------------------------------------------------------------------


def speaking(floor: float) -> TurnProgress:
    turn = TurnProgress(Timeouts(base=10.0, total=600.0, speech_floor=floor), RetryPolicy(), 0.0)
    turn.record_connecting(0.0)
    turn.record_sent(0.0)
    return turn


def test_speech_may_dribble_where_no_floor_is_set() -> None:
    turn = speaking(0.0)
    for second in range(100):
        turn.record_output(float(second))
        turn.record_speech(float(second), 1, is_open=True)
    assert turn.deadline() == (109.0, "more output", 10.0)


def test_speech_below_the_floor_runs_out() -> None:
    turn = speaking(2.0)
    for second in range(15):
        turn.record_output(float(second))
        turn.record_speech(float(second), 1, is_open=True)
    at, what, _ = turn.deadline()
    assert what == "enough speech"
    assert at == pytest.approx(10.0 + 14 / 2)


def test_speech_above_the_floor_never_runs_out_but_by_its_gaps() -> None:
    turn = speaking(2.0)
    for second in range(100):
        turn.record_output(float(second))
        turn.record_speech(float(second), 3, is_open=True)
        assert turn.deadline()[0] > second + 1


def test_a_burst_is_not_a_credit_for_long() -> None:
    turn = speaking(2.0)
    turn.record_output(0.0)
    turn.record_speech(0.0, 10_000, is_open=True)
    turn.record_output(8.0)
    turn.record_speech(8.0, 10_000, is_open=True)
    assert turn.deadline()[0] == 18.0


def test_between_messages_no_speech_is_due() -> None:
    turn = speaking(2.0)
    turn.record_output(1.0)
    turn.record_speech(1.0, 1, is_open=True)
    turn.record_slow_item(2.0, is_open=True)
    turn.record_speech(2.0, 0, is_open=False)
    assert turn.deadline() == (32.0, "more output", 30.0)


@pytest.mark.parametrize("kind", [FaultKind.SERVER, FaultKind.THROTTLED])
def test_calls_that_are_held_are_asked_for_again_when_the_response_fails_after_them(
    kind: FaultKind,
) -> None:
    it = sent()
    assert isinstance(it.decide(Fault(kind, ""), 1.0, 0.5, is_complete=True), Resend)


def test_calls_that_are_held_count_as_whole_when_only_the_last_event_is_lost() -> None:
    it = sent()
    assert it.decide(Fault(FaultKind.DROPPED, ""), 1.0, 0.5, is_complete=True) == Complete(
        "unfinished"
    )


# -- the silence of a turn ---------------------------------------------------------------------


def silent(limit: float = 12.0) -> TurnProgress:
    it = turn(Timeouts(base=10.0, connect=3.0, open_item=30.0, total=120.0, silence=limit))
    it.record_connecting(0.0)
    it.record_sent(1.0)
    return it


def test_the_silence_of_a_turn_ends_with_its_limit_over_all_attempts() -> None:
    it = silent()
    assert it.deadline() == (11.0, "the first output", 10.0)
    assert isinstance(it.decide(it.make_timeout(), 11.0, 0.5), Resend)
    it.record_connecting(11.0)
    it.record_sent(11.5)
    assert it.deadline() == (12.0, "the turn's first word", 12.0)
    fault = it.make_timeout()
    assert fault.message == "waited 12 s for the turn's first word"
    assert it.decide(fault, 12.0, 0.5) == Fail(TurnTimeout)


def test_output_ends_the_silence_of_a_turn() -> None:
    it = silent()
    it.record_output(5.0)
    it.record_emitted(text=3)
    assert it.deadline() == (15.0, "more output", 10.0)


def test_the_silence_of_a_turn_does_not_run_while_a_slow_item_is_open() -> None:
    it = silent(11.0)
    it.record_slow_item(2.0, is_open=True)
    it.record_slow_item(20.0, is_open=True)
    assert it.deadline() == (50.0, "more output", 30.0)
    it.record_slow_item(22.0, is_open=False)
    assert it.deadline() == (31.0, "the turn's first word", 11.0)


def test_no_attempt_begins_after_the_silence_of_a_turn() -> None:
    it = silent(4.0)
    late = Fault(FaultKind.THROTTLED, "slow down", "rate_limit_exceeded", 429, retry_after=3.0)
    assert it.decide(late, 2.0, 0.5) == Fail(RateLimited)


def test_output_that_was_not_emitted_does_not_end_the_silence() -> None:
    it = silent()
    it.record_output(11.0)
    assert it.decide(Fault(FaultKind.TIMEOUT, "gone"), 13.0, 0.5) == Fail(TurnTimeout)


def test_the_first_output_may_have_its_own_limit() -> None:
    it = turn(Timeouts(base=10.0, first_output=4.0))
    it.record_connecting(0.0)
    it.record_sent(1.0)
    assert it.deadline() == (5.0, "the first output", 4.0)
    it.record_output(4.0)
    assert it.deadline() == (14.0, "more output", 10.0)


@pytest.mark.parametrize(
    ("limits", "named"),
    [
        ({"silence": 0}, "silence_limit is 0; expected more than 0 seconds, or None"),
        ({"silence": "12"}, "silence_limit is '12'"),
        ({"first_output": -1.0}, r"first_output_timeout is -1\.0"),
        ({"speech_floor": -1.0}, r"speech_floor is -1\.0; expected 0 or more characters/s"),
    ],
)
def test_limits_that_limit_nothing_are_refused(limits: dict[str, Any], named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        Timeouts(**limits)
