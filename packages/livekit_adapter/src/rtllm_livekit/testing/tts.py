"""Speech synthesis without a service: words as audio that can be read back."""

import asyncio
import re

from livekit.agents import APIConnectOptions, tts
from livekit.agents.types import DEFAULT_API_CONNECT_OPTIONS, TimedString
from livekit.agents.utils import shortuuid

from rtllm_livekit.testing.speech import RATE, silence, spoken, words_of


class FakeTTS(tts.TTS[str]):
    """Speaks at a steady rate.

    Args:
        seconds_per_word: How long each word takes.
        seconds_per_character: How long each of its characters takes in addition.
        first_byte: Seconds from the first text until audio comes.
        work: Seconds that it takes to create one second of audio.
        streaming: Whether text is spoken word by word as it comes; otherwise sentence by sentence,
            as split by LiveKit.
        aligned: Whether the words' times come with the audio.
        dialect: LiveKit's name of a markup dialect, such as "cartesia". Expressive mode requires
            one, and ``streaming=False``.
    """

    class Markup(tts.TTS.Markup):
        """The markup that this voice declares to understand."""

        def _provider_key(self) -> str:
            voice = self._tts
            return voice.dialect if isinstance(voice, FakeTTS) else ""

    def __init__(
        self,
        *,
        seconds_per_word: float = 0.3,
        seconds_per_character: float = 0.0,
        first_byte: float = 0.1,
        work: float = 0.05,
        streaming: bool = True,
        aligned: bool = False,
        dialect: str = "",
    ) -> None:
        self.seconds_per_word = seconds_per_word
        self.seconds_per_character = seconds_per_character
        self.first_byte = first_byte
        self.work = work
        self.dialect = dialect
        super().__init__(
            capabilities=tts.TTSCapabilities(streaming=streaming, aligned_transcript=aligned),
            sample_rate=RATE,
            num_channels=1,
        )

    @property
    def model(self) -> str:
        """The model's name."""
        return "fake-tts"

    @property
    def provider(self) -> str:
        """The provider's name."""
        return "rtllm"

    def seconds(self, word: str) -> float:
        """Return how long a word takes."""
        return self.seconds_per_word + self.seconds_per_character * len(word)

    def synthesize(
        self, text: str, *, conn_options: APIConnectOptions = DEFAULT_API_CONNECT_OPTIONS
    ) -> tts.ChunkedStream:
        """Speak a complete text."""
        return _Whole(tts=self, input_text=text, conn_options=conn_options, voice=self)

    def stream(
        self, *, conn_options: APIConnectOptions = DEFAULT_API_CONNECT_OPTIONS
    ) -> tts.SynthesizeStream:
        """Speak a text while it is written."""
        return _ByWord(self, conn_options)


class _Mouth:
    """Speaks words into an emitter."""

    def __init__(self, voice: FakeTTS, emitter: tts.AudioEmitter) -> None:
        self._voice = voice
        self._emitter = emitter
        self._spoken_until = 0.0

    async def say(self, text: str) -> None:
        """Speak a text's words."""
        for word in words_of(text):
            seconds = self._voice.seconds(word)
            await self._work(seconds)
            if self._voice.capabilities.aligned_transcript:
                self._emitter.push_timed_transcript(
                    TimedString(
                        f"{word} ",
                        start_time=self._spoken_until,
                        end_time=self._spoken_until + seconds,
                    )
                )
            self._emitter.push(spoken(word, seconds))
            self._spoken_until += seconds

    async def finish(self) -> None:
        """Send a short silence if there was no word: LiveKit treats no audio as a failure."""
        if not self._spoken_until:
            await self._work(0.1)
            self._emitter.push(silence(0.1))

    async def _work(self, seconds: float) -> None:
        first = 0.0 if self._spoken_until else self._voice.first_byte
        await asyncio.sleep(first + self._voice.work * seconds)


class _Whole(tts.ChunkedStream):
    def __init__(
        self, *, tts: FakeTTS, input_text: str, conn_options: APIConnectOptions, voice: FakeTTS
    ) -> None:
        super().__init__(tts=tts, input_text=input_text, conn_options=conn_options)
        self._voice = voice

    async def _run(self, output_emitter: tts.AudioEmitter) -> None:
        output_emitter.initialize(
            request_id=shortuuid(), sample_rate=RATE, num_channels=1, mime_type="audio/pcm"
        )
        mouth = _Mouth(self._voice, output_emitter)
        await mouth.say(self._input_text)
        await mouth.finish()
        output_emitter.flush()


class _ByWord(tts.SynthesizeStream):
    def __init__(self, voice: FakeTTS, conn_options: APIConnectOptions) -> None:
        super().__init__(tts=voice, conn_options=conn_options)
        self._voice = voice

    async def _run(self, output_emitter: tts.AudioEmitter) -> None:
        output_emitter.initialize(
            request_id=shortuuid(),
            sample_rate=RATE,
            num_channels=1,
            mime_type="audio/pcm",
            stream=True,
        )
        mouth = _Mouth(self._voice, output_emitter)
        begun = False
        open_word = ""
        async for text in self._input_ch:
            if not begun:
                begun = True
                self._mark_started()
                output_emitter.start_segment(segment_id=shortuuid())
            if isinstance(text, self._FlushSentinel):
                await mouth.say(open_word)
                open_word = ""
                continue
            whole, open_word = _whole_words(open_word + text)
            await mouth.say(whole)
        if begun:
            await mouth.say(open_word)
            await mouth.finish()
            output_emitter.end_segment()


def _whole_words(text: str) -> tuple[str, str]:
    """Split a text after its last space outside of a tag."""
    cut = max(
        (m.end() for m in re.finditer(r"\s", text) if not _in_tag(text[: m.end()])), default=0
    )
    return text[:cut], text[cut:]


def _in_tag(text: str) -> bool:
    return text.rfind("<") > text.rfind(">")
