"""docs/frameworks.md says what the installed frameworks do: its versions and tables are checked."""

from __future__ import annotations

import re
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from livekit.agents import APIConnectionError, APIConnectOptions, APIStatusError, llm
from videosdk import agents as videosdk

ASSISTANT = videosdk.ChatRole.ASSISTANT
PAGE = Path(__file__).parents[2] / "docs" / "frameworks.md"
TEXT = PAGE.read_text()


@pytest.mark.parametrize(
    ("heading", "package"),
    [("LiveKit Agents", "livekit-agents"), ("VideoSDK Agents", "videosdk-agents")],
)
def test_the_page_was_checked_with_the_installed_version(heading: str, package: str) -> None:
    named = re.search(rf"^## {heading} (\S+)$", TEXT, re.MULTILINE)
    assert named is not None
    assert named[1] == version(package), "check the page against this version, then name it"


# -- LiveKit's retries ----------------------------------------------------------------------------

Raise = Callable[[], Exception]


def _status(code: int) -> Raise:
    return lambda: APIStatusError("no", status_code=code)


CASES: dict[str, tuple[Raise, bool]] = {
    "`APIConnectionError`": (APIConnectionError, False),
    "`APIConnectionError(retryable=False)`": (lambda: APIConnectionError(retryable=False), False),
    "`APIStatusError` 400": (_status(400), False),
    "`APIStatusError` 429": (_status(429), False),
    "`APIStatusError` 499": (_status(499), False),
    "`ValueError`": (ValueError, False),
    "`APIConnectionError` after text": (APIConnectionError, True),
}


class _Failing(llm.LLM[Any]):
    def __init__(self, make: Raise, *, speaks: bool) -> None:
        super().__init__()
        self.make, self.speaks, self.runs = make, speaks, 0

    def chat(self, **given: Any) -> llm.LLMStream:
        return _FailingStream(
            self,
            chat_ctx=given["chat_ctx"],
            tools=[],
            conn_options=APIConnectOptions(max_retry=2, retry_interval=0.0),
        )


class _FailingStream(llm.LLMStream):
    async def _run(self) -> None:
        model = self._llm
        assert isinstance(model, _Failing)
        model.runs += 1
        if model.speaks:
            self._event_ch.send_nowait(llm.ChatChunk(id="1", delta=llm.ChoiceDelta(content="hi")))
        raise model.make()


async def _row(case: str) -> str:
    make, speaks = CASES[case]
    model = _Failing(make, speaks=speaks)
    errors: list[llm.LLMError] = []
    model.on("error", errors.append)
    heard, seen = "", "the end"
    try:
        async with model.chat(chat_ctx=llm.ChatContext.empty()) as stream:
            async for chunk in stream:
                heard += (chunk.delta and chunk.delta.content) or ""
    except Exception as error:  # noqa: BLE001 - whatever comes of it
        seen = f"`{type(error).__name__}`"
    if heard:
        assert heard == "hi" * 3
        seen = f"the text three times, then {seen}"
    events = ", ".join("yes" if one.recoverable else "no" for one in errors) or "none"
    return f"| {case} | {model.runs} | {events} | {seen} |"


@pytest.mark.parametrize("case", CASES)
async def test_the_base_class_retries_as_the_table_says(case: str) -> None:
    assert await _row(case) in TEXT


# -- VideoSDK's tool loop -------------------------------------------------------------------------


class _TwoCalls(videosdk.LLM):  # type: ignore[misc]  # the SDK has no types
    """Yields two calls of one response, then an answer."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[int] = []

    async def chat(self, messages: videosdk.ChatContext, *_: Any, **__: Any) -> Any:
        self.asked.append(len(messages.items))
        if len(self.asked) > 1:
            yield videosdk.LLMResponse(content="Done.", role=ASSISTANT)
            return
        for number in (1, 2):
            call = {"name": "book", "arguments": {"day": str(number)}, "call_id": f"call_{number}"}
            yield videosdk.LLMResponse(content="", role=ASSISTANT, metadata={"function_call": call})

    async def cancel_current_generation(self) -> None:
        pass


class _Booking(videosdk.Agent):  # type: ignore[misc]
    def __init__(self) -> None:
        super().__init__(instructions="Be brief.")
        self.booked: list[str] = []

    async def on_enter(self) -> None: ...
    async def on_exit(self) -> None: ...

    @videosdk.function_tool  # type: ignore[untyped-decorator]
    async def book(self, day: str) -> str:
        """Book a day."""
        self.booked.append(day)
        return "booked"


async def test_the_pipeline_asks_again_inside_a_call_and_loses_the_others() -> None:
    model, agent = _TwoCalls(), _Booking()
    pipeline = videosdk.Pipeline(llm=model)
    session = videosdk.AgentSession(agent, pipeline)
    await session.start()
    await pipeline.process_text("Two days, please.")
    await session.close()
    assert agent.booked == ["1"]  # the second call of the response is lost
    assert len(model.asked) == 2
    assert model.asked[1] == model.asked[0] + 2  # with the call and its output
