"""Errors, as one tree of types.

RtllmError
├── ConfigError (ValueError)      a setting is not valid
├── EmptyContext (ValueError)     the context has nothing to respond to
├── ToolSchemaError (ValueError)  a tool has no valid schema; names the tool
├── ToolArgumentsError (ValueError)  the model's arguments of a tool are not valid
└── TurnError                     a turn ended without its response
    ├── RequestRejected  the service rejects the request, and would do so again
    ├── ConnectFailed    no connection could be opened
    ├── RateLimited      too many requests or tokens (429)
    ├── Overloaded       the service is overloaded (503)
    ├── ConnectionLost   the connection was lost
    ├── TurnTimeout      a time limit was exceeded
    └── ResponseFailed   the service failed to complete the response

A response that the service cut short ("incomplete") is an outcome, not an error.
"""

from dataclasses import dataclass
from typing import Literal

Phase = Literal["connecting", "sent", "created", "emitted", "complete"]
"""How far an attempt got: each phase includes the ones before it. *Emitted*: output was emitted.
*Complete*: only the last event is missing."""


class RtllmError(Exception):
    """Base class of the errors that rtllm raises on purpose."""


class ConfigError(RtllmError, ValueError):
    """A setting is not valid; raised by the constructor or call that got it."""


class EmptyContext(RtllmError, ValueError):
    """A request has no item that a model could respond to."""


class ToolSchemaError(RtllmError, ValueError):
    """A tool has no valid schema.

    Attributes:
        tool: The tool's name.
    """

    def __init__(self, tool: str, reason: str) -> None:
        super().__init__(f"the tool {tool!r} can't be offered to the model: {reason}")
        self.tool = tool


class ToolArgumentsError(RtllmError, ValueError):
    """The model's arguments of a tool call are not valid.

    Its text is meant for the model, which can call again with corrected ones. It does not repeat
    the values, which are the caller's words: the model has them, and logs must not.

    Attributes:
        tool: The tool's name.
        problems: The places and problems, such as ``("nights", "Input should be less than 30")``.
    """

    def __init__(self, tool: str, problems: tuple[tuple[str, str], ...]) -> None:
        reasons = "; ".join(f"{where}: {what}" if where else what for where, what in problems)
        super().__init__(
            f"the arguments of {tool!r} are not valid: {reasons}. Nothing was run; correct them "
            f"and call {tool!r} again"
        )
        self.tool = tool
        self.problems = problems


@dataclass(frozen=True, slots=True)
class Details:
    """The known facts of a failed turn.

    Attributes:
        code: The service's error code, such as ``rate_limit_exceeded``.
        status: The HTTP status, if there was one.
        param: The request field that the service names.
        request_id: The service's id of the request or, if there is none, of the response.
        phase: How far the last attempt got.
        attempts: How many requests were sent for this turn, including the failed one.
        emitted: Characters of text and number of tool calls that were already emitted.
        retry_after: Seconds that the service asked to wait, if it did.
        address: The address that was asked, with the method, without the query.
        tries: How often the turn was tried, including connections that could not be opened.
        seconds: How long the turn took.
    """

    code: str | None = None
    status: int | None = None
    param: str | None = None
    request_id: str | None = None
    phase: Phase = "connecting"
    attempts: int = 1
    emitted: tuple[int, int] = (0, 0)
    retry_after: float | None = None
    address: str | None = None
    tries: int = 1
    seconds: float | None = None


class TurnError(RtllmError):
    """A turn ended without its response.

    Attributes:
        message: The service's own sentence if there is one.
        details: The other known facts.
    """

    retryable = False
    """Whether another try, later or on another host, could succeed."""

    def __init__(self, message: str, details: Details | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.details = details or Details()

    def __str__(self) -> str:
        d = self.details
        known = [f"{k} {v}" for k, v in (("status", d.status), ("code", d.code)) if v is not None]
        if d.param:
            known.append(f"param {d.param}")
        if d.request_id:
            known.append(f"request {d.request_id}")
        if d.tries > 1 and d.seconds is not None:
            known.append(f"{d.tries} attempts in {d.seconds:.{1 if d.seconds < 9.95 else 0}f} s")
        text, calls = d.emitted
        if text or calls:
            known.append(f"after {text} characters and {calls} tool calls were emitted")
        sentence = f"{d.address}: {self.message}" if d.address else self.message
        return f"{sentence} ({', '.join(known)})" if known else sentence


class RequestRejected(TurnError):
    """The service rejects the request, and would do so again."""


class ConnectFailed(TurnError):
    """No connection could be opened."""

    retryable = True


class RateLimited(TurnError):
    """Too many requests or tokens; ``details.retry_after`` tells how long to wait, if known."""

    retryable = True


class Overloaded(TurnError):
    """The service is overloaded."""

    retryable = True


class ConnectionLost(TurnError):
    """The connection was lost before the response was complete."""

    retryable = True


class TurnTimeout(TurnError):
    """A time limit was exceeded; the message tells which wait, and how long it was."""

    retryable = True


class ResponseFailed(TurnError):
    """The service began the response but failed to complete it."""

    retryable = True
