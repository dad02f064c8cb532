"""Cancelling: at once, for its own generation only, and with nothing sent."""

from __future__ import annotations

import asyncio
import gc
import time
from typing import Any

import pytest
from videosdk.agents.voice_mail_detector import VoiceMailDetector

from rtllm.simulator import Call, Pause, Reply, Request, Silence, Text, only
from support.waiting import until
from videosdk_adapter.requests import chunks_of, hello, text_of
from videosdk_adapter.stage import Host, stage
from videosdk_adapter.talks import Plain, talk, tool


def gated(gate: asyncio.Event) -> Any:
    def script(request: Request) -> Reply | str:
        said = request.last_user_text
        if said.startswith("slow"):
            return Reply.of(Text(pieces=("One ", Pause(gate), "two.")))
        if said.startswith("silent"):
            return Reply.of(Text(pieces=(Pause(gate), "Late.")))
        return f"You said {said}."

    return script


async def reading(model: Any, ctx: Any, **call: Any) -> tuple[asyncio.Task[Any], list[str]]:
    pieces: list[str] = []

    async def read() -> None:
        async for chunk in model.chat(ctx, **call):
            pieces.append(chunk.content)

    return asyncio.create_task(read()), pieces


async def test_cancelling_an_idle_one_is_nothing(host: Host) -> None:
    async with stage("Hi.", **host) as st:
        await st.llm.cancel_current_generation()
        await chunks_of(st.llm, hello())
        begun = time.perf_counter()
        await st.llm.cancel_current_generation()
        assert time.perf_counter() - begun < 0.05
        chunks, error = await chunks_of(st.llm, hello("again"))
        assert (text_of(chunks), error) == ("Hi.", None)
        await st.check()


@pytest.mark.parametrize("word", ["silent", "slow"])
async def test_a_waiting_reader_is_woken(any_host: Host, word: str) -> None:
    gate = asyncio.Event()
    async with stage(gated(gate), **any_host) as st:
        task, pieces = await reading(st.llm, hello(word))
        await st.service.journal.wait_for(2 if st.lanes == "refuse" else 1)
        if word == "slow":
            await until(lambda: pieces)
        begun = time.perf_counter()
        await st.llm.cancel_current_generation()
        assert time.perf_counter() - begun < 0.05
        await asyncio.wait_for(task, 20)
        chunks, error = await chunks_of(st.llm, hello("next"))
        assert (text_of(chunks), error) == ("You said next.", None)
        gate.set()
        assert st.errors == []
        await st.check(connections=None if st.lanes != "on" else 1)


async def test_a_cancel_while_the_server_never_answers(host: Host) -> None:
    async with stage("Hi.", **host, simulator={"fault": only(0, Silence())}) as st:
        task, _ = await reading(st.llm, hello())
        await st.service.journal.wait_for(1)
        await st.llm.cancel_current_generation()
        await asyncio.wait_for(task, 20)
        chunks, error = await chunks_of(st.llm, hello("next"))
        assert (text_of(chunks), error) == ("Hi.", None)


async def test_a_cancel_during_the_handshake(host: Host) -> None:
    if not host["streaming"] or "use_websocket" in host:
        pytest.skip("over HTTP there is no handshake")
    from rtllm.simulator import DelayHandshake  # noqa: PLC0415

    gate = asyncio.Event()
    plan: Any = lambda _: DelayHandshake(gate)  # noqa: E731
    async with stage("Hi.", **host, simulator={"on_connect": plan}) as st:
        task, _ = await reading(st.llm, hello())
        await st.service.journal.wait(lambda journal: journal.connections)
        await st.llm.cancel_current_generation()
        await asyncio.wait_for(task, 20)
        gate.set()
        chunks, error = await chunks_of(st.llm, hello("next"))
        assert (text_of(chunks), error) == ("Hi.", None)
        assert len(st.entries) == 1


@pytest.mark.parametrize("way", ["task", "aclose", "drop"])
async def test_leaving_without_a_cancel_gives_the_next_turn_nothing_old(
    any_host: Host, way: str
) -> None:
    gate = asyncio.Event()
    async with stage(gated(gate), **any_host) as st:
        if way == "task":
            task, pieces = await reading(st.llm, hello("slow"))
            await until(lambda: pieces)
            task.cancel()
            await asyncio.wait([task])
        else:
            stream = st.llm.chat(hello("slow"))
            assert (await anext(stream)).content == "One "
            if way == "aclose":
                await stream.aclose()
            del stream
            gc.collect()
        chunks, error = await chunks_of(st.llm, hello("next"))
        gate.set()
        assert (text_of(chunks), error) == ("You said next.", None)
        assert ", 0 running" in repr(st.llm)


async def test_concurrent_chats_and_one_cancel(any_host: Host) -> None:
    """The newest is the current one; the others go on."""
    gate = asyncio.Event()
    async with stage(gated(gate), **any_host) as st:
        one, first = await reading(st.llm, hello("slow 1"))
        await until(lambda: first)
        two, second = await reading(st.llm, hello("slow 2"))
        await until(lambda: second)
        await st.llm.cancel_current_generation()
        await asyncio.wait_for(two, 20)
        gate.set()
        await asyncio.wait_for(one, 20)
        assert "".join(first) == "One two."
        assert "".join(second) == "One "


async def test_a_barge_in_touches_no_other_session_and_no_detector(any_host: Host) -> None:
    gate = asyncio.Event()

    def script(request: Request) -> Reply | str:
        if "Text to classify" in request.last_user_text:
            return Reply.of(Text(pieces=(Pause(gate), "Yes")))
        return gated(gate)(request)  # type: ignore[no-any-return]

    async with (
        stage(script, **any_host) as st,
        talk(st.llm, Plain("You are Alice.")) as alice,
        talk(st.llm, Plain("You are Bob.")) as bob,
    ):
        await chunks_of(st.llm, hello("Are there lanes?"))
        detector = VoiceMailDetector(st.llm, lambda: None)
        verdict = asyncio.create_task(detector.detect("leave a message"))
        one, two = await alice.hear("slow"), await bob.hear("slow")
        await until(lambda: alice.pipeline.orchestrator._partial_response)
        await until(lambda: bob.pipeline.orchestrator._partial_response)
        await alice.barge_in()
        await alice.barge_in()  # idle by now: the newest of others isn't hers
        await asyncio.wait([one], timeout=2)
        gate.set()
        await asyncio.wait([two], timeout=5)
        assert alice.last == ("assistant", "One ")
        assert bob.last == ("assistant", "One two.")
        assert await asyncio.wait_for(verdict, 20) is True


async def test_a_cut_turn_hands_out_no_held_call(any_host: Host) -> None:
    gate, ran = asyncio.Event(), []

    @tool
    async def weather(city: str) -> str:
        """Tell the weather."""
        ran.append(city)
        await gate.wait()
        return "fine"

    def script(request: Request) -> Reply | str:
        if request.last_user_text == "go" and not request.trailing_outputs:
            return Reply.of(*(Call("weather", {"city": c}) for c in ("Paris", "Rome")))
        return "Well."

    async with stage(script, **any_host) as st, talk(st.llm, Plain(tools=[weather])) as c:
        running = asyncio.create_task(c.say("go"))
        await until(lambda: ran)
        await st.llm.cancel_current_generation()  # the task goes on, unlike in a barge-in
        gate.set()
        await asyncio.wait([running], timeout=5)
        await c.say("next")
        assert ran == ["Paris"]
        assert c.last == ("assistant", "Well.")
        await st.check(connections=None)


async def test_a_closed_object_may_be_closed_again_and_used_again(any_host: Host) -> None:
    async with stage("Hi.", **any_host) as st:
        for _ in range(2):
            chunks, error = await chunks_of(st.llm, hello())
            assert (text_of(chunks), error) == ("Hi.", None)
            await st.llm.aclose()
            await st.llm.aclose()
            await st.llm.cancel_current_generation()
        assert not st.service.journal.open_connections


async def test_closing_ends_what_runs_without_an_error(host: Host) -> None:
    gate = asyncio.Event()
    async with stage(gated(gate), **host) as st:
        task, pieces = await reading(st.llm, hello("slow"))
        await until(lambda: pieces)
        await st.llm.aclose()
        await asyncio.wait_for(task, 20)
        assert st.errors == []
        gate.set()


async def test_the_spoken_prefix_is_what_the_model_sees(any_host: Host) -> None:
    from videosdk_adapter.phone import Voice  # noqa: PLC0415

    voice = Voice()
    async with (
        stage("One two three four five six.", **any_host) as st,
        talk(st.llm, tts=voice) as c,
    ):
        voice.track.holds, voice.track.played = True, 0.5
        task = await c.hear("count")
        await until(lambda: voice.said)
        await c.barge_in()
        await asyncio.wait([task], timeout=5)
        assert c.last == ("assistant", "One two three")
        voice.track.holds = False
        await c.turn("go on")
        await c.turn("and on")
    await st.check(connections=None if st.lanes != "on" else 1)
