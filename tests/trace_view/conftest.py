"""A tab of a headless Chromium."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from trace_view.browser import Tab, browser, find_browser


@pytest.fixture
async def tab(tmp_path: Path) -> AsyncIterator[Tab]:
    program = find_browser()
    if program is None:
        pytest.skip("no Chromium is installed (Debian: apt-get install chromium)")
    async with browser(program, tmp_path / "profile") as tab:
        await tab.look(width=1200, height=900, theme="light")
        yield tab
