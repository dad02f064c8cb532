"""The fakes themselves: time, ears, voice, loudspeaker and call do what they promise."""

from __future__ import annotations

import asyncio
import socket
import textwrap
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from livekit.agents import Agent, function_tool, llm, vad

from livekit_adapter.stage import stage
from rtllm.simulator import Call, Reply, Simulator, fixed
from rtllm_livekit import LLM, testing
from rtllm_livekit.testing import (
    FakeAudioOutput,
    FakeSTT,
    FakeTTS,
    FakeVAD,
    HungUp,
    PhoneCall,
    VirtualTimeLoop,
    run_in_virtual_time,
)
from rtllm_livekit.testing.speech import (
    Listener,
    as_frame,
    first_words,
    lasting,
    noise,
    silence,
    spoken,
    words_of,
)
from voice.line import PROMPT, line

real_time = time.perf_counter  # taken before anything is patched

# -- time ----------------------------------------------------------------------------------------


async def test_an_hour_passes_at_once_on_all_clocks() -> None:
    began = real_time()
    loop = asyncio.get_running_loop()
    clocks: list[Callable[[], float]] = [loop.time, time.time, time.monotonic, time.perf_counter]
    before = [clock() for clock in clocks]
    await asyncio.sleep(3600)
    after = [clock() for clock in clocks]
    assert [b - a for a, b in zip(before, after, strict=True)] == pytest.approx([3600] * 4, abs=0.1)
    assert real_time() - began < 5


def test_time_is_as_before_when_the_loop_has_ended() -> None:
    run_in_virtual_time(asyncio.sleep(3600))
    assert time.time.__module__ == "time"
    assert time.perf_counter is real_time


async def test_two_virtual_times_at_once_are_refused() -> None:
    async def other() -> None:
        await asyncio.sleep(1)

    def run() -> None:
        running = other()
        try:
            run_in_virtual_time(running)
        finally:
            running.close()

    with pytest.raises(RuntimeError, match="run only one at a time"):
        await asyncio.to_thread(run)


async def test_timers_fire_in_their_order() -> None:
    fired: list[float] = []

    async def fire(after: float) -> None:
        await asyncio.sleep(after)
        fired.append(after)

    await asyncio.gather(*(fire(after) for after in (30, 0.1, 5, 0.002, 60)))
    assert fired == [0.002, 0.1, 5, 30, 60]


async def test_timeouts_still_run_out() -> None:
    began = time.time()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(120):
            await asyncio.Event().wait()
    assert time.time() - began == pytest.approx(120, abs=0.1)


async def test_messages_made_later_are_later() -> None:
    first = llm.ChatMessage(role="user", content=["a"])
    await asyncio.sleep(1000)
    second = llm.ChatMessage(role="user", content=["b"])
    assert second.created_at - first.created_at == pytest.approx(1000, abs=0.1)
    assert second.created_at == pytest.approx(time.time(), abs=0.1)


async def test_a_clock_that_is_polled_goes_on() -> None:
    until = time.monotonic() + 0.001
    async with asyncio.timeout(30):
        while time.monotonic() < until:
            await asyncio.sleep(0)


async def test_while_a_thread_works_time_passes_as_usual() -> None:
    done: list[str] = []

    async def later() -> None:
        await asyncio.sleep(30)
        done.append("timer")

    timer = asyncio.create_task(later())
    await asyncio.to_thread(time.sleep, 0.05)
    done.append("thread")
    await timer
    assert done == ["thread", "timer"]


def test_a_peer_in_a_thread_has_the_patience_to_answer() -> None:
    listening = socket.create_server(("127.0.0.1", 0))

    def answer() -> None:
        peer, _ = listening.accept()
        with peer:
            question = peer.recv(100)
            threading.Event().wait(0.05)
            peer.sendall(question.upper())

    thread = threading.Thread(target=answer)
    thread.start()

    async def ask() -> bytes:
        reader, writer = await asyncio.open_connection(*listening.getsockname())
        writer.write(b"hello")
        async with asyncio.timeout(10):
            answered = await reader.read(100)
        writer.close()
        return answered

    try:
        assert run_in_virtual_time(ask(), patience=5.0) == b"HELLO"
    finally:
        thread.join()
        listening.close()


async def test_sockets_on_the_loop_itself_need_no_patience() -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(100_000):
            writer.write(data)
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        began = time.time()
        for _ in range(200):
            writer.write(b"x" * 50_000)
            async with asyncio.timeout(1):
                await reader.readexactly(50_000)
        assert time.time() - began < 1
        writer.close()
        await writer.wait_closed()


# -- audio that carries words ----------------------------------------------------------------------


def test_words_are_read_off_any_frames() -> None:
    pcm = b"".join([silence(0.2), *lasting(["one", "two", "two"], 0.9), noise(0.3), silence(0.1)])
    for size in (2, 160, 1000, len(pcm)):
        listener = Listener()
        words = [
            word
            for at in range(0, len(pcm), size)
            for word in listener.listen(as_frame(pcm[at : at + size]))
        ]
        assert [word.text for word in words] == ["one", "two", "two"]
        assert [word.end for word in words] == pytest.approx([0.5, 0.8, 1.1])
        assert listener.heard == pytest.approx(1.5)
        assert listener.loud == pytest.approx(1.4)


def test_half_a_word_is_none() -> None:
    listener = Listener()
    pcm = spoken("halfway", 0.4)
    assert not listener.listen(as_frame(pcm[: len(pcm) // 2]))
    assert listener.speaking
    assert not listener.listen(as_frame(silence(0.2)))


async def test_the_words_of_other_audio_are_unknown() -> None:
    output = FakeAudioOutput()
    await output.text.capture_text("Words of another voice.")
    await output.capture_frame(as_frame(noise(1.0)))
    await asyncio.sleep(0.5)
    output.flush()
    output.clear_buffer()
    finished = await output.wait_for_playout()
    assert finished.synchronized_transcript is None
    assert output.heard[0].text == ""


@pytest.mark.parametrize(
    ("text", "count", "first"),
    [
        ("One, two  three.", 0, ""),
        ("One, two  three.", 2, "One, two"),
        ("One, two  three. ", 3, "One, two  three. "),
        ("One.", 9, "One."),
        ('<expr label="so so"/> One two', 1, '<expr label="so so"/> One'),
        ("", 1, ""),
    ],
)
def test_the_first_words_of_a_text(text: str, count: int, first: str) -> None:
    assert first_words(text, count) == first


def test_markup_is_not_spoken() -> None:
    assert words_of('<emotion value="happy"/>Hello [laugh] there, <break/> you.') == [
        "Hello",
        "there,",
        "you.",
    ]


# -- the loudspeaker -------------------------------------------------------------------------------


async def _capture(output: FakeAudioOutput, words: list[str], each: float = 0.5) -> None:
    for word in words:
        await output.capture_frame(as_frame(spoken(word, each)))


async def test_playing_takes_as_long_as_the_audio() -> None:
    output = FakeAudioOutput()
    began = time.time()
    await _capture(output, ["one", "two", "three"])
    output.flush()
    finished = await output.wait_for_playout()
    assert time.time() - began == pytest.approx(1.5, abs=0.01)
    assert finished.playback_position == pytest.approx(1.5)
    assert not finished.interrupted
    assert output.heard[0].text == "one two three"


async def test_a_cut_tells_the_position_and_the_words() -> None:
    output = FakeAudioOutput()
    await _capture(output, ["one", "two", "three"])
    output.flush()
    await asyncio.sleep(1.2)
    output.clear_buffer()
    finished = await output.wait_for_playout()
    assert finished.interrupted
    assert finished.playback_position == pytest.approx(1.2, abs=0.01)
    assert finished.synchronized_transcript == "one two"
    assert output.heard[0].text == "one two"
    assert not output.is_busy


async def test_a_cut_before_the_first_sound_was_never_heard() -> None:
    output = FakeAudioOutput(start_delay=0.5)
    started: list[Any] = []
    output.on("playback_started", started.append)
    await _capture(output, ["one"])
    await asyncio.sleep(0.3)
    output.flush()
    output.clear_buffer()
    finished = await output.wait_for_playout()
    assert finished.playback_position == 0
    assert started == output.heard == []
    await asyncio.sleep(5)
    assert started == []


async def test_what_comes_after_a_cut_is_dropped_until_the_segment_ends() -> None:
    output = FakeAudioOutput()
    await _capture(output, ["one", "two"])
    output.clear_buffer()
    await _capture(output, ["three"])
    output.flush()
    assert not output.is_busy
    await _capture(output, ["four"])
    output.flush()
    await output.wait_for_playout()
    assert [heard.text for heard in output.heard] == ["", "four"]


async def test_a_pause_loses_nothing_and_takes_its_time() -> None:
    output = FakeAudioOutput()
    began = time.time()
    await _capture(output, ["one", "two", "three"])
    output.flush()
    await asyncio.sleep(0.7)
    output.pause()
    assert output.words_now == ["one"]
    await asyncio.sleep(10)
    assert output.words_now == ["one"]
    output.resume()
    await output.wait_for_playout()
    assert time.time() - began == pytest.approx(11.5, abs=0.01)
    assert output.heard[0].text == "one two three"
    assert not output.heard[0].interrupted


async def test_a_voice_that_is_late_makes_gaps_and_no_jumps() -> None:
    output = FakeAudioOutput()
    began = time.time()
    await _capture(output, ["one"])
    await asyncio.sleep(2)
    await _capture(output, ["two"])
    await asyncio.sleep(0.25)
    assert output.words_now == ["one"]
    output.flush()
    await output.wait_for_playout()
    assert time.time() - began == pytest.approx(2.5, abs=0.01)
    assert output.heard[0].seconds == pytest.approx(1.0)


async def test_waiting_for_words_ends_with_the_word_or_the_utterance() -> None:
    output = FakeAudioOutput()
    began = time.time()
    await _capture(output, ["one", "two", "three"])
    await output.plays_words(2)
    assert time.time() - began == pytest.approx(1.0, abs=0.01)
    output.flush()
    await output.plays_words(9)
    assert not output.is_busy


# -- ears and voice --------------------------------------------------------------------------------


async def test_transcripts_come_in_their_time() -> None:
    ears = FakeSTT(preflight=0.2, final=0.5)
    got: list[tuple[str, str, float]] = []
    stream = ears.stream()

    async def listen() -> None:
        async for event in stream:
            text = event.alternatives[0].text if event.alternatives else ""
            got.append((event.type.value, text, round(time.time() - began, 1)))

    began = time.time()
    listening = asyncio.create_task(listen())
    for pcm in (spoken("Good", 0.3), spoken("day.", 0.3), *[silence(0.1)] * 8):
        await asyncio.sleep(len(pcm) / 16_000)
        stream.push_frame(as_frame(pcm))
    await asyncio.sleep(1)
    await stream.aclose()
    listening.cancel()
    assert [g for g in got if g[1]] == [
        ("interim_transcript", "Good", 0.3),
        ("interim_transcript", "Good day.", 0.6),
        ("preflight_transcript", "Good day.", 0.8),
        ("final_transcript", "Good day.", 1.1),
    ]


def test_ears_refuse_a_preflight_that_is_not_earlier() -> None:
    with pytest.raises(ValueError, match="less than final"):
        FakeSTT(preflight=0.5, final=0.5)


async def test_voice_activity_begins_and_ends_in_its_time() -> None:
    stream = FakeVAD(min_speech=0.1, min_silence=0.3).stream()
    sounds = [silence(0.1)] * 2 + [noise(0.1)] * 5 + [silence(0.1)] * 6
    for pcm in sounds:
        stream.push_frame(as_frame(pcm))
    stream.end_input()
    told = [e async for e in stream if e.type != vad.VADEventType.INFERENCE_DONE]
    await stream.aclose()
    assert [(e.type.value, round(e.timestamp, 1)) for e in told] == [
        ("start_of_speech", 0.3),
        ("end_of_speech", 1.0),
    ]
    assert told[1].speech_duration == pytest.approx(0.5)
    assert told[1].silence_duration == pytest.approx(0.3)


@pytest.mark.parametrize("streaming", [True, False])
async def test_a_voice_speaks_at_its_rate(streaming: bool) -> None:
    voice = FakeTTS(seconds_per_word=0.2, seconds_per_character=0.1, streaming=streaming)
    async with stage("One three.") as st:
        async with PhoneCall(Agent(instructions=PROMPT), llm=st.llm, tts=voice) as call:
            await call.caller_says("Good day.")
            await call.quiet()
        assert call.heard[0].text == "One three."
        assert call.heard[0].seconds == pytest.approx(0.2 + 0.3 + 0.2 + 0.6, abs=0.05)


@pytest.mark.parametrize("streaming", [True, False])
async def test_a_text_without_words_is_a_short_silence(streaming: bool) -> None:
    async with stage(fixed("[laugh]", "Yes.")) as st:
        async with PhoneCall(
            Agent(instructions=PROMPT), llm=st.llm, tts=FakeTTS(streaming=streaming)
        ) as call:
            for _ in range(2):
                await call.caller_says("Good day.")
                await call.quiet()
        assert [heard.text for heard in call.heard] == ["", "Yes."]


# -- the call --------------------------------------------------------------------------------------


async def test_a_call_is_made_at_the_times_that_are_set() -> None:
    async with line({}) as on:
        await on.call.caller_says("Good day to you.", at=2.0, duration=1.0)
        assert on.call.now == pytest.approx(3.0, abs=0.06)
        await on.call.agent_speaks()
        # 0.5 s of silence make the end of a turn, and the voice needs 0.1 s.
        assert on.call.now == pytest.approx(3.6, abs=0.2)
        await on.call.caller_makes_noise(0.2, at=5.0)
        assert on.call.now == pytest.approx(5.2, abs=0.06)


async def test_a_wait_that_fails_tells_what_happened() -> None:
    told = "waited 5 s for the agent to speak; the agent is listening"
    agent = Agent(instructions=PROMPT)
    async with stage("Hello.") as st, PhoneCall(agent, llm=st.llm, limit=5) as call:
        with pytest.raises(TimeoutError, match=told):
            await call.agent_speaks()


async def test_the_end_of_a_session_ends_all_waits() -> None:
    async with stage("Hello.") as st, PhoneCall(Agent(instructions=PROMPT), llm=st.llm) as call:
        waiting = asyncio.create_task(call.agent_speaks())
        saying = asyncio.create_task(call.caller_says("What a very long sentence this is."))
        await asyncio.sleep(0.5)
        await call.session.aclose()
        for wait in (waiting, saying):
            with pytest.raises(HungUp):
                await wait
        with pytest.raises(HungUp):
            await call.quiet()


async def test_a_call_that_has_not_begun_and_words_that_are_none() -> None:
    async with stage("Hello.") as st:
        call = PhoneCall(Agent(instructions=PROMPT), llm=st.llm)
        with pytest.raises(RuntimeError, match="async with"):
            _ = call.session
        async with call:
            with pytest.raises(ValueError, match="at least one word"):
                await call.caller_says("  ")


async def test_quiet_waits_for_tools() -> None:
    ran: list[float] = []

    @function_tool
    async def slow() -> str:
        """Take long."""
        await asyncio.sleep(20)
        ran.append(time.time())
        return "done"

    script = fixed(Reply.of(Call("slow")), "Done.")
    agent = Agent(instructions=PROMPT, tools=[slow])
    async with stage(script) as st, PhoneCall(agent, llm=st.llm) as call:
        await call.caller_says("Do it now.")
        await call.quiet()
        assert ran
        assert call.heard[-1].text == "Done."


def test_a_call_also_works_in_real_time() -> None:
    async def talk() -> None:
        async with stage("Yes.") as st:
            async with PhoneCall(
                Agent(instructions=PROMPT),
                llm=st.llm,
                turn_handling={"endpointing": {"min_delay": 0.1}},
            ) as call:
                await call.caller_says("Hello.", duration=0.2)
                await call.agent_speaks()
                await call.quiet(settle=0.2)
            assert call.heard[0].text == "Yes."
            await st.check()

    began = real_time()
    asyncio.run(talk())
    assert real_time() - began > 0.5


def test_a_loop_can_be_made_by_hand() -> None:
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        assert runner.run(asyncio.sleep(100, "slept")) == "slept"


def test_the_example_of_the_documentation_runs() -> None:
    text = testing.__doc__ or ""
    code = textwrap.dedent(text[text.index("    def test_") : text.index("With pytest-asyncio")])
    names: dict[str, Any] = {
        **vars(testing),
        "LLM": LLM,
        "Receptionist": lambda: Agent(instructions=PROMPT),
        "Simulator": Simulator,
    }
    exec(code, names)  # noqa: S102 - our own text
    names["test_the_agent_can_be_interrupted"]()
