"""Stories on LiveKit: through `LLM.chat` as a session calls it, and through sessions."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from functools import partial
from typing import Any

from livekit.agents import Agent, AgentSession, function_tool, llm
from livekit.agents._exceptions import APIError
from livekit.agents.types import NOT_GIVEN, APIConnectOptions
from livekit.agents.utils import http_context
from livekit.agents.voice.agent_session import SessionConnectOptions

from chaos.laws import Chat, Notes, model
from chaos.play import Handshakes, Play
from chaos.story import CALLERS, Story
from livekit_adapter.models import RecordingLLM
from livekit_adapter.requests import context, output
from livekit_adapter.stage import Stage
from rtllm.simulator import Entry, Simulator
from support.contexts import canonical, joined, split_lead, visible, without_blanks
from support.oracle import KEY
from support.scripts import NotedScript


@function_tool
async def work(round: int, n: int, of: int) -> str:  # noqa: A002 - the model's word for it
    """Work."""
    return f"did {round} {n} {of}"


class ChaosLLM(RecordingLLM):
    """Notes what each stream was given."""

    def __init__(self, chats: dict[int, Chat], **options: Any) -> None:
        super().__init__(**options)
        self.chats = chats
        self.raised = 0

    def chat(self, *, chat_ctx: llm.ChatContext, extra_kwargs: Any = NOT_GIVEN, **rest: Any) -> Any:
        stream = super().chat(chat_ctx=chat_ctx, extra_kwargs=extra_kwargs, **rest)
        number = len(self.asked) - 1
        chat = self.chats[number] = Chat(number)
        channel = stream._event_ch
        send = channel.send_nowait

        def noted(chunk: llm.ChatChunk) -> None:
            if chunk.delta is not None:
                chat.got(chunk.delta.content or "", [c.call_id for c in chunk.delta.tool_calls])
            send(chunk)

        channel.send_nowait = noted
        return stream


class Chats:
    """Conversations that ask as a session does: tools start at once, cuts keep what was heard."""

    def __init__(self, model_: ChaosLLM, notes: Notes, options: APIConnectOptions) -> None:
        self._llm = model_
        self._notes = notes
        self._options = options
        self._contexts = [context(("system", "Be kind.")) for _ in range(CALLERS)]

    async def turn(self, caller: int, words: str) -> None:
        ctx = self._contexts[caller]
        ctx.add_message(role="user", content=words)
        for _ in range(5):
            if not await self._ask(ctx):
                return

    async def _ask(self, ctx: llm.ChatContext) -> bool:
        """Ask, run the tools and record all of it; tells whether to ask again."""
        text, calls, failed = "", [], False
        stream = self._llm.chat(chat_ctx=ctx.copy(), tools=[work], conn_options=self._options)
        try:
            async with stream:
                async for chunk in stream:
                    if chunk.delta is not None:
                        text += chunk.delta.content or ""
                        calls += chunk.delta.tool_calls
        except APIError:
            self._llm.raised += 1
            failed = True
        finally:
            # What was heard is recorded; a tool that has started is never cut.
            self._notes.runs += [call.call_id for call in calls]
            if text:
                ctx.add_message(role="assistant", content=text)
            group = f"item_{len(self._llm.asked)}"
            for number, call in enumerate(calls):
                made = llm.FunctionCall(
                    id=f"{group}/fnc_{number}",
                    call_id=call.call_id,
                    name=call.name,
                    arguments=call.arguments,
                )
                ctx.items.append(made)
            for call in reversed(calls):
                output(ctx, call.call_id, f"did {call.arguments}")
        return bool(calls) and not failed

    async def cut(self, caller: int, words: str, after: float) -> None:
        await cut_off(asyncio.create_task(self.turn(caller, words)), after)

    async def draft(self, caller: int, words: str) -> None:
        kept, self._contexts[caller] = self._contexts[caller], self._contexts[caller].copy()
        try:
            await self.cut(caller, words, 0.2)
        finally:
            self._contexts[caller] = kept

    async def say(self, caller: int, text: str) -> None:
        self._contexts[caller].add_message(role="assistant", content=text)

    async def instruct(self, caller: int, text: str) -> None:
        ctx = self._contexts[caller]
        ctx.items = [i for i in ctx.items if i.type != "message" or i.role != "system"]
        ctx.items.insert(0, llm.ChatMessage(role="system", content=[text]))

    async def edit(self, caller: int, much: int) -> None:
        for item in reversed(self._contexts[caller].items):
            if item.type == "message" and item.role == "assistant":
                item.content = [" ".join((item.text_content or "").split()[: much + 1])]
                return

    async def forget(self, caller: int, keep: int) -> None:
        self._contexts[caller].truncate(max_items=keep)

    async def close(self) -> None:
        await self._llm.aclose()


async def cut_off(task: asyncio.Task[None], after: float) -> None:
    """Cancel a task after a while, if it isn't over by then."""
    await asyncio.wait([task], timeout=after)
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


class Sessions:
    """Conversations through sessions in text mode."""

    def __init__(self, model_: ChaosLLM, notes: Notes, options: APIConnectOptions) -> None:
        self._llm = model_
        self._notes = notes
        self._options = options
        self._sessions: dict[int, AgentSession[Any]] = {}
        self._contexts: dict[int, llm.ChatContext] = {}

    async def _session(self, caller: int) -> AgentSession[Any]:
        """A caller's session; four failed turns in a row have closed it, and there is a new one."""
        session = self._sessions.get(caller)
        if session is None:
            session = AgentSession(
                llm=self._llm,
                vad=None,
                turn_handling={"turn_detection": None},
                conn_options=SessionConnectOptions(llm_conn_options=self._options),
            )

            @function_tool(name="work")
            async def noted(round: int, n: int, of: int) -> str:  # noqa: A002
                """Work."""
                self._notes.runs.append(f"{round} {n} {of}")
                return f"did {round} {n} {of}"

            session.on("close", lambda _: self._sessions.pop(caller, None))
            self._sessions[caller] = session
            ctx = self._contexts.pop(caller, NOT_GIVEN)
            agent = Agent(instructions="Be kind.", tools=[noted], chat_ctx=ctx)
            await session.start(agent)
        return session

    async def turn(self, caller: int, words: str) -> None:
        session = await self._session(caller)
        await session.generate_reply(user_input=words)

    async def cut(self, caller: int, words: str, after: float) -> None:
        session = await self._session(caller)
        handle = session.generate_reply(user_input=words)
        await asyncio.sleep(after)
        if caller in self._sessions:
            handle.interrupt()
        await handle

    async def draft(self, caller: int, words: str) -> None:
        session = await self._session(caller)
        ctx = session.current_agent.chat_ctx.copy()
        ctx.add_message(role="user", content=words)
        stream = self._llm.chat(chat_ctx=ctx, conn_options=self._options)
        with suppress(APIError, TimeoutError):
            await asyncio.wait_for(stream.collect(), 0.2)
        await stream.aclose()

    async def say(self, caller: int, text: str) -> None:
        session = await self._session(caller)
        await session.say(text)

    async def instruct(self, caller: int, text: str) -> None:
        session = await self._session(caller)
        await session.current_agent.update_instructions(text)

    async def edit(self, caller: int, much: int) -> None:
        session = await self._session(caller)
        ctx = session.current_agent.chat_ctx.copy()
        for item in reversed(ctx.items):
            if item.type == "message" and item.role == "assistant":
                item.content = [" ".join((item.text_content or "").split()[: much + 1])]
                break
        await session.current_agent.update_chat_ctx(ctx)

    async def forget(self, caller: int, keep: int) -> None:
        session = await self._session(caller)
        ctx = session.current_agent.chat_ctx.copy()
        await session.current_agent.update_chat_ctx(ctx.truncate(max_items=keep))

    async def close(self) -> None:
        await self._llm.aclose()

    async def aclose(self) -> None:
        for session in list(self._sessions.values()):
            await session.aclose()


def check_context(stage: Stage, entry: Entry) -> None:
    """Check that the model saw what was asked, the messages of one answer as one."""
    asked = stage.asked_by(entry)
    lead, seen = split_lead(visible(entry.context))
    told = [*lead, *([entry.instructions] if entry.instructions else [])]
    assert "\n".join(told) == "\n".join(asked.lead), f"told {told}, asked {asked.lead}"
    now, then = (
        canonical(joined(map(without_blanks, units), between=""), rounds=True)
        for units in (seen, asked.rest)
    )
    assert now == then, f"seen {now}, asked {then}"


def failed_in(stage: Stage) -> int:
    """How many turns of sessions failed: sessions don't pass errors on."""
    return sum(report.outcome == "failed" for report in stage.reports)


async def play(story: Story, *, sessions: bool) -> int:
    """Play a story; returns how many chats there were.

    Raises:
        Broken: If a law is broken.
    """
    host = story.host
    answers, handshakes, chats = NotedScript(model), Handshakes(), dict[int, Chat]()
    before = asyncio.all_tasks()
    options = APIConnectOptions(max_retry=host.budget, retry_interval=0.5, timeout=5.0)
    async with (
        http_context.open(),
        Simulator(answers, on_connect=handshakes, **host.simulator) as service,
    ):
        stage = Stage(service, answers, None, host.store, host.lanes)
        kwargs: dict[str, Any] = {} if host.store is None else {"store": host.store}
        stage.llm = ChaosLLM(
            chats,
            api_key=KEY,
            base_url=service.base_url,
            on_turn=stage.reports.append,
            use_websocket=host.way != "http",
            **kwargs,
            **host.client,
        )
        notes = Notes(
            host,
            service,
            answers.replies,
            lambda: stage.llm.usage,
            partial(check_context, stage),
            stage.story,
            lambda: stage.llm.raised if not sessions else failed_in(stage),
            chats,
            reports=stage.reports,
        )

        def error(event: llm.LLMError) -> None:
            if not event.recoverable:
                notes.errors.append(event)

        stage.llm.on("error", error)
        player = (Sessions if sessions else Chats)(stage.llm, notes, options)
        try:
            await Play(story, notes, player, handshakes).run()
        finally:
            if isinstance(player, Sessions):
                await player.aclose()
            await stage.llm.aclose()
        await notes.check_closed(before)
    return len(chats)
