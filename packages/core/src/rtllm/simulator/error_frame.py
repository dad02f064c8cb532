"""Error frames in every form that was seen, and the moments at which faults occur. No I/O."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

Stage: TypeAlias = Literal["sent", "headers", "created", "opened", "output", "item", "complete"]
Shape: TypeAlias = Literal["a", "b", "c", "d", "e", "f"]
Event: TypeAlias = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class At:
    """The moment of a fault; ``after`` counts deltas or items in phases that have them."""

    phase: Stage = "sent"
    after: int = 1

    def is_due(self, phase: Stage, count: int = 0) -> bool:
        """Whether this is the moment."""
        counts = phase in {"opened", "output", "item"}
        return phase == self.phase and (not counts or count == self.after)


@dataclass(frozen=True, slots=True)
class ErrorFrame(At):
    """An error frame that ends the request.

    Attributes:
        shape: ``a`` is OpenAI's form; ``b`` is flat; ``c`` has only ``detail``; ``d`` has no status
            but a number as code; ``e`` has nothing but a type; ``f`` has no ``type``. The default
            is what the service itself sends: ``a`` on a WebSocket, ``b`` in an HTTP stream.
        status: None leaves it out, as some hosts do; over HTTP that is a 500.
        headers: Sent at the top level, or inside ``error`` with ``headers_inside``.
        status_name: ``status`` or ``status_code``.
        tagged: Whether a named lane's frame has its ``stream_id``.
        extra: More fields of the ``error`` object, such as ``resets_at``.
        then_close: Close the WebSocket with this code afterwards, as gateways do.
    """

    code: str | None = "server_error"
    status: int | None = 500
    message: str = "The server had an error while processing your request. Sorry about that!"
    kind: str = "server_error"
    param: str | None = None
    shape: Shape | None = None
    headers: Mapping[str, str] | None = None
    headers_inside: bool = False
    status_name: Literal["status", "status_code"] = "status"
    tagged: bool = True
    extra: Mapping[str, Any] | None = None
    then_close: int | None = None

    def frame(self, lane: str | None, sequence_number: int = 0, live: Shape = "a") -> Event:
        """Create the frame as it is sent; ``live`` is the service's own form."""
        frame = self._shaped(self.shape or live, sequence_number)
        if self.extra and "error" in frame:
            frame["error"].update(self.extra)
        if self.headers is not None:
            inside = self.headers_inside and "error" in frame
            (frame["error"] if inside else frame)["headers"] = dict(self.headers)
        if lane is not None and self.tagged:
            frame["stream_id"] = lane
        return frame

    def _shaped(self, shape: Shape, sequence_number: int) -> Event:
        error = {
            "type": self.kind,
            "code": self.code,
            "message": self.message,
            "param": self.param,
        }
        status: Event = {} if self.status is None else {self.status_name: self.status}
        flat = {key: value for key, value in error.items() if key != "type"}
        shaped: dict[Shape, Event] = {
            "a": {"type": "error", **status, "error": error},
            "b": {"type": "error", **flat, "sequence_number": sequence_number},
            "c": {"error": {"detail": self.message}, **status, "type": "error"},
            "d": {"type": "error", "error": {**error, "code": str(self.status)}},
            "e": {"type": "error", "error": {"type": self.kind, "message": self.message}},
            "f": {**status, "error": error},
        }
        return shaped[shape]


def rate_limited(
    retry_after: str | None = None, message: str | None = None, **changes: Any
) -> ErrorFrame:
    """Create a 429 with its usual text; ``retry_after`` (seconds) is sent as a header."""
    return ErrorFrame(
        code="rate_limit_exceeded",
        status=429,
        kind="rate_limit_error",
        message=message or "Rate limit reached for requests. Please try again in 20ms.",
        headers=None if retry_after is None else {"retry-after": retry_after},
        **changes,
    )


def overloaded(**changes: Any) -> ErrorFrame:
    """Create a 503: the service is overloaded."""
    return ErrorFrame(
        code="server_is_overloaded",
        status=503,
        kind="service_unavailable_error",
        message="Our servers are currently overloaded. Please try again later.",
        **changes,
    )


def connection_limit(**changes: Any) -> ErrorFrame:
    """Create the error of a connection that reaches its lifetime during a request, and closes."""
    return ErrorFrame(
        code="websocket_connection_limit_reached",
        status=400,
        kind="invalid_request_error",
        message="Responses websocket connection limit reached (60 minutes). "
        "Create a new websocket connection to continue.",
        tagged=False,
        then_close=1000,
        **changes,
    )
