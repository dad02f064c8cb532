"""Translation of the openai client's exceptions to faults."""

import re
import ssl
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import openai

from rtllm.codec.chat_decoder import from_body
from rtllm.errors import ConfigError
from rtllm.retry.error_bodies import read_body, with_status
from rtllm.retry.faults import (
    REDIRECTS,
    Fault,
    FaultKind,
    from_error,
    proxy_refused,
    redirected,
    timed_out,
)
from rtllm.retry.redaction import NO_SECRETS, Secrets, without_secrets
from rtllm.transport.reasons import beneath_of, reason_of
from rtllm.transport.websocket_connect import dated

ReadError = Callable[..., Fault]
"""Classifies the service's error object; see `rtllm.retry.faults.from_error`."""


def fault_of(
    error: Exception,
    connect_timeout: float,
    *,
    began: bool,
    is_chat: bool = False,
    refreshable: bool = False,
    proxy: str | None = None,
) -> Fault:
    """Translate an exception of the openai client to a fault.

    Args:
        error: The exception.
        connect_timeout: The client's limit for connecting, in seconds.
        began: Whether the service had answered with a stream.
        is_chat: Whether the request was a chat completion, whose errors use other field names.
        refreshable: Whether the client requests a new key for each request.
        proxy: The host and port of the client's proxy.
    """
    address, secrets = _asked(error)
    if proxy and (refused := _refused_by_proxy(error, proxy)) is not None:
        return refused.at(address)
    read = from_body if is_chat else from_error
    fault = secrets.redact(_fault_of(error, connect_timeout, read, began=began)).at(address)
    if proxy and fault.kind is FaultKind.UNREACHABLE:
        return replace(fault, message=f"{fault.message} (through the proxy {proxy})")
    if fault.kind is FaultKind.UNAUTHORISED and refreshable:
        return replace(fault, kind=FaultKind.TOKEN_REFUSED)
    return fault


def _fault_of(error: Exception, connect_timeout: float, read: ReadError, *, began: bool) -> Fault:
    match error:
        case ConfigError():  # raised when the client was created
            return Fault(FaultKind.FORBIDDEN, str(error))
        case openai.APIStatusError():
            return _refusal(error, read)
        case openai.APIConnectionError():
            return _lost(error, connect_timeout, began=began)
        case openai.APIError():  # an error instead of a chunk
            body = error.body if isinstance(error.body, Mapping) else {"message": error.message}
            return read(body, None, begun=True)
        case openai.OpenAIError() | TypeError():  # invalid arguments or options of the client
            return Fault(FaultKind.REFUSED, str(error))
        case _ if began or _names(error) & _HTTP_ERRORS:
            return _lost(error, connect_timeout, began=began)
        case _:
            # The user's own code, such as a token provider: the message may hold a secret.
            name = type(error).__name__
            who = "the key or token function, or the client,"
            message = f"the request could not be sent: {who} raised {name}"
            return Fault(FaultKind.UNREACHABLE, message)


def _refused_by_proxy(error: Exception, proxy: str) -> Fault | None:
    """Classify a refusal of the proxy; None if the error is another one."""
    if isinstance(error, openai.APIStatusError):
        return proxy_refused(proxy, 407) if error.status_code == 407 else None
    for beneath in beneath_of(error):
        if "ProxyError" in _names(beneath):
            found = _PROXY_STATUS.match(str(beneath))  # only the text has the status
            return proxy_refused(proxy, int(found[1]), found[2]) if found is not None else None
    return None


_PROXY_STATUS = re.compile(r"(\d{3})\s*(.*)")


def _refusal(error: openai.APIStatusError, read: ReadError) -> Fault:
    message = f"the service answered with status {error.status_code}"
    body = with_status(_body_of(error), message)
    fault = read(body, error.status_code, dated(error.response.headers))
    return redirected(fault, "request") if error.status_code in REDIRECTS else fault


def _body_of(error: openai.APIStatusError) -> object:
    """Return the body of a rejection. The SDK keeps only the ``error`` field of some bodies."""
    try:
        text = error.response.text
    except Exception:  # noqa: BLE001 - a user's own client may not have read it
        return error.body
    return read_body(text) if text.strip() else error.body


# By class name: the SDK works with httpx2 and httpx, and neither is a dependency of ours.
_HTTP_ERRORS = frozenset({"TransportError", "RequestError", "TimeoutException"})
_NO_CONNECTION = frozenset({"ConnectError", "ProxyError", "UnsupportedProtocol"})
_BROKEN = frozenset({"ReadError", "WriteError", "CloseError", "RemoteProtocolError"})


def _lost(error: Exception, connect_timeout: float, *, began: bool) -> Fault:
    """Classify a lost connection by the HTTP client's exception underneath."""
    beneath = list(beneath_of(error))
    names = frozenset[str]().union(*map(_names, beneath))
    if "LocalProtocolError" in names:  # its text repeats the header, which may be the key
        return Fault(
            FaultKind.FORBIDDEN,
            "the request can't be sent: a header is not valid; check api_key and headers",
        )
    said = next((str(e) for e in reversed(beneath) if str(e)), type(error).__name__)
    if any(isinstance(e, ssl.SSLCertVerificationError) for e in beneath):
        return Fault(FaultKind.FORBIDDEN, f"the certificate is not trusted: {said}")
    if "ConnectTimeout" in names:
        return timed_out("a connection", connect_timeout)
    if "TimeoutException" in names or isinstance(error, openai.APITimeoutError):
        return Fault(FaultKind.TIMEOUT, "the HTTP client's own timeout expired", "timeout")
    if names & _NO_CONNECTION or not (began or names & _BROKEN):
        return Fault(FaultKind.UNREACHABLE, reason_of(error) or f"no connection ({said})")
    return Fault(FaultKind.DROPPED, f"the connection broke: {said}")


def _asked(error: Exception) -> tuple[str | None, Secrets]:
    """Return a request's method and URL, without the query, which may hold a key, and its keys."""
    try:
        request: Any = error.request  # type: ignore[attr-defined]  # the SDK's errors have it
        url = str(request.url)
        return f"{request.method} {without_secrets(url)}", Secrets.of_request(url, request.headers)
    except RuntimeError:  # raised by the HTTP client if there is no request
        return None, NO_SECRETS
    except (AttributeError, TypeError):  # an exception of the user's own code, or of its library
        return None, NO_SECRETS


def _names(error: BaseException) -> frozenset[str]:
    return frozenset(kind.__name__ for kind in type(error).__mro__)
