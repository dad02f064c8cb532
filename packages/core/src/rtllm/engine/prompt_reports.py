"""Reports about the prompt cache: what each request sent is kept until the next one, if wanted."""

from rtllm.content.items import Message
from rtllm.context.prompt_cache import PromptCacheReport, SentPrompt, explain_cache
from rtllm.engine.attempt import Attempt
from rtllm.engine.turn import ActiveTurn


def note_prompt(
    turn: ActiveTurn, attempt: Attempt, latest: SentPrompt | None, now: float
) -> SentPrompt:
    """Note what an attempt sends, and the prompt before it.

    Args:
        turn: Its turn.
        attempt: The attempt.
        latest: The latest prompt of the client; None for none.
        now: When.

    Returns:
        What it sends.
    """
    conversation = turn.member.conversation
    if turn.last is None:  # a resend is compared with the same prompt as the first attempt
        turn.prompt_before = conversation.prompt or latest
        turn.is_prompt_of_conversation = conversation.prompt is not None
    attempt.prompt = conversation.prompt = _prompt_of(turn, now)
    return attempt.prompt


def note_prompt_tokens(attempt: Attempt) -> None:
    """Note the input tokens of a prompt, once they are reported."""
    if attempt.prompt is not None and attempt.usage is not None:
        attempt.prompt.tokens = attempt.usage.input


def cache_report_of(turn: ActiveTurn, *, shows_texts: bool) -> PromptCacheReport | None:
    """Build a turn's report of the prompt cache; None if it isn't wanted."""
    attempt = turn.last
    if attempt is None or attempt.prompt is None:
        return None
    before, usage = turn.prompt_before, attempt.usage
    return explain_cache(
        attempt.prompt,
        before,
        prompt=usage.input if usage is not None else None,
        read=usage.cached if usage is not None else None,
        full_context_reason=attempt.placement.plan.full_context_reason,
        is_same_conversation=before is not None and turn.is_prompt_of_conversation,
        shows_texts=shows_texts,
    )


def _prompt_of(turn: ActiveTurn, now: float) -> SentPrompt:
    request, context = turn.prepared.request, turn.prepared.context
    lead = context.items[: len(context.lead)]
    texts = [item.text for item in lead if isinstance(item, Message)]
    if request.guide:
        texts.append(request.guide)
    return SentPrompt(
        request.model,
        request.settings,
        request.tools,
        "\n".join(texts),
        context.items[len(context.lead) :],
        now,
    )
