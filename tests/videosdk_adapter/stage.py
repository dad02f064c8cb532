"""A pipeline on the simulator, what was asked in it, and one check of everything.

`Stage` holds a simulator and an LLM that numbers its `chat()` calls. What each of them asked
with is taken from the framework's context, when `chat()` is called and again when the request
is answered; `Stage.check` compares it with what the model saw, and finds for itself, from the
journal alone, which requests could have been chained.
"""

from __future__ import annotations

import asyncio
import inspect
import json
from collections import Counter
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeAlias, TypeVar, cast

from videosdk.agents import (
    Agent,
    AgentConfigUpdate,
    AgentSession,
    ChatContext,
    ChatMessage,
    FunctionCall,
    FunctionCallOutput,
    ImageContent,
    LLMResponse,
    Pipeline,
    function_tool,
)
from videosdk.plugins.openai import OpenAILLM as StockLLM

from rtllm import TurnReport
from rtllm.simulator import Call, Entry, Refusal, Reply, Request, Script, Simulator, Text
from rtllm_videosdk import OpenAILLM

NO_RESULT = "no result: interrupted or failed"
KEY = "sk-the-secret-key"

Host: TypeAlias = dict[str, Any]
Unit: TypeAlias = tuple[Any, ...]


_Function = TypeVar("_Function", bound=Callable[..., Any])


def tool(function: _Function) -> _Function:
    """The framework's decorator, which has no types."""
    return cast("_Function", function_tool(function))


async def until(holds: Callable[[], object], limit: float = 10.0) -> None:
    """Wait until something holds; fail if it doesn't in time."""
    async with asyncio.timeout(limit):
        while not holds():
            await asyncio.sleep(0.002)


# -- contexts as values ------------------------------------------------------------------------


def _text(content: Any) -> str:
    if isinstance(content, str):
        return content
    return "".join(part.get("text") or part.get("refusal") or "" for part in content)


def _without_nulls(value: Any) -> Any:
    """A value of a call: on the wire of a strict tool, what is left out is null."""
    if isinstance(value, dict):
        return {k: _without_nulls(v) for k, v in value.items() if v is not None}
    return [_without_nulls(item) for item in value] if isinstance(value, list) else value


def _arguments(arguments: str) -> str:
    try:
        return json.dumps(_without_nulls(json.loads(arguments or "{}")), sort_keys=True)
    except ValueError:
        return f"broken {arguments}"


def flat(items: Sequence[Mapping[str, Any]]) -> list[Unit]:
    """Items of the journal as comparable values."""
    units: list[Unit] = []
    for item in items:
        match item.get("type", "message"):
            case "message":
                content = item.get("content") or ""
                pictures = (
                    ()
                    if isinstance(content, str)
                    else tuple(p["image_url"] for p in content if p.get("type") == "input_image")
                )
                role = "system" if item["role"] == "developer" else item["role"]
                units.append(("message", role, pictures, _text(content)))
            case "function_call":
                units.append(("call", item["call_id"], item["name"], _arguments(item["arguments"])))
            case "function_call_output":
                units.append(("output", item["call_id"], _text(item["output"])))
            case "reasoning":
                continue
            case other:
                raise AssertionError(f"an item of the type {other}")
    return units


def wanted(context: ChatContext) -> list[Unit]:
    """What the model shall see of a context, by reading the framework's objects."""
    updated = [i for i in context.items if isinstance(i, AgentConfigUpdate) and i.instructions]
    answered = {i.call_id: i.output for i in context.items if isinstance(i, FunctionCallOutput)}
    units: list[Unit] = []
    instructed = False
    for item in context.items:
        if isinstance(item, ChatMessage):
            role = str(item.role.value).replace("developer", "system")
            content = [item.content] if isinstance(item.content, str) else item.content
            text = "".join(part for part in content if isinstance(part, str))
            pictures = tuple(p.to_data_url() for p in content if isinstance(p, ImageContent))
            if role == "system" and updated:
                if instructed:
                    continue
                instructed, text = True, context.active_config_at()[0] or ""
            if text or pictures:
                units.append(("message", role, pictures, text))
        elif isinstance(item, FunctionCall):
            units.append(("call", item.call_id, item.name, _arguments(item.arguments)))
            units.append(("output", item.call_id, answered.get(item.call_id, NO_RESULT)))
    return units


@dataclass(frozen=True)
class Segment:
    """What lies between two things that the caller (or the system) said.

    The framework records the words of a turn as one message behind its tool rounds, while the
    model said them between these: as a segment, both are the same.
    """

    opened_by: Unit | None
    words: str
    tools: Counter[Unit]


@dataclass(frozen=True)
class Seen:
    """A context as the model sees it, or as it shall."""

    lead: tuple[str, ...]
    segments: tuple[Segment, ...]

    @classmethod
    def of(cls, units: Sequence[Unit]) -> Seen:
        count = next((n for n, u in enumerate(units) if u[:2] != ("message", "system")), len(units))
        opened: list[tuple[Unit | None, list[str], list[Unit]]] = [(None, [], [])]
        for unit in units[count:]:
            if unit[0] != "message":
                opened[-1][2].append(unit)
            elif unit[1] == "assistant":
                opened[-1][1].append(unit[3])
            else:
                opened.append((unit, [], []))
        segments = tuple(Segment(u, "".join(w), Counter(t)) for u, w, t in opened)
        return cls(tuple(unit[3] for unit in units[:count]), segments)


# -- what was answered -------------------------------------------------------------------------


class Told:
    """A script that names its calls, and notes what each request found and got."""

    def __init__(self, script: Script | Reply | str, contexts: list[ChatContext]) -> None:
        self.script = script
        self.replies: dict[int, Reply] = {}
        self.at_answer: dict[int, list[Unit]] = {}
        self._contexts = contexts

    async def __call__(self, request: Request) -> Reply:
        self.at_answer[request.index] = wanted(self._contexts[_number(request)])
        answer = self.script(request) if callable(self.script) else self.script
        if inspect.isawaitable(answer):
            answer = await answer
        reply = Reply.of(answer) if isinstance(answer, str) else answer
        parts = [
            replace(part, call_id=f"call_{request.index}_{n}")
            if isinstance(part, Call) and part.call_id is None
            else part
            for n, part in enumerate(reply.parts)
        ]
        self.replies[request.index] = reply = replace(reply, parts=tuple(parts))
        return reply

    def words(self, index: int) -> str:
        """What the model said in an answer, several messages with a blank between."""
        texts: list[str] = []
        for part in self.replies[index].parts:
            if isinstance(part, Text):
                texts.append("".join(p for p in part.steps() if isinstance(p, str)))
            elif isinstance(part, Refusal):
                texts.append(part.text)
        return " ".join(texts)

    def calls(self, index: int) -> list[Call]:
        return [part for part in self.replies[index].parts if isinstance(part, Call)]


def _number(request: Request | Entry) -> int:
    given = request.body.get("metadata") or {}
    return int(given["asked"])


# -- the stage ---------------------------------------------------------------------------------


class _Notes:
    """Numbers its calls and notes their contexts; the number travels with the request."""

    def __init__(self, contexts: list[ChatContext], asked: list[list[Unit]], **options: Any):
        self._contexts_asked = contexts
        self._units_asked = asked
        super().__init__(**options)

    async def chat(self, messages: ChatContext, *args: Any, **kwargs: Any) -> Any:
        self._contexts_asked.append(messages)
        self._units_asked.append(wanted(messages))
        kwargs["metadata"] = {"asked": str(len(self._contexts_asked) - 1)}
        if not cast("Any", self).streaming:
            kwargs["extra_body"] = {"store": True}  # else there is no metadata
        asking: Any = super()
        async for response in asking.chat(messages, *args, **kwargs):
            yield response


class RecordingLLM(_Notes, OpenAILLM): ...


class RecordingStock(_Notes, StockLLM): ...  # type: ignore[misc]  # it has no types


@dataclass
class Stage:
    """A simulator, an LLM on it, and what happened."""

    service: Simulator
    told: Told
    llm: Any
    asked: list[list[Unit]]
    options: Mapping[str, Any]
    reports: list[TurnReport] = field(default_factory=list)
    errors: list[Any] = field(default_factory=list)
    unanswered: list[str] = field(default_factory=list)

    @property
    def entries(self) -> list[Entry]:
        return self.service.journal.entries

    @property
    def lanes(self) -> str:
        return str(self.options.get("lanes", "on"))

    @property
    def is_socket(self) -> bool:
        return bool(self.options.get("streaming")) and self.options.get("use_websocket", True)

    @property
    def can_chain(self) -> bool:
        """Whether every state that the service knows can be continued."""
        stored = bool(self.options.get("streaming")) and bool(self.options.get("store"))
        return self.lanes == "on" if self.is_socket else stored

    async def check(
        self,
        *,
        whole: Collection[int] = (),
        connections: int | None = 1,
        refused: int | None = None,
        lost: int = 0,
        unseen: bool = False,
        reordered: bool = False,
    ) -> None:
        """Check everything that must hold of any scenario.

        Args:
            whole: Requests that may have gone whole although a part was known.
            connections: How many connections there may be; None if it doesn't matter.
            refused: How many requests were refused; by default none, but the one try of a
                lane where the host knows none.
            lost: How many requests may have gone into a dead connection and never arrived.
            unseen: Whether calls that can't run were answered behind the framework's back.
            reordered: Whether somebody spoke between the words of one turn, so that the
                framework has them in another order than they were said in.
        """
        await self.service.journal.wait_idle()
        for entry in self.entries:
            self.check_context(entry, unseen=unseen, reordered=reordered)
        if refused is None:
            refused = 1 if self.lanes == "refuse" else 0
        assert len(self.service.journal.refused) == refused, self.story()
        if self.can_chain:
            missed = [e.index for e in self.entries if self.should_chain(e) and not is_chained(e)]
            assert set(missed) <= set(whole), f"not chained: {missed}\n{self.story()}"
            if self.is_socket and connections is not None:
                opened = self.service.journal.connections
                assert len(opened) == connections, f"{len(opened)} connections"
        if isinstance(self.llm, StockLLM):
            return
        sent = sum(report.attempts for report in self.reports)
        await until(lambda: self.llm.usage.all.attempts == sent)
        assert len(self.entries) <= sent <= len(self.entries) + lost, self.story()

    def at_answer(self, entry: Entry) -> list[Unit]:
        """The framework's context when a request was answered, or asked if it never was."""
        return self.told.at_answer.get(entry.index, self.asked[_number(entry)])

    def check_context(self, entry: Entry, *, unseen: bool = False, reordered: bool = False) -> None:
        """Check that the model saw exactly what the framework asked with."""
        if entry.outcome == "refused":
            return
        asked = [self.asked[_number(entry)], self.at_answer(entry)]
        wanted_ = [Seen.of(units) for units in asked]
        faithful = self._is_faithful
        assert any(faithful(entry, w, unseen=unseen, reordered=reordered) for w in wanted_), (
            f"#{entry.index}: seen {flat(entry.context)}\nasked {asked}\n{self.story()}"
        )

    def _is_faithful(self, entry: Entry, asked: Seen, *, unseen: bool, reordered: bool) -> bool:
        seen = Seen.of(flat(entry.context))
        lead = "\n".join(seen.lead) if seen.lead else entry.instructions or ""
        if lead != "\n".join(asked.lead) or (seen.lead and entry.instructions):
            return False
        if len(seen.segments) != len(asked.segments):
            return False
        pairs = list(zip(seen.segments, asked.segments, strict=True))
        return all(
            s.opened_by == a.opened_by
            and self._same_tools(s, a, unseen=unseen)
            and (
                s.words == a.words
                or (reordered and sorted(s.words) == sorted(a.words))
                or (n == len(pairs) - 1 and self._pending(s, a, reordered=reordered))
            )
            for n, (s, a) in enumerate(pairs)
        )

    def _same_tools(self, seen: Segment, asked: Segment, *, unseen: bool) -> bool:
        more = seen.tools - asked.tools
        if not unseen:
            return seen.tools == asked.tools
        failed = {u[1] for u in more if u[0] == "output" and u[2].startswith("error: ")}
        return not asked.tools - seen.tools and all(u[1] in failed for u in more)

    def _pending(self, seen: Segment, asked: Segment, *, reordered: bool) -> bool:
        """Whether more was said in a turn that goes on than is recorded: words before calls."""
        called = {unit[1] for unit in seen.tools if unit[0] == "call"}
        said = [
            self.told.words(index)
            for index in sorted(self.told.replies)
            if called & {call.call_id for call in self.told.calls(index)}
        ]
        told = ["".join(said) + asked.words, *(words + asked.words for words in said)]
        if reordered:
            return sorted(seen.words) in map(sorted, told)
        return seen.words in told

    def should_chain(self, entry: Entry) -> bool:
        """Whether a request begins with a completed state that is in reach, by the journal."""
        return any(
            known.outcome == "completed"
            and known.body["model"] == entry.body["model"]
            and self._in_reach(entry, known)
            and self.begins_with(entry, known)
            for known in self.entries[: entry.index]
        )

    def begins_with(self, entry: Entry, known: Entry) -> bool:
        """Whether what was asked begins with what an earlier request came to."""
        if known.index not in self.told.replies:
            return False
        replied = self.told.calls(known.index), self.told.words(known.index)
        calls: list[Unit] = [
            ("call", c.call_id, c.name, _arguments(c.arguments_json)) for c in replied[0]
        ]
        words: list[Unit] = [("message", "assistant", (), replied[1])] if replied[1] else []
        before = Seen.of([*flat(known.context), *words, *calls])
        now = Seen.of(self.at_answer(entry))
        in_field = bool(known.instructions)
        if not in_field and before.lead != now.lead:
            return False
        *closed, last = before.segments
        if len(now.segments) < len(before.segments) or tuple(closed) != now.segments[: len(closed)]:
            return False
        segment = now.segments[len(closed)]
        if segment.opened_by != last.opened_by or last.tools - segment.tools:
            return False
        if calls:
            is_open = len(now.segments) == len(before.segments) and not segment.words
            return segment.words.startswith(last.words) or is_open
        return segment.words == last.words

    def _in_reach(self, entry: Entry, known: Entry) -> bool:
        if self.options.get("store"):
            return True
        if known.connection != entry.connection:
            return False
        between = [
            e
            for e in self.entries[known.index + 1 : entry.index]
            if e.connection == known.connection
        ]
        return len(between) < 5 or all(e.lane != known.lane for e in between)

    def story(self) -> str:
        """What happened, to be read."""
        lines = []
        for e in self.entries:
            parent = f" after {e.previous_response_id}" if e.previous_response_id else ""
            lines.append(
                f"#{e.index} {e.connection}/{e.lane} {e.response_id}{parent}: {e.outcome}"
                f" ({e.error_code} {e.error_message}) instructions={e.instructions!r}"
                f"\n    sent {flat(e.input)}\n    said {e.reply_text!r}"
            )
        return "\n".join(lines)


def is_chained(entry: Entry) -> bool:
    return entry.previous_response_id is not None


@asynccontextmanager
async def stage(
    script: Script | Reply | str,
    *,
    streaming: bool = True,
    lanes: Literal["on", "off", "refuse", "ignore"] = "on",
    stock: bool = False,
    simulator: Mapping[str, Any] | None = None,
    **options: Any,
) -> AsyncIterator[Stage]:
    """A simulator with a script, and an LLM on it."""
    contexts: list[ChatContext] = []
    asked: list[list[Unit]] = []
    told = Told(script, contexts)
    reports: list[TurnReport] = []
    options = {"streaming": streaming, **options}
    async with Simulator(told, lanes=lanes, **(simulator or {})) as service:
        options = {"api_key": KEY, "base_url": service.base_url, **options}
        model: Any
        if stock:
            options.setdefault("wss_url", f"{service.base_url}/responses".replace("http", "ws", 1))
            model = RecordingStock(contexts, asked, **options)
        else:
            # The socket by itself, unless a test says so.
            known = {"on_turn": reports.append, "lanes": lanes != "off", "fallback": None}
            model = RecordingLLM(contexts, asked, **{**known, **options})
        st = Stage(service, told, model, asked, {**options, "lanes": lanes}, reports)

        def note(error: Any) -> None:
            st.errors.append(error)

        model.on("error", note)
        try:
            yield st
        finally:
            await model.aclose()


class Plain(Agent):  # type: ignore[misc]  # the framework has no types
    """An agent that says nothing by itself."""

    def __init__(self, instructions: str = "Be kind.", tools: Any = (), **options: Any) -> None:
        super().__init__(instructions=instructions, tools=list(tools), **options)

    async def on_enter(self) -> None:
        pass

    async def on_exit(self) -> None:
        pass


@dataclass
class Talk:
    """A running session in text mode, and the voice path without audio."""

    agent: Any
    session: Any
    pipeline: Any

    async def say(self, text: str) -> None:
        """A turn in text mode; what goes wrong reaches the caller."""
        async with asyncio.timeout(20):
            await self.pipeline.process_text(text)

    async def hear(self, text: str) -> asyncio.Task[None]:
        """A turn on the voice path, without waiting for its end."""
        await self.pipeline.orchestrator._process_final_transcript(text)
        task: asyncio.Task[None] = self.pipeline.orchestrator._current_generation_task
        return task

    async def turn(self, text: str, limit: float = 20) -> None:
        """A whole turn on the voice path."""
        async with asyncio.timeout(limit):
            await asyncio.wait([await self.hear(text)])

    async def barge_in(self) -> None:
        """The caller interrupts."""
        async with asyncio.timeout(5):
            await self.pipeline.orchestrator.interrupt()

    @property
    def context(self) -> ChatContext:
        return self.session.agent.chat_context

    def history(self) -> list[tuple[str, str]]:
        """The context as pairs: role or type, and text."""
        told: list[tuple[str, str]] = []
        for unit in flat_objects(self.context):
            told.append((unit[1], unit[3]) if unit[0] == "message" else (unit[0], unit[-1]))
        return [pair for pair in told if pair[0] != "system"]

    @property
    def last(self) -> tuple[str, str]:
        return self.history()[-1]


def flat_objects(context: ChatContext) -> list[Unit]:
    """The framework's own context, unchanged, as values."""
    units: list[Unit] = []
    for item in context.items:
        if isinstance(item, ChatMessage):
            content = [item.content] if isinstance(item.content, str) else item.content
            text = "".join(part for part in content if isinstance(part, str))
            units.append(("message", str(item.role.value), (), text))
        elif isinstance(item, FunctionCall):
            units.append(("call", item.call_id, item.name, _arguments(item.arguments)))
        elif isinstance(item, FunctionCallOutput):
            units.append(("output", item.call_id, item.output))
    return units


@asynccontextmanager
async def talk(model: Any, agent: Any = None, **pipeline: Any) -> AsyncIterator[Talk]:
    """A real session over a real pipeline, offline."""
    agent = agent or Plain()
    line = Pipeline(llm=model, **pipeline)
    session = AgentSession(agent=agent, pipeline=line)
    await session.start()
    if line.orchestrator.speech_generation is not None:
        line.orchestrator.speech_generation.set_audio_track(pipeline["tts"].track)
    try:
        yield Talk(agent, session, line)
    finally:
        await session.close()


# -- asking without a session ---------------------------------------------------------------------


def context(*messages: tuple[str, str]) -> ChatContext:
    from videosdk.agents import ChatRole  # noqa: PLC0415

    ctx = ChatContext.empty()
    for role, text in messages:
        ctx.add_message(role=ChatRole(role), content=text)
    return ctx


def hello(text: str = "Hello") -> ChatContext:
    return context(("system", "Be kind."), ("user", text))


async def chunks_of(
    model: Any, ctx: ChatContext, **call: Any
) -> tuple[list[LLMResponse], Exception | None]:
    """All chunks of an answer, and the error that it ended with."""
    chunks: list[LLMResponse] = []
    try:
        async with asyncio.timeout(20):
            async for chunk in model.chat(ctx, **call):
                chunks.append(chunk)
    except Exception as error:  # noqa: BLE001 - it is looked at
        return chunks, error
    return chunks, None


def text_of(chunks: Sequence[LLMResponse]) -> str:
    return "".join(chunk.content for chunk in chunks)


def calls_of(chunks: Sequence[LLMResponse]) -> list[dict[str, Any]]:
    return [c.metadata["function_call"] for c in chunks if "function_call" in (c.metadata or {})]


def usages_of(chunks: Sequence[LLMResponse]) -> list[dict[str, Any]]:
    return [c.metadata["usage"] for c in chunks if "usage" in (c.metadata or {})]
