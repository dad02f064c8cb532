"""The hall's callers in LiveKit's own sessions."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from livekit import rtc
from livekit.agents import Agent, AgentSession, function_tool, llm
from livekit.agents.types import NOT_GIVEN
from livekit.agents.utils import http_context, is_given

from belonging.sessions.hall import CALLER, PROMPT, Hall, secret
from livekit_adapter.sessions import said_in, session_of
from rtllm import TurnReport
from rtllm_livekit import LLM
from support.waiting import until


class TellingLLM(LLM):
    """Tells who asks."""

    def chat(self, *, chat_ctx: llm.ChatContext, extra_kwargs: Any = NOT_GIVEN, **rest: Any) -> Any:
        given: Mapping[str, Any] = extra_kwargs if is_given(extra_kwargs) else {}
        extra = {**given, "metadata": {"caller": CALLER.get()}}
        return super().chat(chat_ctx=chat_ctx, extra_kwargs=extra, **rest)


@function_tool
async def look() -> str:
    """Look something up."""
    return secret(CALLER.get(), "tool")


class LiveKitLine:
    """A session in text mode."""

    def __init__(self, hall: Hall, session: AgentSession[Any]) -> None:
        self.hall = hall
        self.session = session

    @property
    def context(self) -> llm.ChatContext:
        """A copy of the agent's context."""
        return self.session.current_agent.chat_ctx.copy()

    async def say(self, text: str) -> None:
        await self.session.run(user_input=text)

    async def cut(self, text: str) -> None:
        speech = self.session.generate_reply(user_input=text)
        await until(lambda: self.hall.running(CALLER.get()))
        await until(lambda: self.session.agent_state == "speaking")
        speech.interrupt()
        await speech

    def history(self) -> list[tuple[str, str]]:
        return said_in(self.session)

    async def replace(self, ctx: llm.ChatContext) -> None:
        await self.session.current_agent.update_chat_ctx(ctx)


class Greeter(Agent):
    """An agent that speaks first."""

    async def on_enter(self) -> None:
        await self.session.generate_reply()


class LiveKit:
    """LiveKit's side of the hall."""

    def model(self, reports: list[TurnReport], **options: Any) -> TellingLLM:
        return TellingLLM(on_turn=reports.append, **options)

    @asynccontextmanager
    async def around(self) -> AsyncIterator[None]:
        async with http_context.open():
            yield

    @asynccontextmanager
    async def line(
        self,
        hall: Hall,
        *,
        agent: Agent | None = None,
        opening: llm.ChatContext | None = None,
        greets: bool = False,
        model: Any = None,
        **options: Any,
    ) -> AsyncIterator[LiveKitLine]:
        if agent is None:
            given: dict[str, Any] = {} if opening is None else {"chat_ctx": opening.copy()}
            agent = (Greeter if greets else Agent)(instructions=PROMPT, tools=[look], **given)
        model = model or hall.llm
        async with session_of(model, agent, **options) as session:
            line = LiveKitLine(hall, session)
            if greets:
                await until(line.history)
            yield line

    def opening(
        self, *said: tuple[str, str], ids: str | None = None, picture: str = ""
    ) -> llm.ChatContext:
        ctx = llm.ChatContext.empty()
        for number, (role, text) in enumerate(said):
            content: list[Any] = [text]
            if picture and role == "user":
                content.append(llm.ImageContent(image=f"https://pictures.example/{picture}.png"))
            own = {} if ids is None else {"id": f"{ids}{number}"}
            ctx.add_message(role=role, content=content, **own)  # type: ignore[arg-type]
        return ctx

    def tool(self) -> Any:
        """A tool of one caller's agent."""

        @function_tool
        async def find() -> str:
            return secret(CALLER.get(), "tool")

        return find

    def describe(self, tool: Any, text: str) -> None:
        tool.info.description = text

    def agent(self, tool: Any) -> Agent:
        return Agent(instructions=PROMPT, tools=[tool])

    def frame(self) -> rtc.VideoFrame:
        """A frame that a camera overwrites."""
        return rtc.VideoFrame(16, 16, rtc.VideoBufferType.RGBA, bytearray(16 * 16 * 4))

    def paint(self, frame: rtc.VideoFrame, shade: int) -> None:
        frame.data[:] = bytes([shade, shade, shade, 255]) * (16 * 16)

    async def show(self, line: LiveKitLine, frame: rtc.VideoFrame) -> None:
        """Add a frame to a call."""
        ctx = line.context
        ctx.add_message(role="user", content=["Look.", llm.ImageContent(image=frame)])
        await line.replace(ctx)

    def stored(self, line: LiveKitLine) -> dict[str, Any]:
        kept: dict[str, Any] = line.context.to_dict(exclude_image=False)
        return kept

    def restored(self, kept: dict[str, Any]) -> llm.ChatContext:
        return llm.ChatContext.from_dict(kept).copy(exclude_instructions=True)

    async def ask(self, hall: Hall, ctx: Any) -> str:
        """A direct `chat()` call."""
        answer: llm.CollectedResponse = await hall.llm.chat(chat_ctx=ctx).collect()
        return answer.text
