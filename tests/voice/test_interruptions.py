"""Barge-ins at every moment of an answer: the model must know what was heard, and no more."""

from __future__ import annotations

from typing import Any, Literal

import pytest

from rtllm_livekit.testing import FakeAudioOutput, FakeTTS
from voice.line import answer_of, line


async def test_turns_follow_one_another(any_host: Any) -> None:
    async with line(any_host) as on:
        for text in ("Good morning.", "How are you today?", "Goodbye then."):
            await on.call.caller_says(text)
            await on.call.quiet()
        assert [heard.text for heard in on.call.heard] == [
            text for role, text in on.call.dialogue if role == "assistant"
        ]
        assert not any(heard.interrupted for heard in on.call.heard)


async def test_barge_in_after_the_whole_answer_was_generated(any_host: Any) -> None:
    async with line(any_host) as on:
        await on.call.caller_says("Tell me a story.")
        await on.call.agent_says(3)
        answered = on.stage.entries[-1]
        assert answered.outcome == "completed"
        await on.call.caller_says("No, another one please.")
        await on.call.quiet()
        await on.call.caller_says("Thanks a lot.")
        await on.call.quiet()
        cut, whole, last = on.call.heard
        assert cut.interrupted
        assert 3 <= len(cut.text.split()) < 10
        assert ("assistant", cut.text) in on.contexts[-1]
        assert not whole.interrupted
        assert not last.interrupted
        assert on.chained[-1]


async def test_barge_in_while_the_answer_is_still_being_generated(any_host: Any) -> None:
    async with line(any_host, simulator={"per_delta": 0.25}) as on:
        await on.call.caller_says("Tell me a story.")
        await on.call.agent_says(2)
        assert on.stage.entries[-1].outcome == "running"
        await on.call.caller_says("No, another one please.")
        await on.call.quiet()
        await on.call.caller_says("Thanks a lot.")
        await on.call.quiet()
        assert on.call.heard[0].interrupted
        assert not on.call.heard[1].interrupted


async def test_barge_in_before_the_first_frame_leaves_nothing_of_the_answer(
    any_host: Any,
) -> None:
    async with line(any_host, output=FakeAudioOutput(start_delay=1.5)) as on:
        await on.call.caller_says("Tell me a story.")
        await on.call.until(lambda: on.call.output.is_busy)
        assert on.stage.entries[-1].outcome == "completed"
        await on.call.caller_says("Wait, not yet.")
        await on.call.quiet()
        await on.call.caller_says("Now go on.")
        await on.call.quiet()
        assert not any(heard.interrupted for heard in on.call.heard)
        assert [role for role, _ in on.contexts[-2]] == ["system", "user", "user"]


async def test_barge_in_while_the_voice_has_not_begun_leaves_nothing_of_the_answer(
    host: Any,
) -> None:
    async with line(host, tts=FakeTTS(first_byte=2.0)) as on:
        await on.call.caller_says("Tell me a story.")
        await on.call.until(lambda: on.call.session.agent_state == "thinking")
        await on.call.caller_says("Wait, not yet.")
        await on.call.quiet()
        assert [role for role, _ in on.contexts[-1]] == ["system", "user", "user"]


async def test_barge_in_while_the_model_thinks_leaves_nothing_of_the_answer(
    any_host: Any,
) -> None:
    async with line(any_host, simulator={"time_to_first": 2.5}) as on:
        await on.call.caller_says("Tell me a story.")
        await on.call.until(lambda: on.call.session.agent_state == "thinking")
        await on.call.caller_says("Wait, not yet.")
        await on.call.quiet()
        await on.call.caller_says("Thanks a lot.")
        await on.call.quiet()
        assert [role for role, _ in on.contexts[-1]][:3] == ["system", "user", "user"]
        assert not on.call.heard[-1].interrupted


@pytest.mark.parametrize("after", [0.05, 0.4, 0.8, 1.3, 2.1, 2.45])
async def test_the_transcript_is_cut_to_what_was_played(host: Any, after: float) -> None:
    async with line(host) as on:
        await on.call.caller_says("Tell me a story.")
        await on.call.agent_speaks()
        await on.call.caller_says("No, another one please.", at=on.call.now + after)
        await on.call.quiet()
        cut = on.call.heard[0]
        assert cut.interrupted
        assert answer_of(on.stage.entries[0].index).startswith(cut.text)
        assert len(cut.text.split()) == int(cut.seconds / 0.3 + 0.01)
        recorded = [text for role, text in on.contexts[-1] if role == "assistant"]
        assert recorded == ([cut.text] if cut.text else [])


@pytest.mark.parametrize("streaming", [True, False])
async def test_with_livekits_own_estimate_the_model_sees_what_livekit_recorded(
    host: Any, streaming: bool
) -> None:
    async with line(
        host, tts=FakeTTS(streaming=streaming), transcript="estimated", checked=False
    ) as on:
        await on.call.caller_says("Tell me a story.")
        await on.call.agent_says(4)
        await on.call.caller_says("No, another one please.")
        await on.call.quiet()
        await on.call.caller_says("Thanks a lot.")
        await on.call.quiet()
        recorded = [text for role, text in on.contexts[-1] if role == "assistant"]
        assert answer_of(on.stage.entries[0].index).startswith(recorded[0].strip())
        assert recorded[0].strip() != answer_of(on.stage.entries[0].index)
        assert recorded == [text for role, text in on.call.dialogue if role == "assistant"][:2]
    await on.stage.check()


@pytest.mark.parametrize("aligned", [True, False])
@pytest.mark.parametrize("transcript", ["exact", "estimated"])
async def test_a_voice_that_tells_its_words_times(
    host: Any, aligned: bool, transcript: Literal["exact", "estimated"]
) -> None:
    async with line(
        host,
        tts=FakeTTS(aligned=aligned),
        transcript=transcript,
        use_tts_aligned_transcript=aligned,
        checked=False,
    ) as on:
        for _ in range(2):
            await on.call.caller_says("Tell me a story.")
            await on.call.agent_says(4)
            await on.call.caller_says("No, another one please.")
            await on.call.quiet()
    await on.stage.check()


async def test_several_barge_ins_in_a_row(any_host: Any) -> None:
    async with line(any_host) as on:
        await on.call.caller_says("Tell me a story.")
        for words in (2, 4, 1, 3):
            await on.call.agent_says(words)
            await on.call.caller_says("No, another one please.")
            await on.call.until(lambda: not on.call.output.is_busy)
        await on.call.quiet()
        assert [heard.interrupted for heard in on.call.heard] == [True] * 4 + [False]


async def test_a_long_barge_in_and_words_in_two_goes(host: Any) -> None:
    async with line(host) as on:
        await on.call.caller_says("Tell me a story.")
        await on.call.agent_says(2)
        await on.call.caller_says("No, I want", duration=1.2)
        await on.call.caller_says("something else.", at=on.call.now + 0.45)
        await on.call.quiet()
        assert on.contexts[-1][-1] == ("user", "No, I want something else.")


async def test_what_cannot_be_interrupted_is_heard_whole(host: Any) -> None:
    async with line(host, turn_handling={"interruption": {"enabled": False}}) as on:
        await on.call.caller_says("Tell me a story.")
        await on.call.agent_says(2)
        await on.call.caller_says("No, another one please.")
        await on.call.quiet()
        await on.call.caller_says("Thanks a lot.")
        await on.call.quiet()
        assert not any(heard.interrupted for heard in on.call.heard)


async def test_a_barge_in_into_words_that_no_model_wrote(host: Any) -> None:
    async with line(host) as on:
        await on.call.caller_says("Good morning.")
        await on.call.quiet()
        on.call.session.say("One moment please while I look that up for you.")
        await on.call.agent_says(3)
        await on.call.caller_says("Never mind that now.")
        await on.call.quiet()
        assert on.call.heard[1].interrupted
        assert ("assistant", on.call.heard[1].text) in on.contexts[-1]


async def test_a_barge_in_into_a_greeting_by_instructions(any_host: Any) -> None:
    async with line(any_host) as on:
        on.call.session.generate_reply(instructions="Greet the caller.")
        await on.call.agent_says(3)
        await on.call.caller_says("I know, I know.")
        await on.call.quiet()
        await on.call.caller_says("Thanks a lot.")
        await on.call.quiet()
        assert on.call.heard[0].interrupted
        assert "Greet the caller." not in str(on.contexts[1:])


# -- noises ------------------------------------------------------------------------------------


async def test_after_a_false_interruption_the_answer_goes_on_and_nothing_is_lost(
    any_host: Any,
) -> None:
    resumed: list[bool] = []
    async with line(any_host) as on:
        on.call.session.on("agent_false_interruption", lambda ev: resumed.append(ev.resumed))
        await on.call.caller_says("Tell me a story.")
        await on.call.agent_says(3)
        await on.call.caller_makes_noise(1.0)
        assert on.call.output.is_paused
        await on.call.quiet(settle=3.0)
        assert resumed == [True]
        await on.call.caller_says("Thanks a lot.")
        await on.call.quiet()
        first = on.call.heard[0]
        assert first.text == answer_of(
            on.stage.entries[0].index if any_host["lanes"] != "refuse" else 1
        )
        assert not first.interrupted
        assert on.chained[-1]


async def test_a_true_barge_in_after_a_false_one(any_host: Any) -> None:
    async with line(any_host) as on:
        await on.call.caller_says("Tell me a story.")
        await on.call.agent_says(2)
        await on.call.caller_makes_noise(0.8)
        await on.call.until(lambda: on.call.output.is_playing)
        await on.call.agent_says(5)
        await on.call.caller_says("No, another one please.")
        await on.call.quiet()
        assert on.call.heard[0].interrupted
        assert len(on.call.heard[0].text.split()) >= 5


async def test_words_after_a_noise_cut_the_paused_answer(host: Any) -> None:
    async with line(host) as on:
        await on.call.caller_says("Tell me a story.")
        await on.call.agent_says(2)
        await on.call.caller_makes_noise(0.8)
        assert on.call.output.is_paused
        await on.call.caller_says("No, another one please.", at=on.call.now + 1.0)
        await on.call.quiet()
        assert on.call.heard[0].interrupted
        assert len(on.call.heard[0].text.split()) < 6


async def test_a_noise_too_short_interrupts_nothing(host: Any) -> None:
    async with line(host) as on:
        await on.call.caller_says("Tell me a story.")
        await on.call.agent_says(2)
        await on.call.caller_makes_noise(0.2)
        await on.call.quiet()
        assert not on.call.heard[0].interrupted


async def test_without_pausing_a_noise_cuts_the_answer(host: Any) -> None:
    async with line(host, output=FakeAudioOutput(can_pause=False)) as on:
        await on.call.caller_says("Tell me a story.")
        await on.call.agent_says(2)
        await on.call.caller_makes_noise(1.0)
        await on.call.quiet()
        await on.call.caller_says("Are you there?")
        await on.call.quiet()
        assert on.call.heard[0].interrupted
        assert ("assistant", on.call.heard[0].text) in on.contexts[-1]
