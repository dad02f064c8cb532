"""The same conversation with the stock plugins, on a simulated host."""

from __future__ import annotations

import asyncio
import sys

import pytest

from doctor.runs import KEY, ON, seen, target_at, verdicts
from rtllm.content.usage import Usage
from rtllm.doctor import Report, compare, cost_of_comparison, to_markdown
from rtllm.doctor.judgements.compared import COMPARED
from rtllm.doctor.judgements.comparison import TimedTurn, judge_comparison
from rtllm.doctor.simulated import simulated_host
from rtllm.simulator import Request, Silence


async def compared() -> Report:
    async with simulated_host() as service:
        target = target_at(service)
        report = await compare(target, on=ON)
        await service.journal.wait(lambda journal: not journal.open_connections)
        # The contexts have only the first words of the count that was interrupted.
        assert not any("seven eight" in str(entry.body) for entry in service.journal.entries)
        assert report.totals.attempts == cost_of_comparison(target).requests
        return report


async def test_both_frameworks_are_compared_and_nothing_stays_open() -> None:
    report = await compared()
    assert verdicts(report) == dict.fromkeys(COMPARED, "holds")
    assert "Nothing is slower" in report.verdict
    for name in ("livekit-first", "livekit-next", "livekit-barge-in", "videosdk-next"):
        assert "with rtllm, " in seen(report, name)
    assert "with the stock plugin" in seen(report, "livekit-tokens")


async def test_what_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "livekit.plugins.openai", None)
    monkeypatch.setitem(sys.modules, "videosdk.plugins.openai", None)
    async with simulated_host() as service:
        report = await compare(target_at(service), on=ON)
        assert service.journal.entries == []
    assert report.exit_status == 2
    assert seen(report, "livekit-first") == "pip install livekit-plugins-openai"
    assert seen(report, "videosdk-tokens") == "pip install videosdk-plugins-openai"


async def test_a_plugin_that_never_answers_ends_only_its_own_conversation() -> None:
    waiting: list[Request] = []

    def silent_once(request: Request) -> Silence | None:
        waiting.append(request)
        return Silence() if len(waiting) == 9 else None  # VideoSDK's: it waits without a limit

    async with simulated_host(fault=silent_once) as service:
        report = await compare(target_at(service), on=ON)
        await service.journal.wait(lambda journal: not journal.open_connections)
    assert report.exit_status == 0, to_markdown(report)
    assert "took more than 120 s" in seen(report, "videosdk-first")


async def test_a_key_function_that_never_returns_is_not_waited_for() -> None:
    async def never() -> str:
        await asyncio.Event().wait()
        return KEY

    async with simulated_host() as service:
        report = await compare(target_at(service, api_key=never), on=ON)
    assert seen(report, "livekit-first") == "the key function returned no key in time"


QUICK = dict.fromkeys(("first", "next", "barge-in"), TimedTurn(0.4, Usage(1000, 10, 500)))
SLOW = {**QUICK, "barge-in": TimedTurn(1.4, Usage(1500, 10, 0))}
BROKEN = dict.fromkeys(QUICK, TimedTurn(error="no"))


def test_a_turn_that_is_slower_or_needs_more_is_named() -> None:
    found = {each.name: each.verdict for each in judge_comparison("livekit", SLOW, QUICK)}
    assert found["livekit-first"] == "holds"
    assert found["livekit-barge-in"] == found["livekit-tokens"] == "differs"


def test_a_side_that_fails() -> None:
    stock_fails = judge_comparison("livekit", QUICK, BROKEN)
    assert [each.verdict for each in stock_fails] == ["holds"] * 3 + ["not checked"]
    assert "the stock plugin failed: no" in stock_fails[0].seen
    assert judge_comparison("livekit", BROKEN, QUICK)[0].verdict == "fails"
