"""A session on the simulator, what was asked in it, and one check of everything.

`Stage` holds a simulator and an LLM that notes each context by value when `chat()` is called.
`Stage.check` compares each request that arrived with what was asked, and finds for itself
which of them could have been chained, from the journal alone.
"""

from __future__ import annotations

import asyncio
import inspect
import json
from collections import Counter
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeAlias

from livekit.agents import Agent, AgentSession, llm
from livekit.agents._exceptions import APIError
from livekit.agents.types import NOT_GIVEN, APIConnectOptions
from livekit.agents.utils import http_context, is_given
from livekit.plugins.openai import responses

from rtllm import TurnReport
from rtllm.simulator import Call, Entry, Refusal, Reply, Request, Script, Simulator, Text
from rtllm_livekit import LLM

GUIDE = "lk.expressive.instructions"
NO_RESULT = "no result: interrupted or failed"
KEY = "sk-the-secret-key"

Unit: TypeAlias = tuple[Any, ...]
Items: TypeAlias = Sequence[Mapping[str, Any]]
Model: TypeAlias = "RecordingLLM | RecordingStock"


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


def _arguments(arguments: str) -> tuple[str, str]:
    try:
        return ("json", json.dumps(json.loads(arguments), sort_keys=True))
    except ValueError:
        return ("broken", arguments)


def flat(items: Items) -> list[Unit]:
    """Items as comparable values; what the model doesn't see is left out."""
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
                units.append(("message", item["role"], item.get("phase"), pictures, _text(content)))
            case "function_call":
                units.append(("call", item["call_id"], item["name"], _arguments(item["arguments"])))
            case "function_call_output":
                units.append(("output", item["call_id"], _text(item["output"])))
            case "reasoning":
                continue
            case other:
                raise AssertionError(f"an item of the type {other}")
    return units


def is_system(unit: Unit) -> bool:
    return unit[0] == "message" and unit[1] in ("system", "developer")


def grouped(units: Iterable[Unit], *, strict: bool = True) -> list[Unit]:
    """Each message for itself, the calls and outputs of one answer as a set.

    Not strict, all calls and outputs between two messages are one set.
    """
    groups: list[Unit] = []
    run: list[Unit] = []
    for unit in units:
        begins = unit[0] == "call" and bool(run) and run[-1][0] == "output"
        if run and (unit[0] == "message" or (begins and strict)):
            groups.append(("run", *sorted(map(repr, run))))
            run = []
        if unit[0] == "message":
            groups.append(unit)
        else:
            run.append(unit)
    if run:
        groups.append(("run", *sorted(map(repr, run))))
    return groups


def _joined(units: Sequence[Unit]) -> list[Unit]:
    """Units in which an assistant's messages in a row are one."""
    made: list[Unit] = []
    for unit in units:
        if made and made[-1][:4] == unit[:4] == ("message", "assistant", unit[2], ()):
            made[-1] = (*unit[:4], f"{made[-1][4]} {unit[4]}")
        else:
            made.append(unit)
    return made


def legal(ctx: llm.ChatContext) -> llm.ChatContext:
    """A copy in which every call has an output behind it and every output a call before it."""
    items: list[llm.ChatItem] = [i for i in ctx.copy().items if i.id != GUIDE]
    answered = {i.call_id for i in items if i.type == "function_call_output"}
    called = {i.call_id for i in items if i.type == "function_call"}
    made: list[llm.ChatItem] = []
    speakers: set[str] = set()
    for given in items:
        item = given
        if item.type == "message" and item.role == "assistant":
            # The stock conversion stumbles over two messages whose ids begin alike.
            begin = item.id.split("/")[0]
            if begin in speakers:
                item = item.model_copy(update={"id": f"{item.id.replace('/', '-')}"})
            speakers.add(begin)
        if item.type == "function_call_output" and item.call_id not in called:
            continue
        made.append(item)
        if item.type == "function_call" and item.call_id not in answered:
            made.append(
                llm.FunctionCallOutput(
                    call_id=item.call_id, name=item.name, output=NO_RESULT, is_error=True
                )
            )
    return llm.ChatContext(made)


@dataclass(frozen=True)
class Asked:
    """What a `chat()` call asked for, by value."""

    lead: tuple[str, ...]
    rest: tuple[Unit, ...]
    guide: str

    @classmethod
    def of(cls, ctx: llm.ChatContext) -> Asked:
        items, _ = legal(ctx).to_provider_format("openai.responses")
        units = [unit for unit in flat(items) if unit[0] != "message" or unit[3] or unit[4]]
        count = next((n for n, unit in enumerate(units) if not is_system(unit)), len(units))
        guide = "\n".join(i.text_content or "" for i in ctx.messages() if i.id == GUIDE)
        return cls(tuple(unit[4] for unit in units[:count]), tuple(units[count:]), guide)


class _Notes:
    """Contexts by value, in the order of the `chat()` calls."""

    asked: list[Asked]

    def _noted(self, ctx: llm.ChatContext, extra: Any) -> dict[str, Any]:
        """Note a context; its number travels with the request."""
        self.asked.append(Asked.of(ctx))
        given = dict(extra) if is_given(extra) else {}
        return {**given, "metadata": {"asked": str(len(self.asked) - 1)}}


class RecordingLLM(LLM, _Notes):
    def __init__(self, **options: Any) -> None:
        self.asked = []
        super().__init__(**options)

    def chat(self, *, chat_ctx: llm.ChatContext, extra_kwargs: Any = NOT_GIVEN, **rest: Any) -> Any:
        extra = self._noted(chat_ctx, extra_kwargs)
        return super().chat(chat_ctx=chat_ctx, extra_kwargs=extra, **rest)


class RecordingStock(responses.LLM, _Notes):
    def __init__(self, **options: Any) -> None:
        self.asked = []
        super().__init__(**options)

    def chat(self, *, chat_ctx: llm.ChatContext, extra_kwargs: Any = NOT_GIVEN, **rest: Any) -> Any:
        extra = self._noted(chat_ctx, extra_kwargs)
        return super().chat(chat_ctx=chat_ctx, extra_kwargs=extra, **rest)


# -- what was answered -------------------------------------------------------------------------


class Told:
    """A script that names its calls and remembers what it answered to which request."""

    def __init__(self, script: Script | Reply | str) -> None:
        self.script = script
        self.replies: dict[int, Reply] = {}

    async def __call__(self, request: Request) -> Reply:
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

    def recorded(self, index: int) -> list[Unit] | None:
        """What LiveKit records for an answer that was heard whole; None if something else."""
        texts: list[str] = []
        phases: list[str] = []
        calls: list[Unit] = []
        for part in self.replies[index].parts:
            if isinstance(part, Text | Refusal):
                if calls:
                    return None
                pieces = part.steps() if isinstance(part, Text) else (part.text,)
                texts.append("".join(piece for piece in pieces if isinstance(piece, str)))
                phases += [part.phase] if isinstance(part, Text) and part.phase else []
            elif isinstance(part, Call):
                calls.append(("call", part.call_id, part.name, _arguments(part.arguments_json)))
        if not texts:
            return calls
        phase = phases[-1] if phases else None
        return [("message", "assistant", phase, (), " ".join(texts)), *calls]


# -- the stage ---------------------------------------------------------------------------------


@dataclass
class Stage:
    """A simulator, an LLM on it, and what happened."""

    service: Simulator
    told: Told
    llm: Any
    reports: list[TurnReport] = field(default_factory=list)
    store: bool | None = None
    lanes: str = "on"

    @property
    def entries(self) -> list[Entry]:
        return self.service.journal.entries

    def asked_texts(self, text: str) -> list[Entry]:
        """The requests that arrived in which the caller said something, as the last words."""
        return [
            e
            for e in self.entries
            if (u := self.asked_by(e).rest) and u[-1][1:] == ("user", None, (), text)
        ]

    def asked_by(self, entry: Entry) -> Asked:
        """What a request that arrived had been asked for."""
        asked: list[Asked] = self.llm.asked
        return asked[int(entry.body["metadata"]["asked"])]

    async def check(
        self,
        *,
        whole: Collection[int] = (),
        connections: int | None = 1,
        refused: int | None = None,
        lost: int = 0,
        joined: bool = False,
    ) -> None:
        """Check everything that must hold of any scenario.

        Args:
            whole: Requests that may have gone whole although a part was known.
            connections: How many connections there may be; None if it doesn't matter.
            refused: How many requests were refused; by default none, but the one try of a
                lane where the host knows none.
            lost: How many requests may have gone into a dead connection and never arrived.
            joined: Whether several messages of one answer count as one, with blanks between.
        """
        await self.service.journal.wait_idle()
        for entry in self.entries:
            self.check_context(entry, joined=joined)
        if refused is None:
            refused = 1 if self.lanes == "refuse" and isinstance(self.llm, LLM) else 0
        assert len(self.service.journal.refused) == refused, self.story()
        if self.lanes == "on":
            unchained = [
                e.index for e in self.entries if self.should_chain(e) and not is_chained(e)
            ]
            assert set(unchained) <= set(whole), f"not chained: {unchained}\n{self.story()}"
            if connections is not None:
                opened = self.service.journal.connections
                assert len(opened) == connections, f"{len(opened)} connections"
        if isinstance(self.llm, LLM):
            sent = sum(report.attempts for report in self.reports)
            await until(lambda: self.llm.usage.all.attempts == sent)
            assert len(self.entries) <= sent <= len(self.entries) + lost
            by_id = {e.response_id: e for e in self.entries if e.response_id}
            for report in self.reports:
                if report.response_id in by_id:
                    assert report.chained == is_chained(by_id[report.response_id])

    def check_context(self, entry: Entry, *, joined: bool = False) -> None:
        """Check that the model saw exactly what the agent asked with."""
        if entry.outcome == "refused":
            return
        asked = self.asked_by(entry)
        seen = flat(entry.context)
        in_items = [unit[4] for unit in seen[: len(asked.lead)] if is_system(unit)]
        guide = [asked.guide] if asked.guide else []
        if in_items:
            in_field = "\n".join(guide)
            assert "\n".join(in_items) == "\n".join(asked.lead), f"#{entry.index}\n{self.story()}"
            seen = seen[len(in_items) :]
        else:
            in_field = "\n".join([*asked.lead, *guide])
        assert (entry.instructions or "") == in_field, f"#{entry.index}\n{self.story()}"
        seen = _joined(seen) if joined else seen
        assert grouped(seen) == grouped(asked.rest), (
            f"#{entry.index}: seen {seen}, asked {list(asked.rest)}\n{self.story()}"
        )
        said = Counter(u[4] for u in seen if u[:2] == ("message", "assistant"))
        twice = [text for text, count in said.items() if count > 1]
        assert not twice, f"#{entry.index}: said twice: {twice}"

    def should_chain(self, entry: Entry) -> bool:
        """Whether a request begins with a completed state that is in reach, by the journal."""
        return any(
            self.begins_with(entry, known)
            for known in self.entries[: entry.index]
            if known.outcome == "completed"
            and known.body["model"] == entry.body["model"]
            and self._in_reach(entry, known)
        )

    def begins_with(self, entry: Entry, known: Entry) -> bool:
        """Whether a request's context begins with what another one came to."""
        recorded = self.told.recorded(known.index)
        if not recorded:
            return False
        state, asked = self.asked_by(known), self.asked_by(entry)
        carried = [unit for unit in flat(known.context) if is_system(unit)]
        in_field = bool(state.lead) and not carried
        if not in_field and state.lead != asked.lead:
            return False
        before = grouped([*state.rest, *recorded], strict=False)
        now = grouped(asked.rest, strict=False)
        if len(now) < len(before):
            return False
        if before[-1][0] != "run":
            return now[: len(before)] == before
        *closed, last = before
        open_run = now[len(closed)]
        return (
            now[: len(closed)] == closed
            and open_run[0] == "run"
            and not Counter(last[1:]) - Counter(open_run[1:])
        )

    def _in_reach(self, entry: Entry, known: Entry) -> bool:
        if self.store is not False:
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
                f" ({e.error_code}) instructions={e.instructions!r}\n    sent {flat(e.input)}"
                f"\n    said {e.reply_text!r}"
            )
        return "\n".join(lines)


def is_chained(entry: Entry) -> bool:
    return entry.previous_response_id is not None


@asynccontextmanager
async def stage(
    script: Script | Reply | str,
    *,
    store: bool | None = None,
    lanes: Literal["on", "off", "refuse", "ignore"] = "on",
    stock: bool = False,
    simulator: Mapping[str, Any] | None = None,
    **options: Any,
) -> AsyncIterator[Stage]:
    """A simulator with a script, and an LLM on it."""
    told = Told(script)
    reports: list[TurnReport] = []
    if store is not None:
        options["store"] = store
    async with http_context.open(), Simulator(told, lanes=lanes, **(simulator or {})) as service:
        model: Any
        if stock:
            model = RecordingStock(api_key=KEY, base_url=service.base_url + "/responses", **options)
        else:
            options.setdefault("lanes", lanes != "off")
            options.setdefault("fallback", None)  # the socket by itself, unless a test says so
            options = {"api_key": KEY, "base_url": service.base_url, **options}
            model = RecordingLLM(on_turn=reports.append, **options)
        try:
            yield Stage(service, told, model, reports, store, lanes)
        finally:
            await model.aclose()


@asynccontextmanager
async def session_of(
    model: llm.LLM[Any], agent: Agent, **options: Any
) -> AsyncIterator[AgentSession[Any]]:
    """A running session in text mode."""
    options.setdefault("turn_handling", {"turn_detection": None})
    async with AgentSession[Any](llm=model, vad=None, **options) as session:
        await session.start(agent)
        yield session


def said_in(session: AgentSession[Any]) -> list[tuple[str, str]]:
    """The messages of a session's history, as role and text."""
    return [(m.role, m.text_content or "") for m in session.history.messages()]


# -- asking without a session ---------------------------------------------------------------------

ONCE = APIConnectOptions(max_retry=0, timeout=5.0)
TWICE_MORE = APIConnectOptions(max_retry=2, retry_interval=0.0, timeout=5.0)


def context(*messages: tuple[str, str]) -> llm.ChatContext:
    ctx = llm.ChatContext.empty()
    for role, text in messages:
        ctx.add_message(role=role, content=text)  # type: ignore[arg-type]
    return ctx


def hello(text: str = "Hello") -> llm.ChatContext:
    return context(("system", "Be kind."), ("user", text))


async def answer(st: Stage, ctx: llm.ChatContext, **call: Any) -> llm.CollectedResponse:
    """Ask, and wait for the whole answer."""
    call.setdefault("conn_options", ONCE)
    collected: llm.CollectedResponse = await asyncio.wait_for(
        st.llm.chat(chat_ctx=ctx, **call).collect(), 20
    )
    return collected


async def turn(st: Stage, ctx: llm.ChatContext, text: str | None = None, **call: Any) -> str:
    """One whole turn, recorded in the context as LiveKit does it when all was heard."""
    if text is not None:
        ctx.add_message(role="user", content=text)
    collected = await answer(st, ctx, **call)
    message = ctx.add_message(
        role="assistant", content=collected.text, extra=dict(collected.extra or {})
    )
    for number, call_ in enumerate(collected.tool_calls):
        ctx.items.append(
            llm.FunctionCall(
                id=f"{message.id}/fnc_{number}",
                call_id=call_.call_id,
                name=call_.name,
                arguments=call_.arguments,
            )
        )
    if not collected.text:
        ctx.items.remove(message)
    return collected.text


def output(ctx: llm.ChatContext, call_id: str, text: str, *, is_error: bool = False) -> None:
    """Record what a call came to."""
    item = llm.FunctionCallOutput(call_id=call_id, name="", output=text, is_error=is_error)
    ctx.items.append(item)


def errors_of(model: llm.LLM[Any]) -> list[llm.LLMError]:
    """The error events of an LLM from now on."""
    events: list[llm.LLMError] = []
    model.on("error", events.append)
    return events


async def chunks_of(stream: llm.LLMStream) -> tuple[list[llm.ChatChunk], Exception | None]:
    """All chunks of a stream, and the error that it ended with."""
    chunks: list[llm.ChatChunk] = []
    try:
        async with asyncio.timeout(20), stream:
            async for chunk in stream:
                chunks.append(chunk)
    except APIError as error:
        return chunks, error
    return chunks, None


def text_of(chunks: list[llm.ChatChunk]) -> str:
    return "".join(c.delta.content or "" for c in chunks if c.delta)


def calls_of(chunks: list[llm.ChatChunk]) -> list[llm.FunctionToolCall]:
    return [call for c in chunks if c.delta for call in c.delta.tool_calls]
