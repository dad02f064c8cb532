"""Pictures in a context: encoded once, off the event loop, and in their places."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from livekit.agents import llm
from livekit.agents.utils import http_context

from livekit import rtc
from rtllm.simulator import Simulator
from rtllm_livekit import LLM, asking, convert

SAMPLE = rtc.VideoFrame(8, 8, rtc.VideoBufferType.RGBA, bytes(8 * 8 * 4))


def pictured(*content: Any) -> llm.ChatContext:
    context = llm.ChatContext.empty()
    context.add_message(role="user", content=list(content))
    return context


@pytest.fixture
def threads(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """For each encoding, whether it ran on the event loop's thread."""
    on_loop: list[bool] = []
    encode = convert.url_of

    def noted(frame: llm.ImageContent) -> str:
        on_loop.append(threading.current_thread() is threading.main_thread())
        return encode(frame)

    monkeypatch.setattr(asking, "url_of", noted)
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

    monkeypatch.setattr(asking, "url_of", refuse)
    async with asked() as (model, service):
        context = pictured("What is it?", llm.ImageContent(image=SAMPLE))
        for _ in range(2):
            await model.chat(chat_ctx=context).collect()
        assert [e.outcome for e in service.journal.entries] == ["completed"] * 2
        assert ("user", "What is it?") in service.journal.entries[1].texts()
    assert caplog.text.count("no such format") == 1
