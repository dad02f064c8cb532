"""Recording of usage: each attempt once, and drafts once it is known that they were thrown away."""

from rtllm.content.token_estimate import estimate_input, estimate_tokens
from rtllm.content.usage import AttemptDetails, AttemptUsage, Usage
from rtllm.context.conversations import Conversation
from rtllm.engine.actions import MoveUsage, RecordUsage
from rtllm.engine.attempt import DISCARDABLE, Attempt
from rtllm.engine.state import EngineState
from rtllm.engine.turn import ActiveTurn


def usage_of(state: EngineState, attempt: Attempt) -> AttemptUsage:
    """Return the usage of an attempt that ends now, with everything that prices depend on."""
    return AttemptUsage(attempt.category, attempt.usage, _details_of(state, attempt))


def record_usage(state: EngineState, attempt: Attempt, spent: AttemptUsage) -> None:
    """Record the usage of an attempt that has ended."""
    category, usage, details = spent.category, spent.usage, spent.details
    is_late = category == "cancelled" or (category == "draft" and attempt.abandoned is not None)
    state.actions.append(
        RecordUsage(
            attempt.turn,
            attempt.number,
            category,
            usage,
            attempt.on_late_usage if is_late else None,
            details,
        )
    )
    turn = state.turns.get(attempt.turn)
    if turn is not None:
        turn.spent.append(spent)
    conversation = attempt.placement.conversation
    if conversation.latest_turn == attempt.turn and category in DISCARDABLE:
        conversation.latest_usage[attempt.number] = spent


def note_turn(state: EngineState, turn: ActiveTurn, now: float) -> None:
    """Note a conversation's new turn; what was spent on a draft that it replaces counts as such.

    Args:
        state: The engine's shared state.
        turn: The turn, with its conversation, and the one whose draft it replaces.
        now: When.
    """
    if turn.member.replaces_draft_of is not None:
        discard_draft(state, turn.member.replaces_draft_of, now)
    conversation = turn.member.conversation
    conversation.latest_turn = turn.number
    conversation.latest_usage.clear()


def discard_draft(state: EngineState, conversation: Conversation, now: float) -> None:
    """Count what the latest turn of a conversation spent, or still spends, as a draft.

    Args:
        state: The engine's shared state.
        conversation: The conversation.
        now: When.
    """
    for attempt in state.attempts.values():
        if attempt.turn == conversation.latest_turn:
            attempt.is_draft = True
    for number, spent in conversation.latest_usage.items():
        state.trace.discarded(conversation, number, spent, now)
        state.actions.append(MoveUsage(number, spent.category, "draft", spent.usage, spent.details))
    conversation.latest_usage.clear()


def _details_of(state: EngineState, attempt: Attempt) -> AttemptDetails:
    placement = attempt.placement
    parent = placement.plan.anchor
    return AttemptDetails(
        placement.model,
        state.options.profile.name,
        placement.conversation.number,
        attempt.decoder.model,
        _estimate(attempt) if attempt.usage is None else None,
        parent.input_tokens if parent is not None else 0,
        state.options.marks,
        attempt.call,
    )


def _estimate(attempt: Attempt) -> Usage | None:
    """Estimate the tokens of an attempt that the service accepted, but never reported any for."""
    if not attempt.decoder.created:
        return None  # it was probably not processed, and an estimate would be a guess
    tools, guide = attempt.unseen
    sent = estimate_input(attempt.placement.context.items, tools, guide)
    return Usage(sent, estimate_tokens(attempt.decoder.received_text()))
