"""Errors as frames, in every shape seen; and when a fault strikes. No I/O."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

Stage: TypeAlias = Literal["sent", "headers", "created", "opened", "output", "item", "whole"]
Shape: TypeAlias = Literal["a", "b", "c", "d", "e", "f"]
Event: TypeAlias = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class At:
    """When a fault strikes; ``after`` counts deltas or items where the phase does."""

    phase: Stage = "sent"
    after: int = 1

    def is_due(self, phase: Stage, count: int = 0) -> bool:
        """Whether this is the moment."""
        counts = phase in {"opened", "output", "item"}
        return phase == self.phase and (not counts or count == self.after)


@dataclass(frozen=True, slots=True)
class ErrorFrame(At):
    """An error frame ends the request.

    Attributes:
        shape: ``a`` the live form; ``b`` flat; ``c`` with ``detail`` only; ``d`` without
            status, the number as code; ``e`` with nothing but a type; ``f`` without ``type``.
            By default what the service itself sends: ``a`` on a socket, ``b`` in a stream
            over HTTP.
        status: None leaves it out, as some hosts do; over HTTP that is a 500.
        headers: Sent at top level, or inside ``error`` with ``headers_inside``.
        status_name: ``status`` or ``status_code``.
        tagged: Whether a named lane's frame carries its ``stream_id``.
        extra: More fields for the ``error`` object, like ``resets_at``.
        then_close: Close the socket with this code afterwards, as gateways do.
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
        """The frame as it goes over the wire; ``live`` is the shape that the service uses."""
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
    """A 429 with its usual words; ``retry_after`` (seconds) travels as a header."""
    return ErrorFrame(
        code="rate_limit_exceeded",
        status=429,
        kind="rate_limit_error",
        message=message or "Rate limit reached for requests. Please try again in 20ms.",
        headers=None if retry_after is None else {"retry-after": retry_after},
        **changes,
    )


def overloaded(**changes: Any) -> ErrorFrame:
    """A 503: the service has too much to do."""
    return ErrorFrame(
        code="server_is_overloaded",
        status=503,
        kind="service_unavailable_error",
        message="Our servers are currently overloaded. Please try again later.",
        **changes,
    )


def connection_limit(**changes: Any) -> ErrorFrame:
    """The connection has reached its age in the middle of a request; it closes."""
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
