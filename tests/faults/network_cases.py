"""What networks do to the second of three turns, as data; both adapters play the same list."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from faults.cases import HTTP, Case, Ends, Host
from rtllm import ConnectFailed, ConnectionLost, TurnTimeout
from rtllm.retry.faults import FaultKind
from rtllm.simulator import Silence

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


ANSWERED = Ends(1)

NETWORK_CASES: tuple[NetworkCase, ...] = (
    NetworkCase(
        "the port is closed for a moment",
        FaultKind.UNREACHABLE,
        "connecting",
        ANSWERED,
        when="connecting",
        how="refuse",
    ),
    NetworkCase(
        "the port stays closed",
        FaultKind.UNREACHABLE,
        "connecting",
        Ends(0, ConnectFailed),
        always=True,
        when="connecting",
        how="refuse",
    ),
    NetworkCase(
        "the port stays closed, over HTTP too",
        FaultKind.UNREACHABLE,
        "connecting",
        Ends(0, ConnectFailed),
        always=True,
        when="connecting",
        how="refuse",
        options=HTTP,
        next_way=None,
        lost=1,
    ),
    NetworkCase(
        "a connection is reset before the upgrade",
        FaultKind.UNREACHABLE,
        "connecting",
        ANSWERED,
        when="connecting",
        how="reset",
    ),
    NetworkCase(
        "every connection is reset before the upgrade",
        FaultKind.UNREACHABLE,
        "connecting",
        Ends(0, ConnectFailed),
        always=True,
        when="connecting",
        how="reset",
    ),
    NetworkCase(
        "the upgrade is swallowed",
        FaultKind.TIMEOUT,
        "connecting",
        ANSWERED,
        when="connecting",
        how="swallow",
    ),
    NetworkCase(
        "every upgrade is swallowed",
        FaultKind.TIMEOUT,
        "connecting",
        Ends(0, TurnTimeout),
        always=True,
        when="connecting",
        how="swallow",
    ),
    *(
        NetworkCase(
            f"a {how} between the turns", FaultKind.DROPPED, "connecting", ANSWERED, how=how
        )
        for how in ("reset", "close")
    ),
    NetworkCase(
        "the idle connections die silently",
        FaultKind.TIMEOUT,
        "sent",
        ANSWERED,
        how="swallow",
        lost=2,
        forgets=True,
        waits=11.0,
    ),
    NetworkCase(
        "the idle connections die silently, and the heartbeat finds it",
        FaultKind.DROPPED,
        "connecting",
        ANSWERED,
        how="swallow",
        idle=60.0,
        forgets=True,
    ),
    *(
        NetworkCase(
            f"a {how} when {phase}",
            FaultKind.DROPPED,
            phase,
            Ends(2),
            fault=Silence(phase=phase),
            when="amid",
            how=how,
        )
        for how in ("reset", "close")
        for phase in ("sent", "created")
    ),
    *(
        NetworkCase(
            f"a {how} after words",
            FaultKind.DROPPED,
            "given out",
            Ends(1, ConnectionLost),
            fault=Silence(phase="output", after=3),
            when="amid",
            how=how,
        )
        for how in ("reset", "close")
    ),
    NetworkCase(
        "half-open after words",
        FaultKind.TIMEOUT,
        "given out",
        Ends(1, TurnTimeout),
        fault=Silence(phase="output", after=3),
        when="amid",
        how="swallow",
        lost=2,
        forgets=True,
        waits=11.0,
    ),
    NetworkCase(
        "a reset in mid-frame",
        FaultKind.DROPPED,
        "given out",
        Ends(1, ConnectionLost),
        when="amid",
        how="cut",
        simulator={"per_delta": 0.8},
    ),
    NetworkCase("a long way", None, "given out", ANSWERED, when="throughout", how="delay"),
    NetworkCase("a thin line", None, "given out", ANSWERED, when="throughout", how="throttle"),
)

HOSTS = (Host("on", store=False), Host("off", store=False), Host("on", store=True))
HOSTS_WITHOUT_SPARE = (
    Host("on", store=False, warm_connections=0),
    Host("off", store=True, warm_connections=0),
)

NETWORK_RUNS = {
    f"{case.name}: {host}": (case, host)
    for case in NETWORK_CASES
    for host in (HOSTS_WITHOUT_SPARE if case.when == "connecting" else HOSTS)
}
