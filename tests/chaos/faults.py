"""What may go wrong, as hypothesis strategies over the simulator's faults."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

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
    Mangle,
    RefuseHandshake,
    RefuseRequest,
    Silence,
    connection_limit,
    overloaded,
    rate_limited,
)

PHASES = ("sent", "headers", "created", "opened", "output", "item", "complete")
CLOSE_CODES = (1000, 1001, 1003, 1008, 1009, 1011, 1012, 1013, 4000, 4001)
CODES = (
    ("server_error", 500, "server_error"),
    ("previous_response_not_found", 400, "invalid_request_error"),
    ("insufficient_quota", 429, "insufficient_quota"),
    ("invalid_prompt", 400, "invalid_request_error"),
    ("too_many_websocket_connections", 429, "rate_limit_error"),
    (None, None, "server_error"),
)
FLAWS: tuple[Any, ...] = (
    "delta_without_logprobs",
    "delta_without_place",
    "sequence_missing",
    "item_done_dropped",
    "call_incomplete",
    "usage_null",
    "usage_missing",
    "output_missing",
    "output_null",
    "output_empty",
    "response_done",
    "terminal_dropped",
)

_at: dict[str, Any] = {"phase": st.sampled_from(PHASES), "after": st.integers(1, 3)}
_retry_after = st.sampled_from([None, "0", "1", "3", "100"])

errors = st.one_of(
    st.builds(
        lambda code, shape, **at: ErrorFrame(
            code=code[0], status=code[1], kind=code[2], shape=shape, **at
        ),
        st.sampled_from(CODES),
        st.sampled_from([None, None, "b", "c", "d", "e", "f"]),
        **_at,
    ),
    st.builds(rate_limited, _retry_after, **_at),
    st.builds(overloaded, **_at),
    st.builds(connection_limit, **_at),
)

faults: st.SearchStrategy[Any] = st.one_of(
    errors,
    st.builds(FailedResponse, code=st.sampled_from(["server_error", "rate_limit_exceeded"]), **_at),
    st.builds(CutResponse, **_at),
    st.builds(Close, code=st.sampled_from(CLOSE_CODES), **_at),
    st.builds(Abort, **_at),
    st.builds(HangUp, **_at),
    st.builds(
        Silence,
        noise=st.sampled_from([None, None, "in_progress", "keepalive"]),
        every=st.sampled_from([1.0, 4.0]),
        **_at,
    ),
    # As after a cut cable. One that answers pings and nothing else is noticed only by a
    # turn's own limit; two at once cost two attempts.
    st.builds(Silence, scope=st.just("connection"), pongs=st.just(False), **_at),
    st.builds(Garbage, frame=st.sampled_from(sorted(GARBAGE.values())), **_at),
    st.just(Empty()),
    # Small pieces fill the queue of a VideoSDK pipeline without a voice, which holds 50.
    st.builds(Dribble, every=st.sampled_from([0.5, 3.0, 20.0]), size=st.integers(8, 20)),
    st.builds(Mangle, st.sampled_from(FLAWS)),
    st.builds(RefuseRequest, status=st.sampled_from([429, 500, 502, 503]), body=st.just("<html>")),
)
"""What may happen to one request."""

plans = st.lists(st.one_of(st.none(), faults, faults), min_size=1, max_size=4)
"""What happens to the next requests, in turn."""

_refusals = st.builds(RefuseHandshake, status=st.sampled_from([401, 403, 404, 426, 429, 500, 503]))
_accepted = st.one_of(
    st.builds(AcceptThen, error=errors, close=st.sampled_from([None, 1000, 1008, 1013])),
    st.builds(AcceptThen, close=st.sampled_from(CLOSE_CODES)),
    st.just(AcceptThen(abort=True)),
)
handshakes: st.SearchStrategy[Any] = st.lists(
    st.one_of(
        st.none(),
        _refusals,
        _accepted,
        st.builds(
            DelayHandshake,
            st.sampled_from([0.5, 4.0, 30.0]),
            then=st.one_of(st.none(), _refusals, _accepted),
        ),
    ),
    min_size=1,
    max_size=4,
)
"""What happens at the next handshakes, in turn."""
