"""The plan for a context: what to continue and what to send, of what belongs to it."""

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field

from rtllm.content.items import Item
from rtllm.context.belonging import KnownResponse, Proof
from rtllm.context.conversations import Conversation, Membership
from rtllm.context.hidden_items import restore_hidden_items
from rtllm.context.outline import FullContextReason, Outline, Plan, ResponseAnchor


@dataclass(frozen=True, slots=True)
class Continuable:
    """What may be continued for a context.

    Attributes:
        belonging: The responses that belong to it, those that explain most of it first.
        prepared: Prepared prompts, which belong to all conversations, the newest first.
        reachable: Tells whether a response can be continued right now.
        exchanged: The numbers of connections that have another one in their place.
        unproven: Tells whether the context begins with a response that isn't proved to belong
            to it.
    """

    belonging: Iterable[tuple[KnownResponse, Proof]]
    prepared: Iterable[ResponseAnchor] = ()
    reachable: Callable[[ResponseAnchor], bool] = field(default=lambda _: True)
    exchanged: Collection[int] = ()
    unproven: Callable[[], bool] = field(default=lambda: False)


def choose_plan(
    asked: Membership, model: str, known: Continuable, *, puts_back: bool = True
) -> Plan:
    """Find the most that the service already knows of a context, of what belongs to it.

    The longest known state wins that is an exact prefix and still reachable; of equals, the
    newest. Where only the system texts changed, everything is sent once more with these in the
    ``instructions`` field, so that the next change costs only its own text.

    Args:
        asked: A legal context, and whose it is.
        model: The model that shall answer.
        known: What may be continued.
        puts_back: Whether a full context gets the hidden items of its own responses back.

    Returns:
        What to send; changes nothing.
    """
    context = asked.context
    passed: list[tuple[KnownResponse, Proof]] = []
    for response, proof in known.belonging:
        anchor = response.anchor
        rest = None if response.lost else _rest(anchor, context, model)
        if rest is not None and known.reachable(anchor):
            return Plan(anchor, rest, anchor.lead_in_field, None)
        passed.append((response, proof))
    for anchor in known.prepared:
        rest = _rest(anchor, context, model)
        if rest is not None and known.reachable(anchor):
            return Plan(anchor, rest, anchor.lead_in_field, None)
    in_field = bool(context.lead) and any(_lead_moves(r.anchor, context) for r, _ in passed)
    items = context.items[len(context.lead) :] if in_field else context.items
    if puts_back:
        items = _with_hidden(context, items, model, passed)
    lost = [r.anchor for r, _ in passed if _rest(r.anchor, context, model) is not None]
    why: FullContextReason
    if lost:
        exchanged = any(anchor.home.connection in known.exchanged for anchor in lost)
        why = "connection exchanged" if exchanged else "state out of reach"
    else:
        why = "instructions changed" if in_field else _reason(asked.conversation, known)
    return Plan(None, items, in_field, why)


def _rest(anchor: ResponseAnchor, context: Outline, model: str) -> tuple[Item, ...] | None:
    """What a context adds to a response, None if the response can't be continued with it."""
    if anchor.model != model or not (anchor.lead_in_field or anchor.state.lead == context.lead):
        return None
    return anchor.state.rest_of(context)


def _lead_moves(anchor: ResponseAnchor, context: Outline) -> bool:
    """Tell whether a context is a known state under other system texts.

    Texts that stood behind the leading ones for one request only (instructions of a
    single reply) are no edit: without them the lead is what it was before.
    """
    if anchor.state.length == (0, 0):
        return False
    return anchor.lead_in_field or anchor.state.lead[: len(context.lead)] != context.lead


def _with_hidden(
    context: Outline,
    items: tuple[Item, ...],
    model: str,
    belonging: Iterable[tuple[KnownResponse, Proof]],
) -> tuple[Item, ...]:
    """Restore the hidden items of responses that belong by more than their content."""
    hidden = [
        one
        for response, proof in belonging
        if response.anchor.model == model and proof is not Proof.CONTENT
        for one in response.hidden
    ]
    return restore_hidden_items(context, items, reversed(hidden))


def _reason(conversation: Conversation, known: Continuable) -> FullContextReason:
    """Tell why nothing that is known belongs to a request of a conversation."""
    if known.unproven():
        return "belonging unproven"
    if conversation.responses:
        return "context changed"
    return "first request" if conversation.requests < 2 else "no completed response"
