"""Pictures in a context: encoded once, off the event loop, and in their places."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from livekit import rtc
from livekit.agents import llm
from livekit.agents.utils import http_context

from rtllm import Client
from rtllm.simulator import Simulator
from rtllm_livekit import LLM
from rtllm_livekit.images import LiveKitFrames

SAMPLE = rtc.VideoFrame(8, 8, rtc.VideoBufferType.RGBA, bytes(8 * 8 * 4))


def pictured(*content: Any) -> llm.ChatContext:
    context = llm.ChatContext.empty()
    context.add_message(role="user", content=list(content))
    return context


@pytest.fixture
def threads(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """For each encoding, whether it ran on the event loop's thread."""
    on_loop: list[bool] = []
    encode = LiveKitFrames.encode

    def noted(self: LiveKitFrames, source: llm.ImageContent) -> str:
        on_loop.append(threading.current_thread() is threading.main_thread())
        return encode(self, source)

    monkeypatch.setattr(LiveKitFrames, "encode", noted)
    return on_loop


@asynccontextmanager
async def asked() -> AsyncIterator[tuple[LLM, Simulator]]:
    async with http_context.open(), Simulator("I see.") as service:
        model = LLM(api_key="k", base_url=service.base_url, store=False)
        yield model, service
        await model.aclose()


async def test_a_frame_is_encoded_once_and_off_the_event_loop(threads: list[bool]) -> None:
    async with asked() as (model, service):
        context = pictured("What is it?", llm.ImageContent(image=SAMPLE))
        for _ in range(3):
            assert (await model.chat(chat_ctx=context).collect()).text == "I see."
        assert threads == [False]
        for entry in service.journal.entries:
            (part,) = [p for p in entry.context[-1]["content"] if p["type"] == "input_image"]
            assert part["image_url"].startswith("data:image/jpeg;base64,")


async def test_the_rest_of_the_context_is_taken_when_it_is_asked(threads: list[bool]) -> None:
    async with asked() as (model, service):
        context = pictured("Before", llm.ImageContent(image=SAMPLE))
        stream = model.chat(chat_ctx=context)
        context.messages()[0].content = ["After"]
        await stream.collect()
        assert ("user", "Before") in service.journal.entries[0].texts()
        assert threads == [False]


async def test_an_address_goes_as_it_is(threads: list[bool]) -> None:
    async with asked() as (model, service):
        where = "https://example.com/a.png"
        await model.chat(chat_ctx=pictured("x", llm.ImageContent(image=where))).collect()
        (part,) = [
            p
            for p in service.journal.entries[0].context[-1]["content"]
            if p["type"] == "input_image"
        ]
        assert part["image_url"] == where
        assert threads == []


async def test_a_frame_that_cannot_be_encoded_is_left_out(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*_: Any, **__: Any) -> Any:
        raise ValueError("no such format")

    monkeypatch.setattr(LiveKitFrames, "encode", refuse)
    async with asked() as (model, service):
        context = pictured("What is it?", llm.ImageContent(image=SAMPLE))
        for _ in range(2):
            await model.chat(chat_ctx=context).collect()
        assert [e.outcome for e in service.journal.entries] == ["completed"] * 2
        assert ("user", "What is it?") in service.journal.entries[1].texts()
    assert caplog.text.count("no such format") == 1


async def test_a_camera_that_overwrites_its_frame_shows_each_picture(threads: list[bool]) -> None:
    async with asked() as (model, service):
        frame = rtc.VideoFrame(64, 64, rtc.VideoBufferType.RGBA, bytearray(64 * 64 * 4))
        context = llm.ChatContext.empty()
        for colour in (b"\xff\x00\x00\xff", b"\x00\x00\xff\xff"):
            frame.data[:] = colour * (64 * 64)
            context.add_message(role="user", content=[llm.ImageContent(image=frame)])
            stream = model.chat(chat_ctx=context)
            frame.data[:] = bytes(64 * 64 * 4)  # taken by value: what comes later isn't shown
            await stream.collect()
        entries = [e.context for e in service.journal.entries]
        shown = [i["content"][0]["image_url"] for i in entries[-1] if i["role"] == "user"]
        assert len(set(shown)) == 2
        assert entries[0] == entries[-1][: len(entries[0])]
        assert threads == [False, False]


async def test_constant_ids_never_give_one_callers_picture_to_another() -> None:
    async with asked() as (model, service):
        for shade in (10, 200):
            pixels = bytes([shade, 0, 0, 255]) * 64
            frame = rtc.VideoFrame(8, 8, rtc.VideoBufferType.RGBA, pixels)
            content = llm.ImageContent(id="mine", image=frame)
            await model.chat(chat_ctx=pictured("What?", content)).collect()
        first, second = (e.context[-1]["content"] for e in service.journal.entries)
        assert first != second


async def test_a_context_with_a_new_picture_is_asked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    async with asked() as (model, _):
        requests: list[Any] = []
        ask = Client.ask

        def noted(client: Client, request: Any) -> Any:
            requests.append(request)
            return ask(client, request)

        monkeypatch.setattr(Client, "ask", noted)
        context = pictured("What is it?", llm.ImageContent(image=SAMPLE))
        await model.chat(chat_ctx=context).collect()
        assert len(requests) == 1
        with pytest.raises(ValueError, match="no item"):
            model.chat(chat_ctx=llm.ChatContext.empty())


async def test_closing_forgets_the_pictures_and_a_dropped_one_is_not_kept() -> None:
    async with asked() as (model, _):
        context = pictured("What is it?", llm.ImageContent(image=SAMPLE))
        await model.chat(chat_ctx=context).collect()
        assert "1 images" in repr(model)
        await model.aclose()
        assert "0 images" in repr(model)
