"""Speech recognition without a service: it reads the words from the simulated audio."""

from collections.abc import Callable
from typing import Literal, TypeAlias

from livekit.agents import APIConnectOptions, stt
from livekit.agents.types import DEFAULT_API_CONNECT_OPTIONS, NOT_GIVEN, NotGivenOr
from livekit.agents.utils import AudioBuffer

from rtllm_livekit.testing.speech import Listener

Kind: TypeAlias = Literal["interim", "preflight", "final"]
Hears: TypeAlias = Callable[[str, Kind], str]

_TYPES = {
    "interim": stt.SpeechEventType.INTERIM_TRANSCRIPT,
    "preflight": stt.SpeechEventType.PREFLIGHT_TRANSCRIPT,
    "final": stt.SpeechEventType.FINAL_TRANSCRIPT,
}


def _exactly(text: str, kind: Kind) -> str:
    return text


class FakeSTT(stt.STT[Literal["fake"]]):
    """Understands what a `PhoneCall`'s caller says.

    Args:
        final: Seconds of silence after the last word until the final transcript.
        preflight: Seconds of silence until a transcript that is probably final, with which LiveKit
            begins a draft; None for no such transcript. Must be less than ``final``.
        interim: Whether there is a transcript at the end of each word.
        hears: Returns what is understood instead, from the actual words and the kind of transcript.
    """

    def __init__(
        self,
        *,
        final: float = 0.2,
        preflight: float | None = None,
        interim: bool = True,
        hears: Hears = _exactly,
    ) -> None:
        if preflight is not None and preflight >= final:
            raise ValueError(f"preflight is {preflight}; expected less than final, {final}")
        super().__init__(
            capabilities=stt.STTCapabilities(
                streaming=True, interim_results=interim, offline_recognize=False
            )
        )
        self.final = final
        self.preflight = preflight
        self.interim = interim
        self.hears = hears

    @property
    def model(self) -> str:
        """The model's name."""
        return "fake-stt"

    @property
    def provider(self) -> str:
        """The provider's name."""
        return "rtllm"

    async def _recognize_impl(
        self,
        buffer: AudioBuffer,
        *,
        language: NotGivenOr[str] = NOT_GIVEN,
        conn_options: APIConnectOptions,
    ) -> stt.SpeechEvent:
        raise NotImplementedError("FakeSTT streams only")

    def stream(
        self,
        *,
        language: NotGivenOr[str] = NOT_GIVEN,
        conn_options: APIConnectOptions = DEFAULT_API_CONNECT_OPTIONS,
    ) -> stt.RecognizeStream:
        """Begin to listen."""
        return _Stream(self, conn_options)


class _Stream(stt.RecognizeStream):
    def __init__(self, fake: FakeSTT, conn_options: APIConnectOptions) -> None:
        super().__init__(stt=fake, conn_options=conn_options)
        self._fake = fake
        self._words: list[str] = []
        self._early = False
        self._begun = False

    async def _run(self) -> None:
        listener = Listener()
        last_word = 0.0
        async for frame in self._input_ch:
            if isinstance(frame, self._FlushSentinel):
                self._finish()
                continue
            for word in listener.listen(frame):
                self._words.append(word.text)
                last_word, self._early = word.end, False
                if self._fake.interim:
                    self._send("interim")
            if listener.speaking:
                self._begin()
                continue
            quiet = listener.heard - max(last_word, listener.loud) + 1e-6
            early = self._fake.preflight
            if self._words and early is not None and not self._early and quiet >= early:
                self._early = True
                self._send("preflight")
            if quiet >= self._fake.final:
                self._finish()

    def _begin(self) -> None:
        if not self._begun:
            self._begun = True
            self._event_ch.send_nowait(stt.SpeechEvent(stt.SpeechEventType.START_OF_SPEECH))

    def _finish(self) -> None:
        if self._words:
            self._send("final")
            self._words = []
        if self._begun:
            self._begun = False
            self._event_ch.send_nowait(stt.SpeechEvent(stt.SpeechEventType.END_OF_SPEECH))

    def _send(self, kind: Kind) -> None:
        text = self._fake.hears(" ".join(self._words), kind)
        heard = stt.SpeechData(language="en", text=text, confidence=1.0)  # type: ignore[arg-type]
        self._event_ch.send_nowait(stt.SpeechEvent(_TYPES[kind], alternatives=[heard]))
