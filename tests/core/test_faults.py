"""Statuses, codes, sentences, closes and silences: each gets its kind."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtllm.codec.frames import error_of, read
from rtllm.retry.faults import (
    FaultKind,
    from_close,
    from_error,
    from_handshake,
    is_of_substance,
    retry_after,
    timed_out,
)


def of_frame(frame: dict[str, Any]) -> Any:
    made = read(json.dumps(frame))
    assert made is not None
    assert made.is_error
    return from_error(*error_of(made))


SHAPES: dict[str, dict[str, Any]] = {
    "a": {
        "type": "error",
        "status": 429,
        "stream_id": "lane-1",
        "error": {
            "type": "requests",
            "code": "rate_limit_exceeded",
            "message": "Slow down",
            "param": None,
        },
        "headers": {"Retry-After": "2", "X-Request-ID": "req_1"},
    },
    "a, status_code": {
        "type": "error",
        "status_code": 429,
        "error": {"code": "rate_limit_exceeded", "message": "Slow down"},
        "headers": {"retry-after-ms": "2000", "x-request-id": "req_1"},
    },
    "a, headers inside": {
        "type": "error",
        "error": {
            "code": "rate_limit_exceeded",
            "message": "Slow down",
            "status": 429,
            "headers": {"retry-after": "2", "x-request-id": "req_1"},
        },
    },
}


@pytest.mark.parametrize("frame", SHAPES.values(), ids=SHAPES)
def test_an_error_frame_of_the_live_form_is_read_whole(frame: dict[str, Any]) -> None:
    fault = of_frame(frame)
    assert (fault.kind, fault.code, fault.status) == (
        FaultKind.THROTTLED,
        "rate_limit_exceeded",
        429,
    )
    assert (fault.message, fault.retry_after, fault.request_id) == ("Slow down", 2.0, "req_1")


@pytest.mark.parametrize(
    ("frame", "kind", "message"),
    [
        (
            {"type": "error", "code": "server_error", "message": "Oh", "sequence_number": 3},
            FaultKind.SERVER,
            "Oh",
        ),
        (
            {"type": "error", "status": 400, "error": {"detail": "Unsupported parameter: x"}},
            FaultKind.REFUSED,
            "Unsupported parameter: x",
        ),
        ({"type": "error", "error": {"code": "429", "message": "m"}}, FaultKind.THROTTLED, "m"),
        ({"type": "error", "error": {"code": 503, "message": "m"}}, FaultKind.THROTTLED, "m"),
        ({"type": "error", "error": {"message": "m"}}, FaultKind.REFUSED, "m"),
        (
            {"type": "error", "error": {"type": "usage_limit_reached", "resets_at": 1}},
            FaultKind.QUOTA,
            "no reason given",
        ),
        ({"error": {"code": "server_error", "message": "m"}}, FaultKind.SERVER, "m"),
        ({"type": "error", "error": None}, FaultKind.REFUSED, "no reason given"),
        ({"type": "error", "error": "Oh"}, FaultKind.REFUSED, "Oh"),
        ({"type": "error", "detail": "Oh"}, FaultKind.REFUSED, "Oh"),
        ({"type": "error", "detail": [{"loc": ["x"], "msg": "Oh"}]}, FaultKind.REFUSED, "x: Oh"),
        ({"type": "error", "error": [{"message": "Oh"}]}, FaultKind.REFUSED, "Oh"),
    ],
    ids=[
        *("b", "c", "d", "d, a number", "d, bare", "e", "f", "null", "a string"),
        *("a detail", "details", "a list"),
    ],
)
def test_an_error_frame_of_any_shape_is_understood(
    frame: dict[str, Any], kind: FaultKind, message: str
) -> None:
    fault = of_frame(frame)
    assert (fault.kind, fault.message) == (kind, message)


@pytest.mark.parametrize(
    ("code", "status", "kind"),
    [
        ("previous_response_not_found", 400, FaultKind.CHAIN_MISS),
        ("previous_response_not_found", 404, FaultKind.CHAIN_MISS),
        ("previous_response_not_found", None, FaultKind.CHAIN_MISS),
        ("websocket_connection_limit_reached", 400, FaultKind.CONNECTION_LIMIT),
        ("websocket_stream_limit_reached", 400, FaultKind.LANE_LIMIT),
        ("invalid_stream_id", 400, FaultKind.LANE_LIMIT),
        ("response_already_in_flight", 409, FaultKind.LANE_LIMIT),
        ("rate_limit_exceeded", 429, FaultKind.THROTTLED),
        ("slow_down", 503, FaultKind.THROTTLED),
        ("server_is_overloaded", 503, FaultKind.THROTTLED),
        ("insufficient_quota", 429, FaultKind.QUOTA),
        ("credit_balance_exhausted", 429, FaultKind.QUOTA),
        ("organization_spend_limit_exceeded", 429, FaultKind.QUOTA),
        ("project_spend_limit_exceeded", 429, FaultKind.QUOTA),
        ("organization_usage_limit_exceeded", 429, FaultKind.QUOTA),
        ("server_error", 500, FaultKind.SERVER),
        ("invalid_api_key", 401, FaultKind.UNAUTHORISED),
        ("model_not_found", 404, FaultKind.NOT_FOUND),
        ("context_length_exceeded", 400, FaultKind.REFUSED),
        ("invalid_prompt", 400, FaultKind.REFUSED),
        ("bio_policy", 400, FaultKind.REFUSED),
        ("misalignment_policy_violation", 400, FaultKind.REFUSED),
        ("content_filter", 400, FaultKind.REFUSED),
        (None, 401, FaultKind.UNAUTHORISED),
        (None, 403, FaultKind.FORBIDDEN),
        (None, 404, FaultKind.NOT_FOUND),
        (None, 408, FaultKind.SERVER),
        (None, 413, FaultKind.TOO_LARGE),
        (None, 418, FaultKind.REFUSED),
        (None, 429, FaultKind.THROTTLED),
        (None, 500, FaultKind.SERVER),
        (None, 502, FaultKind.SERVER),
        (None, 503, FaultKind.THROTTLED),
        (None, 520, FaultKind.SERVER),
        (None, None, FaultKind.REFUSED),
    ],
)
def test_a_code_knows_best_and_then_the_status(
    code: str | None, status: int | None, kind: FaultKind
) -> None:
    fault = from_error({"code": code, "message": "m"}, status)
    assert (fault.kind, fault.code, fault.status) == (kind, code, status)


@pytest.mark.parametrize(
    ("error", "status", "kind"),
    [
        ({"type": "insufficient_quota"}, 429, FaultKind.QUOTA),
        ({"type": "rate_limit_error"}, None, FaultKind.THROTTLED),
        ({"type": "service_unavailable_error"}, None, FaultKind.THROTTLED),
        ({"type": "authentication_error"}, None, FaultKind.UNAUTHORISED),
        ({"type": "permission_error"}, None, FaultKind.FORBIDDEN),
        ({"type": "invalid_request_error"}, 400, FaultKind.REFUSED),
        ({"param": "stream_id", "message": "Unknown"}, 400, FaultKind.LANES_REFUSED),
        ({"param": "generate"}, 400, FaultKind.REFUSED),
        ({"message": "Unknown parameter: 'stream_id'."}, 400, FaultKind.LANES_REFUSED),
        ({"message": "stream_ids are many", "param": "input"}, 400, FaultKind.REFUSED),
        (
            {"message": "llama.cpp does not support 'previous_response_id'.", "code": 400},
            400,
            FaultKind.CHAIN_MISS,
        ),
        (
            {"message": "Response with id 'resp_1' not found.", "param": "response_id"},
            404,
            FaultKind.CHAIN_MISS,
        ),
        ({"message": "no previous_response_id here", "param": "input"}, 400, FaultKind.REFUSED),
        (
            {"message": "No tool output found for function call call_1.", "param": "input"},
            400,
            FaultKind.ITEMS_REFUSED,
        ),
        (
            {"message": "No tool call found for function call output with call_id call_1."},
            400,
            FaultKind.ITEMS_REFUSED,
        ),
        (
            {"message": "Item with id 'rs_1' not found. Items are not persisted"},
            404,
            FaultKind.ITEMS_REFUSED,
        ),
        (
            {"message": "The encrypted content for item rs_1 could not be verified."},
            400,
            FaultKind.ITEMS_REFUSED,
        ),
        ({"code": "invalid_encrypted_content"}, 400, FaultKind.ITEMS_REFUSED),
        (
            {"code": "unsupported_parameter", "param": "temperature"},
            400,
            FaultKind.PARAMETER_REFUSED,
        ),
        ({"code": "unsupported_parameter", "param": "store"}, 400, FaultKind.REFUSED),
        ({"code": "invalid_value", "param": "temperature"}, 400, FaultKind.PARAMETER_REFUSED),
    ],
)
def test_where_no_code_helps_the_field_the_sentence_or_the_type_does(
    error: dict[str, Any], status: int | None, kind: FaultKind
) -> None:
    assert from_error(error, status).kind is kind


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("server_error", FaultKind.SERVER),
        ("rate_limit_exceeded", FaultKind.THROTTLED),
        ("previous_response_not_found", FaultKind.CHAIN_MISS),
        ("vector_store_timeout", FaultKind.RESPONSE_FAILED),
        ("invalid_prompt", FaultKind.REFUSED),
        ("image_generation_failed", FaultKind.RESPONSE_FAILED),
        ("internal_error", FaultKind.SERVER),
        (None, FaultKind.SERVER),
    ],
)
def test_a_failed_response_is_tried_again_only_if_that_can_help(
    code: str | None, kind: FaultKind
) -> None:
    assert from_error({"code": code, "message": "m"}, None, begun=True).kind is kind


@pytest.mark.parametrize("error", [{}, {"message": None}, {"code": None, "message": "An error"}])
def test_a_failed_response_without_a_reason_is_tried_again(error: dict[str, Any]) -> None:
    assert from_error(error, None, begun=True).kind is FaultKind.SERVER
    assert from_error(error, None).kind is FaultKind.REFUSED


@pytest.mark.parametrize(
    "message",
    ["This was flagged by our content policy.", "You exceeded your current quota."],
    ids=["policy", "quota"],
)
def test_a_failed_response_with_words_of_substance_is_not_tried_again(message: str) -> None:
    error = {"message": message}
    assert from_error(error, None, begun=True).kind is FaultKind.RESPONSE_FAILED


HTML = b"<html>no</html>"
TYPED = b'{"error":{"message":"no","type":"invalid_request_error","param":null,"code":null}}'


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (401, b'{"error":{"message":"no","code":"invalid_api_key"}}', FaultKind.UNAUTHORISED),
        (401, HTML, FaultKind.UNAUTHORISED),
        (403, b"", FaultKind.UPGRADE_REFUSED),
        (404, HTML, FaultKind.NO_WEBSOCKET),
        (405, b'{"detail":"Method Not Allowed"}', FaultKind.NO_WEBSOCKET),
        (426, b"\xff\xfe", FaultKind.NO_WEBSOCKET),
        (204, b"", FaultKind.NO_WEBSOCKET),
        (405, TYPED, FaultKind.NO_WEBSOCKET),
        (426, TYPED, FaultKind.NO_WEBSOCKET),
        (404, TYPED, FaultKind.NO_WEBSOCKET),
        (404, b'{"error":{"code":"model_not_found","message":"no"}}', FaultKind.NOT_FOUND),
        (429, b'{"error":"later"}', FaultKind.THROTTLED),
        (429, b'{"error":{"code":"insufficient_quota"}}', FaultKind.QUOTA),
        (500, HTML, FaultKind.SERVER),
        (502, b"[1]", FaultKind.SERVER),
        (503, b"null", FaultKind.THROTTLED),
        (301, b"", FaultKind.FORBIDDEN),
        (307, b"", FaultKind.FORBIDDEN),
        (200, b"", FaultKind.NO_WEBSOCKET),
    ],
)
def test_a_refused_upgrade_is_named(status: int, body: bytes, kind: FaultKind) -> None:
    fault = from_handshake(status, {}, body)
    assert (fault.kind, fault.status) == (kind, status)
    assert fault.message


def test_a_refused_upgrade_tells_its_sentence_wait_and_request() -> None:
    headers = {"Retry-After": "3", "X-Request-Id": "req_1"}
    fault = from_handshake(429, headers, b'{"error":{"message":"later"}}')
    assert (fault.message, fault.retry_after, fault.request_id) == ("later", 3.0, "req_1")
    assert "status 403" in from_handshake(403, {}, HTML).message


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (1000, FaultKind.DROPPED),
        (1001, FaultKind.DROPPED),
        (1006, FaultKind.DROPPED),
        (1011, FaultKind.DROPPED),
        (1012, FaultKind.DROPPED),
        (None, FaultKind.DROPPED),
        (1008, FaultKind.REFUSED),
        (1009, FaultKind.TOO_LARGE),
        (4000, FaultKind.REFUSED),
        (4401, FaultKind.UNAUTHORISED),
        (4402, FaultKind.REFUSED),
        (4408, FaultKind.SERVER),
        (4429, FaultKind.THROTTLED),
        (4500, FaultKind.SERVER),
        (4503, FaultKind.THROTTLED),
        (4999, FaultKind.REFUSED),
    ],
)
def test_a_close_is_named_by_its_code(code: int | None, kind: FaultKind) -> None:
    fault = from_close(code, "because")
    assert (fault.kind, fault.code) == (kind, None if code is None else str(code))
    assert "because" in fault.message


NOON = "Wed, 21 Oct 2026 12:00:00 GMT"


@pytest.mark.parametrize(
    ("headers", "message", "seconds"),
    [
        ({"retry-after": "2"}, "", 2.0),
        ({"retry-after": "2", "retry-after-ms": "150"}, "", 0.15),
        ({"retry-after": "-1"}, "", 0.0),
        ({"retry-after": "Wed, 21 Oct 2026 07:28:00 GMT"}, "", None),
        (
            {
                "retry-after": "Wed, 21 Oct 2026 07:28:03 GMT",
                "date": "Wed, 21 Oct 2026 07:28:00 GMT",
            },
            "",
            3.0,
        ),
        ({}, "Please try again in 20ms.", 0.02),
        ({}, "Please try again in 1.3s. Visit", 1.3),
        ({}, "Try Again In 2S", 2.0),
        ({}, "Please try again in 2 minutes", 120.0),
        ({}, "try again in 1m3.5s", 63.5),
        ({}, "Rate limited. Please retry after 2 seconds. See the docs", 2.0),
        ({}, "the tool will try again in a moment", None),
        ({"retry-after": "x"}, "try again in 1s", 1.0),
        ({}, "Try again in about 3 seconds", 3.0),
        ({"date": NOON}, "Please try again at 2026-10-21T12:00:04Z.", 4.0),
        ({"date": NOON}, "Please wait until 2026-10-21 12:01:00+00:00", 60.0),
        ({"date": NOON}, "Your limit resets at 2026-10-21T12:00:04.5", 4.5),
        ({"date": NOON}, "try again at 2026-10-21T11:00:00Z", 0.0),
        ({"date": NOON}, "try again at 2026-99-21T11:00:00Z", None),
        ({}, "try again at 2026-10-21T12:00:04Z", None),
        ({"date": NOON, "retry-after": "2026-10-21T12:00:04Z"}, "", 4.0),
        ({"x-ratelimit-reset-tokens": "6m0s"}, "", 360.0),
        ({"x-ratelimit-reset-tokens": "120ms"}, "", 0.12),
        ({"x-ratelimit-reset-tokens": "1s"}, "try again in 3s", 3.0),
        ({"x-ratelimit-reset-requests": "2"}, "", 2.0),
        ({"x-ratelimit-reset": "2.5"}, "", 2.5),
        ({"x-ratelimit-reset": "1761048000"}, "", None),
        ({"x-ratelimit-reset": "soon"}, "", None),
        ({"x-ratelimit-reset": "2026-10-21T12:00:04Z", "date": NOON}, "", 4.0),
        ({"x-ratelimit-reset-tokens": "2s", "x-ratelimit-remaining-tokens": "7"}, "", None),
        ({"x-ratelimit-reset-tokens": "2s", "x-ratelimit-reset-requests": "3s"}, "", 3.0),
        ({}, "", None),
    ],
)
def test_the_wait_is_read_from_headers_or_else_from_the_sentence(
    headers: dict[str, str], message: str, seconds: float | None
) -> None:
    wait = retry_after(headers, message, resets=True)
    assert wait == (None if seconds is None else pytest.approx(seconds))


@pytest.mark.parametrize(
    ("error", "seconds"),
    [
        ({"details": [{"@type": "RetryInfo", "retryDelay": "43s"}]}, 43.0),  # Gemini
        ({"error": {"message": "busy", "retry_after": 0.5}}, 0.5),
        ({"error": "busy", "retry_after_seconds": 7}, 7.0),
        ({"error": "busy", "retryAfter": "soon"}, None),
        ({"message": "try again in 2s", "retry_after": "soon"}, 2.0),
    ],
)
def test_the_wait_is_read_from_the_body_too(error: dict[str, Any], seconds: float | None) -> None:
    fault = from_error({"message": "busy", **error}, 429)
    assert fault.retry_after == seconds
    assert from_error(error, 429, {"Retry-After": "3"}).retry_after == 3.0


@pytest.mark.parametrize(
    ("error", "status", "kind"),
    [
        ({"code": "rate_limit_exceeded", "message": "too large"}, 413, FaultKind.REFUSED),
        ({"code": "capacity_exceeded", "message": "flex is full"}, 498, FaultKind.THROTTLED),
        ({"type": "overloaded_error", "message": "Overloaded"}, None, FaultKind.THROTTLED),
    ],
)
def test_limits_of_other_hosts_are_known(
    error: dict[str, str], status: int | None, kind: FaultKind
) -> None:
    assert from_error(error, status).kind is kind


@pytest.mark.parametrize("message", ["exceeds the available context size", "API key not valid."])
def test_content_that_is_rejected_is_recognized_by_the_sentence(message: str) -> None:
    assert is_of_substance(from_error({"message": message}, 400))


@pytest.mark.parametrize(
    "body",
    [
        {"Message": "Too long."},  # AWS
        {"errorMessage": "Too long.", "errorCode": "X"},
        {"error_code": 336003, "error_msg": "Too long."},  # Baidu
        {"error": {"message": {"text": "Too long."}}},
        {"base_resp": {"status_code": 1008, "status_msg": "Too long."}},  # MiniMax
    ],
)
def test_the_sentence_is_found_in_the_body_of_any_host(body: dict[str, Any]) -> None:
    assert from_error(body, 400).message == "Too long."


def test_a_silence_says_what_was_waited_for() -> None:
    assert timed_out("a connection", 2.5).message == "waited 2.5 s for a connection"


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(), inner, max_size=2),
    max_leaves=4,
)
_fields = ["message", "code", "type", "param", "detail"]


@given(
    error=st.dictionaries(
        st.sampled_from(_fields), _json | st.sampled_from(["²", "9" * 5000, "429"])
    ),
    status=st.none() | st.integers(0, 999),
    begun=st.booleans(),
)
def test_whatever_an_error_holds_it_gets_a_kind(
    error: dict[str, object], status: int | None, *, begun: bool
) -> None:
    assert isinstance(from_error(error, status, begun=begun).kind, FaultKind)


@given(st.integers(100, 599), st.binary(max_size=20) | _json.map(lambda v: json.dumps(v).encode()))
def test_whatever_a_refused_upgrade_holds_it_gets_a_kind(status: int, body: bytes) -> None:
    assert isinstance(from_handshake(status, {}, body).kind, FaultKind)
