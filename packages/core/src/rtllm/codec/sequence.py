"""Sequence numbers: which frames a proxy repeated."""

from rtllm.codec.frames import Frame


class SequenceCheck:
    """Tells repeated frames of a response by their sequence numbers.

    Only an equal frame with an equal number is a repetition, and only where numbers mean
    something: some hosts give all frames the same, or begin anew with each item. Without that
    evidence an equal frame is new, for a model may say the same word twice.
    """

    def __init__(self) -> None:
        self._seen: dict[int, int] = {}
        self._is_trusted = True

    def is_repeat(self, frame: Frame) -> bool:
        """Note a frame; tell whether it came before."""
        number = frame.sequence_number
        if not self._is_trusted or not isinstance(number, int) or isinstance(number, bool):
            return False
        digest = _digest(frame)
        before = self._seen.get(number)
        if before is None:
            self._seen[number] = digest
            return False
        if before != digest:
            self._is_trusted = False
            self._seen.clear()
            return False
        return len(self._seen) > 1


def _digest(frame: Frame) -> int:
    """Digest what tells one event from another."""
    fields = (
        frame.type,
        frame.delta,
        frame.item_id,
        frame.output_index,
        frame.content_index,
        frame.text,
        frame.refusal,
        frame.arguments,
    )
    told = tuple(f if isinstance(f, str | int | float) else type(f).__name__ for f in fields)
    if isinstance(frame.delta, str):
        return hash(told)
    return hash((told, bytes(frame.item), bytes(frame.part), len(bytes(frame.response))))
