"""Broken belonging is seen in sessions, too: what these tests look for, they can find."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from belonging.sessions.hall import hall_of
from belonging.sessions.stale import play_new_descriptions, play_overwritten_frames
from rtllm.adapters import ImageCache, ToolCache
from rtllm.context.belonging import KnownResponses
from support.saboteurs import by_any_shared_key, by_object, by_words

Breaking = Callable[[pytest.MonkeyPatch], None]


def by_nothing(patch: pytest.MonkeyPatch) -> None:
    """Nothing is ever proved."""
    patch.setattr(KnownResponses, "find_proof", lambda *_: None)


def tools_by_name(patch: pytest.MonkeyPatch) -> None:
    """A tool that has a known name is the known one."""
    encode = ToolCache.encode

    def by_name(self: ToolCache[Any], _: object, name: str, *more: Any) -> Any:
        return encode(self, name, name, *more)

    patch.setattr(ToolCache, "encode", by_name)


def tools_by_identity(patch: pytest.MonkeyPatch) -> None:
    """A tool that is the same object is the same tool."""
    encode = ToolCache.encode

    def by_object(self: ToolCache[Any], _: object, name: str, source: object, *more: Any) -> Any:
        return encode(self, id(source), name, source, *more)

    patch.setattr(ToolCache, "encode", by_object)


def frames_by_identity(patch: pytest.MonkeyPatch) -> None:
    """A frame that is the same object shows the same picture."""
    patch.setattr(ImageCache, "_sampled", lambda *_: b"")


@pytest.mark.parametrize("breaking", [tools_by_name, tools_by_identity])
async def test_a_stale_tool_is_found(
    side: Any, host: str, breaking: Breaking, monkeypatch: pytest.MonkeyPatch
) -> None:
    breaking(monkeypatch)
    async with hall_of(side, host) as hall:
        assert await play_new_descriptions(hall, 2)


async def test_a_stale_frame_is_found(
    side: Any, host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    frames_by_identity(monkeypatch)
    async with hall_of(side, host) as hall:
        assert await play_overwritten_frames(hall, 2)


@pytest.mark.parametrize("store", ["lanes-stored", "lanes-unstored"])
@pytest.mark.parametrize("breaking", [by_words, by_any_shared_key])
async def test_a_crossing_is_found(
    side: Any, store: str, breaking: Breaking, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two callers with one copied opening say the same, one turn after the other."""
    breaking(monkeypatch)
    opening = side.opening(("user", "What do you do?"), ("assistant", "I look up."))
    async with hall_of(side, store) as hall:

        async def call(name: str) -> None:
            del name
            async with hall.line(opening=opening) as line:
                for text in ("hello", "more", "thanks"):
                    await hall.together()
                    await line.say(text)

        await hall.play(2, call)
        assert hall.crossings()


@pytest.mark.parametrize("breaking", [by_nothing, by_object])
async def test_a_missed_chain_is_found(
    side: Any, host: str, breaking: Breaking, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Adapters make new items for each request, so that by objects nothing is anybody's."""
    breaking(monkeypatch)
    async with hall_of(side, host) as hall:

        async def call(name: str) -> None:
            del name
            async with hall.line() as line:
                for text in ("hello", "more", "thanks"):
                    await line.say(text)

        await hall.play(1, call)
        assert hall.missed()
