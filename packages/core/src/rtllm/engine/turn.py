"""One turn of the engine: its request, its state, and the constraints on its resends."""

from collections import deque
from dataclasses import dataclass, field
from typing import Literal

from rtllm.content.events import ToolCallReady
from rtllm.content.usage import AttemptUsage
from rtllm.context.conversations import Conversation, Membership
from rtllm.context.prompt_cache import SentPrompt
from rtllm.engine.attempt import Attempt
from rtllm.engine.prepared import PreparedRequest
from rtllm.engine.progress import TurnProgress
from rtllm.engine.transitions import change

State = Literal["due", "connecting", "pausing", "running", "over"]

TRANSITIONS: dict[State, frozenset[State]] = {
    "due": frozenset({"connecting", "pausing", "running", "over"}),
    "connecting": frozenset({"due", "pausing", "over"}),
    "pausing": frozenset({"due", "over"}),
    "running": frozenset({"due", "pausing", "over"}),
    "over": frozenset(),
}
"""The allowed changes of a turn's state. *Due*: it is sent at the end of the current fact.
*Connecting*: it waits for a connection. *Pausing*: it waits before it is sent again."""


@dataclass(slots=True)
class SendConstraints:
    """What a turn's earlier attempts require of the next one.

    Attributes:
        full_context: Send the full context, even if a part of it is known.
        omit_hidden: Leave out items that the framework does not record, because they were rejected.
        over_http: Use HTTP.
        avoid: The connections not to use.
        met_unresponsive: Whether one of them never sent anything.
        has_waited: Whether it has waited for a rate limit: it does so once for each attempt.
    """

    full_context: bool = False
    omit_hidden: bool = False
    over_http: bool = False
    avoid: set[int] = field(default_factory=set)
    met_unresponsive: bool = False
    has_waited: bool = False


@dataclass(slots=True, eq=False)
class Rebuild:
    """Sending known contexts again to the replacement of an old connection.

    Attributes:
        old: The number of the old connection.
        new: The number of the new one.
        queue: The conversations whose latest known prefix is still to be sent.
    """

    old: int
    new: int
    queue: deque[Conversation]


@dataclass(slots=True, eq=False)
class ActiveTurn:
    """One turn, from its request to its end.

    Attributes:
        number: Its number within the engine.
        prepared: Its request.
        member: The conversation that it belongs to.
        progress: Its limits, retries and progress.
        began: When it began.
        newest_connection: The newest connection that was open then.
        constraints: What its next attempt must do.
        state: Its state.
        waits_for: The number of the connection that it waits for; None if it waits for none.
        attempt: Its current attempt; None between attempts.
        last: Its latest attempt; None if nothing was sent yet.
        held: Calls that are emitted at the end of the response.
        bytes_sent: Bytes of all its requests.
        first_output: Seconds until the first output was emitted; None before that.
        prompt_before: The prompt before its own, of its conversation or of the client, if reports
            about the prompt cache are wanted.
        is_prompt_of_conversation: Whether that one is of its conversation.
        spent: The usage of its attempts that have ended.
        rebuild: The rebuild that it is part of; None for a turn with a request of its own.
    """

    number: int
    prepared: PreparedRequest
    member: Membership
    progress: TurnProgress
    began: float
    newest_connection: int
    constraints: SendConstraints = field(default_factory=SendConstraints)
    state: State = "due"
    waits_for: int | None = None
    attempt: Attempt | None = None
    last: Attempt | None = None
    held: list[ToolCallReady] = field(default_factory=list)
    bytes_sent: int = 0
    first_output: float | None = None
    prompt_before: SentPrompt | None = None
    is_prompt_of_conversation: bool = False
    spent: list[AttemptUsage] = field(default_factory=list)
    rebuild: "Rebuild | None" = None

    def __repr__(self) -> str:
        where = f" for connection {self.waits_for}" if self.waits_for is not None else ""
        conversation = self.member.conversation.number
        return f"<Turn {self.number} of conversation {conversation}: {self.state}{where}>"

    def become(self, state: State) -> None:
        """Change the state.

        Raises:
            RuntimeError: If the change is not allowed; a bug in this library.
        """
        self.state = change(f"turn {self.number}", TRANSITIONS, self.state, state)

    @property
    def model(self) -> str:
        """The model of the request."""
        return self.prepared.request.model
