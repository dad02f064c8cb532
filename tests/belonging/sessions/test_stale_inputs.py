"""Tools and frames that are changed in place, on both SDKs: each request shows its caller's now."""

from __future__ import annotations

from typing import Any

from belonging.sessions.hall import hall_of
from belonging.sessions.stale import play_new_descriptions, play_overwritten_frames


async def test_a_tool_is_described_as_it_is_now(side: Any, any_host: str, callers: int) -> None:
    async with hall_of(side, any_host) as hall:
        assert await play_new_descriptions(hall, callers) == []
        hall.check(callers=callers)


async def test_a_frame_shows_what_it_holds_now(side: Any, any_host: str, callers: int) -> None:
    async with hall_of(side, any_host) as hall:
        assert await play_overwritten_frames(hall, callers) == []
        hall.check(whole=None, callers=callers)
