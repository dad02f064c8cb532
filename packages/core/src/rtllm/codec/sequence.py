"""Sequence numbers: detecting frames that a proxy repeated."""

from rtllm.codec.frames import Frame


class SequenceCheck:
    """Detects repeated frames of a response by their sequence numbers.

    A frame is a repetition only if its content and number are equal, and only if the numbers are
    usable. Some hosts give all frames the same number, or restart with each item. Without usable
    numbers an equal frame is new, for a model may say the same word twice.
    """

    def __init__(self) -> None:
        self._seen: dict[int, int] = {}
        self._is_trusted = True

    def is_repeat(self, frame: Frame) -> bool:
        """Record a frame; return whether it came before."""
        number = frame.sequence_number
        if not self._is_trusted or type(number) is not int:
            return False
        identity = _identity(frame)
        before = self._seen.get(number)
        if before is None:
            self._seen[number] = identity
            return False
        if before != identity:
            self._is_trusted = False
            self._seen.clear()
            return False
        return len(self._seen) > 1


def _identity(frame: Frame) -> int:
    """Hash what distinguishes a frame from others; cheap for deltas, which nearly all are.

    A hash, since thousands of small tuples would be work for the garbage collector.
    """
    delta = frame.delta
    place = (frame.type, frame.item_id, frame.output_index, frame.content_index)
    if type(delta) is str:
        try:
            return hash((delta, place))
        except TypeError:
            pass  # a name that should be text or a number holds a list
    more = (place, delta, frame.text, frame.refusal, frame.arguments)
    return hash((repr(more), bytes(frame.item), bytes(frame.part), len(bytes(frame.response))))
