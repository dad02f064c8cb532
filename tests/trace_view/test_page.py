"""The page in a real browser: what it shows, how it is searched, and that a file can't break it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest

from rtllm.trace import CallIdentity, FaultHandled, TraceEvent, TurnFinished, TurnQueued
from rtllm.trace_view import page_of, summarize
from rtllm.trace_view.model import Calls
from trace_view.browser import Tab
from trace_view.events import calls_of, turn

HOSTILE = '</script><img src=x onerror="window.broken=1"><!--<script>{{data}} & "quoted"'


def write_page(path: Path, calls: Calls, *, title: str = "calls.jsonl") -> Path:
    path.write_text(page_of(calls, summarize(calls), calls.turns, title=title), "utf-8")
    return path


def with_a_failure() -> Iterable[TraceEvent]:
    yield from turn(1, cost=0.001)
    yield from turn(2, at=5.0, think=2.0, cost=0.001)
    ids = {"client": "c", "turn": 3, "conversation": 1}
    yield TurnQueued(at=9.0, model="m", **ids)  # type: ignore[arg-type]
    yield FaultHandled(
        at=9.1,
        fault="refused",
        action="failed",
        resends=False,
        code="invalid_prompt",
        **ids,  # type: ignore[arg-type]
    )
    yield TurnFinished(at=9.1, outcome="failed", duration=0.1, **ids)  # type: ignore[arg-type]


async def shown(tab: Tab) -> list[str]:
    """The ids of the turns in the list."""
    return list(await tab.run("[...document.querySelectorAll('.turn')].map((turn) => turn.id)"))


async def test_the_essentials_come_first(tab: Tab, tmp_path: Path) -> None:
    await tab.open(write_page(tmp_path / "page.html", calls_of(*with_a_failure())))
    first = await tab.run("document.querySelector('.cards').innerText")
    assert "2.04 s" in first
    assert "2.00 s until the model's first output" in first
    assert "Refused (invalid_prompt)" in first
    assert "0.002" in first
    assert await tab.run("document.querySelector('.cards').getBoundingClientRect().bottom < 400")
    await tab.run("document.querySelector('#slowest button').click()")
    detail = await tab.run("document.querySelector('#turn-2 .detail').innerText")
    assert "Where its time went" in detail
    assert tab.messages == []


async def test_turns_are_found_filtered_and_ordered(tab: Tab, tmp_path: Path) -> None:
    await tab.open(write_page(tmp_path / "page.html", calls_of(*with_a_failure())))
    assert await shown(tab) == ["turn-1", "turn-2", "turn-3"]
    search = "const s = document.querySelector('input[type=search]'); s.value = '{}';"
    event = "s.dispatchEvent(new Event('input'))"
    await tab.run(f"(() => {{ {search.format('invalid_prompt')} {event} }})()")
    assert await shown(tab) == ["turn-3"]
    await tab.run(f"(() => {{ {search.format('')} {event} }})()")
    chip = "[...document.querySelectorAll('.chip')].find((c) => c.innerText.startsWith('Failed'))"
    await tab.run(f"{chip}.click()")
    assert await shown(tab) == ["turn-3"]
    await tab.run("document.querySelector('.chip').click()")
    order = "document.querySelector('select[aria-label=Order]')"
    await tab.run(f"{order}.value = 'wait'; {order}.dispatchEvent(new Event('change'))")
    assert await shown(tab) == ["turn-2", "turn-1", "turn-3"]


async def test_each_conversation_and_each_label_has_its_figures(tab: Tab, tmp_path: Path) -> None:
    other = CallIdentity(label="kitchen")
    events = [*turn(1, cost=0.001), *turn(2, at=5.0, conversation=2, think=2.0, cost=0.002)]
    events += [replace(event, call=other) for event in turn(3, at=9.0, conversation=3, cost=0.004)]
    await tab.open(write_page(tmp_path / "page.html", calls_of(*events)))
    sections = "[...document.querySelectorAll('section')]"
    rows = (
        "(title) => [...{}.find((s) => s.innerText.startsWith(title)).querySelectorAll('tbody tr')]"
    )
    read = f"({rows.format(sections)})('{{}}').map((row) => row.innerText.replace(/\\s+/g, ' '))"
    labels = await tab.run(read.format("Labels"))
    assert [row.split()[0] for row in labels] == ["desk", "kitchen"]
    assert "220 0.003 USD" in labels[0].replace("00 USD", " USD")
    conversations = await tab.run(read.format("Conversations"))
    assert [row.split()[:3] for row in conversations] == [
        ["1:", "desk", "1"],
        ["2:", "desk", "1"],
        ["3:", "kitchen", "1"],
    ]
    await tab.run(f"({rows.format(sections)})('Conversations')[1].querySelector('button').click()")
    assert await shown(tab) == ["turn-2"]


async def test_the_theme_is_the_systems_and_can_be_switched(tab: Tab, tmp_path: Path) -> None:
    page = write_page(tmp_path / "page.html", calls_of(*turn()))
    theme = "document.documentElement.dataset.theme"
    await tab.look(width=1200, height=900, theme="dark")
    await tab.open(page)
    assert await tab.run(theme) == "dark"
    await tab.run("document.querySelector('.switch').click()")
    assert await tab.run(theme) == "light"


@pytest.mark.parametrize("width", [360, 1200])
async def test_nothing_is_wider_than_the_window(tab: Tab, tmp_path: Path, width: int) -> None:
    await tab.look(width=width, height=800, theme="light")
    await tab.open(write_page(tmp_path / "page.html", calls_of(*with_a_failure())))
    await tab.run("document.querySelectorAll('.row').forEach((row) => row.click())")
    assert await tab.run("document.documentElement.scrollWidth") <= width


async def test_a_file_can_not_put_code_into_the_page(tab: Tab, tmp_path: Path) -> None:
    call = CallIdentity(label=HOSTILE, room=HOSTILE)
    ids = {"client": HOSTILE, "turn": 1, "call": call}
    calls = calls_of(
        TurnQueued(at=0.0, model=HOSTILE, api=HOSTILE, **ids),  # type: ignore[arg-type]
        FaultHandled(at=0.1, fault=HOSTILE, action=HOSTILE, resends=False, **ids),  # type: ignore[arg-type]
        TurnFinished(at=0.2, outcome=HOSTILE, duration=0.2, error=HOSTILE, **ids),  # type: ignore[arg-type]
        *turn(2, at=5.0),
    )
    await tab.open(write_page(tmp_path / "page.html", calls, title=HOSTILE))
    await tab.run("document.querySelectorAll('.row').forEach((row) => row.click())")
    assert await tab.run("window.broken ?? null") is None
    assert await tab.run("document.querySelectorAll('img').length") == 0
    assert HOSTILE in await tab.run("document.body.innerText")


async def test_the_page_requests_nothing(tab: Tab, tmp_path: Path) -> None:
    page = write_page(tmp_path / "page.html", calls_of(*with_a_failure()))
    await tab.open(page)
    await tab.run("fetch('http://127.0.0.1:9/').catch(() => {})")
    assert set(tab.requests) == {page.as_uri()}


@pytest.mark.parametrize("width", [360, 1200])
async def test_a_thousand_turns_are_seen_at_a_glance(tab: Tab, tmp_path: Path, width: int) -> None:
    await tab.look(width=width, height=900, theme="light")
    slow = {1: 1.0, 700: 3.0}
    events = (
        event
        for n in range(1, 1001)
        for event in turn(n, at=10.0 * n, conversation=1, think=slow.get(n, 0.5))
    )
    await tab.open(write_page(tmp_path / "page.html", calls_of(*events)))
    charts = "[...document.querySelectorAll('svg')]"
    fits = f"{charts}.every((chart) => chart.clientWidth <= chart.parentElement.clientWidth)"
    assert await tab.run(fits)
    course = "document.querySelector('svg[aria-label^=The]').closest('section').innerText"
    shown_course = await tab.run(course)
    assert "700" in shown_course
    assert "of 1,000" in shown_course
    assert len(await shown(tab)) == 100
    await tab.run(f"{charts}[0].querySelectorAll('.hit')[0].dispatchEvent(new Event('click'))")
    assert await tab.run("document.querySelector('[data-open]').id.startsWith('turn-')")
    first = re.compile(r"Turns? 1\b")
    assert first.search(await tab.run(course))
    later = "[...document.querySelectorAll('.chip')].find((c) => c.innerText.startsWith('Later'))"
    await tab.run(f"{later}.click()")
    assert not first.search(await tab.run(course))
    await tab.run("document.querySelector('#slowest button').click()")
    assert len(await shown(tab)) == 1000
    assert "3.00 s" in await tab.run("document.querySelector('#turn-700 .detail').innerText")


def test_everything_from_a_file_is_data() -> None:
    queued = TurnQueued(at=0.0, client="c", turn=1, model=HOSTILE)
    calls = calls_of(queued)
    page = page_of(calls, summarize(calls), calls.turns, title=HOSTILE)
    assert "<img" not in page
    assert page.count("</script>") == 2
    assert "Content-Security-Policy" in page


def test_an_empty_file_is_a_page_too() -> None:
    assert "<title>" in page_of(Calls(), summarize(Calls()), (), title="empty.jsonl")
