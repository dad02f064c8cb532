"""Audio with its words encoded, so that the words that were heard can be read from the frames.

Each word has a number, which is the value of its samples; the last sample, negated, marks the end
of the word. However frames are split, joined, dropped or recorded, the result tells which words
were complete.
"""

import itertools
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from livekit import rtc
from numpy.typing import NDArray

RATE = 8000
"""Samples per second of all simulated audio."""

_NOISE = 32_000
_SPOKEN: dict[int, str] = {}
_NUMBERS = itertools.cycle(range(1, _NOISE))
_TAGS = re.compile(r"<[^>]*>|\[[^\]]*\]")


def words_of(text: str) -> list[str]:
    """Return the spoken words of a text, without markup."""
    return _TAGS.sub(" ", text).split()


def first_words(text: str, count: int) -> str:
    """Return a text up to the end of a number of its spoken words; all of it if it has fewer."""
    hidden = _TAGS.sub(lambda tag: " " * len(tag[0]), text)
    ends = [match.end() for match in re.finditer(r"\S+", hidden)]
    if count <= 0:
        return ""
    return text if count >= len(ends) else text[: ends[count - 1]]


def spoken(word: str, seconds: float) -> bytes:
    """Encode a word as audio."""
    number = next(_NUMBERS)
    _SPOKEN[number] = word
    return _samples(number, seconds)


def noise(seconds: float) -> bytes:
    """Return audio that a voice detector takes for speech, but that has no words."""
    return _samples(_NOISE, seconds)


def silence(seconds: float) -> bytes:
    """Return silent audio."""
    return bytes(2 * max(1, round(seconds * RATE)))


def _samples(number: int, seconds: float) -> bytes:
    samples = np.full(max(2, round(seconds * RATE)), number, dtype=np.int16)
    samples[-1] = -number
    return samples.tobytes()


def as_frame(pcm: bytes) -> rtc.AudioFrame:
    """Convert audio to a frame."""
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
    """A word that was heard completely.

    Attributes:
        text: The word.
        end: The end of the word, in seconds of the audio.
    """

    text: str
    end: float


@dataclass(slots=True)
class Listener:
    """Finds the words in audio, frame by frame.

    Attributes:
        heard: Seconds of audio so far.
        loud: The second at which the last sound ended.
        speaking: Whether a word has begun that isn't complete yet.
        foreign: Whether there was sound, but never with a known word.
    """

    heard: float = 0.0
    loud: float = 0.0
    speaking: bool = False
    foreign: bool = False
    _known: bool = field(default=False, repr=False)

    def listen(self, frame: rtc.AudioFrame) -> list[Word]:
        """Process a frame, and return the words that it completes."""
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
    """Encode words as audio of equal lengths, with a total length in seconds."""
    return (spoken(word, seconds / len(words)) for word in words)
