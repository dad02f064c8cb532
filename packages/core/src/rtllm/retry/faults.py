"""What went wrong, as one type: statuses, close codes, error frames and silences.

A fault is named where it is known, from statuses and codes; sentences are read only where
the service gives nothing else, and each such place says so.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from email.utils import parsedate_to_datetime
from enum import Enum, auto
from typing import Literal

from rtllm.parameters.rejections import DROPPABLE


class FaultKind(Enum):
    """The faults that are treated differently."""

    CHAIN_MISS = auto()
    """The service no longer knows the response that was continued."""
    CONNECTION_LIMIT = auto()
    """The connection is over, the service isn't."""
    LANES_REFUSED = auto()
    """The host doesn't know ``stream_id``."""
    LANE_LIMIT = auto()
    """No more lanes on this connection."""
    BUSY = auto()
    """Rate limit or overload: passes by itself."""
    QUOTA = auto()
    """Money or quota is used up: doesn't pass by itself."""
    UNAUTHORISED = auto()
    TOKEN_REFUSED = auto()
    """The key is refused, but its function may have a fresh one."""
    FORBIDDEN = auto()
    NOT_FOUND = auto()
    NO_WEBSOCKET = auto()
    """The host answers, but not on a socket."""
    NO_HTTP = auto()
    """The host doesn't answer over HTTP, or doesn't know the Responses API there."""
    TOO_LARGE = auto()
    """The request exceeds the host's frame limit."""
    REFUSED = auto()
    """The request itself is refused."""
    PARAMETER_REFUSED = auto()
    """A parameter is refused that may be left out."""
    ITEMS_REFUSED = auto()
    """An item or its id is unknown, or a call lacks its output: whole it may be accepted."""
    SERVER = auto()
    """The service broke."""
    RESPONSE_FAILED = auto()
    """``response.failed``: the service began the response and gave it up for good."""
    DROPPED = auto()
    """The connection died."""
    UNREACHABLE = auto()
    """No connection could be made."""
    TIMEOUT = auto()
    """A wait ran out."""
    UNRESPONSIVE = auto()
    """A wait ran out on a connection that never said a word."""
    CLOSED = auto()
    """The client was closed while the turn ran."""
    EMPTY = auto()
    """The response is complete and there is nothing in it."""


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that went wrong with an attempt.

    Attributes:
        kind: What it is, for the recovery table.
        message: The service's sentence, or ours.
        code: The service's word for it.
        status: HTTP status, where one was given.
        param: The request field that the service names.
        request_id: The service's id of the request.
        retry_after: Seconds to wait, where the service said so.
        has_code: Whether the error came with a code, as one of the API itself does.
    """

    kind: FaultKind
    message: str
    code: str | None = None
    status: int | None = None
    param: str | None = None
    request_id: str | None = None
    retry_after: float | None = None
    has_code: bool = False


CLIENT_CLOSED = Fault(FaultKind.CLOSED, "the client was closed")
EMPTY_RESPONSE = Fault(FaultKind.EMPTY, "the service completed an empty response")
WARM_UP_NEEDS_SOCKET = Fault(FaultKind.REFUSED, "a prompt can be prepared over a socket only")
ANSWER_BROKEN_OFF = Fault(FaultKind.DROPPED, "the stream ended before the answer did")
STREAM_BROKEN_OFF = Fault(FaultKind.DROPPED, "the stream ended before the response's last event")
NO_SIGN_OF_LIFE = Fault(FaultKind.DROPPED, "the connection gave no sign of life")
ANSWER_GIVEN_UP = Fault(FaultKind.DROPPED, "the answer did not end in time")
CANCELLED = Fault(FaultKind.DROPPED, "the answer is not wanted any more")


def too_large(size: int, limit: int) -> Fault:
    """Name a request that exceeds the host's frame limit, both in bytes."""
    message = f"the request has {size} bytes, more than the {limit} that the host takes in a frame"
    return Fault(FaultKind.TOO_LARGE, message)


def not_taken(seconds: float) -> Fault:
    """Name a request that a connection did not take in time."""
    return Fault(FaultKind.DROPPED, f"the connection did not take the request in {seconds:g} s")


def not_written(why: str) -> Fault:
    """Name a request that could not be written."""
    return Fault(FaultKind.DROPPED, f"the connection did not take the request: {why}")


def connection_broke(why: str) -> Fault:
    """Name the end of a connection that was not closed."""
    return Fault(FaultKind.DROPPED, f"the connection broke: {why}")


def not_opened(error: Exception) -> Fault:
    """Name a connection that a bug keeps from being opened."""
    return Fault(FaultKind.UNREACHABLE, f"no connection: {type(error).__name__}")


def unreadable(error: Exception) -> Fault:
    """Name the end of a response whose last event could not be read."""
    return Fault(
        FaultKind.DROPPED, f"the end of the response is unreadable: {type(error).__name__}"
    )


def unsendable(error: Exception) -> Fault:
    """Name a request that could not be encoded or placed."""
    return Fault(FaultKind.REFUSED, f"the request can't be sent: {type(error).__name__}")


def belongs_to_connection(error: Fault) -> Fault:
    """Name for each request what an error means that is not said to be any one request's."""
    return Fault(FaultKind.DROPPED, f"an error on the connection: {error.message}", error.code)


_BY_CODE: Mapping[str, FaultKind] = {
    "previous_response_not_found": FaultKind.CHAIN_MISS,
    "websocket_connection_limit_reached": FaultKind.CONNECTION_LIMIT,
    "websocket_stream_limit_reached": FaultKind.LANE_LIMIT,
    "invalid_stream_id": FaultKind.LANE_LIMIT,
    "response_already_in_flight": FaultKind.LANE_LIMIT,
    "rate_limit_exceeded": FaultKind.BUSY,
    "slow_down": FaultKind.BUSY,
    "server_is_overloaded": FaultKind.BUSY,
    "insufficient_quota": FaultKind.QUOTA,
    "credit_balance_exhausted": FaultKind.QUOTA,
    "organization_spend_limit_exceeded": FaultKind.QUOTA,
    "project_spend_limit_exceeded": FaultKind.QUOTA,
    "organization_usage_limit_exceeded": FaultKind.QUOTA,
    "usage_limit_reached": FaultKind.QUOTA,
    "invalid_encrypted_content": FaultKind.ITEMS_REFUSED,
    "server_error": FaultKind.SERVER,
    "invalid_api_key": FaultKind.UNAUTHORISED,
    "model_not_found": FaultKind.NOT_FOUND,
    "context_length_exceeded": FaultKind.REFUSED,
    "invalid_prompt": FaultKind.REFUSED,
    "bio_policy": FaultKind.REFUSED,
    "misalignment_policy_violation": FaultKind.REFUSED,
    "data_residency_mismatch": FaultKind.REFUSED,
    "content_filter": FaultKind.REFUSED,
}

_BY_TYPE: Mapping[str, FaultKind] = {
    "insufficient_quota": FaultKind.QUOTA,
    "usage_limit_reached": FaultKind.QUOTA,
    "rate_limit_error": FaultKind.BUSY,
    "service_unavailable_error": FaultKind.BUSY,
    "authentication_error": FaultKind.UNAUTHORISED,
    "permission_error": FaultKind.FORBIDDEN,
    "server_error": FaultKind.SERVER,
}

_PARAMETER_CODES = ("unsupported_parameter", "unsupported_value", "unknown_parameter")
# Seen: 404, 405, 426. A host that answers as if nothing had been asked to be upgraded, or calls
# the request a bad one without saying what is bad, has no socket either.
# Seen: 101 from a proxy that does not complete the upgrade.
_NO_UPGRADE = (101, 200, 400, 404, 405, 426, 501)
_LANE_FIELDS = ("stream_id", "type")
# Seen: these come with code null, so only the sentence tells them from other refusals.
_ITEMS = re.compile(
    r"No tool (output|call) found for function call|Item with id .* not found"
    r"|without its required|encrypted content .*could not be|could not be (verified|decrypted)",
    re.IGNORECASE,
)
_LANE_WORDS = re.compile(r"\bstream_id\b")
# Seen: llama.cpp's server names the field in its sentence alone ("does not support
# 'previous_response_id'"); vLLM answers 404 with the param "response_id" where it kept nothing.
_CONTINUED = ("previous_response_id", "response_id")
_CONTINUED_WORDS = re.compile(r"\bprevious_response_id\b")
_NUMBER = re.compile(r"[0-9]{3}")
_TRY_AGAIN = re.compile(r"try again in (\d+(?:\.\d+)?)(ms|s)\b", re.IGNORECASE)

REDIRECTS = (300, 301, 302, 303, 307, 308)

FATAL_CLOSES = frozenset({1008, *range(4000, 5000)})
"""Close codes that say no: policy, and the vendors' own (such as 4402, no credit)."""


def from_error(
    error: Mapping[str, object],
    status: int | None,
    headers: Mapping[str, str] | None = None,
    *,
    begun: bool = False,
) -> Fault:
    """Name what an error object says.

    Args:
        error: The service's ``error`` object: message, type, code, param; any may be missing.
        status: The HTTP status, where one came.
        headers: The headers that came with it.
        begun: Whether the response had begun (``response.failed``).
    """
    message = _word(error.get("message")) or _word(error.get("detail")) or "no reason given"
    code, kind_word = _word(error.get("code")), _word(error.get("type"))
    if code is not None and _NUMBER.fullmatch(code):
        status, code = status or int(code), None
    param = _word(error.get("param"))
    kind = _kind(code, kind_word, status, param, message)
    if kind is None:
        kind = FaultKind.RESPONSE_FAILED if begun else FaultKind.REFUSED
    lowered = {k.lower(): v for k, v in (headers or {}).items()}
    return Fault(
        kind,
        message,
        code or kind_word,
        status,
        param,
        lowered.get("x-request-id"),
        retry_after(lowered, message),
        has_code=code is not None,
    )


def _kind(
    code: str | None, kind_word: str | None, status: int | None, param: str | None, message: str
) -> FaultKind | None:
    """The code knows best, then the field or sentence, then the status, then the type."""
    if (by_code := _BY_CODE.get(code or "")) is not None:
        return by_code
    by_type = _BY_TYPE.get(kind_word or "")
    if by_type is FaultKind.QUOTA:
        return by_type
    if param in _LANE_FIELDS or (param is None and _LANE_WORDS.search(message)):
        return FaultKind.LANES_REFUSED
    if param in _CONTINUED or (param is None and _CONTINUED_WORDS.search(message)):
        return FaultKind.CHAIN_MISS
    if _ITEMS.search(message):
        return FaultKind.ITEMS_REFUSED
    if code in _PARAMETER_CODES and param in DROPPABLE:
        return FaultKind.PARAMETER_REFUSED
    return _of_status(status) or by_type


def _of_status(status: int | None) -> FaultKind | None:
    match status:
        case 401:
            return FaultKind.UNAUTHORISED
        case 403:
            return FaultKind.FORBIDDEN
        case 404:
            return FaultKind.NOT_FOUND
        case 409 | 429 | 503:
            return FaultKind.BUSY
        case 413:
            return FaultKind.TOO_LARGE
        case 408:
            return FaultKind.SERVER
        case int() if status >= 500:
            return FaultKind.SERVER
        case int() if status >= 400:
            return FaultKind.REFUSED
        case _:
            return None


def from_handshake(status: int, headers: Mapping[str, str], said: Mapping[str, object]) -> Fault:
    """Name a refused upgrade.

    Args:
        status: The HTTP status.
        headers: The headers that came with it.
        said: The error object of its body; empty if there is none.
    """
    error = dict(said)
    error.setdefault("message", f"the service refused the connection with status {status}")
    fault = from_error(error, status, headers)
    if status in _NO_UPGRADE and _word(error.get("code")) is None:
        return replace(fault, kind=FaultKind.NO_WEBSOCKET)
    if status in REDIRECTS:
        message = "the service redirects the connection; not followed, for the key would go along"
        return replace(fault, kind=FaultKind.FORBIDDEN, message=message)
    return fault


def from_close(code: int | None, reason: str) -> Fault:
    """Name the end of a connection."""
    said = f" ({reason})" if reason else ""
    message = f"the connection was closed with code {code}{said}"
    if code == 1009:
        return Fault(FaultKind.TOO_LARGE, message, "1009")
    if code in FATAL_CLOSES:
        return Fault(FaultKind.REFUSED, message, str(code))
    return Fault(FaultKind.DROPPED, message, None if code is None else str(code))


Wait = Literal["a connection", "the first output", "more output", "enough speech", "the whole turn"]


def timed_out(waited_for: Wait, seconds: float) -> Fault:
    """Name a wait that ran out."""
    return Fault(FaultKind.TIMEOUT, f"waited {seconds:g} s for {waited_for}", "timeout")


def retry_after(headers: Mapping[str, str], message: str = "") -> float | None:
    """Read how long to wait, in seconds, from headers or else from the service's sentence.

    Args:
        headers: With names in lower case. A date counts from the one in ``date``.
        message: The sentence; seen: "Please try again in 1.3s".
    """
    for name, unit in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        try:
            return max(0.0, float(headers[name]) * unit)
        except (KeyError, ValueError):
            continue
    try:
        until = parsedate_to_datetime(headers["retry-after"])
        return max(0.0, (until - parsedate_to_datetime(headers["date"])).total_seconds())
    except (KeyError, ValueError, TypeError):
        pass
    if (found := _TRY_AGAIN.search(message)) is not None:
        return float(found[1]) * (0.001 if found[2].lower() == "ms" else 1.0)
    return None


def _word(value: object) -> str | None:
    if isinstance(value, str):
        return value or None
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else None
