"""Replies: the outcome of one request, and whether it knew an earlier one."""

from dataclasses import dataclass
from typing import Literal

from rtllm.content.events import ResponseEnded
from rtllm.content.usage import Usage
from rtllm.errors import RequestRejected
from rtllm.retry.faults import Fault
from rtllm.retry.policy import TABLE, lesson_of

Kept = Literal["kept", "missed", "refused", "ignored", "unclear", "failed"]
"""Whether a request knew the response that it continued.

- *kept*: the answer shows that it did.
- *missed*: it was refused with an error that the code takes for an unknown parent.
- *refused*: it was refused with another error, and would be again.
- *ignored*: it was answered without its context.
- *unclear*: the answer was cut, or its words and its tokens contradict each other.
- *failed*: for another reason, such as a rate limit.
"""

_OF_THE_ACCOUNT = (401, 402, 403, 429)
"""The statuses of rejections that don't concern the request."""


@dataclass(frozen=True, slots=True)
class HostReply:
    """The outcome of one request.

    Attributes:
        response_id: The id of the response.
        parent: The continued response as the host names it: empty if it names none, None if the
            field is missing.
        text: The text.
        ended: How the response ended; None if it did not.
        fault: The fault that ended it.
        tagged: Whether the frames named the lane.
        seconds: Seconds from the request to the first text; None if there was none.
    """

    response_id: str | None = None
    parent: str | None = None
    text: str = ""
    ended: ResponseEnded | None = None
    fault: Fault | None = None
    tagged: bool = True
    seconds: float | None = None

    @property
    def usage(self) -> Usage | None:
        """The tokens, if the host reported them."""
        return self.ended.usage if self.ended is not None else None

    @property
    def is_complete(self) -> bool:
        """Whether the response is complete, with or without output."""
        return self.ended is not None and self.ended.outcome in ("completed", "empty")

    @property
    def misses_parent(self) -> bool:
        """Whether it was refused because the continued response is unknown."""
        return self.fault is not None and lesson_of(self.fault) == "parent lost"

    @property
    def is_too_large(self) -> bool:
        """Whether the request exceeded the host's frame limit."""
        return self.fault is not None and lesson_of(self.fault) == "too large"

    @property
    def is_rejected(self) -> bool:
        """Whether the host read the request, and refused it."""
        if self.fault is None or self.fault.status is None:
            return False
        return not self.is_passing and not self.is_too_large

    @property
    def is_passing(self) -> bool:
        """Whether it failed for a reason that another attempt may not have."""
        if self.fault is None:
            return False
        rejected = TABLE[self.fault.kind].error is RequestRejected
        return not rejected or self.fault.status in _OF_THE_ACCOUNT

    @property
    def summary(self) -> str:
        """How it ended, in a few words."""
        if self.fault is not None:
            code = f" `{self.fault.code}`" if self.fault.code else ""
            status = f" {self.fault.status}" if self.fault.status else ""
            return f"error{status}{code}: {self.fault.message}"
        if self.ended is None:
            return "no end"
        counted = f", {self.usage.input} input tokens" if self.usage is not None else ""
        return f"{self.ended.outcome}{counted}"


@dataclass(frozen=True, slots=True)
class Baseline:
    """Token counts of the host, to judge others by.

    Attributes:
        message: The input tokens of the message with the word.
        question: The input tokens of the question alone.
    """

    message: int
    question: int

    @classmethod
    def of(cls, message: HostReply, question: HostReply) -> "Baseline | None":
        """Create it from the replies to both; None if the host does not report usage."""
        if message.usage is None or question.usage is None:
            return None
        return cls(message.usage.input, question.usage.input)

    def counts_context(self, reply: HostReply) -> bool | None:
        """Whether a continued question's tokens include the earlier message; None if unknown."""
        if reply.usage is None or not self.message:
            return None
        return reply.usage.input >= self.question + self.message / 2


def kept(reply: HostReply, word: str, baseline: Baseline | None = None) -> Kept:
    """Judge whether a request knew the response that it continued.

    Args:
        reply: The reply to the question for the word.
        word: The word.
        baseline: Token counts, if the host reports them.
    """
    if reply.misses_parent:
        return "missed"
    if reply.fault is not None:
        return "failed" if reply.is_passing else "refused"
    if reply.ended is None:
        return "failed"
    if word.rpartition("-")[2] in reply.text:
        return "kept"
    if reply.ended.outcome != "completed":
        return "unclear"  # cut, or without any text
    counted = baseline.counts_context(reply) if baseline is not None else None
    return "unclear" if counted else "ignored"


def seen(reply: HostReply, outcome: Kept) -> str:
    """Describe what came back for a continued question."""
    match outcome:
        case "kept":
            return f"the answer had the word ({reply.summary})"
        case "ignored":
            return f"the answer did not have the word ({reply.summary})"
        case "unclear":
            return f"the answer did not have the word, but may have known it ({reply.summary})"
        case _:
            return reply.summary
