"""Speech without sound: a TTS that notes what it says, a track that tells what was heard."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from videosdk.agents import TTS

_Callback = Callable[[], Awaitable[None]]


class Track:
    """The track that audio goes to; only as much is played as a test says."""

    def __init__(self) -> None:
        self.played = 1.0
        self.holds = False
        self._last: _Callback | None = None

    def mark_synthesis_start(self) -> None: ...

    def enable_audio_input(self, manual_control: bool = False) -> None: ...

    def on_last_audio_byte(self, callback: _Callback) -> None:
        self._last = callback

    def mark_synthesis_complete(self) -> None: ...

    def snapshot_playback(self) -> tuple[int, int]:
        return int(self.played * 1000), 1000

    def interrupt(self) -> None: ...

    async def finish(self) -> None:
        if self._last is not None:
            await self._last()


class Voice(TTS):  # type: ignore[misc]  # the framework has no types
    """Notes each sentence once its text has ended, and has it played unless it is held."""

    def __init__(self) -> None:
        super().__init__()
        self.track = Track()
        self.audio_track = self.track
        self.said: list[str] = []

    async def synthesize(self, text: AsyncIterator[Any] | str, **_: Any) -> None:
        pieces: list[str] = []
        if isinstance(text, str):
            pieces.append(text)
        else:
            async for piece in text:
                if isinstance(piece, str):
                    pieces.append(piece)
        self.said.append("".join(pieces))
        if self._first_audio_callback is not None:
            await self._first_audio_callback()
        if not self.track.holds:
            await self.track.finish()

    async def interrupt(self) -> None: ...

    async def aclose(self) -> None: ...
