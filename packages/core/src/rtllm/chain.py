"""What the service already knows: states, anchors, the ledger, and the plan for a context.

A state is a context and the output that followed it. It is compared in *units*: a message is
one, and so is each run of tool calls and outputs between two messages, as a set. Thus the
calls of one response are found again in whatever order a framework recorded them, and
wherever their outputs lie between them; words keep their exact places.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Literal

from rtllm.items import Item, ToolCall, ToolOutput, fingerprint, is_system

Unchained = Literal[
    "first request",
    "context changed",
    "instructions changed",
    "state out of reach",
    "connection exchanged",
    "recovery",
    "no chaining here",
]
"""Why a request was sent whole."""


@dataclass(frozen=True, slots=True)
class Outline:
    """A legal context, cut into units that compare as values.

    Attributes:
        items: The items themselves.
        lead: Fingerprints of the leading run of system and developer messages.
        units: One digest for each unit behind it.
        starts: For each of these units, the index of its first item.
        open_run: The fingerprints of the last unit's members if it is a run of calls and
            outputs, else nothing.
    """

    items: tuple[Item, ...]
    lead: tuple[bytes, ...]
    units: tuple[bytes, ...]
    starts: tuple[int, ...]
    open_run: frozenset[bytes]

    @classmethod
    def of(cls, items: Sequence[Item]) -> "Outline":
        """Cut legal items into units."""
        lead: list[bytes] = []
        units: list[bytes] = []
        starts: list[int] = []
        run: list[bytes] = []
        for index, item in enumerate(items):
            print_ = fingerprint(item)
            if is_system(item) and not units and not run:
                lead.append(print_)
            elif isinstance(item, ToolCall | ToolOutput):
                if not run:
                    starts.append(index)
                run.append(print_)
            else:
                if run:
                    units.append(_run_digest(run))
                    run = []
                starts.append(index)
                units.append(print_)
        if run:
            units.append(_run_digest(run))
        return cls(tuple(items), tuple(lead), tuple(units), tuple(starts), frozenset(run))

    def run_at(self, unit: int) -> list[Item]:
        """The items of a unit."""
        end = self.starts[unit + 1] if unit + 1 < len(self.starts) else len(self.items)
        return list(self.items[self.starts[unit] : end])

    @property
    def unanswered(self) -> bool:
        """Whether a call at its end waits for its output: such a context can't be sent."""
        if not self.open_run:
            return False
        run = self.run_at(len(self.units) - 1)
        answered = {item.call_id for item in run if isinstance(item, ToolOutput)}
        return any(isinstance(i, ToolCall) and i.call_id not in answered for i in run)

    def after(self, unit: int) -> tuple[Item, ...]:
        """The items from a unit on."""
        return self.items[self.starts[unit] :] if unit < len(self.starts) else ()


def _run_digest(run: Sequence[bytes]) -> bytes:
    # A set, but of known size: the same call twice is not the call once.
    return blake2b(b"".join(sorted(run)), digest_size=16, person=b"run").digest()


@dataclass(frozen=True, slots=True)
class State:
    """A context and the output that followed it, as the framework will record them.

    Attributes:
        lead: The leading system texts.
        closed: The units that nothing can be added to.
        run: The last run of calls and outputs, which the next context may go on with.
    """

    lead: tuple[bytes, ...]
    closed: tuple[bytes, ...]
    run: frozenset[bytes]

    @classmethod
    def of(cls, context: Outline, output: Sequence[Item]) -> "State":
        """The state behind a context and an output."""
        return cls.behind(Outline.of((*context.items, *output)))

    @classmethod
    def behind(cls, whole: Outline) -> "State":
        """The state behind a context and its output, cut into units together."""
        closed = whole.units[:-1] if whole.open_run else whole.units
        return cls(whole.lead, closed, whole.open_run)

    @property
    def length(self) -> tuple[int, int]:
        """How much of a context it explains; only for comparing states of one context."""
        return len(self.closed), len(self.run)

    def rest_of(self, context: Outline) -> tuple[Item, ...] | None:
        """What a context adds to this state, system texts apart.

        Returns:
            The items to send, or None if the context doesn't begin with this state.
        """
        known = len(self.closed)
        if context.units[:known] != self.closed:
            return None
        if not self.run:
            return context.after(known)
        if known >= len(context.units):
            return None
        members = context.run_at(known)
        prints = [fingerprint(item) for item in members]
        if not self.run.issubset(prints):
            return None
        new = tuple(
            item for item, print_ in zip(members, prints, strict=True) if print_ not in self.run
        )
        return new + context.after(known + 1)


@dataclass(frozen=True, slots=True)
class Home:
    """Where the service remembers a response: a lane of a connection.

    Attributes:
        connection: The connection's number.
        lane: The lane's name, None for the default lane.
    """

    connection: int
    lane: str | None


@dataclass(frozen=True, slots=True)
class Hidden:
    """What stood beside a recorded item and is not recorded; see `rtllm.hidden`.

    Attributes:
        beside: The recorded item's fingerprint.
        unit: Its unit in the context, for a message; None for a call, which is like no other.
        before: Reasoning and hosted tools' items that stood before it.
        phase: The message's phase.
    """

    beside: bytes
    unit: int | None
    before: tuple[Item, ...]
    phase: str | None


@dataclass(frozen=True, slots=True)
class Anchor:
    """A completed response that may still be continued.

    Attributes:
        response_id: The service's id.
        model: The model it belongs to.
        state: What it knows.
        lead_in_field: Whether the system texts went into the ``instructions`` field, which
            the service doesn't carry over, instead of the chained items.
        home: The lane that it ended on.
        stored: Whether the service keeps it beyond the connection's memory.
        hidden: What it holds beside what is recorded.
    """

    response_id: str
    model: str
    state: State
    lead_in_field: bool
    home: Home
    stored: bool
    hidden: tuple[Hidden, ...] = ()


@dataclass(frozen=True, slots=True)
class Plan:
    """What to send for a context.

    Attributes:
        anchor: The response to continue, or None to send the context whole.
        items: The items to send.
        lead_in_field: Whether the system texts belong into the ``instructions`` field.
        why_whole: Why nothing is continued; None when something is.
    """

    anchor: Anchor | None
    items: tuple[Item, ...]
    lead_in_field: bool
    why_whole: Unchained | None


class Ledger:
    """The anchors of one conversation, the newest last.

    Args:
        limit: How many are kept.
    """

    def __init__(self, limit: int = 24) -> None:
        self._limit = limit
        self._anchors: list[Anchor] = []

    def __len__(self) -> int:
        return len(self._anchors)

    def record(self, anchor: Anchor) -> None:
        """Remember a completed response."""
        self._anchors.append(anchor)
        del self._anchors[: -self._limit]

    def forget(self, response_id: str) -> None:
        """Never continue a response again."""
        self._anchors = [a for a in self._anchors if a.response_id != response_id]

    def best(
        self, context: Outline, model: str, reachable: Callable[[Anchor], bool]
    ) -> tuple[Anchor, tuple[Item, ...]] | None:
        """Find the longest known state that a context begins with; of equals, the newest."""
        best: tuple[Anchor, tuple[Item, ...]] | None = None
        for anchor in reversed(self._anchors):
            if best is not None and anchor.state.length <= best[0].state.length:
                continue
            same_lead = anchor.lead_in_field or anchor.state.lead == context.lead
            if anchor.model != model or not same_lead:
                continue
            rest = anchor.state.rest_of(context)
            if rest is not None and reachable(anchor):
                best = (anchor, rest)
        return best

    def hidden(self, context: Outline, model: str) -> list[Hidden]:
        """What stood hidden in the known states that a context begins with."""
        return [
            hidden
            for anchor in self._anchors
            if anchor.hidden and anchor.model == model and anchor.state.rest_of(context) is not None
            for hidden in anchor.hidden
        ]

    def longest_body(self, context: Outline) -> tuple[int, int]:
        """How long the longest known state is that a context begins with, system texts apart."""
        lengths = [
            anchor.state.length
            for anchor in self._anchors
            if anchor.state.rest_of(context) is not None
        ]
        return max(lengths, default=(0, 0))

    def plan(self, context: Outline, model: str, reachable: Callable[[Anchor], bool]) -> Plan:
        """Find the most that the service already knows of a context.

        The longest known state wins that is an exact prefix and still reachable; of equals,
        the newest. Where only the system texts changed, everything is sent once more with
        these in the ``instructions`` field, so that the next change costs only its own text.

        Args:
            context: A legal context.
            model: The model that shall answer.
            reachable: Tells whether an anchor can be continued right now.

        Returns:
            What to send.
        """
        found = self.best(context, model, reachable)
        if found is not None:
            anchor, rest = found
            return Plan(anchor, rest, anchor.lead_in_field, None)
        why: Unchained = "context changed" if self._anchors else "first request"
        if self.best(context, model, lambda _: True) is not None:
            why = "state out of reach"
        in_field = bool(context.lead) and self._lead_moves(context)
        if in_field and why == "context changed":
            why = "instructions changed"
        items = context.items[len(context.lead) :] if in_field else context.items
        return Plan(None, items, in_field, why)

    def _lead_moves(self, context: Outline) -> bool:
        """Tell whether a context is a known state under other system texts.

        Texts that stood behind the leading ones for one request only (instructions of a
        single reply) are no edit: without them the lead is what it was before.
        """
        return any(
            anchor.lead_in_field or anchor.state.lead[: len(context.lead)] != context.lead
            for anchor in self._anchors
            if (anchor.state.closed or anchor.state.run)
            and anchor.state.rest_of(context) is not None
        )
