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
from rtllm.retry.error_bodies import error_object, read_body, with_status


class FaultKind(Enum):
    """The faults that are treated differently."""

    CHAIN_MISS = auto()
    """The service no longer knows the response that was continued."""
    PARENT_IGNORED = auto()
    """The service answers as if nothing had been continued."""
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
    PASSING = auto()
    """An upgrade refused without a word; the next one may be taken."""
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
    CUT_AT_ONCE = auto()
    """The answer ended filtered, at its limit or in its thoughts, before the first word."""
    SLIPPED = auto()
    """The model wrote a call that its host could not read; the next try may do."""
    FORM_REFUSED = auto()
    """The host refuses how something is said, and another form says the same."""


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
        said: All that the body says, for those who look for words.
        points: What of the dialect is to be said otherwise, where the form was refused.
    """

    kind: FaultKind
    message: str
    code: str | None = None
    status: int | None = None
    param: str | None = None
    request_id: str | None = None
    retry_after: float | None = None
    has_code: bool = False
    said: str = ""
    points: tuple[tuple[str, str], ...] = ()

    @property
    def words(self) -> str:
        """The sentence, the field, and all else that the body says but codes and types."""
        known = (self.message, self.param, self.said)
        return " ".join(word for word in known if word)


CLIENT_CLOSED = Fault(FaultKind.CLOSED, "the client was closed")
EMPTY_RESPONSE = Fault(FaultKind.EMPTY, "the service completed an empty response")
PARENT_IGNORED = Fault(
    FaultKind.PARENT_IGNORED, "the service answers as if there were no earlier response"
)
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


def cut_at_once(message: str, reason: str) -> Fault:
    """Name an answer that ended before its first word."""
    return Fault(FaultKind.CUT_AT_ONCE, message, reason, has_code=True)


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
    "content_policy_violation": FaultKind.REFUSED,
    # Seen: Groq, and what it hosts: "Failed to call a function".
    "tool_use_failed": FaultKind.SLIPPED,
}

SUBSTANCE = frozenset(
    {
        "context_length_exceeded",
        "invalid_prompt",
        "bio_policy",
        "misalignment_policy_violation",
        "data_residency_mismatch",
        "content_filter",
        "content_policy_violation",
        "string_above_max_length",
    }
)
"""Codes that refuse what is said, not how: no other form helps."""
# Seen: hosts that give no code for a context that is too long, or for what they don't allow.
_SUBSTANCE_WORDS = re.compile(
    r"context.?(length|window)|maximum context|too many tokens|content.?(filter|policy|management)"
    r"|usage polic|safety|moderation|flagged|not on your plan|billing|not allowed to|permission",
    re.IGNORECASE,
)

_BY_TYPE: Mapping[str, FaultKind] = {
    "insufficient_quota": FaultKind.QUOTA,
    "usage_limit_reached": FaultKind.QUOTA,
    "rate_limit_error": FaultKind.BUSY,
    "service_unavailable_error": FaultKind.BUSY,
    "authentication_error": FaultKind.UNAUTHORISED,
    "permission_error": FaultKind.FORBIDDEN,
    "server_error": FaultKind.SERVER,
}

# Seen: 404, 405, 426. A host that answers as if nothing had been asked to be upgraded, or calls
# the request a bad one without saying what is bad, has no socket either.
# Seen: 101 from a proxy that does not complete the upgrade.
_NO_UPGRADE = (101, 200, 400, 404, 405, 426, 501)
# Seen: Groq answers a GET where it takes a POST only by "unknown_url"; others name the method.
_NO_SOCKET_CODES = ("unknown_url", "method_not_supported", "method_not_allowed", "not_found")
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
_CONTINUED_WORDS = re.compile(r"\bprevious_response(?:_id\b|_not_found\b)")
_NUMBER = re.compile(r"[0-9]{3}")
# Seen: "Please try again in 1.3s", "in 1m3s", "in 6m0s", "Please retry after 2 seconds".
_WAIT = re.compile(
    r"(?:try again|retry|wait)[\w ]{0,20}? (?:in|after|for)\s+"
    r"((?:\d+(?:\.\d+)?\s*"
    r"(?:ms|milliseconds?|h|hours?|m|minutes?|mins?|s|sec|secs|seconds?)[\s,]*)+)(?![a-z])",
    re.IGNORECASE,
)
_SPAN = re.compile(r"(\d+(?:\.\d+)?)\s*([a-z]+)", re.IGNORECASE)
_UNITS = (("ms", 0.001), ("mil", 0.001), ("h", 3600.0), ("m", 60.0), ("s", 1.0))

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
        error: The service's ``error`` object, or a body of any shape that holds one.
        status: The HTTP status, where one came.
        headers: The headers that came with it.
        begun: Whether the response had begun (``response.failed``).
    """
    found = error_object(error)
    message = _word(found.get("message")) or "no reason given"
    code, kind_word = _word(found.get("code")), _word(found.get("type"))
    if code is not None and _NUMBER.fullmatch(code):
        status, code = status or int(code), None
    param = _word(found.get("param"))
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
        said=str(found.get("said", "")),
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
    if param in DROPPABLE and status in (None, 400, 404, 422):
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


def from_handshake(status: int, headers: Mapping[str, str], body: bytes) -> Fault:
    """Name a refused upgrade; its body is JSON mostly, from proxies also HTML or text."""
    told = f"the service refused the connection with status {status}"
    error = with_status(read_body(body), told)
    fault = from_error(error, status, headers)
    if status in _NO_UPGRADE and (not fault.has_code or fault.code in _NO_SOCKET_CODES):
        return replace(fault, kind=FaultKind.NO_WEBSOCKET)
    if status == 403 and not body.strip():
        # Seen: a good key gets an empty 403 on the upgrade now and then (docs/protocol.md).
        return replace(fault, kind=FaultKind.PASSING)
    return redirected(fault, "connection") if status in REDIRECTS else fault


def redirected(fault: Fault, what: str) -> Fault:
    """Name the refusal of a connection or request that is to go elsewhere."""
    message = f"the service redirects the {what}; not followed, for the key would go along"
    return replace(fault, kind=FaultKind.FORBIDDEN, message=message)


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
        message: The sentence.
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
    return _wait_in(message)


def _wait_in(message: str) -> float | None:
    """The wait that a sentence names, in seconds."""
    found = _WAIT.search(message)
    if found is None:
        return None
    seconds = 0.0
    for number, unit in _SPAN.findall(found[1]):
        factor = next(factor for begin, factor in _UNITS if unit.lower().startswith(begin))
        seconds += float(number) * factor
    return seconds


def is_of_substance(fault: Fault) -> bool:
    """Tell whether a refusal is of what is said: then no other form of it helps."""
    if fault.code in SUBSTANCE:
        return True
    return _SUBSTANCE_WORDS.search(fault.message) is not None


def _word(value: object) -> str | None:
    if isinstance(value, str):
        return value or None
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else None
