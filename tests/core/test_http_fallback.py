"""When requests take HTTP, and when the socket is tried again."""

from hypothesis import given
from hypothesis import strategies as st

from rtllm.retry.http_fallback import COOLDOWN, LONGEST_COOLDOWN, HttpFallback, ProtocolChoice


def test_the_socket_is_the_way_until_it_fails() -> None:
    assert HttpFallback().choose_protocol(0.0) is ProtocolChoice.SOCKET


def test_a_socket_that_failed_is_avoided_and_then_tried_during_one_turn() -> None:
    fallback = HttpFallback()
    fallback.record_failure(100.0)
    assert fallback.choose_protocol(100.0) is ProtocolChoice.HTTP
    assert fallback.choose_protocol(99.9 + COOLDOWN) is ProtocolChoice.HTTP
    assert fallback.choose_protocol(100.0 + COOLDOWN) is ProtocolChoice.HTTP_WITH_TRIAL
    assert (
        fallback.choose_protocol(100.0 + COOLDOWN) is ProtocolChoice.HTTP_WITH_TRIAL
    )  # asking changes nothing
    fallback.begin_trial()
    assert fallback.choose_protocol(100.1 + COOLDOWN) is ProtocolChoice.HTTP  # the trial still runs
    fallback.record_open()
    assert fallback.choose_protocol(100.2 + COOLDOWN) is ProtocolChoice.SOCKET


def test_an_open_connection_is_taken_where_only_new_ones_fail() -> None:
    fallback = HttpFallback()
    fallback.record_failure(0.0)
    assert fallback.choose_protocol(1.0, has_open=True) is ProtocolChoice.SOCKET
    assert fallback.choose_protocol(1.0) is ProtocolChoice.HTTP
    fallback.record_failure(2.0, opened=True)
    assert fallback.choose_protocol(3.0, has_open=True) is ProtocolChoice.HTTP


def test_turns_that_fail_together_count_once() -> None:
    fallback = HttpFallback()
    for moment in range(6):
        fallback.record_failure(float(moment))
    assert fallback.choose_protocol(COOLDOWN) is ProtocolChoice.HTTP_WITH_TRIAL


def test_a_host_without_a_socket_is_left_alone_the_longest() -> None:
    fallback = HttpFallback()
    fallback.record_failure(0.0, has_no_websocket=True)
    assert fallback.choose_protocol(LONGEST_COOLDOWN - 0.1) is ProtocolChoice.HTTP
    assert fallback.choose_protocol(LONGEST_COOLDOWN) is ProtocolChoice.HTTP_WITH_TRIAL


def test_an_answer_makes_the_next_rest_short_again() -> None:
    fallback, now = HttpFallback(), 0.0
    for _ in range(9):
        fallback.record_failure(now)
        now += LONGEST_COOLDOWN
        assert fallback.choose_protocol(now) is ProtocolChoice.HTTP_WITH_TRIAL
    fallback.record_open()
    fallback.record_response()
    fallback.record_failure(now)
    assert fallback.choose_protocol(now + COOLDOWN) is ProtocolChoice.HTTP_WITH_TRIAL


@given(st.lists(st.sampled_from(["failed", "none", "opened", "answered", "ask"]), max_size=30))
def test_a_rest_is_never_longer_than_the_longest_and_one_trial_runs_at_a_time(
    facts: list[str],
) -> None:
    fallback, now, trying = HttpFallback(), 0.0, False
    for fact in facts:
        now += 1.0
        match fact:
            case "failed" | "none":
                fallback.record_failure(now, has_no_websocket=fact == "none")
                trying = False
            case "opened":
                fallback.record_open()
                trying = False
                assert fallback.choose_protocol(now) is ProtocolChoice.SOCKET
            case "answered":
                fallback.record_response()
            case _:
                way = fallback.choose_protocol(now)
                assert not (trying and way is ProtocolChoice.HTTP_WITH_TRIAL)
                if way is ProtocolChoice.HTTP_WITH_TRIAL:
                    fallback.begin_trial()
                    trying = True
    assert trying or fallback.choose_protocol(now + LONGEST_COOLDOWN) is not ProtocolChoice.HTTP
