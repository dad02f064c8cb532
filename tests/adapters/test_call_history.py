"""The responses of a context's calls, by the keys that an adapter binds."""

from __future__ import annotations

import logging

import pytest

from rtllm import Message, ToolCall, ToolOutput
from rtllm.adapters import CallGroup, CallHistory, arrange
from support.logs import warned

CALL = ToolCall("call-1", "weather", "{}", key="item-1")
GROUP, OTHER = CallGroup((CALL,), "One moment."), CallGroup((CALL,), "Once more.")


@pytest.fixture(autouse=True)
def _log_warnings(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)


def test_a_key_that_is_bound_again_to_its_response_stays_known(
    caplog: pytest.LogCaptureFixture,
) -> None:
    history = CallHistory()
    for _ in range(2):
        history.bind("item-1", GROUP)
    assert history.groups_in([CALL]) == {0: GROUP}
    assert warned(caplog) == []


def test_a_key_of_two_responses_is_ignored_with_one_warning_for_the_history(
    caplog: pytest.LogCaptureFixture,
) -> None:
    history = CallHistory()
    for key in ("item-1", "item-2"):
        for group in (GROUP, OTHER, GROUP):
            history.bind(key, group)
    assert history.groups_in([CALL]) == {}
    (sentence,) = warned(caplog)
    assert sentence.startswith("the key 'item-1' was bound to two responses and is ignored")
    assert "its own key" in sentence


def test_the_text_of_earlier_responses_without_calls_moves_with_that_of_the_call() -> None:
    history = CallHistory()
    history.bind("item-1", CallGroup((CALL,), "Once more.", "One moment. "))
    recorded = Message.of("assistant", "One moment. Once more.It is warm.")
    items = (CALL, ToolOutput("call-1", "warm"), recorded)
    assert arrange(items, history.groups_in(items)) == (
        Message.of("assistant", "One moment. Once more."),
        CALL,
        items[1],
        Message.of("assistant", "It is warm."),
    )
    # While the turn runs, the earlier responses are among the items that the framework lacks.
    assert arrange(items[:2], {}, history.groups_in(items[:2])) == (
        Message.of("assistant", "Once more."),
        *items[:2],
    )
