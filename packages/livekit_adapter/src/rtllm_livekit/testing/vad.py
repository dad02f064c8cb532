"""Voice activity detection without a model: everything but silence is speech."""

from livekit import rtc
from livekit.agents import vad

from rtllm_livekit.testing.speech import is_loud


class FakeVAD(vad.VAD):
    """Detects when a `PhoneCall`'s caller speaks, or makes a noise.

    Args:
        min_speech: Seconds of speech until it counts as begun.
        min_silence: Seconds of silence until it counts as over.
    """

    def __init__(self, *, min_speech: float = 0.05, min_silence: float = 0.4) -> None:
        super().__init__(capabilities=vad.VADCapabilities(update_interval=0.05))
        self.min_speech = min_speech
        self.min_silence = min_silence

    @property
    def model(self) -> str:
        """The model's name."""
        return "fake-vad"

    @property
    def provider(self) -> str:
        """The provider's name."""
        return "rtllm"

    def stream(self) -> vad.VADStream:
        """Begin to listen."""
        return _Stream(self)


class _Stream(vad.VADStream):
    def __init__(self, fake: FakeVAD) -> None:
        super().__init__(fake)
        self._fake = fake
        self._samples = 0
        self._heard = 0.0
        self._reset()

    def _reset(self) -> None:
        self._speaking = False
        self._speech = self._silence = 0.0  # of the segment, including its short pauses
        self._loud = self._quiet = 0.0  # unbroken
        self._frames: list[rtc.AudioFrame] = []

    async def _main_task(self) -> None:
        async for frame in self._input_ch:
            if isinstance(frame, self._FlushSentinel):
                self._reset()
            else:
                self._take(frame)

    def _take(self, frame: rtc.AudioFrame) -> None:
        self._samples += frame.samples_per_channel
        self._heard += frame.duration
        loud = is_loud(frame)
        if loud:
            self._loud, self._quiet = self._loud + frame.duration, 0.0
        else:
            self._loud, self._quiet = 0.0, self._quiet + frame.duration
        if self._speaking:
            self._speech += frame.duration
            self._frames.append(frame)
        else:
            self._silence += frame.duration
        self._tell(vad.VADEventType.INFERENCE_DONE, [frame], probability=float(loud))
        slack = 1e-6  # for the rounding errors of adding frames
        if not self._speaking and loud and self._loud + slack >= self._fake.min_speech:
            self._speaking, self._speech, self._silence = True, self._loud, 0.0
            self._frames = [frame]
            self._tell(vad.VADEventType.START_OF_SPEECH, self._frames)
        elif self._speaking and self._quiet + slack >= self._fake.min_silence:
            self._speaking = False
            self._speech, self._silence = self._speech - self._quiet, self._quiet
            self._tell(vad.VADEventType.END_OF_SPEECH, self._frames)
            self._speech, self._frames = 0.0, []

    def _tell(
        self, kind: vad.VADEventType, frames: list[rtc.AudioFrame], probability: float = 0.0
    ) -> None:
        self._event_ch.send_nowait(
            vad.VADEvent(
                type=kind,
                samples_index=self._samples,
                timestamp=self._heard,
                speech_duration=self._speech,
                silence_duration=self._silence,
                frames=list(frames),
                probability=probability,
                speaking=self._speaking,
                raw_accumulated_silence=self._quiet,
                raw_accumulated_speech=self._loud,
            )
        )
