"""The hall's callers in VideoSDK's own sessions."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from typing import Any

import av
from videosdk.agents import ChatContext, ChatMessage, ChatRole, ImageContent, get_tool_info

from belonging.sessions.hall import CALLER, PROMPT, Hall, secret
from rtllm import TurnReport
from rtllm_videosdk import OpenAILLM
from support.waiting import until
from videosdk_adapter.talks import Plain, Talk, talk, tool


class TellingLLM(OpenAILLM):
    """Tells who asks."""

    async def chat(self, messages: ChatContext, *args: Any, **kwargs: Any) -> Any:
        kwargs["metadata"] = {"caller": CALLER.get()}
        async for response in super().chat(messages, *args, **kwargs):
            yield response


@tool
async def look() -> str:
    """Look something up."""
    return secret(CALLER.get(), "tool")


class VideoSDKLine:
    """A session in text mode."""

    def __init__(self, hall: Hall, on: Talk) -> None:
        self.hall = hall
        self.on = on

    @property
    def context(self) -> ChatContext:
        """The agent's context itself."""
        return self.on.context

    async def say(self, text: str) -> None:
        await self.on.say(text)

    async def cut(self, text: str) -> None:
        turn = await self.on.hear(text)
        await until(lambda: self.hall.running(CALLER.get()))
        await self.on.barge_in()
        await asyncio.wait([turn])

    def history(self) -> list[tuple[str, str]]:
        return self.on.history()


class Greeter(Plain):
    """An agent that speaks first."""

    async def on_enter(self) -> None:
        await self.session.reply("Greet the caller.")


class VideoSDK:
    """VideoSDK's side of the hall."""

    def model(self, reports: list[TurnReport], **options: Any) -> TellingLLM:
        return TellingLLM(on_turn=reports.append, streaming=True, **options)

    def around(self) -> AbstractAsyncContextManager[None]:
        return nullcontext()

    @asynccontextmanager
    async def line(
        self,
        hall: Hall,
        *,
        agent: Plain | None = None,
        opening: ChatContext | None = None,
        greets: bool = False,
        model: Any = None,
        **options: Any,
    ) -> AsyncIterator[VideoSDKLine]:
        agent = agent or (Greeter if greets else Plain)(PROMPT, tools=[look])
        if opening is not None:
            agent.chat_context._items += opening.fork().items
        async with talk(model or hall.llm, agent, **options) as on:
            line = VideoSDKLine(hall, on)
            if greets:
                await until(lambda: any(role == "assistant" for role, _ in line.history()))
            yield line

    def opening(
        self, *said: tuple[str, str], ids: str | None = None, picture: str = ""
    ) -> ChatContext:
        items: list[Any] = []
        for number, (role, text) in enumerate(said):
            content: list[Any] = [text]
            if picture and role == "user":
                content.append(ImageContent(image=f"https://pictures.example/{picture}.png"))
            own = {} if ids is None else {"id": f"{ids}{number}"}
            items.append(ChatMessage(role=ChatRole(role), content=content, **own))
        return ChatContext(items)

    def tool(self) -> Any:
        """A tool of one caller's agent."""

        @tool
        async def find() -> str:
            return secret(CALLER.get(), "tool")

        return find

    def describe(self, tool: Any, text: str) -> None:
        get_tool_info(tool).description = text

    def agent(self, tool: Any) -> Plain:
        return Plain(PROMPT, tools=[tool])

    def frame(self) -> av.VideoFrame:
        """A frame that a camera overwrites."""
        return av.VideoFrame(32, 32, "rgb24")

    def paint(self, frame: av.VideoFrame, shade: int) -> None:
        frame.planes[0].update(bytes([shade]) * (32 * 32 * 3))

    async def show(self, line: VideoSDKLine, frame: av.VideoFrame) -> None:
        """Add a frame to a call."""
        content = ["Look.", ImageContent(image=frame)]
        line.context.add_message(role=ChatRole.USER, content=content)

    def stored(self, line: VideoSDKLine) -> dict[str, Any]:
        kept: dict[str, Any] = line.context.to_dict()
        return kept

    def restored(self, kept: dict[str, Any]) -> ChatContext:
        whole = ChatContext.from_dict(kept)
        return ChatContext([i for i in whole.items if getattr(i, "role", None) != ChatRole.SYSTEM])

    async def ask(self, hall: Hall, ctx: Any) -> str:
        """A direct `chat()` call."""
        return "".join([chunk.content async for chunk in hall.llm.chat(ctx)])
