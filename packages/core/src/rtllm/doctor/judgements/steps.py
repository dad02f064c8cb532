"""Steps: the requests of the checks, with an estimate of their tokens."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from rtllm.content.items import Item, Message, ToolOutput

TELL = "Remember this word: {word}. Answer with OK only."
ASK = (
    "Which word did I ask you to remember? Answer with that word only. "
    "If you don't know one, answer with UNKNOWN only."
)
COUNT = "Count from one to forty in English words, separated by spaces."

CAP = 64
"""The limit of output tokens for a model that does not reason."""
REASONING_CAP = 1024
"""The limit for a model that reasons, or may; its thoughts count."""
LONG_CAP = 512
"""The limit of a long response, if it is the higher one."""
SHORTEST_CAP = 16
"""The lowest limit that the service accepts; a long response reaches it."""

_CHARACTERS = 4
_FRAME = 8
"""Tokens around each message, roughly."""


def tokens_of(text: str) -> int:
    """Estimate the tokens of a message."""
    return -(-len(text) // _CHARACTERS) + _FRAME


@dataclass(frozen=True, slots=True)
class Step:
    """One request.

    Attributes:
        text: The user's message; ``{word}`` is replaced.
        output: How many output tokens are expected.
        after: The request whose response it continues.
        lane: Its lane; None for the default one.
        stored: Whether the host is asked to store the response.
        generates: Whether a response is wanted.
        cap: The limit of output tokens, if it is not the usual one.
        broken: Whether it has the output of a call that was never made, which every host refuses.
        padding: Characters of that output.
    """

    text: str = ASK
    output: int = 8
    after: "Step | None" = None
    lane: str | None = None
    stored: bool = False
    generates: bool = True
    cap: int | None = None
    broken: bool = False
    padding: int = 0

    @property
    def input_tokens(self) -> int:
        """The estimate of its input tokens, those of the continued response included."""
        if self.broken:
            return 0
        before = self.after
        carried = 0 if before is None else before.input_tokens + before.output_tokens
        return carried + tokens_of(self.text)

    @property
    def output_tokens(self) -> int:
        """The estimate of its output tokens."""
        return self.output if self.generates and not self.broken else 0

    def items(self, word: str) -> tuple[Item, ...]:
        """Return the items to send."""
        if self.broken:
            return (ToolOutput("call_never_made", "none" + "x" * self.padding),)
        return (Message.of("user", self.text.format(word=word)),)

    def limit(self, usual: int) -> int:
        """Return the limit of its output tokens.

        Args:
            usual: The usual limit for the model.
        """
        return usual if self.cap is None else self.cap


ALONE = Step()
"""The question for the word, which was never given."""
GIVEN = Step(TELL, 3)
"""A message with the word."""
ASKED = Step(after=GIVEN)
"""The question for the word, as a continuation of that message."""
STORED = replace(GIVEN, stored=True)
"""A message with the word; the host is asked to store its response."""
ASKED_STORED = Step(after=STORED)
"""The question for the word, as a continuation of the stored response."""
COUNTED = Step(COUNT, 90, cap=LONG_CAP)
"""A request with a long response."""
NO_RESPONSE = f"resp_{'0' * 48}"
"""The id of a response that never existed."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """The estimated tokens of some steps.

    Attributes:
        requests: How many requests.
        input_tokens: About how many input tokens.
        output_tokens: About how many output tokens.
        most_output: How many output tokens at most.
        stored: How many responses the host is asked to store.
    """

    requests: int
    input_tokens: int
    output_tokens: int
    most_output: int
    stored: int


def cost_of(steps: Iterable[Step], usual_cap: int) -> Estimate:
    """Estimate the cost of steps."""
    known = list(steps)
    running = [step for step in known if step.output_tokens]
    return Estimate(
        len(known),
        sum(step.input_tokens for step in known),
        sum(step.output_tokens for step in known),
        sum(step.limit(usual_cap) for step in running),
        sum(step.stored for step in known),
    )
