"""Parallel tool calls for a framework that runs one at a time, and the turns that they belong to.

The framework takes the first call that ``chat()`` yields, runs its tool, and calls ``chat()`` again
while the first generator is still suspended. It would never see the other calls of the response. So
the first generator yields one call, and the nested `chat` yields the rest from memory, without a
request. The loop that does so is `ChatCall.chunks` in `rtllm_videosdk.chat_call`; this module
remembers which calls are left, and which turn a nested `chat` belongs to.
"""

import asyncio
import weakref
from collections import Counter, deque
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field

from videosdk.agents import ChatContext

from rtllm import Item, Message, ToolCall, ToolOutput
from rtllm.adapters import CallGate, CallGroup, CallHistory, EmittedCalls, SpentTokens
from rtllm_videosdk.convert import calls_in


@dataclass(eq=False)
class PipelineTurn:
    """A turn of the pipeline: its first `chat`, and the nested ones.

    Attributes:
        context: The framework's context, by identity; nested calls have the same one.
        base: Its items when the turn began.
        held: Calls that the framework gets later, each with its response.
        emitted: Calls that the framework got.
        error: The error of a nested `chat`.
        waiting: Whether the newest `chat` of the turn ended with calls. If the first generator then
            continues, a tool raised, or the framework accepted no more calls.
        refused: Whether the framework accepted no more calls.
        gate: Answers its calls that can't run.
        spent: The tokens of its responses so far, those of nested calls included.
        superseded: Whether another turn has begun in the context since. Then new records belong to
            this turn only if it continues itself.
    """

    context: ChatContext
    base: tuple[Item, ...]
    held: deque[tuple[ToolCall, CallGroup]] = field(default_factory=deque)
    emitted: EmittedCalls = field(init=False)
    error: Exception | None = None
    waiting: bool = False
    refused: bool = False
    gate: CallGate = field(default_factory=CallGate)
    spent: SpentTokens = field(default_factory=SpentTokens)
    superseded: bool = False
    _task: weakref.ref[asyncio.Task[object]] | None = None

    def __post_init__(self) -> None:
        self.emitted = EmittedCalls(self.base)

    def continues_in(self, context: ChatContext, items: Sequence[Item]) -> bool:
        """Whether a context continues this turn, after a call that the framework got.

        The framework drops a generator without closing it, so a turn may still be here when the
        next one begins. The next one has a user message after all calls.
        """
        known = len(self.base)
        if context is not self.context or tuple(items[:known]) != self.base:
            return False
        own = self.emitted.groups_in(items)
        # By call id: whether the newest call with it belongs to this turn.
        latest: dict[str, bool] = {}
        is_after_own_call = False
        for index, item in enumerate(items[known:], known):
            if isinstance(item, ToolCall):
                latest[item.call_id] = index in own
            if isinstance(item, ToolCall | ToolOutput):
                is_after_own_call = is_after_own_call or latest.get(item.call_id, False)
            elif isinstance(item, Message) and item.role == "user":
                is_after_own_call = False
        return is_after_own_call

    def update(self, items: Sequence[Item]) -> None:
        """Update the turn from its context, and drop held calls that are void.

        They are void if the framework did not accept a call (its limit), or if the caller spoke in
        between.
        """
        tail = items[len(self.base) :]
        recorded = Counter(item.call_id for item in tail if isinstance(item, ToolCall))
        self.refused = not Counter(self.emitted.call_ids) <= recorded
        has_new_user_message = any(
            isinstance(item, Message) and item.role == "user" for item in tail
        )
        if self.refused or has_new_user_message:
            self.held.clear()

    def hold(self, group: CallGroup) -> None:
        """Keep the calls of a response for later."""
        self.held.extend((call, group) for call in group.calls)

    def emit_next_call(self) -> ToolCall:
        """Return the next held call, for the framework."""
        call, group = self.held.popleft()
        self.emitted.add(call, group)
        self.waiting = True
        task = asyncio.current_task()
        self._task = weakref.ref(task) if task is not None else None
        return call

    def runs_in(self, task: object) -> bool:
        """Whether the newest call was passed to a task, which then runs its tool."""
        return task is not None and self._task is not None and self._task() is task

    def end(self) -> None:
        """End the turn, which was cancelled or abandoned: drop the held calls."""
        self.held.clear()


class OpenTurns:
    """The turns whose first generator is suspended at a call, and the calls of earlier turns.

    Contexts are distinguished by identity, never by content.

    Attributes:
        history: The calls of all turns, by the ids of the items that recorded them.
    """

    def __init__(self) -> None:
        self.history = CallHistory()
        self._open: list[PipelineTurn] = []
        self._ended: dict[int, tuple[weakref.ref[ChatContext], list[EmittedCalls]]] = {}

    def open(self, turn: PipelineTurn) -> None:
        """Expect nested calls of a turn."""
        if turn not in self._open:
            self._open.append(turn)

    def close(self, turn: PipelineTurn) -> None:
        """Expect no more. A call may still be recorded until the context's next `chat`."""
        turn.end()
        if turn not in self._open:
            return
        self._open.remove(turn)
        if turn.superseded:
            return
        self._bind(turn, calls_in(turn.context))
        if turn.emitted.unrecorded:
            self._keep(turn.context, turn.emitted)

    def join(self, context: ChatContext, items: Sequence[Item]) -> PipelineTurn | None:
        """Return the turn that a context continues, None if it begins a new one."""
        task = asyncio.current_task()
        candidates = [turn for turn in self._open if turn.context is context]
        # Of several turns in one context, the turn of the task whose tool has just run.
        candidates.sort(key=lambda turn: turn.runs_in(task))
        self._bind_copied_calls(context, items)
        settled = self._bind_ended_turns(context, items)
        for turn in reversed(candidates):
            self._bind(turn, items, settled)
        for turn in reversed(candidates):
            if turn.continues_in(context, items):
                turn.update(items)
                return turn
        for turn in candidates:
            turn.superseded = True
        return None

    def _bind_copied_calls(self, copy: ChatContext, items: Sequence[Item]) -> None:
        """Bind the calls of another context that a copy of it has, after its turn was dropped."""
        new = {i.call_id for i in items if isinstance(i, ToolCall) and not self.history.knows(i)}
        for turn in self._open if new else ():
            waits = not new.isdisjoint(turn.emitted.unrecorded)
            if waits and turn.context is not copy and not turn.superseded:
                self._bind(turn, calls_in(turn.context))

    def update(self, turn: PipelineTurn, items: Sequence[Item]) -> None:
        """Update a turn from its context."""
        self._bind(turn, items)
        turn.update(items)

    def _bind(
        self, turn: PipelineTurn, items: Sequence[object], others: AbstractSet[str] = frozenset()
    ) -> None:
        """Bind the items that recorded a turn's calls to the responses of these calls."""
        of_open_turns = {
            key
            for other in self._open
            if other is not turn and other.context is turn.context
            for key in other.emitted.keys
        }
        turn.emitted.bind(self.history, items, others | of_open_turns)

    def _keep(self, context: ChatContext, ended: EmittedCalls) -> None:
        kept = self._ended
        identity = id(context)

        def forget(reference: weakref.ref[ChatContext]) -> None:
            if identity in kept and kept[identity][0] is reference:
                del kept[identity]

        try:
            known = kept.setdefault(identity, (weakref.ref(context, forget), []))
        except TypeError:  # the user's own context class, without support for weak references
            return
        known[1].append(ended)

    def _bind_ended_turns(self, context: ChatContext, items: Sequence[Item]) -> set[str]:
        """Bind what a context recorded of completed turns, and forget these turns.

        Returns:
            The ids of the items that recorded it.
        """
        claimed: set[str] = set()
        reference, ended = self._ended.pop(id(context), (None, []))
        if reference is None or reference() is not context:
            return claimed
        for emitted in reversed(ended):
            emitted.bind(self.history, items, claimed)
            claimed |= emitted.keys
        return claimed
