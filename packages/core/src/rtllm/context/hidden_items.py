"""Hidden items: parts of a response that the framework does not record.

They are reasoning, phases, and the items of hosted tools. A continued response includes them. If
its context has to be sent in full, they are restored to their original positions. Without its
reasoning a reasoning model would start over in the middle of its tool calls, and the service
requires a message's phase (documented).
"""

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from rtllm.codec.fingerprint import fingerprint
from rtllm.codec.responses_encoder import returnable
from rtllm.content.items import Item, Message, ToolCall
from rtllm.context.outline import HiddenItems, Outline


@dataclass(slots=True)
class _Gathered:
    items: list[Item]
    phase: str | None = None


def find_hidden_items(
    recorded_context: Outline, output: Sequence[Item], recorded: Sequence[Item]
) -> tuple[HiddenItems, ...]:
    """Find the items of an output that are not recorded.

    Args:
        recorded_context: The context followed by the recorded output, as one outline.
        output: All items of the response.
        recorded: The items that the framework records; the last items of `recorded_context`.
    """
    begin = len(recorded_context.items) - len(recorded)
    message = next((i for i, item in enumerate(recorded) if isinstance(item, Message)), None)
    calls = {item.call_id: i for i, item in enumerate(recorded) if isinstance(item, ToolCall)}
    said = [item for item in output if isinstance(item, Message) and item.text]
    found: dict[int, _Gathered] = {}
    pending: list[Item] = []
    for item in output:
        target: int | None = None
        if (returned := returnable(item)) is not None:
            pending.append(returned)
        elif isinstance(item, ToolCall):
            target = calls.get(item.call_id)
        elif isinstance(item, Message):
            target = message
        if target is None:
            continue
        gathered = found.setdefault(target, _Gathered([]))
        gathered.items += pending
        pending = []
        if isinstance(item, Message) and len(said) == 1:
            gathered.phase = item.phase
    return tuple(
        HiddenItems(
            fingerprint(recorded_context.items[begin + at]),
            _unit(recorded_context, begin + at) if at == message else None,
            tuple(gathered.items),
            gathered.phase,
        )
        for at, gathered in sorted(found.items())
        if gathered.items or gathered.phase
    )


def restore_hidden_items(
    context: Outline, items: Sequence[Item], hidden: Iterable[HiddenItems]
) -> tuple[Item, ...]:
    """Restore hidden items to a context.

    Args:
        context: The context.
        items: The last items of it, which are to be sent.
        hidden: The hidden items of the responses that the context begins with.
    """
    known = {(one.anchor, one.unit): one for one in hidden}
    if not known:
        return tuple(items)
    begin = len(context.items) - len(items)
    recorded_context: list[Item] = []
    for index, item in enumerate(items, begin):
        digest = fingerprint(item)
        one = known.get((digest, None)) or known.get((digest, _unit(context, index)))
        if one is not None:
            recorded_context += one.before
        if one is not None and isinstance(item, Message) and item.phase is None:
            recorded_context.append(replace(item, phase=one.phase))
        else:
            recorded_context.append(item)
    return tuple(recorded_context)


def _unit(outline: Outline, index: int) -> int:
    """Return the index of the unit that an item belongs to."""
    return bisect_right(outline.starts, index) - 1
