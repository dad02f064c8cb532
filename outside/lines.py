"""HTTP protocols of the adapters as conversations: each LLM alone, and in a session."""

from __future__ import annotations

import asyncio
import logging
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import aclosing
from typing import Any, Literal

import livekit.agents as livekit
import videosdk.agents as videosdk
from livekit.agents import AgentSession, APIConnectOptions, llm

from rtllm import TurnReport
from rtllm_livekit import LLM, ChatLLM
from rtllm_videosdk import OpenAILLM

FORECAST = {"Paris": "sunny", "Rome": "rain"}
INSTRUCTIONS = "Tell the weather."
LIMIT = 20.0  # seconds
Options = dict[str, Any]
Api = Literal["websocket", "responses", "chat"]
City = Literal["Paris", "Rome"]


class Line(ABC):
    """A conversation over one protocol.

    Attributes:
        reports: The reports of its turns.
        looked_up: The cities that its session's tool was called for.
    """

    def __init__(self) -> None:
        self.reports: list[TurnReport] = []
        self.looked_up: list[str] = []

    @abstractmethod
    async def ask(self, words: str, pieces: int | None = None) -> list[str]:
        """Ask; return the pieces of the response, or its first ones and cancel it."""

    @abstractmethod
    def take_back(self) -> None:
        """Remove the last message, which the service rejected."""

    @abstractmethod
    async def session(self, *caller: str) -> list[str]:
        """Hold a real session with two tools; return what the agent said."""

    @abstractmethod
    async def aclose(self) -> None:
        """End the conversation."""


class Forecaster(livekit.Agent):
    """Tells the weather in LiveKit."""

    def __init__(self, looked_up: list[str]) -> None:
        super().__init__(instructions=INSTRUCTIONS)
        self._looked_up = looked_up

    @livekit.function_tool
    async def get_weather(self, city: City) -> str:
        """Look up the weather.

        Args:
            city: The city.
        """
        self._looked_up.append(city)
        return FORECAST[city]


class LiveKitLine(Line):
    """A conversation with an LLM of LiveKit's adapter."""

    def __init__(self, make: Callable[..., llm.LLM[Any]], options: Options) -> None:
        super().__init__()
        self._llm = make(**options, on_turn=self.reports.append)
        self._context = llm.ChatContext.empty()
        self._context.add_message(role="system", content=INSTRUCTIONS)

    async def ask(self, words: str, pieces: int | None = None) -> list[str]:
        """Ask; to cancel, the stream is left early."""
        self._context.add_message(role="user", content=words)
        once = APIConnectOptions(max_retry=0, timeout=LIMIT)
        heard: list[str] = []
        async with self._llm.chat(chat_ctx=self._context, conn_options=once) as stream:
            async for chunk in stream:
                if chunk.delta is not None and chunk.delta.content:
                    heard.append(chunk.delta.content)
                if pieces is not None and len(heard) >= pieces:
                    break
        self._context.add_message(role="assistant", content="".join(heard))
        return heard

    def take_back(self) -> None:
        """Remove the last message from the context."""
        self._context.items.pop()

    async def session(self, *caller: str) -> list[str]:
        """Hold a session in text mode."""
        async with AgentSession[None](
            llm=self._llm, vad=None, turn_handling={"turn_detection": "manual"}
        ) as session:
            await session.start(Forecaster(self.looked_up))
            for words in caller:
                await session.run(user_input=words)
            messages = session.history.messages()
        return [m.text_content or "" for m in messages if m.role == "assistant"]

    async def aclose(self) -> None:
        """Close the LLM."""
        await self._llm.aclose()


class Caster(videosdk.Agent):  # type: ignore[misc]  # the framework has no types
    """Tells the weather in VideoSDK."""

    def __init__(self, looked_up: list[str]) -> None:
        @videosdk.function_tool  # type: ignore[untyped-decorator]  # the framework has no types
        async def get_weather(city: City) -> str:
            """Look up the weather.

            Args:
                city: The city.
            """
            looked_up.append(city)
            return FORECAST[city]

        super().__init__(instructions=INSTRUCTIONS, tools=[get_weather])

    async def on_enter(self) -> None:
        """Say nothing: the caller begins."""

    async def on_exit(self) -> None:
        """Say nothing."""


class VideoSdkLine(Line):
    """A conversation with an LLM of VideoSDK's adapter."""

    def __init__(self, options: Options) -> None:
        super().__init__()
        # Short responses, because without a TTS the framework's queue of 50 pieces is never
        # emptied.
        self._llm = OpenAILLM(
            **options,
            on_turn=self.reports.append,
            max_retries=0,
            timeout=LIMIT,
            max_completion_tokens=40,
        )
        self._context = videosdk.ChatContext.empty()
        self._context.add_message(role=videosdk.ChatRole.SYSTEM, content=INSTRUCTIONS)

    async def ask(self, words: str, pieces: int | None = None) -> list[str]:
        """Ask; to cancel, the framework's method is called."""
        self._context.add_message(role=videosdk.ChatRole.USER, content=words)
        heard: list[str] = []
        async with aclosing(self._llm.chat(self._context)) as chunks:
            async for chunk in chunks:
                if chunk.content:
                    heard.append(chunk.content)
                if pieces is not None and len(heard) == pieces:
                    await self._llm.cancel_current_generation()
        self._context.add_message(role=videosdk.ChatRole.ASSISTANT, content="".join(heard))
        return heard

    def take_back(self) -> None:
        """Remove the last message from the context."""
        self._context.items.pop()

    async def session(self, *caller: str) -> list[str]:
        """Hold a session on the path of recognised speech."""
        logging.disable(logging.CRITICAL)  # the framework reports a missing room
        try:
            agent = Caster(self.looked_up)
            pipeline = videosdk.Pipeline(llm=self._llm)
            session = videosdk.AgentSession(agent=agent, pipeline=pipeline)
            await session.start()
            line = pipeline.orchestrator
            for words in caller:
                await line._process_final_transcript(words)  # no public method without audio
                await asyncio.wait([line._current_generation_task])
            said = [
                "".join(part for part in item.content if isinstance(part, str))
                for item in agent.chat_context.items
                if isinstance(item, videosdk.ChatMessage)
                and item.role is videosdk.ChatRole.ASSISTANT
            ]
            await session.close()
        finally:
            logging.disable(logging.NOTSET)
        return said

    async def aclose(self) -> None:
        """Close the LLM."""
        await self._llm.aclose()


def without_chaining(options: Options) -> Options:
    """Return options for Chat Completions, which can't continue responses."""
    return {name: value for name, value in options.items() if name != "chaining"}


LINES: dict[str, tuple[Api, Callable[[Options], Line]]] = {
    "LiveKit LLM over HTTP": (
        "responses",
        lambda options: LiveKitLine(LLM, {**options, "use_websocket": False}),
    ),
    "LiveKit ChatLLM": (
        "chat",
        lambda options: LiveKitLine(ChatLLM, without_chaining(options)),
    ),
    "VideoSDK Responses over HTTP": (
        "responses",
        lambda options: VideoSdkLine(
            {**options, "streaming": True, "use_websocket": False, "store": True}
        ),
    ),
    "VideoSDK Chat": (
        "chat",
        lambda options: VideoSdkLine({**without_chaining(options), "streaming": False}),
    ),
}
"""The HTTP protocols by name: the API, and the function that begins a conversation."""
