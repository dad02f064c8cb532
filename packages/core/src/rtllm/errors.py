"""What can go wrong, as types.

RtllmError
├── ConfigError (ValueError)      a setting that can't work
├── EmptyContext (ValueError)     nothing to answer
├── ToolSchemaError (ValueError)  a tool whose schema can't be built; names the tool
├── ToolArgumentsError (ValueError)  what the model called a tool with; tells the model why not
└── TurnError                     a turn that ended without its answer
    ├── RequestRejected  the service says no, and would say so again
    ├── ConnectFailed    no connection could be made
    ├── RateLimited      too many requests or tokens (429)
    ├── Overloaded       the service has no room just now (503)
    ├── ConnectionLost   the connection died
    ├── TurnTimeout      a wait ran out
    └── ResponseFailed   the service gave the response up

An answer that the service cut short ("incomplete") is an outcome, not an error.
"""

from dataclasses import dataclass
from typing import Literal

Phase = Literal["connecting", "sent", "created", "given out", "whole"]
"""How far an attempt got: each word means that the ones before it are behind us."""


class RtllmError(Exception):
    """Whatever rtllm raises on purpose."""


class ConfigError(RtllmError, ValueError):
    """A setting that can't work, found where it was given."""


class EmptyContext(RtllmError, ValueError):
    """A request with nothing in it that a model could answer."""


class ToolSchemaError(RtllmError, ValueError):
    """A tool whose schema can't be built.

    Attributes:
        tool: The tool's name.
    """

    def __init__(self, tool: str, reason: str) -> None:
        super().__init__(f"the tool {tool!r} can't be offered to the model: {reason}")
        self.tool = tool


class ToolArgumentsError(RtllmError, ValueError):
    """Arguments of the model's that a tool can't take.

    Its text is made for the model, which can call again with better ones. It repeats none of
    the values, which are the caller's words: the model has them, and logs shall not.

    Attributes:
        tool: The tool's name.
        problems: Where and what, such as ``("nights", "Input should be less than 30")``.
    """

    def __init__(self, tool: str, problems: tuple[tuple[str, str], ...]) -> None:
        told = "; ".join(f"{where}: {what}" if where else what for where, what in problems)
        super().__init__(
            f"the arguments of {tool!r} don't fit: {told}. Nothing was run; correct them and "
            f"call {tool!r} again"
        )
        self.tool = tool
        self.problems = problems


@dataclass(frozen=True, slots=True)
class Details:
    """What is known of a failed turn.

    Attributes:
        code: The service's word for it, such as ``rate_limit_exceeded``.
        status: HTTP status, where one was given.
        param: The request field that the service names.
        request_id: The service's id of the request or, failing that, of the response.
        phase: How far the last attempt got.
        attempts: Requests sent for this turn, the failed one included.
        emitted: Characters of text and number of tool calls that were already given out.
        retry_after: Seconds that the service asked to wait, if it did.
    """

    code: str | None = None
    status: int | None = None
    param: str | None = None
    request_id: str | None = None
    phase: Phase = "connecting"
    attempts: int = 1
    emitted: tuple[int, int] = (0, 0)
    retry_after: float | None = None


class TurnError(RtllmError):
    """A turn that ended without its answer.

    Attributes:
        message: The service's own sentence where there is one.
        details: What is known beside it.
    """

    retryable = False
    """Whether a second try, later or elsewhere, could succeed."""

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
        text, calls = d.emitted
        if text or calls:
            known.append(f"after {text} characters and {calls} tool calls were given out")
        return f"{self.message} ({', '.join(known)})" if known else self.message


class RequestRejected(TurnError):
    """The service says no, and would say so again."""


class ConnectFailed(TurnError):
    """No connection could be made."""

    retryable = True


class RateLimited(TurnError):
    """Too many requests or tokens; ``details.retry_after`` tells when to come again, if known."""

    retryable = True


class Overloaded(TurnError):
    """The service has no room for the request just now."""

    retryable = True


class ConnectionLost(TurnError):
    """The connection died before the answer was whole."""

    retryable = True


class TurnTimeout(TurnError):
    """A wait ran out: the message says for what, and how long."""

    retryable = True


class ResponseFailed(TurnError):
    """The service began the response and gave it up."""

    retryable = True
