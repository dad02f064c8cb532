"""Planner: which response a context continues, and which items are sent."""

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field

from rtllm.content.items import Item
from rtllm.context.belonging import KnownResponse, Proof
from rtllm.context.conversations import Conversation, Membership
from rtllm.context.hidden_items import restore_hidden_items
from rtllm.context.outline import FullContextReason, Outline, Plan, ResponseAnchor


@dataclass(frozen=True, slots=True)
class Continuable:
    """The responses that a context may continue.

    Attributes:
        belonging: The responses that belong to it, the longest prefix first.
        warmed_up: Warmed-up prompts, which belong to all conversations, the newest first.
        reachable: Tells whether a response can be continued right now.
        replaced: The numbers of connections that were replaced.
        unproven: Tells whether the context begins with a response that isn't proved to belong to
            it.
    """

    belonging: Iterable[tuple[KnownResponse, Proof]]
    warmed_up: Iterable[ResponseAnchor] = ()
    reachable: Callable[[ResponseAnchor], bool] = field(default=lambda _: True)
    replaced: Collection[int] = ()
    unproven: Callable[[], bool] = field(default=lambda: False)


def choose_plan(
    member: Membership, model: str, known: Continuable, *, restores_hidden: bool = True
) -> Plan:
    """Choose the response that covers most of a context, among those that belong to it.

    The longest known prefix wins that matches exactly and can be reached; among equals, the newest.
    If only the system texts changed, the full context is sent once with these in the
    ``instructions`` field, so that the next change costs only its own text.

    Args:
        member: A normalized context and its conversation.
        model: The model of the request.
        known: The responses that may be continued.
        restores_hidden: Whether a full context gets the hidden items of its own responses back.

    Returns:
        What to send; nothing is changed.
    """
    context = member.context
    passed: list[tuple[KnownResponse, Proof]] = []
    for response, proof in known.belonging:
        anchor = response.anchor
        rest = None if response.lost else _remaining_items(anchor, context, model)
        if rest is not None and known.reachable(anchor):
            return Plan(anchor, rest, anchor.lead_in_field, None)
        passed.append((response, proof))
    for anchor in known.warmed_up:
        rest = _remaining_items(anchor, context, model)
        if rest is not None and known.reachable(anchor):
            return Plan(anchor, rest, anchor.lead_in_field, None)
    in_field = bool(context.lead) and any(_lead_changed(r.anchor, context) for r, _ in passed)
    items = context.items[len(context.lead) :] if in_field else context.items
    if restores_hidden:
        items = _with_hidden(context, items, model, passed)
    lost = [r.anchor for r, _ in passed if _remaining_items(r.anchor, context, model) is not None]
    why: FullContextReason
    if lost:
        replaced = any(anchor.lane_address.connection in known.replaced for anchor in lost)
        why = "connection replaced" if replaced else "response unavailable"
    else:
        why = "instructions changed" if in_field else _reason(member.conversation, known)
    return Plan(None, items, in_field, why)


def _remaining_items(
    anchor: ResponseAnchor, context: Outline, model: str
) -> tuple[Item, ...] | None:
    """Return what a context adds to a response; None if it can't continue the response."""
    if anchor.model != model or not (
        anchor.lead_in_field or anchor.known_prefix.lead == context.lead
    ):
        return None
    return anchor.known_prefix.remaining_items(context)


def _lead_changed(anchor: ResponseAnchor, context: Outline) -> bool:
    """Whether a context is a known prefix with other system texts.

    Texts after the leading ones that were sent for one request only (instructions of a single
    reply) don't count as a change: without them the lead is the same as before.
    """
    if anchor.known_prefix.is_prompt_only:
        return False
    return anchor.lead_in_field or anchor.known_prefix.lead[: len(context.lead)] != context.lead


def _with_hidden(
    context: Outline,
    items: tuple[Item, ...],
    model: str,
    belonging: Iterable[tuple[KnownResponse, Proof]],
) -> tuple[Item, ...]:
    """Restore the hidden items of responses that belong by a better proof than content."""
    hidden = [
        one
        for response, proof in belonging
        if response.anchor.model == model and proof is not Proof.CONTENT
        for one in response.hidden
    ]
    return restore_hidden_items(context, items, reversed(hidden))


def _reason(conversation: Conversation, known: Continuable) -> FullContextReason:
    """Find out why no known response belongs to a request of a conversation."""
    if known.unproven():
        return "belonging unproven"
    if conversation.responses:
        return "context changed"
    return "first request" if conversation.requests < 2 else "no completed response"
