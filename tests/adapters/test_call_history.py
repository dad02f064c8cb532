"""The responses of a context's calls, by the keys that an adapter binds."""

from __future__ import annotations

import logging

import pytest

from rtllm import ToolCall
from rtllm.adapters import CallGroup, CallHistory
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
