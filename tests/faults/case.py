"""A fault in the second of three turns, as data; both adapters play the same ones.

Each case belongs to a row of the recovery table and to a phase of the attempt that it strikes.
All are played with a budget of two paid resends. A module of `faults.cases` has the cases of a
row, one a line; `faults.runs` has them all.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from rtllm import TurnError
from rtllm.errors import Phase
from rtllm.retry.faults import FaultKind

Says = Literal["words", "call", "two calls"]
Way = Literal["websocket", "http"]


@dataclass(frozen=True)
class Ends:
    """How the turn ends.

    Attributes:
        requests: How many requests of the turn arrived at the service.
        error: What it ends with; None if it is answered.
        runs: How often the tool ran.
    """

    requests: int
    error: type[TurnError] | None = None
    runs: int = 0


@dataclass(frozen=True)
class Case:
    """One fault, and what is expected of it.

    Attributes:
        name: What happens.
        kind: The row of the table; None if nothing has to be recovered.
        phase: How far the attempt is that it strikes.
        ends: How the turn ends.
        videosdk: How it ends there, where that differs: calls are held until the response is
            over, so that they can be asked for again. LiveKit has run them by then, tells the
            error, and asks once more with what they came to.
        fault: What goes wrong with the turn's requests.
        handshake: What goes wrong with its handshakes; the connections of before are gone.
        always: Whether it strikes each time, not only the first one.
        says: What the model answers with in this turn.
        options: More keywords of both adapters.
        forgets: Whether the client learns, or must assume, that earlier states are gone.
        lanes: Whether it strikes only where there are lanes.
        closed: Whether the client is closed while the turn runs; on VideoSDK that is a cut.
        between: What happens to the open connections before the turn.
        lost: Requests written to a connection that is not read any more.
        silent: Whether the turn may end with nothing said.
        next_way: How the third turn goes; None if that depends on the host.
        caller: What the caller says.
        renewable: Whether the key is a function's, which may have a fresh one.
        simulator: More options of the simulator.
        blames_parent: Whether a request that continues a response is sent once more without it.
    """

    name: str
    kind: FaultKind | None
    phase: Phase
    ends: Ends
    videosdk: Ends | None = None
    fault: Any = None
    handshake: Any = None
    always: bool = False
    says: Says = "words"
    options: Mapping[str, Any] = field(default_factory=dict)
    forgets: bool = False
    lanes: bool = False
    closed: bool = False
    between: Literal["close", "abort"] | None = None
    lost: int = 0
    silent: bool = False
    next_way: Way | None = "websocket"
    caller: str = "Go on."
    renewable: bool = False
    simulator: Mapping[str, Any] = field(default_factory=dict)
    blames_parent: bool = False


When = Literal["throughout", "between", "connecting", "amid"]
How = Literal["reset", "close", "swallow", "refuse", "cut", "delay", "throttle"]


@dataclass(frozen=True)
class NetworkCase(Case):
    """A case below the socket.

    Attributes:
        when: When it strikes: all the time; on idle connections; at new ones, the old ones
            being gone; or when some words are out.
        how: A reset, an end, a half-open connection, a closed port, a reset in mid-frame, a
            long way, a thin one.
        idle: Seconds that the caller is silent before the turn.
        waits: Seconds that the second and the third turn take at most, together.
    """

    when: When = "between"
    how: How = "reset"
    idle: float = 1.0
    waits: float = 60.0


@dataclass(frozen=True)
class Host:
    """What a case is played on."""

    lanes: Literal["on", "off"]
    store: bool

    def __str__(self) -> str:
        lanes = "lanes" if self.lanes == "on" else "no lanes"
        return f"{lanes}, {'stored' if self.store else 'unstored'}"

    warm_connections: int = 1

    @property
    def options(self) -> dict[str, Any]:
        """Keywords of a stage."""
        return {"lanes": self.lanes, "store": self.store, "warm_connections": self.warm_connections}


EVERY_HOST = tuple(Host(lanes, store) for lanes in ("on", "off") for store in (True, False))
TWO_HOSTS = (
    Host("on", store=False, warm_connections=0),
    Host("off", store=True, warm_connections=0),
)
"""Enough where the fault comes before it matters what the host remembers. A spare would meet it
before the turn does."""


NETWORK_HOSTS = (Host("on", store=False), Host("off", store=False), Host("on", store=True))


def hosts_of(case: Case) -> tuple[Host, ...]:
    """The hosts that a case is played on."""
    if isinstance(case, NetworkCase):
        return TWO_HOSTS if case.when == "connecting" else NETWORK_HOSTS
    hosts = TWO_HOSTS if case.handshake is not None else EVERY_HOST
    return tuple(host for host in hosts if host.lanes == "on" or not case.lanes)
