"""Conversations, recognised by what is said in them, never by the object that asks.

One client serves several callers, and each caller's turns come with summaries and drafts
beside them. What belongs together shares lanes and a ledger; everyone shares the prompt, so
the system texts don't count.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from rtllm.chain import Anchor, Ledger, Outline

MIN_SHARED = 2  # units beyond the system text
CONVERSATIONS = 512
"""How many are remembered."""


@dataclass(slots=True)
class Conversation:
    """What is known of one conversation.

    Attributes:
        number: Its number within the client.
        ledger: Its anchors.
        opening: How many units its first request had.
        latest: The context of its latest request.
        continued: How often each anchor was continued.
        used: Grows with each use.
        known: The newest anchor and all that it knows, where that is wanted.
    """

    number: int
    ledger: Ledger
    opening: int
    latest: Outline
    continued: Counter[str] = field(default_factory=Counter)
    used: int = 0
    known: tuple[Anchor, Outline] | None = None


class Conversations:
    """All conversations of one client, bounded.

    Args:
        limit: How many are remembered; beyond it the longest unused is forgotten.
        on_forgotten: Called with the number of each forgotten conversation.
    """

    def __init__(self, on_forgotten: Callable[[int], None], limit: int = CONVERSATIONS) -> None:
        self._limit = limit
        self._on_forgotten = on_forgotten
        self._known: dict[int, Conversation] = {}
        self._number = 0
        self._tick = 0

    def __iter__(self) -> Iterator[Conversation]:
        return iter(self._known.values())

    def find(self, context: Outline, model: str, prepared: Iterable[Anchor] = ()) -> Conversation:
        """Find the conversation that a context belongs to, or begin one.

        Args:
            context: The context.
            model: The model that shall answer.
            prepared: States without any words yet, which every conversation may begin with.
        """
        found = self._by_state(context, model) or self._by_body(context) or self._by_words(context)
        self._tick += 1
        if found is None:
            self._number += 1
            found = Conversation(self._number, Ledger(), len(context.units), context)
            self._known[found.number] = found
            for anchor in prepared:
                found.ledger.record(anchor)
        found.used = self._tick
        self._forget_surplus()
        found.latest = context
        return found

    def _by_state(self, context: Outline, model: str) -> Conversation | None:
        """The one that knows the longest state of a context.

        Callers whose conversations began with the same words know equal states. Of equals,
        the one least continued wins, so that each caller keeps lanes of its own.
        """
        best: tuple[tuple[int, int], int, int] | None = None
        found: Conversation | None = None
        for conversation in self._known.values():
            match = conversation.ledger.best(context, model, lambda _: True)
            if match is None:
                continue
            anchor = match[0]
            if anchor.state.length == (0, 0):
                continue  # a prepared prompt: everyone's
            rank = (
                anchor.state.length,
                -conversation.continued[anchor.response_id],
                conversation.used,
            )
            if best is None or rank > best:
                best, found = rank, conversation
        return found

    def _by_body(self, context: Outline) -> Conversation | None:
        """The one that knows the longest state of a context under other system texts."""
        best: tuple[tuple[int, int], int] | None = None
        found: Conversation | None = None
        for conversation in self._known.values():
            length = conversation.ledger.longest_body(context)
            rank = (length, conversation.used)
            if sum(length) >= MIN_SHARED and (best is None or rank > best):
                best, found = rank, conversation
        return found

    def _by_words(self, context: Outline) -> Conversation | None:
        """The latest one that shares its beginning with a context, or that it goes on with.

        A history that is cut to a window loses its beginning: it begins somewhere within the
        latest context and goes on to its end.
        """
        found: Conversation | None = None
        for conversation in self._known.values():
            latest = conversation.latest.units
            shared = _shared(latest, context.units)
            if shared == len(context.units) <= conversation.opening:
                continue  # another caller who begins with the same words
            begins_alike = shared >= max(MIN_SHARED, conversation.opening)
            if not begins_alike and not _goes_on(latest, context.units):
                continue
            if found is None or conversation.used > found.used:
                found = conversation
        return found

    def _forget_surplus(self) -> None:
        while len(self._known) > self._limit:
            oldest = min(self._known.values(), key=lambda c: c.used)
            del self._known[oldest.number]
            self._on_forgotten(oldest.number)


def _shared(one: tuple[bytes, ...], other: tuple[bytes, ...]) -> int:
    count = 0
    for a, b in zip(one, other, strict=False):
        if a != b:
            break
        count += 1
    return count


def _goes_on(latest: tuple[bytes, ...], context: tuple[bytes, ...]) -> bool:
    """Whether a context begins with the end of the latest one, two units of it at least."""
    if len(context) < MIN_SHARED:
        return False
    return any(
        latest[start:] == context[: len(latest) - start]
        for start in range(1, len(latest) - MIN_SHARED + 1)
        if latest[start] == context[0]
    )
