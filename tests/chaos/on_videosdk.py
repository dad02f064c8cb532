"""Stories on VideoSDK: real pipelines and their generation loop, two on one LLM object."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from functools import partial
from typing import Any

from videosdk.agents import ChatContext
from videosdk.agents.metrics import metrics_collector

from chaos.laws import Chat, Notes, model, number_of
from chaos.play import Handshakes, Play
from chaos.story import CALLERS, Story
from rtllm.simulator import Entry, Simulator
from support.contexts import Unit, without_blanks
from support.oracle import KEY
from videosdk_adapter.contexts import Seen, flat
from videosdk_adapter.models import ContextScript, RecordingLLM
from videosdk_adapter.requests import chunks_of
from videosdk_adapter.stage import Stage
from videosdk_adapter.talks import Plain, Talk, talk, tool


class ChaosLLM(RecordingLLM):
    """Notes what each `chat` emitted."""

    def __init__(self, chats: dict[int, Chat], *args: Any, **options: Any) -> None:
        self._chats = chats
        self.raised: list[Exception] = []
        super().__init__(*args, **options)

    async def chat(self, messages: ChatContext, *args: Any, **kwargs: Any) -> Any:
        number = len(self.contexts_asked)
        chat = self._chats[number] = Chat(number)
        try:
            async for response in super().chat(messages, *args, **kwargs):
                call = (response.metadata or {}).get("function_call")
                chat.got(response.content, [call["call_id"]] if call else [])
                yield response
        except Exception as error:
            if error not in self.raised:  # a nested chat's comes again out of the outer one
                self.raised.append(error)
            raise


class Pipelines:
    """Conversations on the voice path, without audio."""

    def __init__(self, model_: ChaosLLM, notes: Notes, stack: AsyncExitStack) -> None:
        self._llm = model_
        self._notes = notes
        self._stack = stack
        self._talks: list[Talk] = []

    async def start(self) -> None:
        """Begin the conversations."""

        @tool
        async def work(round: int, n: int, of: int) -> str:  # noqa: A002 - the model's word
            """Work."""
            self._notes.runs.append(f"{round} {n} {of}")
            return f"did {round} {n} {of}"

        for _ in range(CALLERS):
            agent = Plain(tools=[work])
            self._talks.append(await self._stack.enter_async_context(talk(self._llm, agent)))

    async def turn(self, caller: int, words: str) -> None:
        await asyncio.wait([await self._talks[caller].hear(words)])

    async def cut(self, caller: int, words: str, after: float) -> None:
        task = await self._talks[caller].hear(words)
        await asyncio.sleep(after)
        await self._talks[caller].barge_in()
        await asyncio.wait([task])

    async def draft(self, caller: int, words: str) -> None:
        """A summary on the same object, with a context of its own, outside any pipeline."""
        ctx = ChatContext.empty()
        ctx.add_message(role="user", content=words)
        task = asyncio.create_task(chunks_of(self._llm, ctx))
        await asyncio.wait([task], timeout=0.2)
        task.cancel()
        await asyncio.wait([task])

    async def say(self, caller: int, text: str) -> None:
        await self._talks[caller].session.say(text)

    async def instruct(self, caller: int, text: str) -> None:
        self._talks[caller].agent.instructions = text

    async def edit(self, caller: int, much: int) -> None:
        for item in reversed(self._talks[caller].context.items):
            if getattr(item, "role", None) is not None and str(item.role.value) == "assistant":
                text = "".join(part for part in item.content if isinstance(part, str))
                item.content = [" ".join(text.split()[: much + 1])]
                return

    async def forget(self, caller: int, keep: int) -> None:
        self._talks[caller].context.truncate(max_items=keep)

    async def close(self) -> None:
        await self._llm.aclose()


class BareWordsScript(ContextScript):
    """Compares words without blanks, which differ between messages and merged ones."""

    def words(self, index: int) -> str:
        return "".join(super().words(index).split())


def check_context(stage: Stage, entry: Entry) -> None:
    """Check that the model saw what was asked, the messages of one answer as one."""
    seen = Seen.of([without_blanks(unit) for unit in flat(entry.context)])
    asked = [stage.asked[number_of(entry)], stage.at_answer(entry)]
    for units in asked:
        if stage.is_faithful(entry, seen, Seen.of([without_blanks(unit) for unit in units])):
            return
    raise AssertionError(f"seen {seen}, asked {asked}")


async def play(story: Story) -> int:
    """Play a story; returns how many chats there were.

    Raises:
        Broken: If a law is broken.
    """
    host = story.host
    contexts: list[ChatContext] = []
    asked: list[list[Unit]] = []
    answers, handshakes, chats = BareWordsScript(model, contexts), Handshakes(), dict[int, Chat]()
    before = asyncio.all_tasks()
    metrics_collector.current_turn = None
    async with Simulator(answers, on_connect=handshakes, **host.simulator) as service:
        options: dict[str, Any] = {"streaming": host.way != "http", **host.client}
        if host.store is not None:
            options["store"] = host.store
        stage = Stage(
            service, answers, None, asked, {**options, "lanes": host.lanes}, reordered=True
        )
        stage.llm = ChaosLLM(
            chats,
            contexts,
            asked,
            api_key=KEY,
            base_url=service.base_url,
            on_turn=stage.reports.append,
            timeout=5.0,
            max_retries=host.budget,
            **options,
        )
        notes = Notes(
            host,
            service,
            answers.replies,
            lambda: stage.llm.usage,
            partial(check_context, stage),
            stage.story,
            lambda: len(stage.llm.raised),
            chats,
            reports=stage.reports,
        )

        def error(event: Any) -> None:
            notes.errors.append(event)

        stage.llm.on("error", error)
        async with AsyncExitStack() as stack:
            player = Pipelines(stage.llm, notes, stack)
            await player.start()
            try:
                await Play(story, notes, player, handshakes).run()
            finally:
                await stage.llm.aclose()  # a pipeline waits for what it has asked
        await notes.check_closed(before)
    return len(chats)
