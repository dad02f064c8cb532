"""Faults: statuses, close codes, error frames and timeouts as one type.

A fault is classified at its source, by statuses and codes. Sentences are read only if the service
gives nothing else, and a comment marks each such place.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from email.utils import parsedate_to_datetime
from enum import Enum, auto
from typing import Literal

from rtllm.parameters.adjustments import DROPPABLE
from rtllm.retry.error_bodies import error_object, read_body, with_status


class FaultKind(Enum):
    """The kinds of faults that are handled differently."""

    CHAIN_MISS = auto()
    """The service no longer knows the response that was continued."""
    PARENT_IGNORED = auto()
    """The service answers without the context of the response that was continued."""
    CONNECTION_LIMIT = auto()
    """The connection reached its lifetime; the service still works."""
    LANES_REFUSED = auto()
    """The host does not support ``stream_id``."""
    LANE_LIMIT = auto()
    """The connection has no free lane."""
    THROTTLED = auto()
    """Rate limit or overload; temporary."""
    QUOTA = auto()
    """The credit or quota is used up; permanent."""
    UPGRADE_REFUSED = auto()
    """An upgrade rejected without a reason; the next one may succeed."""
    UNAUTHORISED = auto()
    TOKEN_REFUSED = auto()
    """The key is rejected, but the key function may return a new one."""
    FORBIDDEN = auto()
    NOT_FOUND = auto()
    NO_WEBSOCKET = auto()
    """The host answers, but does not offer a WebSocket."""
    NO_HTTP = auto()
    """The host does not answer over HTTP, or does not offer the Responses API there."""
    TOO_LARGE = auto()
    """The request exceeds the host's frame limit."""
    REFUSED = auto()
    """The request is rejected."""
    PARAMETER_REFUSED = auto()
    """A parameter is rejected that may be left out."""
    ITEMS_REFUSED = auto()
    """An item or its id is unknown, or a call lacks its output; the full context may succeed."""
    SERVER = auto()
    """The service failed."""
    RESPONSE_FAILED = auto()
    """``response.failed``: the service began the response and failed permanently."""
    DROPPED = auto()
    """The connection was lost."""
    UNREACHABLE = auto()
    """No connection could be opened."""
    TIMEOUT = auto()
    """A wait timed out."""
    UNRESPONSIVE = auto()
    """A wait timed out on a connection that never sent anything."""
    CLIENT_CLOSED = auto()
    """The client was closed while the turn ran."""
    EMPTY = auto()
    """The response is complete and empty."""
    CUT_BEFORE_OUTPUT = auto()
    """The response ended before its first output: filtered, at its limit, or in its thoughts."""
    MALFORMED_CALL = auto()
    """The model wrote a call that its host could not parse; the next attempt may succeed."""
    FORM_REFUSED = auto()
    """The host rejects the form of the request, and another form has the same meaning."""


@dataclass(frozen=True, slots=True)
class Fault:
    """A failure of an attempt.

    Attributes:
        kind: Its kind, for the recovery table.
        message: The service's sentence, or a description.
        code: The service's error code.
        status: The HTTP status, if there was one.
        param: The request field that the service names.
        request_id: The service's id of the request.
        retry_after: Seconds to wait, if the service gives them.
        has_code: Whether the error came with a code, as errors of the API itself do.
        body_text: The full text of the body, for searching words.
        points: The points of the dialect to change, if the form was rejected.
        tool: The encoded tool to leave out, if its definition was rejected.
        address: The address that was asked, with the method, without the query.
    """

    kind: FaultKind
    message: str
    code: str | None = None
    status: int | None = None
    param: str | None = None
    request_id: str | None = None
    retry_after: float | None = None
    has_code: bool = False
    body_text: str = ""
    points: tuple[tuple[str, str], ...] = ()
    tool: bytes | None = None
    address: str | None = None

    @property
    def words(self) -> str:
        """The message, the field, and the rest of the body's text without codes and types."""
        known = (self.message, self.param, self.body_text)
        return " ".join(word for word in known if word)

    def at(self, address: str | None) -> "Fault":
        """Return this fault with the address that was asked, unless it has one."""
        return replace(self, address=address) if address and not self.address else self


CLIENT_CLOSED = Fault(FaultKind.CLIENT_CLOSED, "the client was closed")
EMPTY_RESPONSE = Fault(FaultKind.EMPTY, "the service completed an empty response")
ONLY_THOUGHTS = "only_thoughts"
"""The code of a response that contains only the model's thoughts."""
UNANSWERED = Fault(
    FaultKind.EMPTY,
    "the response to the user contains only the model's thoughts, next to an empty text",
    ONLY_THOUGHTS,
)
PARENT_IGNORED = Fault(
    FaultKind.PARENT_IGNORED, "the service ignored the earlier response that was continued"
)
WARM_UP_NEEDS_SOCKET = Fault(FaultKind.REFUSED, "a prompt can be warmed up only over the WebSocket")
ANSWER_BROKEN_OFF = Fault(FaultKind.DROPPED, "the stream ended in the middle of the response")
STREAM_BROKEN_OFF = Fault(FaultKind.DROPPED, "the stream ended before the response's last event")
NO_SIGN_OF_LIFE = Fault(FaultKind.DROPPED, "the connection did not answer a ping")
DRAIN_TIMED_OUT = Fault(FaultKind.DROPPED, "the response did not end in time")
CANCELLED = Fault(FaultKind.DROPPED, "the response was cancelled")


def too_large(size: int, limit: int) -> Fault:
    """Create the fault of a request that exceeds the host's frame limit, both in bytes."""
    message = f"the request has {size} bytes; the host accepts at most {limit} in a frame"
    return Fault(FaultKind.TOO_LARGE, message)


def not_taken(seconds: float) -> Fault:
    """Create the fault of a request that could not be written in time."""
    return Fault(FaultKind.DROPPED, f"the request could not be written within {seconds:g} s")


def not_written(why: str) -> Fault:
    """Create the fault of a request that could not be written."""
    return Fault(FaultKind.DROPPED, f"the request could not be written: {why}")


def connection_broke(why: str) -> Fault:
    """Create the fault of a connection that broke without a close."""
    return Fault(FaultKind.DROPPED, f"the connection broke: {why}")


def not_opened(error: Exception) -> Fault:
    """Create the fault of a connection that could not be opened because of a bug."""
    return Fault(FaultKind.UNREACHABLE, f"no connection ({type(error).__name__})")


def cut_before_output(message: str, reason: str) -> Fault:
    """Create the fault of a response that ended before its first output."""
    return Fault(FaultKind.CUT_BEFORE_OUTPUT, message, reason, has_code=True)


def unreadable(error: Exception) -> Fault:
    """Create the fault of a response whose last event could not be decoded."""
    return Fault(FaultKind.DROPPED, f"the last event could not be decoded: {type(error).__name__}")


def unsendable(error: Exception) -> Fault:
    """Create the fault of a request that could not be encoded or scheduled."""
    return Fault(FaultKind.REFUSED, f"the request could not be sent: {type(error).__name__}")


def belongs_to_connection(error: Fault) -> Fault:
    """Create the fault of each request on a connection with an error that names no request."""
    return Fault(FaultKind.DROPPED, f"an error on the connection: {error.message}", error.code)


PARENT_NOT_FOUND = "previous_response_not_found"
"""The code of a service that continues responses, but no longer knows this one."""
_OF_PARENTS = re.compile(r"previous|conversation|history|response[ _]id", re.IGNORECASE)


def refuses_parents(fault: Fault) -> bool:
    """Whether a rejection is about continuing a response, but not about this one being unknown."""
    return fault.code != PARENT_NOT_FOUND and _OF_PARENTS.search(fault.words) is not None


_BY_CODE: Mapping[str, FaultKind] = {
    PARENT_NOT_FOUND: FaultKind.CHAIN_MISS,
    "websocket_connection_limit_reached": FaultKind.CONNECTION_LIMIT,
    "websocket_stream_limit_reached": FaultKind.LANE_LIMIT,
    "invalid_stream_id": FaultKind.LANE_LIMIT,
    "response_already_in_flight": FaultKind.LANE_LIMIT,
    "rate_limit_exceeded": FaultKind.THROTTLED,
    "slow_down": FaultKind.THROTTLED,
    "server_is_overloaded": FaultKind.THROTTLED,
    "capacity_exceeded": FaultKind.THROTTLED,  # documented by Groq, with the status 498
    "insufficient_quota": FaultKind.QUOTA,
    "credit_balance_exhausted": FaultKind.QUOTA,
    "organization_spend_limit_exceeded": FaultKind.QUOTA,
    "project_spend_limit_exceeded": FaultKind.QUOTA,
    "organization_usage_limit_exceeded": FaultKind.QUOTA,
    "usage_limit_reached": FaultKind.QUOTA,
    "invalid_encrypted_content": FaultKind.ITEMS_REFUSED,
    "server_error": FaultKind.SERVER,
    "internal_error": FaultKind.SERVER,
    "internal_server_error": FaultKind.SERVER,
    "invalid_api_key": FaultKind.UNAUTHORISED,
    "model_not_found": FaultKind.NOT_FOUND,
    "context_length_exceeded": FaultKind.REFUSED,
    "invalid_prompt": FaultKind.REFUSED,
    "bio_policy": FaultKind.REFUSED,
    "misalignment_policy_violation": FaultKind.REFUSED,
    "data_residency_mismatch": FaultKind.REFUSED,
    "content_filter": FaultKind.REFUSED,
    "content_policy_violation": FaultKind.REFUSED,
    # Seen: Groq and the models that it hosts: "Failed to call a function".
    "tool_use_failed": FaultKind.MALFORMED_CALL,
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
"""Codes that reject the content, not its form; another form does not help."""
# Seen: hosts that give no code for a context that is too long or not allowed.
_SUBSTANCE_WORDS = re.compile(
    r"context.?(length|window|size)|maximum context|too many tokens|api.?key|location is not"
    r"|content.?(filter|policy|management)|quota|insufficient.?(credit|balance|fund)"
    r"|usage polic|safety|moderation|flagged|not on your plan|billing|not allowed to|permission",
    re.IGNORECASE,
)

_BY_TYPE: Mapping[str, FaultKind] = {
    "insufficient_quota": FaultKind.QUOTA,
    "usage_limit_reached": FaultKind.QUOTA,
    "rate_limit_error": FaultKind.THROTTLED,
    "overloaded_error": FaultKind.THROTTLED,
    "service_unavailable_error": FaultKind.THROTTLED,
    "authentication_error": FaultKind.UNAUTHORISED,
    "permission_error": FaultKind.FORBIDDEN,
    "server_error": FaultKind.SERVER,
}

# Seen: 404, 405, 426. A host that ignores the upgrade, or rejects the request without a code, has
# no WebSocket either.
# Seen: 101 from a proxy that does not complete the upgrade.
_NO_UPGRADE = (101, *range(200, 300), 400, 404, 405, 426, 501)
# Seen: Groq answers "unknown_url" to a GET if it accepts only a POST; others name the method.
_NO_SOCKET_CODES = ("unknown_url", "method_not_supported", "method_not_allowed", "not_found")
_LANE_FIELDS = ("stream_id", "type")
# Seen: these come with code null, so only the sentence distinguishes them from other rejections.
_ITEMS = re.compile(
    r"No tool (output|call) found for function call|Item with id .* not found"
    r"|without its required|encrypted content .*could not be|could not be (verified|decrypted)",
    re.IGNORECASE,
)
_LANE_WORDS = re.compile(r"\bstream_id\b")
# Seen: llama.cpp's server names the field only in its sentence ("does not support
# 'previous_response_id'"). vLLM answers 404 with the param "response_id" if it stored nothing.
_CONTINUED = ("previous_response_id", "response_id")
_CONTINUED_WORDS = re.compile(r"\bprevious_response(?:_id\b|_not_found\b)")
_TOO_LARGE = 413
_NUMBER = re.compile(r"[0-9]{3}")
# Seen: "Please try again in 1.3s", "in 1m3s", "in 6m0s", "Please retry after 2 seconds".
_WAIT = re.compile(
    r"(?:try again|retry|wait)[\w ]{0,20}? (?:in|after|for)\s+(?:about |around )?"
    r"((?:\d+(?:\.\d+)?\s*"
    r"(?:ms|milliseconds?|h|hours?|m|minutes?|mins?|s|sec|secs|seconds?)[\s,]*)+)(?![a-z])",
    re.IGNORECASE,
)
_SPAN = re.compile(r"(\d+(?:\.\d+)?)\s*([a-z]+)", re.IGNORECASE)
_SPANS = re.compile(r"(?:\d+(?:\.\d+)?(?:ms|h|m|s))+")
_PLAIN = re.compile(r"\d+(?:\.\d+)?")
_EPOCH = 1e9
"""A larger number is a moment, not a span of seconds."""
_ISO = re.compile(r"\d{4}-\d\d-\d\d")
# Seen: "Please try again at 2026-02-01T10:00:00Z".
_WAIT_UNTIL = re.compile(
    r"(?:try again|retry|wait|resets?)[\w ]{0,20}? (?:at|after|until)\s+"
    r"(\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:\d\d)?)",
    re.IGNORECASE,
)
_UNITS = (("ms", 0.001), ("mil", 0.001), ("h", 3600.0), ("m", 60.0), ("s", 1.0))

REDIRECTS = (300, 301, 302, 303, 307, 308)

FATAL_CLOSES = frozenset({1008, *range(4000, 5000)})
"""Close codes of a rejection: policy, and the vendors' own codes (such as 4402, no credit)."""
_WITH_STATUS = range(4400, 4600)
"""Close codes that name an HTTP status."""


def from_error(
    error: Mapping[str, object],
    status: int | None,
    headers: Mapping[str, str] | None = None,
    *,
    begun: bool = False,
) -> Fault:
    """Classify an error object.

    Args:
        error: The service's ``error`` object, or a body of any form that contains one.
        status: The HTTP status, if one came.
        headers: The headers that came with it.
        begun: Whether the response had begun (``response.failed``).
    """
    found = error_object(error)
    message = " ".join((_word(found.get("message")) or "no reason given").split())
    code, kind_word = _word(found.get("code")), _word(found.get("type"))
    if code is not None and _NUMBER.fullmatch(code):
        status, code = status or int(code), None
    param = _word(found.get("param"))
    kind = _kind(code, kind_word, status, param, message)
    if kind is None:
        kind = FaultKind.RESPONSE_FAILED if begun else FaultKind.REFUSED
        # Nothing tells that it would fail again, and the caller would hear nothing.
        is_unexplained = code is None and kind_word is None
        if begun and is_unexplained and not _SUBSTANCE_WORDS.search(message):
            kind = FaultKind.SERVER
    lowered = {k.lower(): v for k, v in (headers or {}).items()}
    return Fault(
        kind,
        message,
        code or kind_word,
        status,
        param,
        lowered.get("x-request-id"),
        retry_after(
            {"retry-after": str(found.get("retry_after", "")).removesuffix("s"), **lowered},
            message,
            resets=kind is FaultKind.THROTTLED,
        ),
        has_code=code is not None,
        body_text=str(found.get("body_text", "")),
    )


def _kind(
    code: str | None, kind_word: str | None, status: int | None, param: str | None, message: str
) -> FaultKind | None:
    """Classify by the code, then the field or sentence, then the status, then the type."""
    if (by_code := _BY_CODE.get(code or "")) is not None:
        # Seen: Groq's code for a request that is larger than the limit of a minute.
        is_too_large = by_code is FaultKind.THROTTLED and status == _TOO_LARGE
        return FaultKind.REFUSED if is_too_large else by_code
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
            return FaultKind.THROTTLED
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
    """Classify a rejected upgrade. Its body is mostly JSON; from proxies also HTML or text."""
    message = f"the service rejected the connection with status {status}"
    error = with_status(read_body(body), message)
    fault = from_error(error, status, headers)
    if status in _NO_UPGRADE and (not fault.has_code or fault.code in _NO_SOCKET_CODES):
        return replace(fault, kind=FaultKind.NO_WEBSOCKET)
    if status == 403 and not body.strip():
        # Seen: a valid key occasionally gets an empty 403 on the upgrade (docs/protocol.md).
        return replace(fault, kind=FaultKind.UPGRADE_REFUSED)
    return redirected(fault, "connection") if status in REDIRECTS else fault


def redirected(fault: Fault, what: str) -> Fault:
    """Create the fault of a redirected connection or request."""
    message = (
        f"the service redirects the {what} to another host; that is not followed, because the key "
        "would be sent along; use the final URL as base_url"
    )
    return replace(fault, kind=FaultKind.FORBIDDEN, message=message)


def proxy_refused(proxy: str, status: int, reason: str = "") -> Fault:
    """Create the fault of a connection that a proxy refuses.

    Args:
        proxy: The proxy's host and port.
        status: The status of its answer.
        reason: The words of that status.
    """
    said = f" ({reason})" if reason else ""
    message = f"the proxy {proxy} refused the connection with status {status}{said}"
    if status == 407:
        message += "; check the user and the password in the proxy's URL"
    if status < 500:
        return Fault(FaultKind.FORBIDDEN, message, status=status)
    return Fault(FaultKind.UNREACHABLE, message)


def from_close(code: int | None, reason: str) -> Fault:
    """Classify the close of a connection.

    Seen: vendors' own codes that are 4000 more than the HTTP status that they mean.
    """
    said = f" ({reason})" if reason else ""
    message = f"the connection was closed with code {code}{said}"
    status = code - 4000 if code is not None and code in _WITH_STATUS else None
    if (kind := _of_status(status)) is not None:
        return Fault(kind, message, str(code), status, retry_after=retry_after({}, reason))
    if code == 1009:
        return Fault(FaultKind.TOO_LARGE, message, "1009")
    if code in FATAL_CLOSES:
        return Fault(FaultKind.REFUSED, message, str(code))
    return Fault(FaultKind.DROPPED, message, None if code is None else str(code))


Wait = Literal[
    "a connection",
    "the first output",
    "more output",
    "enough speech",
    "the turn's first word",
    "the whole turn",
]


def timed_out(waited_for: Wait, seconds: float) -> Fault:
    """Create the fault of a wait that timed out."""
    return Fault(FaultKind.TIMEOUT, f"waited {seconds:g} s for {waited_for}", "timeout")


def retry_after(
    headers: Mapping[str, str], message: str = "", *, resets: bool = False
) -> float | None:
    """Read how long to wait, in seconds: from the headers, else from the service's sentence.

    Args:
        headers: Headers with lowercase names. A date is relative to the one in ``date``.
        message: The sentence.
        resets: Whether to read also when the rate limits are reset.
    """
    for name, unit in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        try:
            return max(0.0, float(headers[name]) * unit)
        except (KeyError, ValueError):
            continue
    if (wait := _until(headers.get("retry-after", ""), headers)) is not None:
        return wait
    if (wait := _wait_in(message, headers)) is not None:
        return wait
    return _longest_reset(headers) if resets else None


def _wait_in(message: str, headers: Mapping[str, str]) -> float | None:
    """Return the wait that a sentence names, in seconds."""
    if (found := _WAIT.search(message)) is not None:
        return _span(found[1])
    found = _WAIT_UNTIL.search(message)
    return _until(found[1], headers) if found is not None else None


def _span(text: str) -> float:
    """Return a span of time such as ``1m3.5s`` in seconds."""
    seconds = 0.0
    for number, unit in _SPAN.findall(text):
        factor = next(factor for begin, factor in _UNITS if unit.lower().startswith(begin))
        seconds += float(number) * factor
    return seconds


def _until(text: str, headers: Mapping[str, str]) -> float | None:
    """Return the seconds from the ``date`` header to a date in either form; None if unknown."""
    try:
        now = parsedate_to_datetime(headers["date"])
        then = datetime.fromisoformat(text) if _ISO.match(text) else parsedate_to_datetime(text)
        then = then if then.tzinfo is not None else then.replace(tzinfo=now.tzinfo)
        return max(0.0, (then - now).total_seconds())
    except (KeyError, ValueError, TypeError):
        return None


def _longest_reset(headers: Mapping[str, str]) -> float | None:
    """Return the longest time until a limit is reset that is used up, as far as is known."""
    waits = []
    for name, value in headers.items():
        _, found, limit = name.partition("x-ratelimit-reset")
        if not found or headers.get(f"x-ratelimit-remaining{limit}", "0") not in ("0", "0.0", ""):
            continue
        if _SPANS.fullmatch(value):
            waits.append(_span(value))
        elif _PLAIN.fullmatch(value) and float(value) < _EPOCH:
            waits.append(float(value))
        elif (wait := _until(value, headers)) is not None:
            waits.append(wait)
    return max(waits, default=None)


def is_of_substance(fault: Fault) -> bool:
    """Whether the content is rejected, so that another form does not help."""
    if fault.code in SUBSTANCE:
        return True
    return _SUBSTANCE_WORDS.search(fault.message) is not None


def _word(value: object) -> str | None:
    if isinstance(value, str):
        return value or None
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else None
