"""What can go wrong in the second of three turns, as data; both adapters play the same list.

Each case belongs to a row of the recovery table and to a phase of the attempt that it strikes.
All are played with a budget of two paid resends.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from rtllm import (
    ConnectionLost,
    HostProfile,
    Overloaded,
    RateLimited,
    RequestRejected,
    ResponseFailed,
    TurnError,
    TurnTimeout,
)
from rtllm.errors import Phase
from rtllm.retry.faults import FaultKind
from rtllm.simulator import (
    GARBAGE,
    Abort,
    AcceptThen,
    Close,
    CutResponse,
    DelayHandshake,
    Dribble,
    Empty,
    ErrorFrame,
    FailedResponse,
    Garbage,
    HangUp,
    RefuseHandshake,
    RefuseRequest,
    Silence,
    connection_limit,
    overloaded,
    rate_limited,
    refusing,
)

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
        kind: The row of the table; None where nothing has to be recovered.
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
        forgets: Whether the client is told, or must assume, that earlier states are gone.
        lanes: Whether it strikes only where there are lanes.
        closed: Whether the client is closed while the turn runs; on VideoSDK that is a cut.
        between: What happens to the open connections before the turn.
        lost: Requests that went into a connection which nobody reads any more.
        silent: Whether the turn may end with nothing said.
        next_way: How the third turn goes; None if that depends on the host.
        caller: What the caller says.
        renewable: Whether the key is a function's, which may have a fresh one.
        simulator: More options of the simulator.
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


CURED = Ends(2)
"""A second request is answered."""
RECONNECTED = Ends(1)
"""No request was lost, since there was no connection yet; or nothing was asked again."""
HTTP = {"fallback": "http"}


def refusal(code: str | None, status: int = 400, **changes: Any) -> ErrorFrame:
    """An error frame of a request that the service refuses."""
    values = {"kind": "invalid_request_error", "message": f"No: {code or status}.", **changes}
    return ErrorFrame(code=code, status=status, **values)


def turned_away(status: int, code: str | None = None, **headers: str) -> RefuseHandshake:
    """A refused upgrade with an error object, as the service itself answers."""
    error = {"message": f"No: {code or status}.", "type": "error", "code": code, "param": None}
    return RefuseHandshake(status, {"error": error}, headers or None)


MISS = "previous_response_not_found"
NO_LANES = refusal("unknown_parameter", param="stream_id")
NO_PARAMETER = refusal("unsupported_parameter", param="temperature")
NO_OUTPUT = refusal(None, message="No tool output found for function call call_X.", param="input")
NO_ITEM = refusal(None, 404, message="Item with id 'rs_1' not found.", param="input")
UNSEALED = refusal(
    "invalid_encrypted_content",
    message="The encrypted content for item rs_1 could not be verified. "
    "Reason: Encrypted content could not be decrypted or parsed.",
)
LONG = "blah " * 1000
NO_TEXT_HERE = RefuseHandshake(404, "<html>Not found</html>")

CHAIN: tuple[Case, ...] = (
    Case("the parent is unknown", FaultKind.CHAIN_MISS, "sent", CURED, fault=refusal(MISS)),
    Case(
        "the parent is unknown, said by response.failed",
        FaultKind.CHAIN_MISS,
        "created",
        CURED,
        fault=FailedResponse(MISS, phase="created"),
    ),
    Case(
        "the parent is unknown, whatever is sent",
        FaultKind.CHAIN_MISS,
        "sent",
        Ends(2, RequestRejected),
        fault=refusal(MISS),
        always=True,
        forgets=True,
    ),
    Case(
        "the parent is unknown after words",
        FaultKind.CHAIN_MISS,
        "given out",
        Ends(1, RequestRejected),
        fault=FailedResponse(MISS, phase="output", after=3),
    ),
    Case("a call lacks its output", FaultKind.ITEMS_REFUSED, "sent", CURED, fault=NO_OUTPUT),
    Case("an item is unknown", FaultKind.ITEMS_REFUSED, "sent", CURED, fault=NO_ITEM),
    Case("sealed reasoning can't be read", FaultKind.ITEMS_REFUSED, "sent", CURED, fault=UNSEALED),
    Case(
        "an item is unknown, whatever is sent",
        FaultKind.ITEMS_REFUSED,
        "sent",
        Ends(2, RequestRejected),
        fault=NO_ITEM,
        always=True,
        forgets=True,
    ),
)

LIMITS: tuple[Case, ...] = (
    Case(
        "the connection is at its limit at once",
        FaultKind.CONNECTION_LIMIT,
        "connecting",
        RECONNECTED,
        handshake=AcceptThen(error=connection_limit(), close=1000),
        lost=1,
    ),
    *(
        Case(
            f"the connection is at its limit when {phase}",
            FaultKind.CONNECTION_LIMIT,
            phase,
            CURED,
            fault=connection_limit(phase=phase),
        )
        for phase in ("sent", "created")
    ),
    Case(
        "the connection is at its limit after words",
        FaultKind.CONNECTION_LIMIT,
        "given out",
        Ends(1, ConnectionLost),
        fault=connection_limit(phase="output", after=3),
    ),
    Case(
        "the connection is at its limit behind the answer",
        FaultKind.CONNECTION_LIMIT,
        "whole",
        RECONNECTED,
        fault=connection_limit(phase="whole"),
    ),
    Case(
        "every connection is at its limit",
        FaultKind.CONNECTION_LIMIT,
        "sent",
        Ends(4, ConnectionLost),
        fault=connection_limit(),
        always=True,
    ),
    Case(
        "lanes are refused",
        FaultKind.LANES_REFUSED,
        "sent",
        CURED,
        fault=NO_LANES,
        lanes=True,
        forgets=True,
    ),
    Case(
        "lanes are refused, whatever is sent",
        FaultKind.LANES_REFUSED,
        "sent",
        Ends(2, RequestRejected),
        fault=NO_LANES,
        always=True,
        lanes=True,
        forgets=True,
    ),
    Case(
        "no lane is left",
        FaultKind.LANE_LIMIT,
        "sent",
        CURED,
        fault=refusal("websocket_stream_limit_reached", param="stream_id"),
    ),
    Case(
        "another response is in flight",
        FaultKind.LANE_LIMIT,
        "sent",
        CURED,
        fault=refusal("response_already_in_flight", 409),
    ),
    Case(
        "no connection has a lane left",
        FaultKind.LANE_LIMIT,
        "sent",
        Ends(4, RequestRejected),
        fault=refusal("websocket_stream_limit_reached", param="stream_id"),
        always=True,
    ),
)

WAITING: tuple[Case, ...] = (
    Case(
        "the upgrade gets a 429",
        FaultKind.BUSY,
        "connecting",
        RECONNECTED,
        handshake=turned_away(429, "rate_limit_exceeded", **{"retry-after": "1"}),
    ),
    Case(
        "every upgrade gets a 503",
        FaultKind.BUSY,
        "connecting",
        Ends(0, Overloaded),
        handshake=turned_away(503),
        always=True,
    ),
    Case("the rate limit is reached", FaultKind.BUSY, "sent", CURED, fault=rate_limited()),
    Case("a 429 names a wait", FaultKind.BUSY, "sent", CURED, fault=rate_limited("3")),
    Case("the service is overloaded", FaultKind.BUSY, "sent", CURED, fault=overloaded()),
    Case(
        "slow down",
        FaultKind.BUSY,
        "sent",
        CURED,
        fault=refusal("slow_down", 503, kind="rate_limit_error"),
    ),
    Case(
        "the rate limit is reached, by response.failed",
        FaultKind.BUSY,
        "created",
        CURED,
        fault=FailedResponse("rate_limit_exceeded", phase="created"),
    ),
    Case(
        "the rate limit is reached each time",
        FaultKind.BUSY,
        "sent",
        Ends(3, RateLimited),
        fault=rate_limited(),
        always=True,
    ),
    Case(
        "a 429 names a wait that is too long",
        FaultKind.BUSY,
        "sent",
        Ends(1, RateLimited),
        fault=rate_limited("60"),
    ),
    Case(
        "the rate limit is reached after words",
        FaultKind.BUSY,
        "given out",
        Ends(1, RateLimited),
        fault=FailedResponse("rate_limit_exceeded", phase="output", after=3),
    ),
    Case(
        "the rate limit is reached behind the words",
        FaultKind.BUSY,
        "whole",
        Ends(1, RateLimited),
        fault=FailedResponse("rate_limit_exceeded", phase="whole"),
    ),
)

SERVER: tuple[Case, ...] = (
    Case(
        "the upgrade gets a proxy's 502",
        FaultKind.SERVER,
        "connecting",
        RECONNECTED,
        handshake=RefuseHandshake(502, "<html>Bad gateway</html>"),
    ),
    Case(
        "every upgrade gets a 500",
        FaultKind.SERVER,
        "connecting",
        Ends(0, ResponseFailed),
        handshake=turned_away(500),
        always=True,
    ),
    *(
        Case(
            f"a server error of shape {shape}",
            FaultKind.SERVER,
            "sent",
            CURED,
            fault=ErrorFrame(shape=shape),  # type: ignore[arg-type]
        )
        for shape in "abcdef"
    ),
    Case(
        "an untagged server error", FaultKind.SERVER, "sent", CURED, fault=ErrorFrame(tagged=False)
    ),
    Case(
        "a server error, then a close",
        FaultKind.SERVER,
        "sent",
        CURED,
        fault=ErrorFrame(then_close=1011),
    ),
    Case(
        "a gateway's 502 as a frame",
        FaultKind.SERVER,
        "sent",
        CURED,
        fault=RefuseRequest(502, "<html>Bad gateway</html>"),
    ),
    Case(
        "a server error each time",
        FaultKind.SERVER,
        "sent",
        Ends(3, ResponseFailed),
        fault=ErrorFrame(),
        always=True,
    ),
    Case(
        "the response fails at once",
        FaultKind.SERVER,
        "created",
        CURED,
        fault=FailedResponse(phase="created"),
    ),
    Case(
        "a server error when created",
        FaultKind.SERVER,
        "created",
        CURED,
        fault=ErrorFrame(phase="created"),
    ),
    Case(
        "the response fails after words",
        FaultKind.SERVER,
        "given out",
        Ends(1, ResponseFailed),
        fault=FailedResponse(phase="output", after=3),
    ),
    Case(
        "a server error after words",
        FaultKind.SERVER,
        "given out",
        Ends(1, ResponseFailed),
        fault=ErrorFrame(phase="output", after=3),
    ),
    Case(
        "the response fails behind its words",
        FaultKind.SERVER,
        "whole",
        Ends(1, ResponseFailed),
        fault=FailedResponse(phase="whole"),
    ),
    Case(
        "the response fails in a call's arguments",
        FaultKind.SERVER,
        "created",
        Ends(3, runs=1),
        fault=FailedResponse(phase="output", after=1),
        says="call",
    ),
    Case(
        "the response fails behind the first of two calls",
        FaultKind.SERVER,
        "given out",
        Ends(2, ResponseFailed, runs=1),
        Ends(3, runs=2),
        fault=FailedResponse(phase="opened", after=2),
        says="two calls",
    ),
    Case(
        "the response fails behind its call",
        FaultKind.SERVER,
        "whole",
        Ends(2, ResponseFailed, runs=1),
        Ends(3, runs=1),
        fault=FailedResponse(phase="whole"),
        says="call",
    ),
)

_ENDINGS: Mapping[str, Any] = {"close": Close, "reset": Abort, "hang-up": HangUp}

DROPPED: tuple[Case, ...] = (
    *(
        Case(
            f"a {end} between the turns",
            FaultKind.DROPPED,
            "connecting",
            RECONNECTED,
            between=end,
        )
        for end in ("close", "abort")
    ),
    *(
        Case(
            f"the connection is accepted, then {told}",
            FaultKind.DROPPED,
            "connecting",
            RECONNECTED,
            handshake=then,
            lost=1,
        )
        for told, then in {
            "closed with 1000": AcceptThen(close=1000),
            "closed with 1011": AcceptThen(close=1011),
            "reset": AcceptThen(abort=True),
        }.items()
    ),
    *(
        Case(
            f"every connection is accepted, then closed with {code}",
            FaultKind.DROPPED,
            "connecting",
            Ends(0, ConnectionLost),
            handshake=AcceptThen(close=code),
            always=True,
            lost=4,
        )
        for code in (1000, 1001)
    ),
    *(
        Case(f"a close with {code}", FaultKind.DROPPED, "sent", CURED, fault=Close(code=code))
        for code in (1000, 1001, 1011, 1012, 1013)
    ),
    *(
        Case(f"a {name} when {phase}", FaultKind.DROPPED, phase, CURED, fault=end(phase=phase))
        for name, end in _ENDINGS.items()
        for phase in ("sent", "created")
    ),
    Case(
        "a reset each time",
        FaultKind.DROPPED,
        "sent",
        Ends(4, ConnectionLost),
        fault=Abort(),
        always=True,
    ),
    *(
        Case(
            f"a {name} after words",
            FaultKind.DROPPED,
            "given out",
            Ends(1, ConnectionLost),
            fault=end(phase="output", after=3),
        )
        for name, end in _ENDINGS.items()
    ),
    *(
        Case(
            f"a {name} behind the words",
            FaultKind.DROPPED,
            "whole",
            RECONNECTED,
            fault=end(phase="whole"),
        )
        for name, end in _ENDINGS.items()
    ),
    Case(
        "a reset in a call's arguments",
        FaultKind.DROPPED,
        "created",
        Ends(3, runs=1),
        fault=Abort(phase="output", after=1),
        says="call",
    ),
    Case(
        "a reset behind the first of two calls",
        FaultKind.DROPPED,
        "given out",
        Ends(2, ConnectionLost, runs=1),
        Ends(3, runs=2),
        fault=Abort(phase="opened", after=2),
        says="two calls",
    ),
    Case(
        "a reset behind the call",
        FaultKind.DROPPED,
        "whole",
        Ends(2, runs=1),
        fault=Abort(phase="whole"),
        says="call",
    ),
)

SILENT: tuple[Case, ...] = (
    Case(
        "the upgrade isn't answered",
        FaultKind.TIMEOUT,
        "connecting",
        RECONNECTED,
        handshake=DelayHandshake(3600.0),
    ),
    Case(
        "no upgrade is answered",
        FaultKind.TIMEOUT,
        "connecting",
        Ends(0, TurnTimeout),
        handshake=DelayHandshake(3600.0),
        always=True,
    ),
    Case("silence when sent", FaultKind.TIMEOUT, "sent", CURED, fault=Silence()),
    Case(
        "a dead connection",
        FaultKind.TIMEOUT,
        "sent",
        CURED,
        fault=Silence(scope="connection", pongs=False),
    ),
    Case(
        "a connection that never says a word",
        FaultKind.UNRESPONSIVE,
        "sent",
        CURED,
        fault=Silence(scope="connection"),
        between="close",
    ),
    Case(
        "silence each time",
        FaultKind.TIMEOUT,
        "sent",
        Ends(3, TurnTimeout),
        fault=Silence(),
        always=True,
    ),
    *(
        Case(
            f"nothing but {noise} when created",
            FaultKind.TIMEOUT,
            "created",
            CURED,
            fault=Silence(phase="created", noise=noise, every=1.0),
        )
        for noise in ("in_progress", "keepalive")
    ),
    Case(
        "silence in a call's arguments",
        FaultKind.TIMEOUT,
        "created",
        Ends(3, runs=1),
        fault=Silence(phase="output", after=1),
        says="call",
    ),
    Case(
        "silence after words",
        FaultKind.TIMEOUT,
        "given out",
        Ends(1, TurnTimeout),
        fault=Silence(phase="output", after=3, noise="keepalive", every=1.0),
    ),
    Case(
        "silence behind the words",
        FaultKind.TIMEOUT,
        "whole",
        RECONNECTED,
        fault=Silence(phase="whole"),
    ),
    Case(
        "silence behind the call",
        FaultKind.TIMEOUT,
        "whole",
        Ends(2, runs=1),
        fault=Silence(phase="whole"),
        says="call",
    ),
    Case(
        "silence behind the first of two calls",
        FaultKind.TIMEOUT,
        "given out",
        Ends(2, TurnTimeout, runs=1),
        Ends(3, runs=2),
        fault=Silence(phase="opened", after=2),
        says="two calls",
    ),
    Case(
        "speech that dribbles below the floor",
        FaultKind.TIMEOUT,
        "given out",
        Ends(1, TurnTimeout),
        fault=Dribble(every=2.0, after=12),
        options={"speech_floor": 5.0},
    ),
    Case(
        "speech that dribbles, and no floor",
        None,
        "given out",
        RECONNECTED,
        fault=Dribble(every=1.5, after=12),
    ),
)

REFUSED: tuple[Case, ...] = (
    Case(
        "a parameter is refused that may be left out",
        FaultKind.PARAMETER_REFUSED,
        "sent",
        CURED,
        fault=refusing("temperature"),
        options={"temperature": 0.5},
    ),
    Case(
        "a parameter is refused though it was left out",
        FaultKind.PARAMETER_REFUSED,
        "sent",
        Ends(5, RequestRejected),
        fault=NO_PARAMETER,
        always=True,
        options={"temperature": 0.5},
    ),
    Case(
        "a parameter is refused that may not be left out",
        FaultKind.REFUSED,
        "sent",
        Ends(1, RequestRejected),
        fault=refusal("unsupported_parameter", param="store"),
    ),
    Case(
        "the model's call could not be read",
        FaultKind.SLIPPED,
        "sent",
        CURED,
        fault=refusal("tool_use_failed"),
    ),
    Case(
        "the upgrade gets an empty 403",
        FaultKind.PASSING,
        "connecting",
        RECONNECTED,
        handshake=RefuseHandshake(403, ""),
    ),
    *(
        Case(
            f"the upgrade gets a {status}",
            kind,
            "connecting",
            Ends(0, RequestRejected),
            handshake=no,
        )
        for status, kind, no in (
            (400, FaultKind.REFUSED, turned_away(400)),
            (401, FaultKind.UNAUTHORISED, turned_away(401, "invalid_api_key")),
            (403, FaultKind.FORBIDDEN, turned_away(403)),
            (
                "redirect",
                FaultKind.FORBIDDEN,
                RefuseHandshake(302, "", {"location": "http://x.test/"}),
            ),
            ("404 for the model", FaultKind.NOT_FOUND, turned_away(404, "model_not_found")),
            ("429 for the quota", FaultKind.QUOTA, turned_away(429, "insufficient_quota")),
        )
    ),
    Case(
        "the upgrade gets a 401, and there is a fresh token",
        FaultKind.TOKEN_REFUSED,
        "connecting",
        RECONNECTED,
        handshake=turned_away(401, "invalid_api_key"),
        renewable=True,
    ),
    Case(
        "every token is refused",
        FaultKind.TOKEN_REFUSED,
        "connecting",
        Ends(0, RequestRejected),
        handshake=turned_away(401, "invalid_api_key"),
        always=True,
        renewable=True,
    ),
    *(
        Case(f"a {code} frame", kind, "sent", Ends(1, RequestRejected), fault=refusal(code, status))
        for code, status, kind in (
            ("invalid_api_key", 401, FaultKind.UNAUTHORISED),
            ("permission_denied", 403, FaultKind.FORBIDDEN),
            ("model_not_found", 404, FaultKind.NOT_FOUND),
            ("insufficient_quota", 429, FaultKind.QUOTA),
            ("context_length_exceeded", 400, FaultKind.REFUSED),
        )
    ),
    Case(
        "a refusal, then a close",
        FaultKind.REFUSED,
        "sent",
        Ends(1, RequestRejected),
        fault=refusal("invalid_prompt", then_close=1011),
    ),
    Case(
        "the connection is accepted, then refused",
        FaultKind.QUOTA,
        "connecting",
        Ends(0, RequestRejected),
        handshake=AcceptThen(refusal("insufficient_quota", 429, tagged=False), close=1000),
        lost=1,
    ),
    *(
        Case(
            f"a close with {code}",
            FaultKind.REFUSED,
            "sent",
            Ends(1, RequestRejected),
            fault=Close(code=code),
        )
        for code in (1008, 4402)
    ),
    Case(
        "a close with 1008 after words",
        FaultKind.REFUSED,
        "given out",
        Ends(1, RequestRejected),
        fault=Close(code=1008, phase="output", after=3),
    ),
    *(
        Case(
            f"the response fails for {code} {told}",
            kind,
            phase,  # type: ignore[arg-type]
            Ends(1, error),
            fault=FailedResponse(code, phase=at, after=3),  # type: ignore[arg-type]
        )
        for code, kind, error in (
            ("invalid_prompt", FaultKind.REFUSED, RequestRejected),
            ("insufficient_quota", FaultKind.QUOTA, RequestRejected),
            ("vector_store_timeout", FaultKind.RESPONSE_FAILED, ResponseFailed),
        )
        for told, phase, at in (
            ("at once", "created", "created"),
            ("after words", "given out", "output"),
            ("behind its words", "whole", "whole"),
        )
    ),
)

OTHER: tuple[Case, ...] = (
    Case(
        "an answer that is filtered before its first word",
        FaultKind.CUT_AT_ONCE,
        "created",
        Ends(1, ResponseFailed),
        fault=CutResponse(reason="content_filter", phase="created"),
    ),
    Case("an empty answer", FaultKind.EMPTY, "created", CURED, fault=Empty()),
    Case(
        "only empty answers",
        FaultKind.EMPTY,
        "created",
        CURED,
        fault=Empty(),
        always=True,
        silent=True,
    ),
    Case(
        "the client is closed while it connects",
        FaultKind.CLOSED,
        "connecting",
        Ends(0, ConnectionLost),
        Ends(0),
        handshake=DelayHandshake(3600.0),
        closed=True,
        silent=True,
    ),
    *(
        Case(
            f"the client is closed {told}",
            FaultKind.CLOSED,
            phase,  # type: ignore[arg-type]
            Ends(1, ConnectionLost),
            Ends(1),
            fault=Silence(phase=at, after=3),  # type: ignore[arg-type]
            closed=True,
            silent=True,
        )
        for told, phase, at in (
            ("before the answer", "sent", "sent"),
            ("when created", "created", "created"),
            ("after words", "given out", "output"),
            ("behind the words", "whole", "whole"),
        )
    ),
    Case(
        "the service cuts the answer short",
        None,
        "given out",
        RECONNECTED,
        fault=CutResponse(phase="output", after=3),
    ),
    Case(
        "frames that make no sense",
        None,
        "given out",
        RECONNECTED,
        fault=[Garbage(frame, phase="output", after=2) for frame in GARBAGE.values()],
    ),
)

FALLBACK: tuple[Case, ...] = (
    *(
        Case(
            f"the host has no WebSocket ({status}) and no fallback is wanted",
            FaultKind.NO_WEBSOCKET,
            "connecting",
            Ends(0, RequestRejected),
            handshake=RefuseHandshake(status, "<html>No</html>"),
            always=True,
        )
        for status in (404, 405, 426)
    ),
    *(
        Case(
            f"the host has no WebSocket ({status})",
            FaultKind.NO_WEBSOCKET,
            "connecting",
            RECONNECTED,
            handshake=RefuseHandshake(status, "<html>No</html>"),
            always=True,
            options=HTTP,
            next_way="http",
        )
        for status in (404, 405, 426)
    ),
    Case(
        "the host has neither WebSocket nor HTTP",
        FaultKind.NO_HTTP,
        "sent",
        Ends(1, RequestRejected),
        handshake=NO_TEXT_HERE,
        fault=RefuseRequest(404, "<html>No</html>"),
        always=True,
        options=HTTP,
        next_way=None,
    ),
    *(
        Case(
            f"{told}, with a fallback",
            kind,
            "connecting",
            RECONNECTED,
            handshake=handshake,
            always=True,
            options=HTTP,
            next_way="http",
            lost=lost,
        )
        for told, kind, handshake, lost in (
            ("every upgrade gets a 503", FaultKind.BUSY, turned_away(503), 0),
            ("every upgrade gets a 500", FaultKind.SERVER, turned_away(500), 0),
            ("every connection is closed at once", FaultKind.DROPPED, AcceptThen(close=1001), 4),
            ("no upgrade is answered", FaultKind.TIMEOUT, DelayHandshake(3600.0), 0),
        )
    ),
    Case(
        "a 403 with a fallback",
        FaultKind.FORBIDDEN,
        "connecting",
        Ends(0, RequestRejected),
        handshake=turned_away(403),
        options=HTTP,
    ),
    Case(
        "the request is too large for a frame",
        FaultKind.TOO_LARGE,
        "sent",
        Ends(1, RequestRejected),
        fault=Close(code=1009, reason="message too big"),
    ),
    Case(
        "the request is too large for the host, with a fallback",
        FaultKind.TOO_LARGE,
        "sent",
        RECONNECTED,
        options=HTTP,
        lost=1,
        caller=LONG,
        simulator={"max_frame": 4096},
        next_way=None,
    ),
    Case(
        "the request is too large for the host's profile, with a fallback",
        FaultKind.TOO_LARGE,
        "connecting",
        RECONNECTED,
        options={**HTTP, "host_profile": HostProfile("narrow", max_frame=4096)},
        caller=LONG,
        next_way=None,
    ),
    Case(
        "a close with 1009 after words, with a fallback",
        FaultKind.TOO_LARGE,
        "given out",
        Ends(1, RequestRejected),
        fault=Close(code=1009, phase="output", after=3),
        options=HTTP,
    ),
    Case(
        "a reset after words, with a fallback",
        FaultKind.DROPPED,
        "given out",
        Ends(1, ConnectionLost),
        fault=Abort(phase="output", after=3),
        options=HTTP,
    ),
)

CASES: tuple[Case, ...] = (
    *CHAIN,
    *LIMITS,
    *WAITING,
    *SERVER,
    *DROPPED,
    *SILENT,
    *REFUSED,
    *OTHER,
    *FALLBACK,
)


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


def hosts_of(case: Case) -> tuple[Host, ...]:
    """The hosts that a case is played on."""
    hosts = TWO_HOSTS if case.handshake is not None else EVERY_HOST
    return tuple(host for host in hosts if host.lanes == "on" or not case.lanes)


RUNS = {f"{case.name}: {host}": (case, host) for case in CASES for host in hosts_of(case)}
