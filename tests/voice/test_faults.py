"""The service fails amid a call: the caller hears nothing twice, and the call goes on."""

from __future__ import annotations

from typing import Any

import pytest

from rtllm.simulator import (
    Abort,
    Close,
    CutResponse,
    ErrorFrame,
    FailedResponse,
    Fault,
    Silence,
    only,
)
from rtllm_livekit.testing import FakeTTS
from voice.line import answer_of, line

BEFORE: dict[str, Fault] = {
    "error frame": ErrorFrame(phase="sent"),
    "abort": Abort(phase="sent"),
    "close": Close(phase="created"),
    "failed": FailedResponse(phase="created"),
    "silence": Silence(phase="sent"),
}
AMID: dict[str, Fault] = {
    "abort": Abort(phase="output", after=4),
    "close": Close(phase="output", after=4),
    "cut": CutResponse(phase="output", after=4),
    "failed": FailedResponse(phase="output", after=4),
    "silence": Silence(phase="output", after=4),
}


@pytest.mark.parametrize("fault", BEFORE)
async def test_a_fault_before_the_first_word_is_not_heard(host: Any, fault: str) -> None:
    options = {"fault": only(1, BEFORE[fault])}
    async with line(host, simulator=options, checked=False) as on:
        for _ in range(3):
            await on.call.caller_says("Tell me a story.")
            await on.call.quiet(settle=15)
    assert len(on.call.heard) == 3
    assert not any(heard.interrupted for heard in on.call.heard)
    on.check_heard()


@pytest.mark.parametrize("fault", AMID)
async def test_a_fault_amid_the_words_repeats_none_of_them(host: Any, fault: str) -> None:
    options = {"fault": only(1, AMID[fault]), "per_delta": 0.2}
    async with line(host, simulator=options, checked=False, tts=FakeTTS(work=0.0)) as on:
        for _ in range(3):
            await on.call.caller_says("Tell me a story.")
            await on.call.quiet(settle=15)
    first, cut, last = (heard.text for heard in on.call.heard)
    assert first == answer_of(0)
    assert cut
    assert answer_of(1).startswith(cut)
    assert cut != answer_of(1)
    assert last == answer_of(on.stage.entries[-1].index)
    assert ("assistant", cut) in [(role, text.strip()) for role, text in on.contexts[-1]]
    on.check_heard()


async def test_a_barge_in_while_a_lost_connection_is_replaced(any_host: Any) -> None:
    options = {"fault": only(2, Abort(phase="sent")), "per_delta": 0.1}
    async with line(any_host, simulator=options, checked=False) as on:
        await on.call.caller_says("Tell me a story.")
        await on.call.quiet()
        await on.call.caller_says("Tell me a story.")
        await on.call.agent_says(3)
        await on.call.caller_says("No, another one please.")
        await on.call.agent_says(2)
        await on.call.caller_says("No, again another one.")
        await on.call.quiet()
        assert not on.call.heard[-1].interrupted
    on.check_heard()
