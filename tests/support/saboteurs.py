"""What breaks our code on purpose for the laws of more than one folder, to prove that they bite."""

from __future__ import annotations

import pytest

from rtllm.content.items import Item
from rtllm.context.belonging import KnownResponse, KnownResponses, Proof
from rtllm.context.outline import KnownPrefix, Outline
from rtllm.engine.request_planner import Placement, RequestPlanner


def items_counted(patch: pytest.MonkeyPatch) -> None:
    """As in the stock plugins: all items after the first n count as new."""

    def remaining_items(self: KnownPrefix, context: Outline) -> tuple[Item, ...] | None:
        known = self.closed + len(self.run)
        return context.items[len(context.lead) + known :] if len(context.units) >= known else None

    patch.setattr(KnownPrefix, "remaining_items", remaining_items)


def by_words(patch: pytest.MonkeyPatch) -> None:
    """Equal words are proof enough."""
    patch.setattr(KnownResponses, "find_proof", lambda *_: Proof.KEYS)


def _answered(patch: pytest.MonkeyPatch) -> dict[str, Outline]:
    """The contexts that were answered, by the marks of the answers; kept alive."""
    contexts: dict[str, Outline] = {}
    take = RequestPlanner.commit

    def noting(self: RequestPlanner, attempt: int, placement: Placement, now: float) -> None:
        contexts[self.mark_of(attempt)] = placement.context
        take(self, attempt, placement, now)

    patch.setattr(RequestPlanner, "commit", noting)
    return contexts


def by_any_shared_key(patch: pytest.MonkeyPatch) -> None:
    """One key of what was answered is proof enough."""
    contexts = _answered(patch)

    def proof(self: KnownResponses, known: KnownResponse, context: Outline, *_: object) -> object:
        del self
        shared = set(contexts[known.anchor.mark].keys).intersection(context.keys)
        return Proof.KEYS if shared else None

    patch.setattr(KnownResponses, "find_proof", proof)


def by_object(patch: pytest.MonkeyPatch) -> None:
    """One item that is the very object of an answered one is proof enough."""
    contexts = _answered(patch)

    def proof(self: KnownResponses, known: KnownResponse, context: Outline, *_: object) -> object:
        del self
        objects = {id(item) for item in contexts[known.anchor.mark].items}
        return Proof.KEYS if objects & {id(item) for item in context.items} else None

    patch.setattr(KnownResponses, "find_proof", proof)
