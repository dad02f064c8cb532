"""What a turn leaves in the log: one line, its faults, and no word of the conversation."""

from __future__ import annotations

import logging
from contextlib import aclosing

import pytest

from rtllm import Client, RequestRejected
from rtllm.simulator import Close, ErrorFrame, Reasoning, Reply, Simulator, echo, only
from transport.caller import Caller

SECRET = "my pin is 1234"


def lines(caplog: pytest.LogCaptureFixture, level: int) -> list[str]:
    return [r.getMessage() for r in caplog.records if r.levelno == level]


async def test_a_turn_is_one_line(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "rtllm")
    async with (
        Simulator(echo()) as service,
        aclosing(Client.connect(api_key="key", base_url=service.base_url)) as client,
    ):
        caller = Caller(client)
        await caller.say(SECRET)
        await caller.say("Again")
    first, second = lines(caplog, logging.INFO)
    assert first.startswith("conversation 1: completed, first output after 0.")
    assert "full context (first request), 2 items" in first
    assert " input and " in first
    assert "1 attempt, " in first
    assert "chained, 1 item, " in second
    assert "reused connection 1" in second
    assert SECRET not in caplog.text


async def test_reasoning_tokens_are_named(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "rtllm")
    reply = Reply.of(Reasoning(tokens=180), "Yes.")
    async with (
        Simulator(reply) as service,
        aclosing(Client.connect(api_key="key", base_url=service.base_url)) as client,
    ):
        await Caller(client).say("Hi")
    (line,) = lines(caplog, logging.INFO)
    assert " (180 of reasoning) output tokens" in line


async def test_a_recovered_fault_is_a_line_before_it(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "rtllm")
    async with (
        Simulator(echo(), fault=only(0, Close(phase="created"))) as service,
        aclosing(Client.connect(api_key="key", base_url=service.base_url)) as client,
    ):
        await Caller(client).say("Hi")
    fault, end = lines(caplog, logging.INFO)
    assert fault.startswith("conversation 1: ")
    assert "sent again" in fault
    assert "2 attempts" in end


async def test_a_failed_turn_is_a_warning_with_its_reason(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG, "rtllm")
    refused = ErrorFrame(status=400, code="invalid_prompt", message=f"Not allowed: {SECRET}")
    async with (
        Simulator(echo(), fault=refused) as service,
        aclosing(
            Client.connect(api_key="key", base_url=service.base_url, profile="openai")
        ) as client,
    ):
        with pytest.raises(RequestRejected):
            await Caller(client).say(SECRET)
    (warning,) = lines(caplog, logging.WARNING)
    assert "the turn failed after" in warning
    assert "(invalid_prompt)" in warning
    assert SECRET not in warning
    assert any("Not allowed" in line for line in lines(caplog, logging.DEBUG))
