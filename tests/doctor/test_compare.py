"""The same conversation with the stock plugins, on a simulated host."""

from __future__ import annotations

import sys

import pytest

from doctor.runs import ON, seen, target_at, verdicts
from rtllm.doctor import Report, compare, cost_of_comparison
from rtllm.doctor.judgements.compared import COMPARED
from rtllm.doctor.judgements.comparison import Heard, judge_comparison
from rtllm.doctor.simulated import simulated_host


async def compared() -> Report:
    async with simulated_host() as service:
        target = target_at(service)
        report = await compare(target, on=ON)
        await service.journal.wait(lambda journal: not journal.open_connections)
        assert report.requests == cost_of_comparison(target).requests
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


QUICK = dict.fromkeys(("first", "next", "barge-in"), Heard(0.4, 1000, 500))
SLOW = {**QUICK, "barge-in": Heard(1.4, 1500, 0)}
BROKEN = {"first": Heard(error="no")}


def test_a_turn_that_is_slower_or_needs_more_is_named() -> None:
    found = {each.name: each.verdict for each in judge_comparison("livekit", SLOW, QUICK)}
    assert found["livekit-first"] == "holds"
    assert found["livekit-barge-in"] == found["livekit-tokens"] == "differs"


def test_a_side_that_fails() -> None:
    stock_fails = judge_comparison("livekit", QUICK, BROKEN)
    assert [each.verdict for each in stock_fails] == ["holds"] * 3 + ["not checked"]
    assert "the stock plugin failed: no" in stock_fails[0].seen
    assert judge_comparison("livekit", BROKEN, QUICK)[0].verdict == "fails"
