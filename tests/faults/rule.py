"""How a row of the recovery table makes its cases: one method for each phase that is struck."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from faults.case import Case, Ends, NetworkCase
from rtllm import TurnError
from rtllm.errors import Phase
from rtllm.retry.faults import FaultKind
from rtllm.simulator import ErrorFrame, RefuseHandshake
from rtllm.simulator.error_frame import At, Stage

CURED = Ends(2)
"""A second request is answered."""
ENDED = Ends(1)
"""No request was lost, since there was no connection yet; or nothing was asked again."""
More = dict[str, Any]
"""More attributes of a case."""
HTTP = {"fallback": "http"}
OVER_HTTP: More = {"always": True, "options": HTTP, "next_way": "http"}
"""It strikes each time, and HTTP takes over."""


@dataclass(frozen=True)
class Rule:
    """A row of the recovery table; its methods make cases, one for each phase that is struck.

    A fault is given without its phase: the method sets it.

    Attributes:
        kind: The row; None if nothing has to be recovered.
        error: What a turn ends with when nothing more is tried.
    """

    kind: FaultKind | None
    error: type[TurnError]

    def connecting(self, name: str, handshake: Any, ends: Ends = ENDED, **more: Any) -> Case:
        """A fault of the handshake."""
        return Case(name, self.kind, "connecting", ends, handshake=handshake, **more)

    def sent(self, name: str, fault: Any, ends: Ends = CURED, **more: Any) -> Case:
        """Nothing was answered yet."""
        return Case(name, self.kind, "sent", ends, fault=fault, **more)

    def created(self, name: str, fault: Any, ends: Ends = CURED, **more: Any) -> Case:
        """The response has begun."""
        return Case(name, self.kind, "created", ends, fault=_at("created", fault), **more)

    def given_out(self, name: str, fault: Any, ends: Ends | None = None, **more: Any) -> Case:
        """Some words are out."""
        fault = _at("output", fault, after=3)
        return Case(name, self.kind, "emitted", ends or self.fails(1), fault=fault, **more)

    def whole(self, name: str, fault: Any, ends: Ends | None = None, **more: Any) -> Case:
        """Only the last event is missing."""
        fault = _at("complete", fault)
        return Case(name, self.kind, "complete", ends or self.fails(1), fault=fault, **more)

    def in_a_call(self, name: str, fault: Any) -> Case:
        """A call's arguments have begun."""
        fault = _at("output", fault, after=1)
        return Case(name, self.kind, "created", Ends(3, runs=1), fault=fault, says="call")

    def between_calls(self, name: str, fault: Any) -> Case:
        """One call is whole, the next one has begun."""
        ends, videosdk = self.fails(2, runs=1), Ends(3, runs=2)
        fault = _at("opened", fault, after=2)
        return Case(name, self.kind, "emitted", ends, videosdk, fault, says="two calls")

    def after_the_call(
        self, name: str, fault: Any, ends: Ends, videosdk: Ends | None = None
    ) -> Case:
        """A call is whole, and only the last event is missing."""
        fault = _at("complete", fault)
        return Case(name, self.kind, "complete", ends, videosdk, fault, says="call")

    def below(self, name: str, phase: Phase, ends: Ends = ENDED, **more: Any) -> NetworkCase:
        """A fault of the network, below the socket."""
        return NetworkCase(name, self.kind, phase, ends, **more)

    def fails(self, requests: int, error: type[TurnError] | None = None, runs: int = 0) -> Ends:
        """The turn ends with the row's error, or another one, after so many requests."""
        return Ends(requests, error or self.error, runs)


def _at(phase: Stage, fault: Any, after: int = 1) -> Any:
    """A fault that strikes at a phase, if it has one."""
    return replace(fault, phase=phase, after=after) if isinstance(fault, At) else fault


def refusal(code: str | None, status: int = 400, **changes: Any) -> ErrorFrame:
    """An error frame of a request that the service refuses."""
    values = {"kind": "invalid_request_error", "message": f"No: {code or status}.", **changes}
    return ErrorFrame(code=code, status=status, **values)


def turned_away(status: int, code: str | None = None, **headers: str) -> RefuseHandshake:
    """A refused upgrade with an error object, as the service itself answers."""
    error = {"message": f"No: {code or status}.", "type": "error", "code": code, "param": None}
    return RefuseHandshake(status, {"error": error}, headers or None)
