"""The expected history: how a framework records an output.

The next request continues a response only if the framework's context begins with what is expected
here. If it records something else, every turn after it sends its full context.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rtllm.codec.fingerprint import fingerprint
from rtllm.content.items import Item, Message, ToolCall
from rtllm.context.outline import KnownPrefix, Outline

HistoryMapping = Callable[[tuple[Item, ...]], tuple[Item, ...] | None]
"""Maps an output to the items that a framework records for it; None if it records others."""


def message_then_calls(
    output: Sequence[Item],
    *,
    separator: str = " ",
    keeps_phase: bool = False,
    as_run: Callable[[ToolCall], ToolCall] | None = None,
) -> tuple[Item, ...] | None:
    """Return what a framework records that keeps one message with all text, then the calls.

    Args:
        output: The output of the service, in order.
        separator: The text between the texts of several messages.
        keeps_phase: Whether the framework keeps the phase of the last message.
        as_run: Returns a call as the framework records it, for example `OfferedTools.as_run`; None
            for a framework that records it unchanged.

    Returns:
        The items; None if there is text after a call, which changes the order.
    """
    messages: list[Message] = []
    calls: list[ToolCall] = []
    for item in output:
        if isinstance(item, ToolCall):
            calls.append(item if as_run is None else as_run(item))
        elif isinstance(item, Message) and item.text:
            if calls:
                return None
            messages.append(item)
    text = separator.join(message.text for message in messages)
    phases = [message.phase for message in messages if message.phase is not None and keeps_phase]
    message = [Message.of("assistant", text, phases[-1] if phases else None)] if text else []
    return (*message, *calls)


@dataclass(frozen=True, slots=True)
class Recording:
    """What a framework recorded for an output, converted to items by the adapter.

    Attributes:
        before: The context of the request.
        output: The output of the service.
        after: The context of a later request, which contains what was recorded.
    """

    before: tuple[Item, ...]
    output: tuple[Item, ...]
    after: tuple[Item, ...]


def find_unrecognized(recordings: Sequence[Recording], mapping: HistoryMapping) -> list[str]:
    """Find the outputs that would not be found again in a framework's own recordings.

    Use it with recordings of a real session to check an adapter's mapping.

    Args:
        recordings: The recordings.
        mapping: The adapter's mapping.

    Returns:
        A sentence for each output that is not found: what was expected, and what is there instead.
        Outputs that the mapping returns None for are not counted.
    """
    found: list[str] = []
    for number, one in enumerate(recordings):
        expected = mapping(one.output)
        if expected is None:
            continue
        known, context = KnownPrefix.of(Outline.of(one.before), expected), Outline.of(one.after)
        if known.remaining_items(context) is None:
            found.append(f"output {number}: {_difference(one.before, expected, one.after)}")
    return found


def _difference(before: Sequence[Item], expected: Sequence[Item], after: Sequence[Item]) -> str:
    """Describe the first item that differs."""
    for place, item in enumerate((*before, *expected)):
        there = after[place] if place < len(after) else None
        if there is None or fingerprint(there) != fingerprint(item):
            part = "the context before it" if place < len(before) else "what is recorded for it"
            recorded = "nothing" if there is None else _described(there)
            return f"in {part}, item {place} should be {_described(item)}, but is {recorded}"
    return "the order of its calls and their outputs differs"


def _described(item: Item) -> str:
    match item:
        case Message(role):
            return f"the {role} text {item.text!r}"
        case ToolCall(call_id, name, arguments):
            return f"the call {name}({arguments}) with the id {call_id!r}"
        case _:
            return repr(item)
