"""A phone call with an agent, without a phone."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from types import TracebackType
from typing import Any, Literal, Self

from livekit.agents import (
    Agent,
    AgentSession,
    CloseEvent,
    TurnHandlingOptions,
    llm,
    stt,
    tts,
    vad,
)
from livekit.agents.utils import http_context
from livekit.agents.voice.transcription import TranscriptSynchronizer

from rtllm_livekit.testing.audio import FakeAudioInput, FakeAudioOutput, Heard
from rtllm_livekit.testing.speech import lasting, noise
from rtllm_livekit.testing.stt import FakeSTT
from rtllm_livekit.testing.tts import FakeTTS
from rtllm_livekit.testing.vad import FakeVAD

_EVENTS = (
    "agent_state_changed",
    "user_state_changed",
    "user_input_transcribed",
    "conversation_item_added",
    "function_tools_executed",
    "agent_false_interruption",
    "speech_created",
)
_POLL = 0.05
_TURNS = TurnHandlingOptions(turn_detection="vad", interruption={"mode": "vad"})


class HungUp(Exception):
    """The session closed while the call was waiting for something."""


class PhoneCall:
    """An `AgentSession` with a caller who speaks and listens, without a network.

    ::

        async with PhoneCall(Receptionist(), llm=model) as call:
            await call.caller_says("A table for two, please.")
            await call.agent_says(3)
            await call.caller_says("No, for three!")  # a barge-in
            await call.quiet()
            assert call.heard[0].interrupted

    LiveKit's own code runs: turns, interruptions, drafts, playback. On a `VirtualTimeLoop` a call
    takes only its computing time, on any other loop its real time.

    Attributes:
        session: The session.
        input: The caller's microphone.
        output: The caller's loudspeaker.

    Args:
        agent: The agent to call.
        llm: Its model.
        stt: The speech recognition; a `FakeSTT` by default.
        tts: The agent's voice; a `FakeTTS` by default.
        vad: The voice activity detection; a `FakeVAD` by default.
        output: The loudspeaker.
        transcript: The source of what was heard when the agent is interrupted: the loudspeaker, by
            the word ("exact"), or LiveKit's `TranscriptSynchronizer`, by estimate, as in a room
            ("estimated").
        frame: The length of each frame of the caller's audio, in seconds.
        limit: Seconds after which any wait fails.
        turn_handling: LiveKit's options. By default turns are detected by voice activity, because
            LiveKit's models for this need a service.
        options: Other options of `AgentSession`.
    """

    def __init__(
        self,
        agent: Agent,
        *,
        llm: llm.LLM[Any],
        stt: stt.STT[Any] | None = None,
        tts: tts.TTS[Any] | None = None,
        vad: vad.VAD | None = None,
        output: FakeAudioOutput | None = None,
        transcript: Literal["exact", "estimated"] = "exact",
        frame: float = 0.05,
        limit: float = 60.0,
        turn_handling: TurnHandlingOptions | None = None,
        **options: Any,
    ) -> None:
        self.agent = agent
        self.input = FakeAudioInput(frame=frame)
        self.output = output or FakeAudioOutput()
        self._limit = limit
        self._transcript = transcript
        self._exit = AsyncExitStack()
        self._changes = self.output.changes  # also announces the session's events
        self._closed: CloseEvent | None = None
        self._began = 0.0
        options.setdefault("aec_warmup_duration", None)  # there is no echo to adapt to
        self._options: dict[str, Any] = {
            **options,
            "llm": llm,
            "stt": stt or FakeSTT(),
            "tts": tts or FakeTTS(),
            "vad": vad or FakeVAD(),
            "turn_handling": _with_defaults(turn_handling),
        }
        self._session: AgentSession[Any] | None = None

    @property
    def session(self) -> AgentSession[Any]:
        """The session; only inside the context."""
        if self._session is None:
            raise RuntimeError("the call has not begun; use it as: async with PhoneCall(…) as call")
        return self._session

    @property
    def heard(self) -> list[Heard]:
        """What the caller heard, by utterance; the current one is added at its end."""
        return self.output.heard

    @property
    def dialogue(self) -> list[tuple[str, str]]:
        """What LiveKit recorded: the role and text of each message."""
        messages = self.session.history.messages()
        return [(m.role, m.text_content or "") for m in messages if m.role in ("user", "assistant")]

    @property
    def now(self) -> float:
        """Seconds since the call began."""
        return asyncio.get_running_loop().time() - self._began

    async def __aenter__(self) -> Self:
        """Begin the call."""
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(http_context.open())
            self._session = session = AgentSession[Any](**self._options)
            for event in _EVENTS:
                session.on(event, self._changes.tell)  # type: ignore[arg-type]
            session.on("close", self._on_close)
            self._began = asyncio.get_running_loop().time()
            session.input.audio = self.input
            if self._transcript == "estimated":
                both = TranscriptSynchronizer(
                    next_in_chain_audio=self.output, next_in_chain_text=self.output.text
                )
                stack.push_async_callback(both.aclose)
                session.output.audio = both.audio_output
                session.output.transcription = both.text_output
            else:
                session.output.audio = self.output
                session.output.transcription = self.output.text
            stack.push_async_callback(session.aclose)
            await session.start(self.agent)
            self._exit = stack.pop_all()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Hang up."""
        self.input.close()
        await self._exit.aclose()

    async def caller_says(
        self, text: str, *, at: float | None = None, duration: float | None = None
    ) -> None:
        """Speak; return at the end of the last word, before the agent recognizes the end.

        Args:
            text: The words.
            at: When, in seconds since the call began; by default now.
            duration: How long it takes; by default 0.3 s per word.
        """
        words = text.split()
        if not words:
            raise ValueError("text is empty; expected at least one word")
        seconds = duration if duration is not None else 0.3 * len(words)
        await self._make_heard(b"".join(lasting(words, seconds)), at)

    async def caller_makes_noise(self, duration: float, *, at: float | None = None) -> None:
        """Make a noise that sounds like speech but has no words.

        Args:
            duration: How long it takes.
            at: When, in seconds since the call began; by default now.
        """
        await self._make_heard(noise(duration), at)

    async def _make_heard(self, pcm: bytes, at: float | None) -> None:
        if at is not None:
            await self.sleep_until(at)
        async with self._limited("the caller to finish"):
            await self.input.say(pcm)
        self._check_open()

    async def sleep_until(self, at: float) -> None:
        """Wait until a time of the call, in seconds since it began."""
        await asyncio.sleep(at - self.now)

    async def agent_speaks(self) -> None:
        """Wait until the agent is heard: its first frame plays, or it is already playing."""
        await self.until(lambda: self.output.is_playing, "the agent to speak")

    async def agent_says(self, words: int) -> None:
        """Wait until this many words of the agent's current, or next, utterance were played.

        If it has fewer words, wait for its end.
        """
        await self.agent_speaks()
        async with self._limited(f"the agent to say {words} words"):
            await self.output.plays_words(words)

    async def quiet(self, settle: float = 1.0) -> None:
        """Wait until both sides are silent and nothing more follows.

        Args:
            settle: Seconds without any event; must be longer than the end of a turn takes to be
                detected.
        """
        async with self._limited("silence"):
            while True:
                while not self._is_idle():  # some changes have no event
                    self._check_open()
                    await asyncio.sleep(_POLL)
                seen = self._changes.count
                await asyncio.sleep(settle)
                if self._is_idle() and seen == self._changes.count:
                    return

    async def until(self, holds: Callable[[], object], what: str = "something") -> None:
        """Wait until a condition holds; it is checked after each event of the session or playback.

        Args:
            holds: The condition.
            what: Its name in the error, if the limit is reached.

        Raises:
            TimeoutError: If it doesn't hold within the call's limit.
            HungUp: If the session closes meanwhile.
        """
        async with self._limited(what):
            await self._until(holds)

    async def _until(self, holds: Callable[[], object]) -> None:
        def either() -> object:
            self._check_open()
            return holds()

        await self._changes.until(either)

    def _is_idle(self) -> bool:
        session = self.session
        return (
            not self.input.is_speaking
            and not self.output.is_busy
            and session.current_speech is None
            and session.agent_state in ("listening", "idle")
            and session.user_state != "speaking"
        )

    @asynccontextmanager
    async def _limited(self, what: str) -> AsyncIterator[None]:
        self._check_open()
        try:
            async with asyncio.timeout(self._limit):
                yield
        except TimeoutError:
            raise TimeoutError(f"waited {self._limit} s for {what}; {self._story()}") from None

    def _check_open(self) -> None:
        if self._closed is not None:
            raise HungUp(f"the session closed ({self._closed.reason}): {self._closed.error}")

    def _on_close(self, event: CloseEvent) -> None:
        self._closed = event
        self.input.close()
        self._changes.tell()

    def _story(self) -> str:
        session = self.session
        return (
            f"the agent is {session.agent_state}, the caller {session.user_state}, "
            f"heard {[h.text for h in self.heard]}, recorded {self.dialogue}"
        )


def _with_defaults(given: TurnHandlingOptions | None) -> TurnHandlingOptions:
    options = TurnHandlingOptions(**{**_TURNS, **(given or {})})
    options["interruption"] = {**_TURNS["interruption"], **options["interruption"]}
    return options
