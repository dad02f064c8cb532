"""A simulator and an LLM on it, what was asked of it, and the oracle of all requests.

What each `chat()` call asked with is taken from the framework's context when it is called and
again when the request is answered: the framework may add to its context meanwhile.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from videosdk.agents import ChatContext
from videosdk.plugins.openai import OpenAILLM as StockLLM

from rtllm.simulator import Entry, Reply, Script, Simulator
from support.contexts import Unit, message
from support.oracle import KEY, LaneMode, Oracle, Reports, keywords_on, staged
from videosdk_adapter.contexts import Seen, Segment, flat
from videosdk_adapter.models import ContextScript, RecordingLLM, RecordingStock, number_of

Host: TypeAlias = dict[str, Any]


@dataclass
class Stage(Oracle):
    """A simulator, an LLM on it, and what happened.

    Attributes:
        asked: What each `chat()` call asked with.
        options: The LLM's keywords, and what the host does with lanes.
        errors: The errors that the LLM emitted as events.
        unanswered: What callers of benchmarks said that came to nothing.
        unseen: Whether calls that can't run were answered without the framework.
        reordered: Whether the framework has the words of a turn in another order than they were
            spoken in, since words of the user came between them.
    """

    answers: ContextScript
    asked: list[list[Unit]]
    options: Mapping[str, Any]
    errors: list[Any] = field(default_factory=list)
    unanswered: list[str] = field(default_factory=list)
    unseen: bool = False
    reordered: bool = False

    @property
    def lanes(self) -> str:
        return str(self.options.get("lanes", "on"))

    @property
    def is_socket(self) -> bool:
        return bool(self.options.get("streaming")) and self.options.get("use_websocket", True)

    @property
    def is_stored(self) -> bool:
        return bool(self.options.get("store"))

    @property
    def is_ours(self) -> bool:
        return not isinstance(self.llm, StockLLM)

    @property
    def can_chain(self) -> bool:
        """Whether every state that the service knows can be continued."""
        if self.is_socket:
            return self.lanes == "on"
        return bool(self.options.get("streaming")) and self.is_stored

    def at_answer(self, entry: Entry) -> list[Unit]:
        """The framework's context when a request was answered, or asked if it never was."""
        return self.answers.at_answer.get(entry.index, self.asked[number_of(entry)])

    def check_context(self, entry: Entry) -> None:
        """Check that the model saw exactly what the framework asked with."""
        if entry.outcome == "refused":
            return
        asked = [self.asked[number_of(entry)], self.at_answer(entry)]
        seen = Seen.of(flat(entry.context))
        assert any(self.is_faithful(entry, seen, Seen.of(units)) for units in asked), (
            f"#{entry.index}: seen {flat(entry.context)}\nasked {asked}\n{self.story()}"
        )

    def is_faithful(self, entry: Entry, seen: Seen, asked: Seen) -> bool:
        """Whether what the model saw is what was asked."""
        lead = "\n".join(seen.lead) if seen.lead else entry.instructions or ""
        if lead != "\n".join(asked.lead) or (seen.lead and entry.instructions):
            return False
        if len(seen.segments) != len(asked.segments):
            return False
        pairs = list(zip(seen.segments, asked.segments, strict=True))
        return all(
            s.opened_by == a.opened_by
            and self._same_tools(s, a)
            and (
                s.words == a.words
                or (self.reordered and sorted(s.words) == sorted(a.words))
                or (n == len(pairs) - 1 and self._pending(s, a))
            )
            for n, (s, a) in enumerate(pairs)
        )

    def _same_tools(self, seen: Segment, asked: Segment) -> bool:
        more = seen.tools - asked.tools
        if not self.unseen:
            return seen.tools == asked.tools
        failed = {u[1] for u in more if u[0] == "output" and u[2].startswith("error: ")}
        return not asked.tools - seen.tools and all(u[1] in failed for u in more)

    def _pending(self, seen: Segment, asked: Segment) -> bool:
        """Whether more was said in a turn that goes on than is recorded: words before calls."""
        called = {unit[1] for unit in seen.tools if unit[0] == "call"}
        said = [
            self.answers.words(index)
            for index in sorted(self.answers.replies)
            if called & {call[1] for call in self.answers.calls(index)}
        ]
        possible = ["".join(said) + asked.words, *(words + asked.words for words in said)]
        if self.reordered:
            return sorted(seen.words) in map(sorted, possible)
        return seen.words in possible

    def begins_with(self, entry: Entry, known: Entry) -> bool:
        """Whether what was asked begins with what an earlier request came to."""
        if known.index not in self.answers.replies:
            return False
        calls, text = self.answers.calls(known.index), self.answers.words(known.index)
        words = [message("assistant", text)] if text else []
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


@asynccontextmanager
async def stage(
    script: Script | Reply | str,
    *,
    streaming: bool = True,
    lanes: LaneMode = "on",
    stock: bool = False,
    simulator: Mapping[str, Any] | None = None,
    **options: Any,
) -> AsyncIterator[Stage]:
    """A simulator with a script, and an LLM on it."""
    contexts: list[ChatContext] = []
    asked: list[list[Unit]] = []
    answers = ContextScript(script, contexts)
    options = {"streaming": streaming, **options}

    def make(service: Simulator, reports: Reports) -> Stage:
        given = {"api_key": KEY, "base_url": service.base_url, **options}
        model: Any
        if stock:
            given.setdefault("wss_url", f"{service.base_url}/responses".replace("http", "ws", 1))
            model = RecordingStock(contexts, asked, **given)
        else:
            keywords = keywords_on(service, lanes, reports, options)
            model = RecordingLLM(contexts, asked, **keywords)
        st = Stage(service, answers, model, asked, {**given, "lanes": lanes}, reports=reports)

        def note(error: Any) -> None:
            st.errors.append(error)

        model.on("error", note)
        return st

    async with staged(answers, make, lanes=lanes, simulator=simulator) as st:
        yield st
