"""Tool rounds: parallel calls for a framework that takes one, and what belongs to one turn.

The framework takes the first call that ``chat()`` yields, runs its tool, and calls ``chat()``
again while the first generator is still suspended; the other calls of the response it would
never see. So the first generator hands out one call, and the `chat` nested in it hands out
the rest from memory, without a request.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from videosdk.agents import ChatContext

from rtllm import Item, Message, ToolCall, ToolOutput
from rtllm_videosdk.convert import Unseen

MOST_ANSWERED = 2
"""How many responses with calls that can't run are answered with an error in one turn."""


@dataclass(eq=False)
class Turn:
    """A turn of the pipeline: its first `chat`, and those nested in it.

    Attributes:
        context: The framework's context; nested calls come with the same one.
        base: Its items when the turn began.
        held: Calls that wait to be handed out.
        given: The ids of those that were handed out.
        unseen: What the turn holds that the framework doesn't know.
        error: What a nested `chat` failed with.
        waiting: Whether the newest `chat` of the turn ended in calls. If the first generator
            goes on then, a tool raised, or the framework took no more calls.
        refused: Whether the framework took no more calls.
        failed_calls: How many responses held calls that couldn't run.
    """

    context: ChatContext
    base: tuple[Item, ...]
    held: deque[ToolCall] = field(default_factory=deque)
    given: list[str] = field(default_factory=list)
    unseen: list[Unseen] = field(default_factory=list)
    error: Exception | None = None
    waiting: bool = False
    refused: bool = False
    failed_calls: int = 0

    def goes_on_in(self, context: ChatContext, items: Sequence[Item]) -> bool:
        """Tell whether a context is this turn's, behind a call that was handed out.

        The framework drops a generator without closing it, so that the turn may still be here
        when the next one begins: that one has a user message behind all calls.
        """
        known = len(self.base)
        if context is not self.context or tuple(items[:known]) != self.base:
            return False
        behind = False
        for item in items[known:]:
            if isinstance(item, ToolCall | ToolOutput):
                behind = behind or item.call_id in self.given
            elif isinstance(item, Message) and item.role == "user":
                behind = False
        return behind

    def look_at(self, items: Sequence[Item]) -> None:
        """Learn from the context what became of the calls; what is void is dropped.

        Held calls are void when the framework took one no more (its limit), or when somebody
        spoke in between.
        """
        tail = items[len(self.base) :]
        taken = {item.call_id for item in tail if isinstance(item, ToolCall)}
        self.refused = not taken.issuperset(self.given)
        spoken = any(isinstance(item, Message) and item.role == "user" for item in tail)
        if self.refused or spoken:
            self.held.clear()

    def hand_out(self) -> ToolCall:
        """Take the next call that was held."""
        call = self.held.popleft()
        self.given.append(call.call_id)
        self.waiting = True
        return call

    def end(self) -> None:
        """Nothing more is handed out: the turn was cut or given up."""
        self.held.clear()


class Turns:
    """The turns whose first generator is suspended at a call."""

    def __init__(self) -> None:
        self._open: list[Turn] = []

    def open(self, turn: Turn) -> None:
        """Await nested calls of a turn."""
        if turn not in self._open:
            self._open.append(turn)

    def close(self, turn: Turn) -> None:
        """Await none any more."""
        turn.end()
        if turn in self._open:
            self._open.remove(turn)

    def of(self, context: ChatContext, items: Sequence[Item]) -> Turn | None:
        """The turn that a context goes on with, None if it begins one."""
        for turn in reversed(self._open):
            if turn.goes_on_in(context, items):
                return turn
        return None
