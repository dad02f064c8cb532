"""The laws over random conversations: edits, cuts, tools, drafts, side calls, faults, drops.

Each example is a list of steps on a few conversations that share one LLM. After it, every
request that arrived must have been what was asked, and chained where it could be.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from hypothesis import HealthCheck, Phase, given, note, settings
from hypothesis import strategies as st
from livekit.agents import llm

from livekit_adapter.contexts import GUIDE
from livekit_adapter.requests import TWICE_MORE, answer, context, output, turn
from livekit_adapter.stage import Stage, stage
from rtllm.simulator import (
    Abort,
    Call,
    Close,
    ErrorFrame,
    FailedResponse,
    Pause,
    Reply,
    Request,
    Text,
    rate_limited,
)

CALLERS = 3
STILL_RUNNING = 4  # cut answers at once; more than lanes would cost the chain

STEPS = (
    "turn",
    "cut",
    "cut unheard",
    "heard less",
    "tools",
    "tools and words",
    "say",
    "draft",
    "side call",
    "instructions",
    "guide",
    "one reply's instructions",
    "edit",
    "truncate",
    "lose an output",
    "release",
)
FAULTS: dict[str, Any] = {
    "rate limit": rate_limited(),
    "server error": ErrorFrame(),
    "failed": FailedResponse(phase="created"),
    "close": Close(phase="sent"),
    "close after created": Close(phase="created"),
    "reset": Abort(phase="created"),
}

steps = st.lists(
    st.tuples(st.integers(0, CALLERS - 1), st.sampled_from(STEPS), st.integers(0, 3)),
    min_size=3,
    max_size=14,
)
troubled = st.lists(
    st.tuples(
        st.integers(0, CALLERS - 1),
        st.sampled_from((*STEPS, *FAULTS, "drop", "abort")),
        st.integers(0, 3),
    ),
    min_size=3,
    max_size=14,
)


@dataclass
class Play:
    """Plays steps on a stage."""

    st: Stage
    go_on: list[asyncio.Event] = field(default_factory=list)
    count: int = 0
    faults: int = 0
    contexts: list[llm.ChatContext] = field(
        default_factory=lambda: [context(("system", "Be kind.")) for _ in range(CALLERS)]
    )
    guides: dict[int, str] = field(default_factory=dict)

    def next(self, word: str) -> str:
        self.count += 1
        return f"{word} {self.count}"

    async def step(self, caller: int, what: str, much: int) -> None:
        ctx = self.contexts[caller]
        simple: dict[str, Callable[[], None]] = {
            "say": lambda: self._add(ctx, "assistant", self.next("Said")),
            "instructions": lambda: self._instruct(ctx),
            "guide": lambda: self.guides.update({caller: self.next("Guide")}),
            "one reply's instructions": lambda: None,
            "edit": lambda: self._edit(ctx, much),
            "truncate": lambda: self._truncate(ctx, 3 + much),
            "lose an output": lambda: self._lose(ctx),
            "release": self.release,
            "abort": self.st.service.abort_connections,
        }
        if what in FAULTS:
            self.st.service.fault = [FAULTS[what]]
        elif what == "drop":
            await self.st.service.close_connections(1001)
        elif what in simple:
            simple[what]()
        if what in ("cut", "cut unheard", "draft"):
            await self._cut(caller, what, much)
        elif what == "side call":
            side = context(("system", "Sum up."), ("user", self.next("Sum")))
            await answer(self.st, side, conn_options=TWICE_MORE)
        elif what.startswith("tools"):
            await self._tools(caller, words=what == "tools and words")
        elif what == "heard less":
            self._add(ctx, "user", self.next("Ask"))
            said = (await answer(self.st, self._sent(caller), conn_options=TWICE_MORE)).text
            if much:
                self._add(ctx, "assistant", " ".join(said.split()[:much]))
        elif what in ("turn", "one reply's instructions") or what in FAULTS:
            if what != "one reply's instructions" or much:
                self._add(ctx, "user", self.next("Ask"))
            one = self.next("Only now") if what.startswith("one") else None
            said = (await answer(self.st, self._sent(caller, one), conn_options=TWICE_MORE)).text
            self._add(ctx, "assistant", said)

    def release(self) -> None:
        for event in self.go_on:
            event.set()
        self.go_on.clear()

    def _sent(self, caller: int, one: str | None = None) -> llm.ChatContext:
        ctx = self.contexts[caller].copy()
        if not any(m.role == "user" for m in ctx.messages()):
            self._add(self.contexts[caller], "user", self.next("Hello"))
            ctx = self.contexts[caller].copy()
        if one is not None:
            self._add(ctx, "system", one)
        if caller in self.guides:
            ctx.add_message(role="system", content=self.guides[caller], id=GUIDE)
        return ctx

    async def _cut(self, caller: int, what: str, much: int) -> None:
        if len(self.go_on) >= STILL_RUNNING:
            self.release()
        ctx = self.contexts[caller]
        asked = ctx if what != "draft" else ctx.copy()
        self._add(asked, "user", self.next("slow"))
        before, self.contexts[caller] = self.contexts[caller], asked
        stream = self.st.llm.chat(chat_ctx=self._sent(caller), conn_options=TWICE_MORE)
        self.contexts[caller] = before
        first = await asyncio.wait_for(anext(stream), 10)
        await stream.aclose()
        if what == "cut":
            self._add(ctx, "assistant", first.delta.content)

    async def _tools(self, caller: int, *, words: bool) -> None:
        ctx = self.contexts[caller]
        self._add(ctx, "user", self.next("words tools" if words else "tools"))
        copy = self._sent(caller)
        before = len(copy.items)
        await turn(self.st, copy, conn_options=TWICE_MORE)
        new = copy.items[before:]
        ctx.items += new
        calls = [item for item in new if isinstance(item, llm.FunctionCall)]
        for call in reversed(calls):
            output(ctx, call.call_id, self.next("Output"))
        said = (await answer(self.st, self._sent(caller), conn_options=TWICE_MORE)).text
        self._add(ctx, "assistant", said)

    def _instruct(self, ctx: llm.ChatContext) -> None:
        ctx.items = [i for i in ctx.items if i.type != "message" or i.role != "system"]
        made = llm.ChatMessage(role="system", content=[self.next("Be kind in way")])
        ctx.items.insert(0, made)

    def _edit(self, ctx: llm.ChatContext, much: int) -> None:
        messages = [m for m in ctx.messages() if m.role != "system"]
        if messages:
            messages[much % len(messages)].content = [self.next("Edited")]

    def _truncate(self, ctx: llm.ChatContext, size: int) -> None:
        ctx.truncate(max_items=size)

    def _lose(self, ctx: llm.ChatContext) -> None:
        for item in reversed(ctx.items):
            if item.type == "function_call_output":
                ctx.items.remove(item)
                return

    @staticmethod
    def _add(ctx: llm.ChatContext, role: Any, text: str) -> None:
        ctx.add_message(role=role, content=text)

    def script(self, request: Request) -> Reply | str:
        asked = request.last_user_text
        if request.trailing_outputs:
            return f"Outputs seen by {request.index}."
        if asked.startswith("slow") and request.context[-1].get("role") != "system":
            event = asyncio.Event()
            self.go_on.append(event)
            return Reply.of(Text(pieces=(f"Well{request.index}, ", Pause(event), "so it is.")))
        if "tools" in asked:
            calls = (Call("a", {"n": request.index}), Call("b", {"n": request.index}))
            return (
                Reply.of(f"Looking at {request.index}.", *calls)
                if "words" in asked
                else (Reply.of(*calls))
            )
        return f"Answer{request.index} is long."


async def _played(played: list[tuple[int, str, int]], host: dict[str, Any]) -> Stage:
    async with stage("", **host) as st_:
        play = Play(st_)
        st_.answers.script = play.script
        for caller, what, much in played:
            await play.step(caller, what, much)
        play.release()
        st_.service.fault = None
        for caller in range(CALLERS):
            await play.step(caller, "turn", 1)
        await st_.service.journal.wait_idle()
        return st_


def _check(st_: Stage, **allowed: Any) -> None:
    asyncio.run(st_.check(connections=None, **allowed))


laws = settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
    phases=[Phase.explicit, Phase.generate, Phase.shrink],
)


@laws
@given(steps)
def test_law_the_model_sees_the_context_and_what_is_known_isnt_sent_again(
    host: Any, played: list[tuple[int, str, int]]
) -> None:
    st_ = asyncio.run(_played(played, host))
    note(st_.story())
    _check(st_)


@laws
@given(troubled)
def test_law_the_model_sees_the_context_whatever_breaks(
    any_host: Any, played: list[tuple[int, str, int]]
) -> None:
    st_ = asyncio.run(_played(played, any_host))
    note(st_.story())
    faults = len(st_.service.journal.refused)
    _check(st_, refused=faults, whole=range(len(st_.entries)), lost=50)
