"""Redaction: removes a request's credentials from the error text of a host.

A misconfigured gateway, or a host at a wrong address, may repeat a request's headers or its URL
in an error. From there they would get into exceptions and logs.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, AnyStr
from urllib.parse import parse_qsl, quote, urlsplit, urlunsplit

from rtllm.codec.frames import read
from rtllm.retry.faults import Fault

_SECRETS = re.compile("auth|key|token|secret|cookie", re.IGNORECASE)
"""Parts of the names of headers and query parameters with secrets."""
_SHORTEST = 8
"""Minimum characters of a secret; a shorter value may be a word of the host's sentence."""


def without_secrets(url: str) -> str:
    """Return a URL without its query, fragment, user and password."""
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def secrets_of(url: str, headers: Mapping[str, str]) -> tuple[str, ...]:
    """Return the credentials of a request, as its host might repeat them.

    Args:
        url: The request's URL; its query may hold a key.
        headers: The request's headers.
    """
    secrets: dict[str, None] = {}
    for name, value in (*headers.items(), *parse_qsl(urlsplit(url).query)):
        if _SECRETS.search(name):
            secrets |= dict.fromkeys((value, quote(value), value.partition(" ")[2]))
    return tuple(secret for secret in secrets if len(secret) >= _SHORTEST)


def redact(fault: Fault, secrets: Sequence[str]) -> Fault:
    """Replace the credentials of a request in the fault that its host reports."""
    return replace(
        fault,
        message=_without(fault.message, secrets),
        code=_without(fault.code, secrets) if fault.code else fault.code,
        param=_without(fault.param, secrets) if fault.param else fault.param,
        body_text=_without(fault.body_text, secrets),
    )


def redact_frame(data: Any, secrets: Sequence[str]) -> Any:
    """Replace the credentials of a request in a frame, if it reports an error.

    Other frames stay as they are: a key of a local host may be a word that the model says.
    """
    if isinstance(data, bytes):
        encoded = [secret.encode() for secret in secrets]
        return _without_bytes(data, encoded) if _tells(data, encoded) else data
    return _without(data, secrets) if isinstance(data, str) and _tells(data, secrets) else data


def redact_lines(data: Any, secrets: Sequence[str]) -> Any:
    """Replace the credentials of a request in the events of a piece of an HTTP body."""
    encoded = [secret.encode() for secret in secrets]
    if not isinstance(data, bytes) or not any(secret in data for secret in encoded):
        return data
    lines = data.split(b"\n")
    return b"\n".join(
        _without_bytes(line, encoded) if _tells(line.partition(b":")[2], encoded) else line
        for line in lines
    )


def _tells(data: AnyStr, secrets: Sequence[AnyStr]) -> bool:
    """Whether an event reports an error and repeats a secret."""
    if not any(secret in data for secret in secrets):
        return False
    frame = read(data)
    return frame is not None and (frame.is_error or frame.type == "response.failed")


def _without(text: str, secrets: Iterable[str]) -> str:
    for secret in secrets:
        text = text.replace(secret, "…")
    return text


def _without_bytes(data: bytes, secrets: Iterable[bytes]) -> bytes:
    for secret in secrets:
        data = data.replace(secret, "…".encode())
    return data
