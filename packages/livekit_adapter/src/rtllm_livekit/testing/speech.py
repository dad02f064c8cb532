"""Audio that carries its words, so that what was really heard can be read off the frames.

Each word gets a number, which is the value of its samples; the last sample, negated, says
that the word is whole. However frames are cut, joined, dropped or recorded on the way, what
comes out tells which words came through to their end.
"""

import itertools
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from livekit import rtc
from numpy.typing import NDArray

RATE = 8000
"""Samples a second of all fake audio."""

_NOISE = 32_000
_SPOKEN: dict[int, str] = {}
_NUMBERS = itertools.cycle(range(1, _NOISE))
_TAGS = re.compile(r"<[^>]*>|\[[^\]]*\]")


def words_of(text: str) -> list[str]:
    """The words that are spoken of a text; markup is none."""
    return _TAGS.sub(" ", text).split()


def first_words(text: str, count: int) -> str:
    """A text up to the end of its so-many-th spoken word; all of it if it has no more."""
    hidden = _TAGS.sub(lambda tag: " " * len(tag[0]), text)
    ends = [match.end() for match in re.finditer(r"\S+", hidden)]
    if count <= 0:
        return ""
    return text if count >= len(ends) else text[: ends[count - 1]]


def spoken(word: str, seconds: float) -> bytes:
    """A word as audio."""
    number = next(_NUMBERS)
    _SPOKEN[number] = word
    return _samples(number, seconds)


def noise(seconds: float) -> bytes:
    """Audio that a voice detector takes for speech, and in which nobody finds a word."""
    return _samples(_NOISE, seconds)


def silence(seconds: float) -> bytes:
    """Audio without anything."""
    return bytes(2 * max(1, round(seconds * RATE)))


def _samples(number: int, seconds: float) -> bytes:
    samples = np.full(max(2, round(seconds * RATE)), number, dtype=np.int16)
    samples[-1] = -number
    return samples.tobytes()


def as_frame(pcm: bytes) -> rtc.AudioFrame:
    """Audio as a frame."""
    return rtc.AudioFrame(
        data=pcm, sample_rate=RATE, num_channels=1, samples_per_channel=len(pcm) // 2
    )


def _values(frame: rtc.AudioFrame) -> NDArray[np.int16]:
    return np.frombuffer(frame.data, dtype=np.int16)


def is_loud(frame: rtc.AudioFrame) -> bool:
    """Whether a frame has more than silence."""
    return bool(_values(frame).any())


@dataclass(frozen=True, slots=True)
class Word:
    """A word that came through.

    Attributes:
        text: The word.
        end: When it was whole, in seconds of the audio that was listened to.
    """

    text: str
    end: float


@dataclass(slots=True)
class Listener:
    """Finds the words in audio, frame by frame.

    Attributes:
        heard: Seconds of audio so far.
        loud: Seconds at whose end something other than silence was heard last.
        speaking: Whether a word has begun that isn't whole yet.
        foreign: Whether it was loud, but never with a word that anything here spoke.
    """

    heard: float = 0.0
    loud: float = 0.0
    speaking: bool = False
    foreign: bool = False
    _known: bool = field(default=False, repr=False)

    def listen(self, frame: rtc.AudioFrame) -> list[Word]:
        """Take a frame, and give the words that it completes."""
        values = _values(frame)
        ends = np.flatnonzero((values < 0) & (values > -_NOISE))
        words = [
            Word(word, self.heard + (int(at) + 1) / frame.sample_rate)
            for at in ends
            if (word := _SPOKEN.get(-int(values[at]))) is not None
        ]
        sounds = np.flatnonzero(values)
        if sounds.size:
            self.loud = self.heard + (int(sounds[-1]) + 1) / frame.sample_rate
            self._known = self._known or abs(int(values[sounds[0]])) in _SPOKEN
            self.foreign = not self._known
        self.heard += frame.samples_per_channel / frame.sample_rate
        self.speaking = bool(values.size) and 0 < int(values[-1]) < _NOISE
        return words


def lasting(words: Sequence[str], seconds: float) -> Iterable[bytes]:
    """Words as audio, each as long as the others, of so many seconds in all."""
    return (spoken(word, seconds / len(words)) for word in words)
