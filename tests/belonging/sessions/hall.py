"""Many callers on one LLM object who say and hear the same words, and two laws about them.

Each caller has secrets of its own: in reasoning, in the items of hosted tools, in what its tools
return. The request's metadata names the caller; it is not used to find a conversation. From the
simulator's journal alone the hall finds

* *crossings*: a request that continues or carries what is another caller's, or is billed to it;
* *missed chains*: a request that sent the full context although its beginning was stored, was
  the caller's own, and could have been continued.
"""

from __future__ import annotations

import asyncio
import contextvars
import json
import re
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, TypeAlias

from rtllm import TurnReport
from rtllm.simulator import (
    Call,
    Entry,
    Hosted,
    Pause,
    Reasoning,
    Reply,
    Request,
    Script,
    Simulator,
    Text,
)
from rtllm.simulator.script import Part
from support.contexts import begins_with, canonical, unit_of
from support.scripts import recorded_of

Host: TypeAlias = dict[str, Any]
Secrets: TypeAlias = Literal["all", "sealed", "none"]

CALLER: contextvars.ContextVar[str] = contextvars.ContextVar("caller")
HOSTS: dict[str, Host] = {
    "lanes-stored": {"lanes": "on", "store": True},
    "lanes-unstored": {"lanes": "on", "store": False},
    "alone-stored": {"lanes": "off", "store": True},
    "alone-unstored": {"lanes": "off", "store": False},
    "http-stored": {"use_websocket": False, "store": True},
    "http-unstored": {"use_websocket": False, "store": False},
}
LANES = ("lanes-stored", "lanes-unstored")
PROMPT = "You are kind."
NAME_IN_SECRET = re.compile(r"secret-(\w+)-of")


def secret(caller: str, kind: str) -> str:
    """Words that occur in one caller's items only."""
    return f"secret-{caller}-of-{kind}"


def names_of(count: int) -> list[str]:
    return [f"caller{number}" for number in range(count)]


class Side(Protocol):
    """What the hall has to know of an SDK."""

    def model(self, reports: list[TurnReport], **options: Any) -> Any:
        """An LLM that tells who asks."""

    def around(self) -> AbstractAsyncContextManager[Any]:
        """What must be open around all."""

    def line(self, hall: Hall, **options: Any) -> AbstractAsyncContextManager[Any]:
        """A session of the caller that runs now: `say`, `cut`, `history`, `context`."""


# -- what is answered --------------------------------------------------------------------------


def hidden_of(caller: str, secrets: Secrets) -> list[Part]:
    """What a response holds in addition to its words."""
    if secrets == "none":
        return []
    thought = Reasoning(summary=secret(caller, "thought"))
    fields = {"server_label": "m", "name": "read", "arguments": "{}", "output": None}
    if secrets == "sealed":
        return [thought]
    return [thought, Hosted("mcp_call", {**fields, "output": secret(caller, "mcp")})]


def usual(hall: Hall) -> Script:
    """Equal answers to equal words; ``look`` calls a tool, ``cut`` takes its time."""

    def answer(request: Request) -> Reply | str:
        said = request.last_user_text
        parts = hidden_of(caller_of(request), hall.secrets)
        if said == "look" and not request.trailing_outputs:
            asked = sum(item.get("role") == "user" for item in request.context)
            return Reply.of(*parts, Call("look", call_id=f"call_{asked}"))
        if said.startswith("cut"):
            return Reply.of(*parts, Text(pieces=("One two", Pause(hall.gate), " three four.")))
        return Reply.of(*parts, "Found." if request.trailing_outputs else f"You said {said}.")

    return answer


def caller_of(asked: Request | Entry) -> str:
    return str(asked.body["metadata"]["caller"])


# -- the hall ----------------------------------------------------------------------------------


@dataclass
class Hall:
    """The callers' service, their one LLM, and what happened.

    Attributes:
        may_know: For a caller, those whose calls it goes on with.
    """

    side: Side
    host: Host
    secrets: Secrets
    reports: list[TurnReport] = field(default_factory=list)
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    may_know: dict[str, set[str]] = field(default_factory=dict)
    drops: list[int] = field(default_factory=list)
    replies: dict[int, Reply] = field(default_factory=dict)
    service: Simulator = field(init=False)
    llm: Any = field(init=False)
    _barrier: asyncio.Barrier = field(init=False)

    # -- playing -------------------------------------------------------------------------------

    async def play(
        self, callers: int, scenario: Callable[[str], Awaitable[None]], *, first: int = 0
    ) -> None:
        """Play a scenario with so many callers at once, numbered from the first."""
        self._barrier = asyncio.Barrier(callers)

        async def one(name: str) -> None:
            CALLER.set(name)
            await scenario(name)

        async with asyncio.timeout(50), asyncio.TaskGroup() as group:
            for name in names_of(first + callers)[first:]:
                group.create_task(one(name))
        await self.settled()

    async def play_edited(
        self,
        callers: int,
        edit: Callable[[Any, Hall], Awaitable[None]],
        after: Sequence[str],
    ) -> None:
        """Let each caller have three turns, edit its context, and go on.

        Args:
            callers: How many.
            edit: What is done to each line.
            after: What each says after that.
        """

        async def call(name: str) -> None:
            del name
            async with self.line() as line:
                for text in ("hello", "more", "again"):
                    await line.say(text)
                await self.together()
                await edit(line, self)
                await self.together()
                for text in after:
                    await line.say(text)

        await self.play(callers, call)

    async def together(self, act: Callable[[], Awaitable[None]] | None = None) -> None:
        """Wait for the other callers; one of them does something before all go on."""
        if await self._barrier.wait() == 0 and act is not None:
            await act()
        await self._barrier.wait()

    async def drop(self) -> None:
        """The service loses all connections."""
        await self.service.journal.wait_idle()
        self.service.abort_connections()
        await self.service.journal.wait(lambda journal: not journal.open_connections)
        self.drops.append(len(self.entries))

    async def settled(self) -> None:
        self.gate.set()
        await self.service.journal.wait_idle()

    def line(self, **options: Any) -> AbstractAsyncContextManager[Any]:
        return self.side.line(self, **options)

    def running(self, name: str) -> bool:
        """Whether a caller has begun to hear an answer that goes on."""
        return any(e.outcome == "running" and e.deltas for e in self.of(name))

    # -- the laws ------------------------------------------------------------------------------

    @property
    def entries(self) -> list[Entry]:
        return self.service.journal.entries

    def of(self, name: str) -> list[Entry]:
        """A caller's requests that weren't refused."""
        return [e for e in self.entries if caller_of(e) == name and e.outcome != "refused"]

    def chained(self, name: str = "caller0") -> list[bool]:
        return [e.previous_response_id is not None for e in self.of(name)]

    def crossings(self) -> list[str]:
        """What of one caller reached another."""
        found: list[str] = []
        by_id = {e.response_id: e for e in self.entries if e.response_id}
        for entry in self.entries:
            own = self._may_know(caller_of(entry))
            parent = by_id.get(entry.previous_response_id or "")
            if parent is not None and caller_of(parent) not in own:
                found.append(f"#{entry.index} continues #{parent.index}")
            seen = json.dumps([entry.context, entry.body["input"], entry.instructions])
            if strange := set(NAME_IN_SECRET.findall(seen)) - own:
                found.append(f"#{entry.index} of {own} carries secrets of {strange}")
        return found + self._billed_to_others(by_id)

    def _billed_to_others(self, by_id: Mapping[str, Entry]) -> list[str]:
        found: list[str] = []
        callers: defaultdict[int, set[str]] = defaultdict(set)
        for report in self.reports:
            entry = by_id.get(report.response_id or "")
            parent = by_id.get(report.previous_response_id or "")
            if entry is None:
                continue
            callers[report.conversation].add(caller_of(entry))
            if (parent and parent.response_id) != entry.previous_response_id:
                found.append(
                    f"#{entry.index} is reported as continuing {report.previous_response_id}"
                )
            if report.usage is not None and entry.usage is not None:
                told, real = report.usage.input, entry.usage["input_tokens"]
                if told != real:
                    found.append(f"#{entry.index} is billed {told} tokens for {real}")
        for number, names in callers.items():
            # Who goes on from one call may share that one's figures until they part.
            if not any(all(own in self._may_know(n) for n in names) for own in names):
                found.append(f"conversation {number} is of {sorted(names)}")
        return found

    def missed(self) -> list[str]:
        """Requests that sent the full context although they could have continued a stored one."""
        return [
            f"#{entry.index} begins with #{known.index}"
            for entry in self.entries
            if entry.previous_response_id is None and entry.outcome != "refused"
            for known in self.of(caller_of(entry))
            if known.index < entry.index and self._in_reach(known, entry)
            if self._begins_with(entry, known)
        ]

    def _may_know(self, name: str) -> set[str]:
        return {name} | self.may_know.get(name, set())

    def _in_reach(self, known: Entry, entry: Entry) -> bool:
        if known.outcome != "completed":
            return False
        if self.host["store"]:
            return True
        if self.host.get("lanes") != "on":
            return False  # a connection remembers its last response only, or nothing
        dropped = any(known.index < drop <= entry.index for drop in self.drops)
        between = self.entries[known.index + 1 : entry.index]
        lane = (known.connection, known.lane)
        return not dropped and all((e.connection, e.lane) != lane for e in between)

    def _begins_with(self, entry: Entry, known: Entry) -> bool:
        recorded = recorded_of(self.replies[known.index])
        if not recorded or known.instructions != entry.instructions:
            return False
        before = [*map(unit_of, known.context), *recorded]
        return begins_with(canonical(map(unit_of, entry.context)), canonical(before))

    def check(self, whole: int | None = 1, *, callers: int = 1) -> None:
        """Check both laws.

        Args:
            whole: How many requests of each caller may send the full context; None if
                it doesn't matter.
            callers: How many there were.
        """
        assert self.crossings() == [], self.story()
        assert self.missed() == [], self.story()
        if whole is None or not self.can_chain:
            return
        for name in names_of(callers):
            chained = self.chained(name)
            assert chained.count(False) == whole, f"{name}: {chained}\n{self.story()}"

    @property
    def can_chain(self) -> bool:
        return bool(self.host["store"]) or self.host.get("lanes") == "on"

    def story(self) -> str:
        """What happened, to be read."""
        lines = [
            f"#{e.index} {caller_of(e)} {e.connection}/{e.lane} {e.response_id}"
            f" after {e.previous_response_id}: {e.outcome} ({e.error_code} {e.error_message})"
            f"\n    {e.instructions!r} {json.dumps(e.input)}"
            for e in self.entries
        ]
        return "\n".join(
            [*lines, *(f"{r.conversation} {r.full_context_reason}" for r in self.reports)]
        )


@asynccontextmanager
async def hall_of(
    side: Side,
    host: str,
    *,
    secrets: Secrets = "all",
    script: Callable[[Hall], Script] = usual,
    **options: Any,
) -> AsyncIterator[Hall]:
    """A service, and one LLM on it for all callers."""
    given = HOSTS[host]
    hall = Hall(side, given, secrets)
    answer = script(hall)

    def noting(request: Request) -> Reply:
        told: Any = answer(request)
        hall.replies[request.index] = reply = told if isinstance(told, Reply) else Reply.of(told)
        return reply

    lanes = given.get("lanes", "on")
    async with side.around(), Simulator(noting, lanes=lanes) as hall.service:
        settings = {
            "api_key": "key",
            "base_url": hall.service.base_url,
            "model": "gpt-5-mini",
            "store": given["store"],
            "lanes": lanes == "on",
            "use_websocket": given.get("use_websocket", True),
            "fallback": None,
            **options,
        }
        hall.llm = side.model(hall.reports, **settings)
        try:
            yield hall
        finally:
            hall.gate.set()
            await hall.llm.aclose()
