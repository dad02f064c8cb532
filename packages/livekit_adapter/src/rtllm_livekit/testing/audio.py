"""The audio of a call: what the caller says, and what the caller hears."""

import asyncio
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from livekit import rtc
from livekit.agents.voice import io

from rtllm_livekit.testing.speech import RATE, Listener, Word, as_frame, first_words, silence

# A word counts as heard if only this much of its end is missing, since sums of frames aren't exact.
_SLACK = 0.001


class Changes:
    """Wakes tasks that wait for a condition."""

    def __init__(self) -> None:
        self.count = 0
        self._waiting: set[asyncio.Future[None]] = set()

    def tell(self, *_: object) -> None:
        """Announce a change."""
        self.count += 1
        for future in self._waiting:
            if not future.done():
                future.set_result(None)

    async def until(self, holds: Callable[[], object], within: float | None = None) -> None:
        """Wait until a condition holds, or for a number of seconds without any change."""
        while not holds():
            future = asyncio.get_running_loop().create_future()
            self._waiting.add(future)
            try:
                done, _ = await asyncio.wait([future], timeout=within)
            finally:
                self._waiting.discard(future)
            if not done:
                return


class FakeAudioInput(io.AudioInput):
    """A microphone that always sends audio: silence, or the caller's words.

    Args:
        frame: The length of each frame in seconds.
    """

    def __init__(self, *, frame: float = 0.05) -> None:
        super().__init__(label="FakeAudioInput")
        self._size = 2 * round(frame * RATE)
        self._frame = frame
        self._due: float | None = None
        self._queue: deque[tuple[bytes, asyncio.Future[None]]] = deque()
        self._closed = False

    @property
    def is_speaking(self) -> bool:
        """Whether the caller has not finished speaking."""
        return bool(self._queue)

    async def say(self, pcm: bytes) -> None:
        """Speak after everything that is still queued; return at the end.

        Once the microphone is closed, nothing is said any more.
        """
        if self._closed:
            return
        finished = asyncio.get_running_loop().create_future()
        self._queue.append((pcm, finished))
        await finished

    def close(self) -> None:
        """End the audio with the next frame."""
        self._closed = True
        for _, finished in self._queue:
            if not finished.done():
                finished.set_result(None)
        self._queue.clear()

    async def __anext__(self) -> rtc.AudioFrame:
        """Return the next frame at its time."""
        now = asyncio.get_running_loop().time()
        # The end of this frame. A frame that was not requested in time is skipped.
        self._due = now + self._frame if self._due is None else max(self._due + self._frame, now)
        await asyncio.sleep(self._due - now)
        if self._closed:
            raise StopAsyncIteration
        return as_frame(self._next())

    def _next(self) -> bytes:
        pcm = b""
        while self._queue and len(pcm) < self._size:
            rest, finished = self._queue.popleft()
            missing = self._size - len(pcm)
            pcm += rest[:missing]
            if len(rest) > missing:
                self._queue.appendleft((rest[missing:], finished))
            elif not finished.done():
                finished.set_result(None)
        return pcm + silence(self._frame)[len(pcm) :]


class FakeTextOutput(io.TextOutput):
    """Records the captions of the agent's speech.

    Attributes:
        segments: The texts so far, the newest last.
    """

    def __init__(self) -> None:
        super().__init__(label="FakeTextOutput", next_in_chain=None)
        self.segments: list[str] = []
        self._open = False

    async def capture_text(self, text: str) -> None:
        """Add a piece of text."""
        if not self._open:
            self._open = True
            self.segments.append("")
        self.segments[-1] += text

    def flush(self) -> None:
        """End the segment."""
        self._open = False


@dataclass(frozen=True, slots=True)
class Heard:
    """What the caller heard of one utterance of the agent.

    Attributes:
        text: The words that were played to their end, separated by spaces.
        interrupted: Whether it was interrupted.
        began: When its first sound was played, by `time.time`.
        seconds: How much was played, in seconds.
    """

    text: str
    interrupted: bool
    began: float
    seconds: float


@dataclass(slots=True)
class _Playout:
    """One segment: the audio pushed so far, and the position played."""

    listener: Listener = field(default_factory=Listener)
    words: list[Word] = field(default_factory=list)
    began: float | None = None
    played: float = 0.0
    running_since: float | None = None
    flushed: bool = False

    @property
    def pushed(self) -> float:
        return self.listener.heard

    def advance(self, now: float) -> None:
        """Update the position; audio that wasn't pushed in time plays later."""
        if self.running_since is not None:
            self.played = min(self.played + now - self.running_since, self.pushed)
            self.running_since = now

    def finished_words(self) -> list[str]:
        return [word.text for word in self.words if word.end <= self.played + _SLACK]


class FakeAudioOutput(io.AudioOutput):
    """A loudspeaker with a clock: captured audio plays in real time.

    It reports exact positions to LiveKit, and the words that were played to their end. With a
    `TranscriptSynchronizer` before it, as in a room, LiveKit uses its own estimate of these words
    instead.

    Attributes:
        heard: What was heard so far, the newest last; what is playing is added at its end.
        text: The output for the text, to be set as the session's transcription.
        changes: Announces when playback begins or ends.

    Args:
        start_delay: Seconds from the first captured frame until it is played.
        can_pause: Whether it can pause; if not, LiveKit can't resume after a noise.
    """

    def __init__(self, *, start_delay: float = 0.0, can_pause: bool = True) -> None:
        super().__init__(
            label="FakeAudioOutput", capabilities=io.AudioOutputCapabilities(pause=can_pause)
        )
        self.heard: list[Heard] = []
        self.text = FakeTextOutput()
        self.changes = Changes()
        self.start_delay = start_delay
        self._now: _Playout | None = None
        self._paused = False
        self._dropping = False
        self._timer: asyncio.TimerHandle | None = None

    @property
    def is_playing(self) -> bool:
        """Whether audio is being played."""
        return self._now is not None and self._now.running_since is not None

    @property
    def is_busy(self) -> bool:
        """Whether there is audio to play, even if it is paused or hasn't begun."""
        return self._now is not None

    @property
    def is_paused(self) -> bool:
        """Whether it is paused."""
        return self._paused

    @property
    def words_now(self) -> list[str]:
        """Return the words of the current utterance that were played to their end."""
        if self._now is None:
            return []
        self._now.advance(asyncio.get_running_loop().time())
        return self._now.finished_words()

    async def plays_words(self, count: int) -> None:
        """Wait until this many words of the current utterance were played, or it ended."""
        playout = self._now
        while playout is not None and self._now is playout and len(self.words_now) < count:
            left: float | None = None
            if self.is_playing and len(playout.words) >= count:
                left = max(0.0, playout.words[count - 1].end - playout.played)
            seen = self.changes.count
            await self.changes.until(lambda seen=seen: self.changes.count > seen, left)  # type: ignore[misc]

    async def capture_frame(self, frame: rtc.AudioFrame) -> None:
        """Add a frame to play."""
        await super().capture_frame(frame)
        if self._dropping:
            return
        if self._now is None:
            self._now = _Playout()
        self._now.advance(asyncio.get_running_loop().time())
        self._now.words += self._now.listener.listen(frame)
        self._run()
        self.changes.tell()

    def flush(self) -> None:
        """End the segment; it is over when all of it was played."""
        super().flush()
        self._dropping = False
        if self._now is not None:
            self._now.advance(asyncio.get_running_loop().time())
            self._now.flushed = True
            self._run()

    def clear_buffer(self) -> None:
        """Stop playing at once."""
        if self._now is not None:
            self._dropping = not self._now.flushed
            self._finish(interrupted=True)

    def pause(self) -> None:
        """Pause without losing audio."""
        super().pause()
        self._paused = True
        self._stop_timer()
        if self._now is not None:
            self._now.advance(asyncio.get_running_loop().time())
            self._now.running_since = None
        self.changes.tell()

    def resume(self) -> None:
        """Resume after a pause."""
        super().resume()
        self._paused = False
        self._run()
        self.changes.tell()

    def _run(self) -> None:
        """Play the audio so far, and set the timer for the next change."""
        playout = self._now
        if playout is None or self._paused:
            return
        loop = asyncio.get_running_loop()
        if playout.began is None:
            if self._timer is None and self.start_delay:
                self._timer = loop.call_later(self.start_delay, self._begin)
            elif not self.start_delay:
                self._begin()
            return
        if playout.running_since is None:
            playout.running_since = loop.time()
        if playout.flushed:
            self._stop_timer()
            self._timer = loop.call_later(playout.pushed - playout.played, self._end)

    def _begin(self) -> None:
        self._timer = None
        if self._now is not None:
            self._now.began = time.time()
            self.on_playback_started(created_at=self._now.began)
            self._run()
            self.changes.tell()

    def _end(self) -> None:
        self._timer = None
        self._finish(interrupted=False)

    def _finish(self, *, interrupted: bool) -> None:
        playout, self._now = self._now, None
        self._stop_timer()
        if playout is None:
            return
        playout.advance(asyncio.get_running_loop().time())
        if not interrupted:
            playout.played = playout.pushed
        words = playout.finished_words()
        if playout.began is not None:
            self.heard.append(Heard(" ".join(words), interrupted, playout.began, playout.played))
        self.on_playback_finished(
            playback_position=playout.played,
            interrupted=interrupted,
            # The words of other audio are not known.
            synchronized_transcript=None if playout.listener.foreign else self._transcript(words),
        )
        self.changes.tell()

    def _transcript(self, words: list[str]) -> str:
        """Return the played words as in the text, with markup and spaces."""
        if self.text.segments:
            return first_words(self.text.segments[-1], len(words))
        return " ".join(words)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
