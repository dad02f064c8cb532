"""Stories as values: a host, and what happens on it, step by step. Hypothesis writes them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from hypothesis import strategies as st

from chaos.faults import handshakes, plans
from rtllm import HostProfile
from rtllm.simulator import Abort, Close, DelayHandshake, ErrorFrame, HangUp

CALLERS = 2

Blow = Literal["close", "restart", "reset"]
"""What befalls all open connections at once: 1001, 1012, or a reset."""


@dataclass(frozen=True)
class Host:
    """A host, and how the client is set up for it."""

    lanes: Any = "on"
    store: bool | None = None
    warm_connections: int = 1
    way: Literal["socket", "no socket", "http"] = "socket"
    fallback: Literal["http"] | None = None
    rebuild: bool = False
    lifetime: float = 3600.0
    knows_lifetime: bool = True
    budget: int = 3
    drop_on: Any = "start"
    forgets_on_failure: bool = False
    reasoning: Any = "scripted"
    queued: bool = False

    @property
    def simulator(self) -> dict[str, Any]:
        """Options of the simulator."""
        return {
            "lanes": self.lanes,
            "time_to_first": 0.05,
            "per_delta": 0.02,
            "lifetime": self.lifetime,
            "drop_on": self.drop_on,
            "forgets_on_failure": self.forgets_on_failure,
            "reasoning": self.reasoning,
            "queued": self.queued,
            "no_websocket": 404 if self.way == "no socket" else None,
        }

    @property
    def client(self) -> dict[str, Any]:
        """Options that both adapters' clients take."""
        profile = HostProfile("chaos", lifetime=self.lifetime if self.knows_lifetime else 3600.0)
        return {
            "lanes": self.lanes != "off",
            "warm_connections": self.warm_connections,
            "rebuild": self.rebuild,
            "fallback": "http" if self.way == "no socket" else self.fallback,
            "host_profile": profile,
        }


hosts = st.builds(
    Host,
    lanes=st.sampled_from(["on", "on", "on", "off", "refuse", "ignore"]),
    store=st.sampled_from([None, True, False, False]),
    warm_connections=st.integers(0, 2),
    way=st.sampled_from(["socket"] * 8 + ["no socket", "http"]),
    fallback=st.sampled_from([None, "http"]),
    rebuild=st.booleans(),
    lifetime=st.sampled_from([3600.0, 3600.0, 700.0, 90.0]),
    knows_lifetime=st.booleans(),
    budget=st.integers(1, 3),
    drop_on=st.sampled_from(["start", "end"]),
    forgets_on_failure=st.booleans(),
    reasoning=st.sampled_from(["scripted", "given"]),
    queued=st.booleans(),
)


@dataclass(frozen=True)
class Orders:
    """What the model must do in one turn; it is written in the caller's words.

    Attributes:
        rounds: Rounds of tool calls.
        calls: Calls a round.
        speaks: Whether it says something before its calls.
        words: Words of each message.
        messages: Messages of the last answer.
    """

    rounds: int = 0
    calls: int = 1
    speaks: bool = False
    words: int = 5
    messages: int = 1

    def __str__(self) -> str:
        return f"{self.rounds} {self.calls} {int(self.speaks)} {self.words} {self.messages}"

    @classmethod
    def read(cls, text: str) -> Orders:
        """Read what a caller said."""
        rounds, calls, speaks, words, messages = map(int, text.split(":")[1].split())
        return cls(rounds, calls, bool(speaks), words, messages)


@dataclass(frozen=True)
class Step:
    """One thing that happens.

    Attributes:
        what: What kind of thing.
        caller: To whom.
        orders: What the model must do.
        after: Virtual seconds until a cut, a close or a blow.
        much: A number, for what has one.
        faults: What happens to the next requests.
        handshakes: What happens at the next handshakes.
        blow: What befalls the connections, `after` seconds into the step.
    """

    what: str
    caller: int = 0
    orders: Orders = field(default_factory=Orders)
    after: float = 0.0
    much: int = 0
    faults: tuple[Any, ...] = ()
    handshakes: tuple[Any, ...] = ()
    blow: Blow | None = None

    @property
    def is_foul(self) -> bool:
        """Whether something goes wrong in it."""
        return bool(self.faults or self.handshakes or self.blow or self.what == "close")

    @property
    def delays_refusal(self) -> bool:
        """Whether a handshake may be refused after the step is over."""
        return any(isinstance(h, DelayHandshake) and h.then for h in self.handshakes)

    @property
    def ends_connections(self) -> bool:
        """Whether a fault of one request is the end of others on its connection."""
        return any(
            isinstance(fault, Close | Abort | HangUp)
            or (isinstance(fault, ErrorFrame) and fault.then_close is not None)
            for fault in self.faults
        )


STEPS = (
    *["turn"] * 5,
    *["cut"] * 3,
    *["together"] * 2,
    "say",
    "draft",
    "instructions",
    "heard less",
    "forget",
    "wait",
    "close",
)

_orders = st.builds(
    Orders,
    rounds=st.sampled_from([0, 0, 1, 1, 2]),
    calls=st.integers(1, 3),
    speaks=st.booleans(),
    words=st.sampled_from([1, 4, 12]),
    messages=st.sampled_from([1, 1, 1, 2]),
)
_clean = st.just(())
steps = st.builds(
    Step,
    what=st.sampled_from(STEPS),
    caller=st.integers(0, CALLERS - 1),
    orders=_orders,
    after=st.sampled_from([0.0, 0.02, 0.06, 0.11, 0.2, 0.4, 2.0]),
    much=st.integers(0, 4),
    faults=st.one_of(_clean, plans.map(tuple)),
    handshakes=st.one_of(_clean, _clean, _clean, handshakes.map(tuple)),
    blow=st.sampled_from([None] * 8 + ["close", "restart", "reset"]),
)


@dataclass(frozen=True)
class Story:
    """A host and what happens on it."""

    host: Host
    steps: tuple[Step, ...]

    def options(self) -> Mapping[str, Any]:
        """Options of the simulator."""
        return self.host.simulator


stories = st.builds(Story, hosts, st.lists(steps, min_size=6, max_size=14).map(tuple))
