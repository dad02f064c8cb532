"""The recorded calls of the documentation, as pages in a real browser."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from rtllm import read_trace
from rtllm.trace_view import page_of, read_calls, summarize
from rtllm.trace_view.explain import notes_of
from trace_view.browser import Tab

DOCS = Path(__file__).parents[2] / "docs"
both = pytest.mark.parametrize("framework", ["livekit", "videosdk"])


def recorded(framework: str) -> Path:
    return DOCS / f"example_trace_{framework}.jsonl"


def page_in(folder: Path, framework: str) -> Path:
    calls = read_calls(read_trace(recorded(framework)))
    page = folder / "page.html"
    content = page_of(calls, summarize(calls), calls.turns, title=recorded(framework).name)
    page.write_text(content, "utf-8")
    return page


@both
async def test_the_slowest_turn_and_its_reason_are_found_at_once(
    tab: Tab, tmp_path: Path, framework: str
) -> None:
    await tab.open(page_in(tmp_path, framework))
    card = "document.querySelector('#slowest')"
    assert await tab.run(f"{card}.getBoundingClientRect().bottom < innerHeight")
    assert "were lost by a failed attempt (dropped" in await tab.run(f"{card}.innerText")
    await tab.run(f"{card}.querySelector('button').click()")
    detail = await tab.run("document.querySelector('#turn-5 .detail').innerText")
    assert "Failed attempts" in detail
    assert "sent again over another connection" in detail
    top = "document.querySelector('#turn-5').getBoundingClientRect().top"
    assert await tab.run(f"{top} > -1 && {top} < innerHeight")
    assert tab.messages == []


@both
def test_a_cache_is_broken_only_if_tokens_were_missed(framework: str) -> None:
    calls = read_calls(read_trace(recorded(framework)))
    broken = [
        turn.number
        for turn in calls.turns
        if any("cache broken" in note for note in notes_of(turn, calls.connections))
    ]
    assert broken == [one.number for one in calls.turns if one.cache_missed and one.cache_breaks]
    assert broken  # the instructions were changed in the call


@both
@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1200])
async def test_every_turn_fits_in_the_window(
    tab: Tab, tmp_path: Path, framework: str, theme: Any, width: int
) -> None:
    await tab.look(width=width, height=900, theme=theme)
    await tab.open(page_in(tmp_path, framework))
    await tab.run("document.querySelectorAll('.row').forEach((row) => row.click())")
    assert await tab.run("document.querySelectorAll('.detail').length") == 9
    assert await tab.run("document.documentElement.scrollWidth") <= width
    parts = "[...document.querySelectorAll('.detail, .detail > *, .detail li')]"
    assert await tab.run(f"{parts}.every((part) => part.getBoundingClientRect().right < {width})")
    cells = "[...document.querySelectorAll('.detail thead + tbody td')]"
    assert await tab.run(f"{cells}.every((cell) => cell.clientHeight < 150)")
    assert await tab.run("document.documentElement.dataset.theme") == theme
    assert tab.messages == []
