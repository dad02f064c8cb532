"""Worlds: a host, a network, and the habits of callers, each drawn from a seed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Literal

from rtllm.providers.hosts import Memory
from rtllm.scheduling.connection_pool import MAX_CONNECTIONS
from simulation.decisions import Decisions

REQUEST_FAULTS = (
    "refused",
    "busy",
    "long busy",
    "server error",
    "given up",
    "server error late",
    "empty",
    "incomplete",
    "parameter",
    "items",
    "miss",
    "lane limit",
    "drop",
    "drop at once",
    "drop before the last event",
    "drop before the call",
    "stall",
    "long stall",
    "late frames",
    "twice done",
    "no usage",
    "poison",
    "nothing",
)
"""What may befall one request."""

CONNECTION_FAULTS = (
    "restart",
    "death",
    "frozen",
    "long frozen",
    "blocked",
    "blocked for good",
    "error without lane",
    "connection limit",
    "stray created",
    "junk",
)
"""What may befall a connection and all that runs on it."""

HABITS = (
    "other id at the end",
    "nothing announced",
    "text at the end",
    "calls at the end",
    "halves of characters",
    "half a character at the end",
    "text behind its item",
    "repeated frames",
    "restarting ids",
    "odd numbers",
    "odd usage",
    "deep arguments",
    "refuses preparations",
)
"""How a host may write its answers otherwise."""

CHAT_HABITS = (
    "early finish",
    "no finish",
    "no last line",
    "stays open",
    "usage with the finish",
    "whole calls",
    "repeated names",
    "calls in turns",
    "signatures",
    "halves of characters",
    "odd numbers",
    "deep arguments",
)
"""How a host may write its answers in chunks otherwise."""

CONNECT_FAULTS = ("connect refused", "connect busy", "no websocket", "connect hangs", "mute")
HTTP_FAULTS = (
    "http refused",
    "http busy",
    "http server error",
    "http drop",
    "http drop at once",
    "http stall",
)


Keys = Literal["kept", "fresh", "none", "template"]
"""How a framework names its items: with lasting ids, with new ids for each request, without ids,
or with lasting ids after an opening that all calls share."""


@dataclass(frozen=True)
class World:
    """What is played.

    Attributes:
        kind: A word for it.
        callers: How many callers there are at a time.
        engines: How many engines they use.
        lanes: Whether the host has lanes.
        knows_lanes: What the engines believe of them.
        lane_habit: What a host without lanes does with a lane: refuse or ignore it.
        memory: What the host remembers.
        lifetime: Seconds that a connection lives.
        websocket: Whether the socket is used at all.
        chat: Whether Chat Completions is used.
        http_fallback: Whether HTTP may be used.
        rebuild: Whether connections are rebuilt.
        one_model: Whether a connection answers one model.
        warm: How many connections are kept warm.
        faults: How often a request meets a fault.
        storms: How often a connection does, for each request.
        connect_faults: How often connecting fails.
        http_faults: How often an HTTP exchange fails.
        without: Faults that are not played.
        barge_ins: How often an answer is cut.
        drafts: How often a question is asked and cut at once.
        tools: How often an answer calls tools.
        twins: Whether callers say the same words.
        pauses: Seconds of silence between turns, at most.
        long_pauses: How often a caller is silent for many minutes.
        edits: How often instructions are edited.
        pictures: How often a caller shows a picture.
        odd: How often something else is odd: a closed engine, a stale timer, a late fact.
        large: How often a request is large.
        huge: How often it is so large that it takes seconds to be written.
        link: Bytes a second that a large request is written with.
        drifting: Whether item ids drift between the events of an answer.
        warm_ups: How often a prompt is prepared when a call begins.
        junk: How often a frame that means nothing comes with an answer.
        ids: Which names of an item its events bear: its id, its place, or both.
        late: How often frames come after the end of an answer.
        opening: Seconds until a connection is open, at most.
        start: Seconds until an answer begins, at most.
        lag: Seconds by which timers are late, at most.
        keys: How callers' items may be named.
        habits: How the host writes its answers otherwise.
        most: How many connections an engine may have.
        parents: What a host does with a response to continue: keep it, keep it and name it
            otherwise, ignore it, or refuse it.
        serves_http: Whether the host answers over HTTP too.
        held: How often a proxy passes an answer over HTTP on when it is whole.
        closes: How often an engine is closed when a caller asks; it may be used again.
        silence: Seconds for which every other turn may be silent.
        has_one_id: Whether the host gives all its responses the same id.
        routed: Whether each answer has habits of its own, as at a router of many hosts.
    """

    kind: str = "calm"
    callers: int = 4
    engines: int = 1
    lanes: bool = True
    knows_lanes: bool = True
    lane_habit: str = "refuse"
    memory: Memory = "connection"
    lifetime: float = 3600.0
    websocket: bool = True
    chat: bool = False
    http_fallback: bool = False
    rebuild: bool = False
    one_model: bool = False
    warm: int = 0
    faults: float = 0.0
    storms: float = 0.0
    connect_faults: float = 0.0
    http_faults: float = 0.0
    without: frozenset[str] = field(default=frozenset())
    barge_ins: float = 0.2
    drafts: float = 0.1
    tools: float = 0.25
    twins: bool = False
    pauses: float = 6.0
    long_pauses: float = 0.0
    edits: float = 0.03
    pictures: float = 0.05
    odd: float = 0.0
    large: float = 0.0
    huge: float = 0.0
    link: float = 500_000.0
    drifting: bool = False
    warm_ups: float = 0.1
    junk: float = 0.0
    ids: Literal["both", "id", "place"] = "both"
    late: float = 0.0
    opening: float = 0.4
    start: float = 0.1
    lag: float = 0.0
    keys: tuple[Keys, ...] = ("kept", "kept", "kept", "template", "none", "fresh")
    habits: frozenset[str] = field(default=frozenset())
    most: int = MAX_CONNECTIONS
    parents: Literal["kept", "renamed", "ignored", "refused"] = "kept"
    has_one_id: bool = False
    routed: bool = False
    silence: float = 18.0
    serves_http: bool = True
    held: float = 0.1
    closes: float = 0.0

    @property
    def uses_lanes(self) -> bool:
        """Whether lanes are used, and taken."""
        return self.lanes and self.knows_lanes

    def possible(self, faults: tuple[str, ...]) -> tuple[str, ...]:
        """List those faults that are played."""
        return tuple(fault for fault in faults if fault not in self.without)


def calm(choose: Decisions) -> World:
    """Nothing goes wrong: each eligible request must be chained."""
    return World(
        callers=choose.pick((3, 8, 12)),
        barge_ins=choose.pick((0.2, 0.5)),
        twins=choose.pick((False, True)),
        keys=("kept", "template"),
        warm_ups=0.4,
    )


def storm(choose: Decisions) -> World:
    """Much goes wrong, on a host with lanes."""
    return World(
        "storm",
        callers=choose.pick((3, 6, 10)),
        engines=choose.pick((1, 2)),
        faults=choose.pick((0.15, 0.4)),
        storms=choose.pick((0.03, 0.1)),
        connect_faults=choose.pick((0.0, 0.2)),
        http_fallback=choose.pick((False, True)),
        http_faults=0.1,
        odd=choose.pick((0.0, 0.05)),
        rebuild=choose.pick((False, True)),
        large=0.02,
        long_pauses=choose.pick((0.0, 0.02)),
        late=0.05,
        junk=0.05,
        twins=choose.pick((False, True)),
        start=choose.pick((0.1, 1.5)),
        lag=choose.pick((0.0, 0.5)),
    )


def laneless(choose: Decisions) -> World:
    """A host without lanes, known to have none."""
    return World(
        "laneless",
        callers=choose.pick((2, 5)),
        lanes=False,
        knows_lanes=False,
        warm=choose.pick((0, 1)),
        faults=choose.pick((0.0, 0.2)),
        storms=choose.pick((0.0, 0.05)),
        one_model=choose.pick((False, True)),
        lifetime=choose.pick((3600.0, 240.0)),
        rebuild=choose.pick((False, True)),
        odd=choose.pick((0.0, 0.05)),
        late=choose.pick((0.4, 0.8)),
        twins=choose.pick((False, True)),
        junk=0.02,
        pauses=choose.pick((6.0, 1.0)),
    )


def shared(choose: Decisions) -> World:
    """Many who wait at a time for what befalls their connection."""
    kept = choose.pick((("error without lane",), ("error without lane", "restart", "junk")))
    has_lanes = choose.pick((True, True, True, False))
    return World(
        "shared",
        lanes=has_lanes,
        knows_lanes=has_lanes,
        callers=choose.pick((2, 6, 12)),
        storms=choose.pick((0.2, 0.4)),
        without=frozenset(CONNECTION_FAULTS) - set(kept),
        start=2.0,
        pauses=1.0,
        http_fallback=choose.pick((False, True)),
        lag=choose.pick((0.0, 0.5)),
    )


def pretending(choose: Decisions) -> World:
    """A host without lanes, which was believed to have some, and may continue no responses."""
    return World(
        "pretending",
        callers=choose.pick((1, 3, 6)),
        lanes=False,
        lane_habit=choose.pick(("ignore", "refuse")),
        faults=choose.pick((0.0, 0.15)),
        odd=choose.pick((0.0, 0.05)),
        parents=choose.pick(("kept", "ignored", "renamed", "refused")),
    )


def over_http(choose: Decisions) -> World:
    """HTTP alone."""
    parents: Literal["kept", "ignored"] = choose.pick(("kept", "ignored"))
    return World(
        "http",
        callers=choose.pick((2, 5)),
        websocket=False,
        memory=choose.pick(("connection", "stored")),
        parents=parents,
        http_faults=choose.pick((0.0, 0.3)),
        held=choose.pick((0.1, 0.8)),
        has_one_id=parents == "kept" and choose.pick((False, True)),
        twins=choose.pick((False, True)),
    )


def chat(choose: Decisions) -> World:
    """Chat Completions."""
    return World(
        "chat",
        callers=choose.pick((2, 5)),
        websocket=False,
        chat=True,
        memory="none",
        tools=0.5,
        http_faults=choose.pick((0.1, 0.3)),
        lag=choose.pick((0.0, 0.1)),
        routed=choose.pick((True, True, False)),
    )


def chat_twins(choose: Decisions) -> World:
    """Callers of Chat Completions who all say the same."""
    return replace(chat(choose), callers=choose.pick((3, 6)), twins=True)


def falling(choose: Decisions) -> World:
    """A socket that can hardly be opened, or is often mute, and HTTP to fall back to, if it works.

    A host without HTTP has a WebSocket.
    """
    serves_http = choose.pick((True, True, False))
    connects = tuple(fault for fault in CONNECT_FAULTS if serves_http or fault != "no websocket")
    kept = choose.pick((connects, ("mute",)))
    return World(
        "falling",
        without=frozenset(CONNECT_FAULTS) - set(kept),
        callers=choose.pick((2, 5)),
        connect_faults=choose.pick((0.3, 0.8)) if len(kept) > 1 else 0.3,
        faults=choose.pick((0.0, 0.2)),
        storms=choose.pick((0.0, 0.1)) if len(kept) > 1 else 0.05,
        serves_http=serves_http,
        http_fallback=True,
        http_faults=choose.pick((0.0, 0.2)),
        lanes=choose.pick((True, False)),
        knows_lanes=False,
        most=choose.pick((MAX_CONNECTIONS, 1)),
    )


def partly_open(choose: Decisions) -> World:
    """A host that opens some WebSockets, and says of others that it has none."""
    kept = {"no websocket", "http drop at once", "server error"}
    return World(
        "partly open",
        without=frozenset((*CONNECT_FAULTS, *HTTP_FAULTS, *REQUEST_FAULTS)) - kept,
        callers=choose.pick((3, 5)),
        connect_faults=0.4,
        faults=choose.pick((0.0, 0.2)),
        http_fallback=True,
        http_faults=choose.pick((0.0, 0.3)),
        lanes=False,
        knows_lanes=False,
    )


def twins(choose: Decisions) -> World:
    """Callers who all say the same, and hear much the same."""
    return World(
        "twins",
        callers=choose.pick((3, 8)),
        twins=True,
        tools=0.4,
        edits=0.1,
        pictures=0.15,
        keys=("kept", "template", "none", "fresh", "fresh"),
        junk=0.05,
        faults=choose.pick((0.1, 0.4)),
        storms=choose.pick((0.02, 0.1)),
        long_pauses=choose.pick((0.0, 0.02)),
    )


def closing(choose: Decisions) -> World:
    """Callers who all say the same, while the engine is closed and used again now and then."""
    return World(
        "closing",
        callers=choose.pick((3, 4)),
        twins=True,
        tools=0.1,
        edits=0.0,
        barge_ins=0.1,
        drafts=0.02,
        pauses=30.0,
        keys=("kept", "template", "none", "fresh", "fresh"),
        faults=choose.pick((0.0, 0.1)),
        closes=0.1,
    )


def slow_line(choose: Decisions) -> World:
    """Writes that block, large requests, frames that stall."""
    return World(
        "slow line",
        callers=choose.pick((3, 6)),
        storms=choose.pick((0.1, 0.25)),
        most=choose.pick((MAX_CONNECTIONS, MAX_CONNECTIONS, 2, 1)),
        without=frozenset(CONNECTION_FAULTS)
        - {"blocked", "blocked for good", "frozen", "long frozen", "death"},
        large=0.1,
        http_fallback=choose.pick((False, True)),
        lag=choose.pick((0.0, 0.5)),
    )


def uploads(choose: Decisions) -> World:
    """Requests that take seconds to be written, among others."""
    return World(
        "uploads",
        callers=choose.pick((4, 8)),
        huge=choose.pick((0.05, 0.1)),
        link=choose.pick((500_000.0, 150_000.0)),
        start=choose.pick((0.1, 4.0)),
        pauses=2.0,
        storms=choose.pick((0.0, 0.02)),
        faults=choose.pick((0.0, 0.1)),
        http_fallback=choose.pick((False, True)),
    )


def failing(choose: Decisions) -> World:
    """One fault after the other, mostly the same one."""
    kept = choose.pick(
        (
            ("drop at once",),
            ("server error",),
            ("empty",),
            ("incomplete",),
            ("drop at once", "lane limit"),
            ("drop",),
            ("busy", "drop"),
            ("parameter", "items", "miss", "drop before the call"),
            ("parameter", "lane limit"),
            ("incomplete", "server error"),
            ("busy", "stall"),
            ("server error", "stall", "nothing"),
        )
    )
    return World(
        "failing",
        callers=choose.pick((3, 6)),
        faults=0.9,
        without=frozenset(REQUEST_FAULTS) - set(kept),
        http_fallback=choose.pick((False, False, True)),
        connect_faults=choose.pick((0.0, 0.3)),
        storms=choose.pick((0.0, 0.05)),
        lag=choose.pick((0.0, 0.5)),
        pauses=2.0,
        tools=0.5,
    )


def lasting(choose: Decisions) -> World:
    """Hours: connections are replaced, conversations released."""
    has_lanes = choose.pick((True, True, False))
    return World(
        "lasting",
        callers=choose.pick((2, 5)),
        pauses=choose.pick((20.0, 60.0)),
        long_pauses=choose.pick((0.0, 0.03)),
        rebuild=choose.pick((True, False)),
        lifetime=choose.pick((120.0, 300.0)),
        lanes=has_lanes,
        knows_lanes=has_lanes,
        faults=choose.pick((0.0, 0.1)),
        storms=choose.pick((0.0, 0.05)),
    )


def crowd(choose: Decisions) -> World:
    """Many callers, so that lanes are exhausted, or that each needs a connection."""
    has_lanes = choose.pick((True, True, False))
    return World(
        "crowd",
        callers=choose.pick((40, 100)),
        pauses=2.0,
        barge_ins=0.5,
        drafts=0.3,
        faults=choose.pick((0.0, 0.1)),
        storms=choose.pick((0.01, 0.04)),
        without=frozenset(CONNECTION_FAULTS)
        - {"error without lane", "restart", "stray created", "junk"},
        lanes=has_lanes,
        knows_lanes=has_lanes,
    )


def capped(choose: Decisions) -> World:
    """More callers than the few connections that an engine may have can serve at a time."""
    has_lanes = choose.pick((False, False, True))
    kept = choose.pick((REQUEST_FAULTS, ("long stall",)))
    return World(
        "capped",
        callers=choose.pick((12, 30)) if has_lanes else choose.pick((3, 4, 8)),
        opening=choose.pick((0.4, 2.0)),
        barge_ins=choose.pick((0.2, 0.5)),
        lanes=has_lanes,
        knows_lanes=has_lanes,
        most=choose.pick((1, 2)) if has_lanes else choose.pick((1, 2, 3)),
        one_model=choose.pick((False, True)),
        warm=choose.pick((0, 1)),
        pauses=choose.pick((10.0, 1.0)),
        faults=choose.pick((0.0, 0.1)) if len(kept) > 1 else 0.3,
        without=frozenset(REQUEST_FAULTS) - set(kept),
        storms=choose.pick((0.0, 0.05)),
        lifetime=choose.pick((3600.0, 120.0)),
        http_fallback=choose.pick((False, True)),
        connect_faults=choose.pick((0.0, 0.0, 0.2)),
        rebuild=choose.pick((False, True)),
        large=choose.pick((0.0, 0.1)),
    )


def reopening(choose: Decisions) -> World:
    """One connection that is often lost and opens slowly, and callers who cut in meanwhile."""
    kept = choose.pick((("restart",), ("restart", "error without lane")))
    return World(
        "reopening",
        callers=4,
        lanes=False,
        knows_lanes=False,
        most=1,
        opening=4.0,
        barge_ins=0.8,
        drafts=0.0,
        pauses=choose.pick((6.0, 10.0)),
        storms=0.4,
        without=frozenset(CONNECTION_FAULTS) - set(kept),
        http_fallback=choose.pick((False, False, True)),
    )


def hurried(choose: Decisions) -> World:
    """Callers who wait so briefly that a turn may end right after it was sent at last."""
    has_lanes = choose.pick((False, True))
    return World(
        "hurried",
        callers=choose.pick((3, 6)),
        lanes=has_lanes,
        knows_lanes=has_lanes,
        silence=choose.pick((5.5, 6.5)),
        connect_faults=0.4,
        storms=0.5,
        without=frozenset(CONNECT_FAULTS) - {"connect hangs"}
        | (frozenset(CONNECTION_FAULTS) - {"blocked"}),
        large=0.05,
        one_model=choose.pick((False, True)),
    )


def full(choose: Decisions) -> World:
    """So many turns on two connections that all their lanes were used."""
    return World(
        "full",
        callers=choose.pick((16, 30)),
        most=2,
        start=2.0,
        pauses=3.0,
        faults=choose.pick((0.0, 0.05)),
        storms=choose.pick((0.0, 0.005)),
        keys=("kept", "template"),
    )


def doubting(choose: Decisions) -> World:
    """Answers that stall, so that silent connections are doubted until they respond to a ping."""
    is_capped = choose.pick((True, True, False))
    has_lanes = is_capped or choose.pick((False, True))
    return World(
        "doubting",
        callers=choose.pick((5, 6)) if has_lanes else choose.pick((2, 3)),
        lanes=has_lanes,
        knows_lanes=has_lanes,
        most=2 if is_capped else MAX_CONNECTIONS,
        start=4.0,
        pauses=20.0,
        faults=0.3,
        without=frozenset(REQUEST_FAULTS) - {"long stall"},
        storms=choose.pick((0.0, 0.02)),
        http_fallback=choose.pick((False, False, True)),
        barge_ins=choose.pick((0.0, 0.2)),
    )


KINDS: tuple[Callable[[Decisions], World], ...] = (
    calm,
    storm,
    laneless,
    twins,
    slow_line,
    failing,
    shared,
    pretending,
    over_http,
    falling,
    lasting,
    crowd,
    uploads,
    chat,
    laneless,
    closing,
    failing,
    shared,
    chat_twins,
    capped,
    doubting,
    full,
    hurried,
    partly_open,
    reopening,
)
"""The worlds, which take turns; those in which the rarest things happen come twice."""

LENGTHS = (20, 40, 60)
"""How many turns a round has."""
LONG = 120
"""How many it has if connections or lanes are to be used up."""


def world_of(seed: int, callers: int | None = None) -> tuple[World, int]:
    """Choose the world of a round, and how many turns it has.

    Args:
        seed: The seed of the round.
        callers: How many callers talk at a time; None for as many as the seed says.
    """
    choose = Decisions(seed * 7919 + 11)
    world = KINDS[seed % len(KINDS)](choose)
    turns = choose.pick(LENGTHS)
    if world.kind in ("full", "crowd"):
        turns = LONG
    ids: Literal["both", "id", "place"] = choose.pick(("both", "both", "id", "place"))
    possible, chance = (CHAT_HABITS, 0.5) if world.chat else (HABITS, 0.2)
    habits = draw_habits(choose, possible, 0.75 if world.routed else chance)
    if world.kind == "calm":
        habits = frozenset()
    nameless = ids == "place" or habits & {"restarting ids", "nothing announced"}
    if nameless:  # then nothing tells whose a late frame is
        world = replace(world, late=0.0, without=world.without | {"late frames"})
    world = replace(world, ids=ids, drifting=choose.below(3) == 2, habits=habits)
    if callers is not None:
        world, turns = replace(world, callers=callers), max(turns, 3 * callers)
    return world, turns


def draw_habits(choose: Decisions, possible: tuple[str, ...], chance: float) -> frozenset[str]:
    """Draw the habits of a host, each with the same chance."""
    return frozenset(habit for habit in possible if choose.chance(chance))


def sized(callers: int) -> World:
    """An ordinary world with a number of callers, for measuring the speed."""
    return replace(World("sized"), callers=callers, faults=0.05, storms=0.002)
