"""The laws that hold whatever happens, on what the framework got and what the journal saw."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from chaos.story import Host, Orders
from rtllm import TurnReport
from rtllm.simulator import Call, Entry, Reply, Request, Simulator, Text

WHOLE = 120.0
"""Seconds that a turn may take (`rtllm.Timeouts.total`)."""
LONGEST_GAP = 30.0
"""Seconds between two words, with the base limit of 5 s that the stories have."""
_SLACK = 0.5
_QUIET = 400.0
"""Virtual seconds within which every cut response must have ended or been abandoned."""


class Broken(AssertionError):
    """A law is broken.

    Attributes:
        law: Its name.
    """

    def __init__(self, law: str, told: str) -> None:
        super().__init__(f"{law}: {told}")
        self.law = law


@dataclass
class Chat:
    """One `chat()` of the framework, and what it got.

    Attributes:
        number: Its number, which travels with its requests.
        text: What was emitted, in order and without blanks.
        calls: The ids of the calls that were emitted.
        latest: When it got words last, in seconds of the loop.
        longest: The longest wait between two words.
    """

    number: int
    text: str = ""
    calls: list[str] = field(default_factory=list)
    latest: float | None = None
    longest: float = 0.0

    def got(self, text: str, call_ids: Sequence[str]) -> None:
        """Note a piece."""
        self.calls += call_ids
        if text:
            now = asyncio.get_running_loop().time()
            if self.latest is not None:
                self.longest = max(self.longest, now - self.latest)
            self.latest = now
            self.text += bare(text)


def model(request: Request) -> Reply:
    """Do what the caller's words say; no word and no call ever comes twice."""
    orders = Orders.read(request.last_user_text)
    done = 0
    for item in reversed(request.context):
        if item.get("role") == "user":
            break
        if item.get("type") == "function_call":
            done = max(done, int(item["arguments"].split('"round":')[1].split(",")[0]) + 1)
    index = request.index

    def words(message: int = 0) -> str:
        return " ".join(f"w{index}x{message}x{n}" for n in range(orders.words))

    if done < orders.rounds and request.tools:
        calls = [Call("work", {"round": done, "n": n, "of": index}) for n in range(orders.calls)]
        return Reply.of(*([words()] if orders.speaks else []), *calls)
    return Reply.of(*(words(message) for message in range(orders.messages)))


def said(reply: Reply) -> str:
    """The words of a reply, several messages one after the other, without blanks."""
    steps = [step for p in reply.parts if isinstance(p, Text) for step in p.steps()]
    return bare("".join(step for step in steps if isinstance(step, str)))


def bare(text: str) -> str:
    """A text without blanks: between messages they differ from way to way."""
    return "".join(text.split())


@dataclass
class Notes:
    """What happened on a stage.

    Attributes:
        host: The host.
        service: The simulator.
        replies: What the model said to which request.
        usage: The client's books.
        check_context: Compares what the model saw with what was asked.
        chats: What the framework asked and got.
        runs: The arguments of each call that was run.
        reports: The report of each turn.
        errors: The errors that the framework received.
        story: Tells what happened.
        failed: Counts the turns that ended in an error for the framework.
    """

    host: Host
    service: Simulator
    replies: dict[int, Reply]
    usage: Callable[[], Any]
    check_context: Callable[[Entry], None]
    story: Callable[[], str]
    failed: Callable[[], int]
    chats: dict[int, Chat] = field(default_factory=dict)
    runs: list[str] = field(default_factory=list)
    reports: list[TurnReport] = field(default_factory=list)
    errors: list[Any] = field(default_factory=list)

    @property
    def entries(self) -> list[Entry]:
        """The requests that arrived."""
        return self.service.journal.entries

    def broken(self, law: str, details: str) -> Broken:
        """A broken law, with the story."""
        return Broken(law, f"{details}\n{self.host}\n{self.story()}")

    def entries_of(self, number: int) -> list[Entry]:
        """The requests of one `chat`."""
        return [e for e in self.entries if number_of(e) == number and generates(e)]

    # -- at each step ------------------------------------------------------------------------

    def check_step(self) -> None:
        """What must hold at any time."""
        for chat in self.chats.values():
            self._nothing_twice(chat)
            if chat.longest > LONGEST_GAP + _SLACK:
                raise self.broken("deadline", f"{chat.longest:g} s between two words: {chat}")
        twice = [run for run, count in Counter(self.runs).items() if count > 1]
        if twice:
            raise self.broken("no call twice", f"{twice} ran twice")
        for report in self.reports:
            if report.duration > WHOLE + _SLACK:
                raise self.broken("deadline", f"a turn took {report.duration:g} s: {report}")
        self._one_error_each()

    def _nothing_twice(self, chat: Chat) -> None:
        """All that a `chat` emitted is the beginning of one response."""
        replies = [self.replies[e.index] for e in self.entries_of(chat.number) if self._ran(e)]
        if chat.text and not any(said(r).startswith(chat.text) for r in replies):
            told = [said(r) for r in replies]
            raise self.broken("no word twice", f"heard {chat.text!r} of {told}")
        ids = [[p.call_id for p in r.parts if isinstance(p, Call)] for r in replies]
        if chat.text and chat.calls:
            ids = [i for i, r in zip(ids, replies, strict=True) if said(r).startswith(chat.text)]
        if (
            chat.calls
            and not self._is_held(chat)
            and not any(i[: len(chat.calls)] == chat.calls for i in ids)
        ):
            raise self.broken("no call twice", f"#{chat.number} got {chat.calls} of {ids}")

    def _is_held(self, chat: Chat) -> bool:
        """Whether the calls come from the memory of a response to another `chat`."""
        return not self.entries_of(chat.number)

    def _ran(self, entry: Entry) -> bool:
        return entry.index in self.replies

    def _one_error_each(self) -> None:
        if len(self.errors) != (failed := self.failed()):
            told = f"{failed} turns failed, and these errors were told: {self.errors}"
            raise self.broken("one error", told)

    # -- at the end --------------------------------------------------------------------------

    async def check_end(self) -> None:
        """What must hold when all has come to rest, with the client still open."""
        await self.quiet()
        self.check_step()
        for entry in self.entries:
            if self._ran(entry) and generates(entry):
                try:
                    self.check_context(entry)
                except AssertionError as error:
                    raise self.broken(
                        "context", f"#{entry.index}: {str(error).split(chr(10), 1)[0]}"
                    ) from error
        self._books()
        self._whole_answers()
        for connection in self.service.journal.connections:
            names = {e.lane for e in self.entries if e.connection == connection.number}
            if len(names - {None}) > 32:
                raise self.broken("lanes", f"{len(names)} names on {connection}")

    async def quiet(self) -> None:
        """Wait until every attempt has its usage counted or has been abandoned."""
        try:
            async with asyncio.timeout(_QUIET):
                while self.usage().all.attempts < self._sent():
                    await asyncio.sleep(1.0)
        except TimeoutError:
            told = f"{self.usage().all.attempts} attempts in the books, {self._sent()} sent"
            raise self.broken("books", told) from None

    def _sent(self) -> int:
        return sum(r.attempts for r in self.reports) + sum(not generates(e) for e in self.entries)

    def _books(self) -> None:
        books, arrived = self.usage().all, self.entries
        if books.attempts < self._sent() or books.attempts < len(arrived):
            told = f"{books} for {self._sent()} sent and {len(arrived)} arrived"
            raise self.broken("books", told)
        used = [e.usage for e in arrived if e.usage is not None]
        known = books.attempts - books.unknown
        if known > len(used):
            raise self.broken("books", f"{books}, but {len(used)} answers told their usage")
        tokens = sum(u.get("input_tokens", u.get("prompt_tokens", 0)) for u in used)
        if books.input > tokens or (known == len(used) and books.input != tokens):
            raise self.broken("books", f"{books} for {tokens} input tokens")

    def _whole_answers(self) -> None:
        """A turn that ended as completed emitted all of its response."""
        by_id: dict[str | None, Entry] = {e.response_id: e for e in self.entries if e.response_id}
        for report in self.reports:
            entry = by_id.get(report.response_id)
            if report.outcome != "completed" or entry is None or entry.outcome != "completed":
                continue
            chat = self.chats.get(number_of(entry))
            if chat is not None and entry.index in self.replies and entry.deltas:
                whole = said(self.replies[entry.index])
                if chat.text != whole:
                    raise self.broken("nothing lost", f"{chat.text!r} of {whole!r}: {report}")

    async def check_closed(self, tasks_before: set[asyncio.Task[Any]]) -> None:
        """What must hold once the client is closed."""
        try:
            async with asyncio.timeout(30):
                while self.service.journal.open_connections:
                    await asyncio.sleep(0.1)
        except TimeoutError:
            left = self.service.journal.open_connections
            raise self.broken("nothing left", f"open: {left}") from None
        tasks = asyncio.all_tasks() - tasks_before - {asyncio.current_task()}
        ours = [t for t in tasks if "rtllm" in t.get_name() or "rtllm" in repr(t.get_coro())]
        if ours := [t for t in ours if "simulator" not in repr(t.get_coro()) and not t.done()]:
            raise self.broken("nothing left", f"tasks: {ours}")


def number_of(entry: Entry) -> int:
    """The number of the `chat` that a request is for."""
    return int((entry.body.get("metadata") or {})["asked"])


def generates(entry: Entry) -> bool:
    """Whether a request asks for an answer."""
    return entry.body.get("generate") is not False


def works(notes: Notes, before: int) -> None:
    """Check that a clean turn has worked: its last `chat` emitted a complete answer."""
    new = [chat for number, chat in notes.chats.items() if number >= before]
    whole: list[str] = []
    if new:
        ran = [e.index for e in notes.entries_of(new[-1].number) if e.index in notes.replies]
        whole = [said(notes.replies[index]) for index in ran]
    if not new or not new[-1].text or new[-1].text not in whole:
        told = f"{[c.text for c in new]} instead of one of {whole}; {notes.reports[-1:]}"
        raise notes.broken("the next turn works", told)
